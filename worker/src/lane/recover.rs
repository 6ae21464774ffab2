//! Reading a range's progress back: one partition of the progress topic, from its start to its present end.
//!
//! The end is the high watermark, not the last stable offset: an open transaction of another range hides every later record,
//! committed ones of ours too. It is waited for, and it ends soon: its owner goes on, or its next owner or the coordinator
//! ends it.

use std::time::{Duration, Instant};

use twinlog_proto::reason::Reason;

use crate::cause::Cause;
use crate::control::Control;
use crate::engine::librdkafka::config::{self, TRANSACTION_TIMEOUT};
use crate::engine::librdkafka::ffi;
use crate::engine::librdkafka::ffi::source::{Fetched, MAX_BATCH, Source};
use crate::kafka::{Isolation, KafkaClient, KafkaError, OffsetSpec, Role};

/// The longest sleep while reading.
const MAX_PARK: Duration = Duration::from_millis(50);
/// An empty answer of the broker comes after this time.
const FETCH_WAIT: Duration = Duration::from_millis(5);
/// After the coordinator has ended every transaction that was open, nothing hides records any more.
const PATIENCE: Duration = TRANSACTION_TIMEOUT.saturating_add(Duration::from_secs(15));

/// First offset and high watermark of a partition.
pub(super) async fn ends(
    client: &KafkaClient,
    topic: &str,
    partition: i32,
) -> Result<(i64, i64), KafkaError> {
    let one = |spec| {
        let wanted = [(topic.to_owned(), partition, spec)];
        async move {
            let mut found = client.list_offsets(&wanted, Isolation::Uncommitted).await?;
            let key = (wanted[0].0.clone(), partition);
            let missing = || {
                KafkaError::retriable(
                    Reason::KAFKA_ERROR,
                    format!("{topic} partition {partition} was not listed"),
                )
            };
            found.remove(&key).unwrap_or_else(|| Err(missing())).map(|o| o.offset)
        }
    };
    tokio::try_join!(one(OffsetSpec::Earliest), one(OffsetSpec::Latest))
}

/// Closes a client on a thread of its own; where there is none to be had, on this one.
fn close(source: Source) {
    let _ = std::thread::Builder::new().name("close".to_owned()).spawn(move || drop(source));
}

/// Reads one partition from its start. It connects when it is opened.
pub(super) struct Reader {
    source: Source,
    partition: i32,
    place: String,
}

impl Reader {
    pub(super) fn open(client: &KafkaClient, topic: &str, partition: i32) -> Result<Self, ffi::Error> {
        let source = Source::open(
            &config::reader(client.rdkafka(Role::Consumer), FETCH_WAIT),
            client.properties(),
            topic,
        )?;
        Ok(Self { source, partition, place: format!("reading {topic} partition {partition} on the target") })
    }

    /// Value of the newest committed record with the key from `start` to below `end`.
    ///
    /// # Errors
    /// `None`: the lane is drained meanwhile.
    pub(super) fn newest(
        mut self,
        (start, end): (i64, i64),
        key: &[u8],
        control: &Control,
    ) -> Result<Option<Vec<u8>>, Option<Cause>> {
        let found = self.read((start, end), key, control);
        // Closing a client takes as long as its last request: nobody has to wait for it.
        close(self.source);
        found
    }

    fn read(
        &mut self,
        (start, end): (i64, i64),
        key: &[u8],
        control: &Control,
    ) -> Result<Option<Vec<u8>>, Option<Cause>> {
        let place = self.place.clone();
        let failed = |error: &dyn std::fmt::Display| {
            Some(Cause::new(Reason::WAITING_FOR_CLUSTER, format!("{place}: {error}")))
        };
        if start < end {
            // Not "from the beginning": to resolve that, the client waits half a second when it isn't connected yet.
            self.source.start(self.partition, start).map_err(|e| failed(&e))?;
        }
        let deadline = Instant::now() + PATIENCE;
        let (mut next, mut found, mut error) = (start, None, None);
        while next < end {
            if control.is_draining() {
                return Err(None);
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
