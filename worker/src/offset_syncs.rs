//! MM2's offset syncs: pairs of (source offset, target offset) of records that are durably copied, for the tools that people
//! have around MirrorMaker. Twinlog itself translates by its own offset map, which is exact.
//!
//! Record format (mirrormaker2 reference 3.1): key topic STRING and partition INT32, value upstream INT64 and downstream INT64,
//! no version. Which pairs are told is MM2's rule (`ledger::sync_rule`). Lanes hand them to one writer per cluster through a bounded queue;
//! what doesn't fit waits, where a newer one replaces it; what can't be written is left out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::Instant;
use twinlog_proto::model::{Mirror, OffsetSyncLocation};

use crate::cluster::ClusterHandle;
use crate::kafka::{KafkaError, NewTopic};
use crate::ledger::OffsetSync;
use crate::produce::{Producer, Record};
use crate::progress::millis;
use crate::survey::internal;

/// Syncs that wait for the writer, all lanes of the worker to one cluster.
const QUEUE: usize = 4096;
/// Syncs written together.
const BATCH: usize = 512;
/// After a failure a topic rests.
const REST: Duration = Duration::from_secs(2);
/// So long where somebody must act first.
const REST_REFUSED: Duration = Duration::from_secs(30);

fn encode(sync: OffsetSync) -> Vec<u8> {
    [sync.upstream.to_be_bytes(), sync.downstream.to_be_bytes()].concat()
}

/// `None` for names that the format's 16-bit length can't say; Kafka has none.
fn encode_key(topic: &str, partition: i32) -> Option<Vec<u8>> {
    let length = i16::try_from(topic.len()).ok()?;
    let mut out = Vec::from(length.to_be_bytes());
    out.extend(topic.as_bytes());
    out.extend(partition.to_be_bytes());
    Some(out)
}

/// A sync on its way to the writer.
struct Wanted {
    topic: Arc<NewTopic>,
    source_topic: Arc<str>,
    partition: i32,
    sync: OffsetSync,
}

/// Where one lane's syncs go.
pub(crate) struct SyncSender {
    queue: mpsc::Sender<Wanted>,
    topic: Arc<NewTopic>,
    source_topic: Arc<str>,
}

impl SyncSender {
    /// `None` where the mirror wants no syncs. Must be called inside a tokio runtime.
    pub(crate) fn new(
        mirror: &Mirror,
        source_topic: &str,
        source: &ClusterHandle,
        target: &ClusterHandle,
    ) -> Option<Self> {
        let topic = internal::offset_syncs(mirror)?;
        let home = if mirror.offset_syncs == OffsetSyncLocation::Source { source } else { target };
        Some(Self { queue: SyncQueue::of(home), topic: Arc::new(topic), source_topic: source_topic.into() })
    }

    /// False where the writer has more to do than it may hold: the sync, or a newer one, is to be sent later.
    pub(crate) fn send(&self, partition: i32, sync: OffsetSync) -> bool {
        let (topic, source_topic) = (self.topic.clone(), self.source_topic.clone());
        self.queue.try_send(Wanted { topic, source_topic, partition, sync }).is_ok()
    }
}

/// The queue of a cluster's writer.
struct SyncQueue(mpsc::Sender<Wanted>);

impl SyncQueue {
    fn of(cluster: &ClusterHandle) -> mpsc::Sender<Wanted> {
        cluster.beside(|| Self::start(cluster.alone())).0.clone()
    }

    /// Starts the writer; it ends when the last sender is gone.
    fn start(cluster: ClusterHandle) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(write(cluster, receiver));
        Self(sender)
    }
}

async fn write(cluster: ClusterHandle, mut queue: mpsc::Receiver<Wanted>) {
    let mut writer = Writer { producer: Producer::new(&cluster), cluster, topics: HashMap::new() };
    let mut batch = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        writer.write(&batch).await;
        batch.clear();
    }
}

struct Writer {
    cluster: ClusterHandle,
    producer: Producer,
    topics: HashMap<String, State>,
}

/// What is known of a topic of syncs.
enum State {
    Ready,
    /// What comes before this time is left out.
    Resting(Instant),
}

impl Writer {
    /// Topics are of several mirrors: trouble with one keeps no other waiting for longer than a call takes.
    async fn write(&mut self, batch: &[Wanted]) {
        let now = millis(SystemTime::now());
        let mut by_topic: BTreeMap<&str, (&NewTopic, Vec<Record>)> = BTreeMap::new();
        for wanted in batch {
            let Some(key) = encode_key(&wanted.source_topic, wanted.partition) else { continue };
            let record = Record { key, value: encode(wanted.sync), timestamp_ms: now };
            let of_topic = by_topic.entry(&wanted.topic.name).or_insert_with(|| (&*wanted.topic, Vec::new()));
            of_topic.1.push(record);
        }
        for (name, (topic, records)) in by_topic {
            let rests =
                matches!(self.topics.get(name), Some(State::Resting(until)) if Instant::now() < *until);
            let written = if rests { Ok(false) } else { self.write_to(topic, &records).await.map(|()| true) };
            if let Ok(true) = written {
                continue;
            }
            metrics::counter!("twinlog_offset_syncs_dropped_total").increment(records.len() as u64);
            if let Err(error) = written {
                let (cluster, reason) = (&self.cluster.id, error.reason);
                tracing::warn!(%cluster, topic = name, %reason, "offset syncs are left out: {}", error.message);
                let rest = if error.retriable { REST } else { REST_REFUSED };
                self.topics.insert(name.to_owned(), State::Resting(Instant::now() + rest));
            }
        }
    }

    async fn write_to(&mut self, topic: &NewTopic, records: &[Record]) -> Result<(), KafkaError> {
        if !matches!(self.topics.get(&topic.name), Some(State::Ready)) {
            internal::ensure_topic(&self.cluster.client, topic).await?;
            self.topics.insert(topic.name.clone(), State::Ready);
        }
        self.producer.send_all(&topic.name, 0, records).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// H3: the bytes that Kafka's own serde writes.
    #[test]
    fn h3_a_sync_has_mm2s_bytes() {
        let key = [&[0, 7][..], b"topic-1", &[0, 0, 0, 2]].concat();
        assert_eq!(encode_key("topic-1", 2), Some(key));
        let value = encode(OffsetSync { upstream: 3, downstream: 4 });
        assert_eq!(value, [0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4]);
    }
}
