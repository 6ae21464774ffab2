//! Reads pieces of a topic once, each partition in order: whatever Twinlog reads to know something, not to copy it.
//!
//! Several partitions are fetched side by side, with one fetch each, and their records are handed over one after another on the caller's
//! task: memory is some fetch answers and one unpacked batch. A piece ends where its last offset was passed, though what is there may be
//! markers, aborted, or compacted away. Whoever drops the call ends it; how far each partition was read stays known.

mod entries;
mod going;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Deref;
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, timeout_at};
use twinlog_proto::reason::Reason;

use super::records::{Damaged, Record};
use super::types::FetchedLog;
use crate::kafka::wire::client::KafkaClient;
use crate::kafka::wire::code::LEADER_NOT_AVAILABLE;
use crate::kafka::wire::error::KafkaError;
use crate::kafka::wire::types::Isolation;
use going::{Came, Going};

/// Partitions that are fetched at a time.
const SIDE_BY_SIDE: usize = 8;
/// A fetch ends after this time, and is made again.
const CALL: Duration = Duration::from_secs(5);

/// Offsets `from` to `to` (excluded) of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub partition: i32,
    pub from: i64,
    pub to: i64,
}

/// Whether a partition is to be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    More,
    Enough,
}

/// A record with its place.
#[derive(Debug, Clone, Copy)]
pub struct LogRecord<'a> {
    pub partition: i32,
    /// Whether its timestamp is the broker's, of when it was appended.
    pub is_log_append_time: bool,
    pub record: Record<'a>,
}

impl<'a> Deref for LogRecord<'a> {
    type Target = Record<'a>;

    fn deref(&self) -> &Record<'a> {
        &self.record
    }
}

/// Why a span was not read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotRead {
    /// For as long as was to be waited no partition came any further. Of one of them: where it goes on, and where it ends.
    Stalled {
        partition: i32,
        next: i64,
        end: i64,
    },
    Failed(KafkaError),
}

/// Reads one topic.
pub struct LogReader {
    client: KafkaClient,
    topic: String,
    isolation: Isolation,
    patience: Duration,
    /// How far each partition was read.
    next: BTreeMap<i32, i64>,
}

impl LogReader {
    /// With `Isolation::Committed`, aborted records are left out. `patience` is how long it waits where nothing comes.
    pub fn new(client: &KafkaClient, topic: &str, isolation: Isolation, patience: Duration) -> Self {
        let client = client.as_consumer().within(CALL);
        Self { client, topic: topic.to_owned(), isolation, patience, next: BTreeMap::new() }
    }

    /// The offset that follows what was handed over of the partition, or passed; of a partition that was read.
    pub fn next(&self, partition: i32) -> Option<i64> {
        self.next.get(&partition).copied()
    }

    /// Gives every record of the spans to `each`. A partition has one span at most.
    ///
    /// # Errors
    /// Nothing came for too long, or the log can't be read. What was handed over until then stays so.
    pub async fn read(
        &mut self,
        spans: Vec<Span>,
        mut each: impl FnMut(&LogRecord<'_>) -> Wanted,
    ) -> Result<(), NotRead> {
        self.next.extend(spans.iter().map(|span| (span.partition, span.from)));
        let mut waiting: VecDeque<Going> =
            spans.into_iter().filter(|span| span.from < span.to).map(Going::new).collect();
        let mut left: BTreeMap<i32, i64> = waiting.iter().map(|g| (g.span.partition, g.span.to)).collect();
        let mut fetches = FuturesUnordered::new();
        let mut deadline = Instant::now() + self.patience;
        while let Some((partition, end)) = left.first_key_value() {
            while fetches.len() < SIDE_BY_SIDE
                && let Some(going) = waiting.pop_front()
            {
                let (client, topic) = (self.client.clone(), self.topic.clone());
                fetches.push(fetch(client, topic, self.isolation, going).boxed());
            }
            let Ok(answered) = timeout_at(deadline, fetches.next()).await else {
                let next = self.next[partition];
                return Err(NotRead::Stalled { partition: *partition, next, end: *end });
            };
            let (mut going, answer) = answered.expect("what is left is fetched, or waits for that");
            let came = match answer {
                Ok(log) => {
                    let (partition, taken) =
                        (going.span.partition, going.take(log, self.isolation, &mut each));
                    self.next.insert(partition, going.span.from);
                    taken.map_err(|damaged| self.damaged(partition, &damaged))?
                }
                Err(error) if is_away(&error) => {
                    let (topic, partition) = (&self.topic, going.span.partition);
                    tracing::debug!(topic, partition, %error, "reading is interrupted");
                    going.nothing();
                    Came::Nothing
                }
                Err(error) => return Err(NotRead::Failed(error)),
            };
            if came != Came::Nothing {
                deadline = Instant::now() + self.patience;
            }
            if came == Came::End {
                left.remove(&going.span.partition);
            } else {
                waiting.push_back(going);
            }
        }
        Ok(())
    }

    fn damaged(&self, partition: i32, damaged: &Damaged) -> NotRead {
        let (cluster, topic) = (self.client.properties().cluster_id(), &self.topic);
        let text = format!("cluster {cluster}: topic {topic} partition {partition}: {damaged}");
        NotRead::Failed(KafkaError::new(Reason::KAFKA_ERROR, text))
    }
}

async fn fetch(
    client: KafkaClient,
    topic: String,
    isolation: Isolation,
    going: Going,
) -> (Going, Result<FetchedLog, KafkaError>) {
    going.pause().await;
    let how = going.how(isolation);
    let answer = client.fetch_log(&topic, going.span.partition, going.span.from, how).await;
    (going, answer)
}

/// Whether it comes back by itself: no broker refused anything.
fn is_away(error: &KafkaError) -> bool {
    let nobody_refused = error.retriable && error.code == 0;
    error.code == LEADER_NOT_AVAILABLE || error.reason == Reason::CLUSTER_UNREACHABLE || nobody_refused
}
