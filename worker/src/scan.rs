//! Reads pieces of a topic once, committed records only, each partition in order: what taking over from MirrorMaker 2 needs.
//! Records are looked at and dropped; memory is the reader's own bound.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use twinlog_proto::reason::Reason;

use crate::cluster::ClusterHandle;
use crate::engine::librdkafka::config;
pub(crate) use crate::engine::librdkafka::ffi::source::Record;
use crate::engine::librdkafka::ffi::source::{Fetched, MAX_BATCH, Source};
use crate::kafka::{Isolation, KafkaClient, KafkaError, OffsetSpec, Role};

/// The longest sleep while reading.
const MAX_PARK: Duration = Duration::from_millis(20);
/// An empty answer of the broker comes after this time.
const FETCH_WAIT: Duration = Duration::from_millis(20);
/// Nothing new for this long is a failure. Connect's producers leave a transaction open for a minute at most.
const STALL_TIMEOUT: Duration = Duration::from_secs(75);

/// Offsets `from` to `to` (excluded) of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) partition: i32,
    pub(crate) from: i64,
    pub(crate) to: i64,
}

/// Whether a partition is to be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    More,
    Enough,
}

/// Log start and high watermark of every partition; nothing where the topic doesn't exist.
pub(crate) async fn bounds(
    cluster: &ClusterHandle,
    topic: &str,
) -> Result<BTreeMap<i32, (i64, i64)>, KafkaError> {
    let found = cluster.client.topics(Some(&[topic.to_owned()])).await?.into_iter().next();
    let partitions: Vec<i32> = match found {
        Some(topic) => match topic.error {
            None => topic.partitions.iter().map(|p| p.partition).collect(),
            Some(error) if error.reason == Reason::TOPIC_NOT_FOUND => return Ok(BTreeMap::new()),
            Some(error) => return Err(error),
        },
        None => return Ok(BTreeMap::new()),
    };
    let (starts, ends) = tokio::try_join!(
        offsets(cluster, topic, &partitions, OffsetSpec::Earliest, Isolation::Uncommitted),
        offsets(cluster, topic, &partitions, OffsetSpec::Latest, Isolation::Uncommitted),
    )?;
    Ok(partitions.iter().map(|p| (*p, (starts[p], ends[p]))).collect())
}

/// One offset of each partition.
pub(crate) async fn offsets(
    cluster: &ClusterHandle,
    topic: &str,
    partitions: &[i32],
    spec: OffsetSpec,
    isolation: Isolation,
) -> Result<BTreeMap<i32, i64>, KafkaError> {
    let wanted: Vec<_> = partitions.iter().map(|p| (topic.to_owned(), *p, spec)).collect();
    let mut listed = cluster.client.list_offsets(&wanted, isolation).await?;
    let one = |p: &i32| match listed.remove(&(topic.to_owned(), *p)) {
        Some(found) => Ok((*p, found?.offset)),
        None => Err(KafkaError::retriable(
            Reason::KAFKA_ERROR,
            format!("the broker did not list offsets of {topic} partition {p}"),
        )),
    };
    partitions.iter().map(one).collect()
}

/// Gives every committed record of the spans to `each`, with `state`, and gives `state` back.
///
/// # Errors
/// The cluster can't be read, or an open transaction hides the rest of a span for more than 75 s.
pub(crate) async fn scan<T: Send + 'static>(
    cluster: &ClusterHandle,
    topic: &str,
    spans: Vec<Span>,
    state: T,
    each: impl FnMut(&mut T, &Record<'_>) -> Wanted + Send + 'static,
) -> Result<T, KafkaError> {
    let spans: Vec<Span> = spans.into_iter().filter(|span| span.from < span.to).collect();
    if spans.is_empty() {
        return Ok(state);
    }
    let stop = CancellationToken::new();
    let _ends_with_this_call = stop.clone().drop_guard();
    let (client, topic) = (cluster.client.clone(), topic.to_owned());
    let done = tokio::task::spawn_blocking(move || {
        let mut scan = Scan { topic: &topic, left: HashMap::new(), state, each };
        scan.run(&client, &spans, &stop).map(|()| scan.state)
    });
    done.await.expect("reading does not panic")
}

struct Scan<'a, T, F> {
    topic: &'a str,
    /// End and next offset of the partitions that are not done.
    left: HashMap<i32, (i64, i64)>,
    state: T,
    each: F,
}

impl<T, F: FnMut(&mut T, &Record<'_>) -> Wanted> Scan<'_, T, F> {
    fn run(
        &mut self,
        client: &KafkaClient,
        spans: &[Span],
        stop: &CancellationToken,
    ) -> Result<(), KafkaError> {
        let topic = self.topic;
        let failed = |e: &dyn std::fmt::Display| {
            let cluster = client.properties().cluster_id();
            KafkaError::retriable(Reason::KAFKA_ERROR, format!("cluster {cluster}: reading {topic}: {e}"))
        };
        let config = config::reader(client.rdkafka(Role::Consumer), FETCH_WAIT);
        let mut source = Source::open(&config, client.properties(), topic).map_err(|e| failed(&e))?;
        for span in spans {
            self.left.insert(span.partition, (span.to, span.from));
            source.start(span.partition, span.from).map_err(|e| failed(&e))?;
        }
        let mut deadline = Instant::now() + STALL_TIMEOUT;
        while !self.left.is_empty() && !stop.is_cancelled() {
            let (mut error, mut moved) = (None, false);
            let taken = source.take(MAX_BATCH, |fetched| match fetched {
                Fetched::Record(record) => {
                    moved = true;
                    self.record(&record);
                }
                Fetched::End { partition, next, .. } => self.reached(partition, next),
                Fetched::Failed { error: e, .. } => error = Some(e),
            });
            if let Some(error) = error.filter(|e| !e.is_about_connections()) {
                return Err(failed(&error));
            }
            if moved {
                deadline = Instant::now() + STALL_TIMEOUT;
            } else if Instant::now() >= deadline {
                let (partition, (end, next)) = self.left.iter().next().expect("it is not empty");
                let what = format!(
                    "nothing comes from partition {partition} offset {next} on, though it ends at {end}: an open transaction hides it, or its leader is away"
                );
                return Err(failed(&what));
            }
            if taken == 0 {
                std::thread::park_timeout(MAX_PARK);
            }
        }
        Ok(())
    }

    fn record(&mut self, record: &Record<'_>) {
        let partition = record.partition();
        let Some((end, next)) = self.left.get_mut(&partition) else { return };
        *next = record.offset() + 1;
        let is_last = *next >= *end;
        if record.offset() >= *end || (self.each)(&mut self.state, record) == Wanted::Enough || is_last {
            self.left.remove(&partition);
        }
    }

    fn reached(&mut self, partition: i32, at: i64) {
        if self.left.get(&partition).is_some_and(|(end, _)| at >= *end) {
            self.left.remove(&partition);
        }
    }
}
