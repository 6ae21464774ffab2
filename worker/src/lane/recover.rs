//! Reading a range's progress back: one partition of the progress topic, from its start to its present end.
//!
//! The end is the high watermark, not the last stable offset: an open transaction of another range hides every later record,
//! committed ones of ours too. It is waited for, and it ends soon: its owner goes on, or its next owner or the coordinator
//! ends it.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use twinlog_proto::reason::Reason;

use super::place::{Place, ends};
use crate::cause::Cause;
use crate::engine::librdkafka::config;
use crate::engine::librdkafka::ffi::source::{Fetched, MAX_BATCH, Source};
use crate::engine::{TRANSACTION_TIMEOUT, Trouble};
use crate::kafka::{KafkaClient, Role};

/// The longest sleep while reading.
const MAX_PARK: Duration = Duration::from_millis(50);
/// An empty answer of the broker comes after this time.
const FETCH_WAIT: Duration = Duration::from_millis(5);
/// After the coordinator has ended every transaction that was open, nothing hides records any more.
const PATIENCE: Duration = TRANSACTION_TIMEOUT.saturating_add(Duration::from_secs(15));

fn no_thread(error: &std::io::Error) -> Cause {
    Cause::new(Reason::THREADS_LIMIT, super::no_thread(&error.to_string()))
}

/// Reads one partition from its start. It connects when it is opened.
pub(super) struct Reader {
    client: KafkaClient,
    topic: String,
    partition: i32,
    source: Option<Source>,
}

impl Reader {
    pub(super) fn open(client: &KafkaClient, Place { topic, partition }: Place<'_>) -> Result<Self, Trouble> {
        let config = config::reader(client.rdkafka(Role::Consumer), FETCH_WAIT);
        let source = Source::open(&config, client.properties(), topic)?;
        Ok(Self { client: client.clone(), topic: topic.to_owned(), partition, source: Some(source) })
    }

    /// Value of the newest committed record with the key from the start to the end that the partition has now: what an earlier owner
    /// wrote before it was fenced lies below.
    pub(super) async fn newest(
        mut self,
        key: Vec<u8>,
        stop: CancellationToken,
    ) -> Result<Option<Vec<u8>>, Cause> {
        let (topic, partition) = (self.topic.as_str(), self.partition);
        let span = ends(&self.client, Place { topic, partition }).await?;
        if span.0 >= span.1 {
            return Ok(None);
        }
        let source = self.source.take().expect("it is taken here only");
        let place = format!("reading {topic} partition {partition} on the target");
        let mut reading = Reading { source, partition, place };
        let (tell, told) = oneshot::channel();
        let spawned = std::thread::Builder::new().name("progress".to_owned()).spawn(move || {
            let _ = tell.send(reading.read(span, &key, &stop));
            // Closing a client takes as long as its last request: nobody waits for it.
        });
        spawned.map_err(|error| no_thread(&error))?;
        told.await.expect("reading does not panic")
    }
}

impl Drop for Reader {
    /// Closes the client on a thread of its own; where there is none to be had, on this one.
    fn drop(&mut self) {
        if let Some(source) = self.source.take() {
            let _ = std::thread::Builder::new().name("close".to_owned()).spawn(move || drop(source));
        }
    }
}

struct Reading {
    source: Source,
    partition: i32,
    place: String,
}

impl Reading {
    fn read(
        &mut self,
        (start, end): (i64, i64),
        key: &[u8],
        stop: &CancellationToken,
    ) -> Result<Option<Vec<u8>>, Cause> {
        let place = self.place.clone();
        let failed = |error: &dyn std::fmt::Display| {
            Cause::new(Reason::WAITING_FOR_CLUSTER, format!("{place}: {error}"))
        };
        self.source.adopt();
        // Not "from the beginning": to resolve that, the client waits half a second when it isn't connected yet.
        self.source.start(self.partition, start).map_err(|e| failed(&e))?;
        let deadline = Instant::now() + PATIENCE;
        let (mut next, mut found, mut error) = (start, None, None);
        while next < end {
            if stop.is_cancelled() {
                return Err(failed(&"the range is drained from this worker"));
            }
            if Instant::now() >= deadline {
                let what =
                    format!("offsets {next} to {end} are hidden by an open transaction or can't be fetched");
                return Err(failed(&what));
            }
            let taken = self.source.take(MAX_BATCH, |fetched| match fetched {
                Fetched::Record(record) => {
                    next = record.offset() + 1;
                    if record.key() == Some(key) {
                        found = record.value().map(<[u8]>::to_vec);
                    }
                }
                Fetched::End { next: at, .. } => next = at,
                Fetched::Failed { error: e, .. } => error = Some(e),
            });
            if let Some(error) = error.take_if(|e| !e.is_about_connections()) {
                return Err(failed(&error));
            }
            if taken == 0 {
                std::thread::park_timeout(MAX_PARK);
            }
        }
        Ok(found)
    }
}
