//! Follows a mirror's progress and offsets topics: every committed record, once, in order; first what lies under the name of older
//! versions, as what is carried over is carried from there to here.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use twinlog_proto::id::MirrorId;
use twinlog_proto::reason::Reason;

use super::history::StoredAt;
use crate::cluster::ClusterHandle;
use crate::engine::librdkafka::config;
use crate::engine::librdkafka::ffi::source::{Fetched, MAX_BATCH, Source};
use crate::kafka::{Isolation, KafkaClient, KafkaError, OffsetSpec, Role, TopicMetadata};
use crate::progress::StorageTopics;

/// The longest sleep while reading.
const MAX_PARK: Duration = Duration::from_millis(20);
/// An empty answer of the broker comes after this time.
const FETCH_WAIT: Duration = Duration::from_millis(100);
/// Reading what exists takes longer only if a broker is away.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// A transaction that is being committed hides records for milliseconds; one that was left open is not waited for.
const HIDDEN_PATIENCE: Duration = Duration::from_secs(2);

/// A record of one of the two topics.
pub(super) struct Stored {
    pub(super) at: StoredAt,
    pub(super) key: Vec<u8>,
    /// `None` for a tombstone.
    pub(super) value: Option<Vec<u8>>,
}

/// How far a read came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    /// Everything that was in the topic when the read began.
    End,
    /// An open transaction hides the rest.
    Hidden,
}

/// Both names of a topic, from their starts, as far as they were read.
pub(super) struct Reader {
    former: Log,
    now: Log,
}

/// One topic from its start, as far as it was read.
struct Log {
    topic: String,
    /// It is an older version's.
    is_former: bool,
    /// Next offset by partition.
    next: HashMap<i32, i64>,
    source: Option<Source>,
}

pub(super) fn readers(mirror: &MirrorId) -> (Reader, Reader) {
    let (progress, offsets) = StorageTopics::names(mirror);
    let (former_progress, former_offsets) = StorageTopics::former_names(mirror);
    (Reader::new(former_progress, progress), Reader::new(former_offsets, offsets))
}

impl Reader {
    fn new(former: String, now: String) -> Self {
        Self { former: Log::new(former, true), now: Log::new(now, false) }
    }

    /// Reads to the present high watermarks. A topic that doesn't exist is an empty one.
    pub(super) async fn read(
        &mut self,
        cluster: &ClusterHandle,
        records: &mut Vec<Stored>,
    ) -> Result<Reached, KafkaError> {
        let names = [self.former.topic.clone(), self.now.topic.clone()];
        let found = cluster.client.topics(Some(&names)).await?;
        let mut reached = Reached::End;
        for log in [&mut self.former, &mut self.now] {
            let Some(partitions) = log.partitions(&found)? else { continue };
            if log.read(cluster, partitions, records).await? == Reached::Hidden {
                reached = Reached::Hidden;
            }
        }
        Ok(reached)
    }
}

impl Log {
    fn new(topic: String, is_former: bool) -> Self {
        Self { topic, is_former, next: HashMap::new(), source: None }
    }

    async fn read(
        &mut self,
        cluster: &ClusterHandle,
        partitions: Vec<i32>,
        records: &mut Vec<Stored>,
    ) -> Result<Reached, KafkaError> {
        let new: Vec<i32> = partitions.iter().copied().filter(|p| !self.next.contains_key(p)).collect();
        let starts = self.list(cluster, &new, OffsetSpec::Earliest).await?;
        let ends = self.list(cluster, &partitions, OffsetSpec::Latest).await?;
        self.next.extend(&starts);
        if self.is_at(&ends) {
            return Ok(Reached::End);
        }
        let mut reading = Reading {
            topic: self.topic.clone(),
            is_former: self.is_former,
            next: self.next.clone(),
            start: if self.source.is_some() { new } else { partitions },
            source: self.source.take(),
            ends,
            records: Vec::new(),
        };
        let client = cluster.client.clone();
        let done = tokio::task::spawn_blocking(move || {
            let reached = reading.run(&client);
            (reading, reached)
        });
        let (reading, reached) = done.await.expect("reading does not panic");
        // After an error the next read begins with a new client, after what was read.
        self.source = reading.source.filter(|_| reached.is_ok());
        self.next = reading.next;
        records.extend(reading.records);
        reached
    }

    fn is_at(&self, ends: &HashMap<i32, i64>) -> bool {
        ends.iter().all(|(partition, end)| self.next.get(partition).is_some_and(|next| next >= end))
    }

    /// `None` where the topic doesn't exist, or is a former one that can't be seen: who uses it still, can.
    fn partitions(&self, found: &[TopicMetadata]) -> Result<Option<Vec<i32>>, KafkaError> {
        let Some(topic) = found.iter().find(|topic| topic.name == self.topic) else { return Ok(None) };
        match &topic.error {
            None => Ok(Some(topic.partitions.iter().map(|p| p.partition).collect())),
            Some(error) if error.reason == Reason::TOPIC_NOT_FOUND => Ok(None),
            Some(error) if self.is_former && error.reason == Reason::MISSING_PERMISSION => Ok(None),
            Some(error) => Err(error.clone()),
        }
    }

    async fn list(
        &self,
        cluster: &ClusterHandle,
        partitions: &[i32],
        spec: OffsetSpec,
    ) -> Result<HashMap<i32, i64>, KafkaError> {
        let wanted: Vec<_> = partitions.iter().map(|p| (self.topic.clone(), *p, spec)).collect();
        if wanted.is_empty() {
            return Ok(HashMap::new());
        }
        let listed = cluster.client.list_offsets(&wanted, Isolation::Uncommitted).await?;
        listed.into_iter().map(|((_, partition), found)| Ok((partition, found?.offset))).collect()
    }
}

/// One read, on a thread that may block.
struct Reading {
    topic: String,
    is_former: bool,
    next: HashMap<i32, i64>,
    /// Partitions that the source does not fetch yet.
    start: Vec<i32>,
    source: Option<Source>,
    ends: HashMap<i32, i64>,
    records: Vec<Stored>,
}

impl Reading {
    fn run(&mut self, client: &KafkaClient) -> Result<Reached, KafkaError> {
        let topic = self.topic.clone();
        let failed = |e: &dyn std::fmt::Display| {
            KafkaError::retriable(Reason::KAFKA_ERROR, format!("reading {topic} on the target: {e}"))
        };
        let source = match &mut self.source {
            Some(source) => source,
            empty => {
                let config = config::reader(client.rdkafka(Role::Consumer), FETCH_WAIT);
                let opened = Source::open(&config, client.properties(), &topic);
                empty.insert(opened.map_err(|e| failed(&e))?)
            }
        };
        source.adopt();
        for partition in &self.start {
            source.start(*partition, self.next[partition]).map_err(|e| failed(&e))?;
        }
        let (deadline, mut quiet_since) = (Instant::now() + READ_TIMEOUT, None);
        loop {
            let mut error = None;
            let (next, records, former) = (&mut self.next, &mut self.records, self.is_former);
            let taken = source.take(MAX_BATCH, |fetched| match fetched {
                Fetched::Record(record) => {
                    next.insert(record.partition(), record.offset() + 1);
                    records.push(Stored {
                        at: StoredAt { former, partition: record.partition(), offset: record.offset() },
                        key: record.key().unwrap_or_default().to_vec(),
                        value: record.value().map(<[u8]>::to_vec),
                    });
                }
                Fetched::End { partition, next: at, .. } => {
                    next.insert(partition, at);
                }
                Fetched::Failed { error: e, .. } => error = Some(e),
            });
            if let Some(error) = error.filter(|e| !e.is_about_connections()) {
                return Err(failed(&error));
            }
            if self.ends.iter().all(|(partition, end)| self.next[partition] >= *end) {
                return Ok(Reached::End);
            }
            if taken > 0 {
                quiet_since = None;
                continue;
            }
            let now = Instant::now();
            if now.duration_since(*quiet_since.get_or_insert(now)) >= HIDDEN_PATIENCE {
                return Ok(Reached::Hidden);
            }
            if now >= deadline {
                return Err(failed(&"it takes too long"));
            }
            std::thread::park_timeout(MAX_PARK);
        }
    }
}

/// Reads single records of the topic again.
pub(super) async fn reread(
    cluster: &ClusterHandle,
    mirror: &MirrorId,
    wanted: Vec<StoredAt>,
) -> Result<Vec<Stored>, KafkaError> {
    let ((_, now), (_, former)) = (StorageTopics::names(mirror), StorageTopics::former_names(mirror));
    let client = cluster.client.clone();
    let done = tokio::task::spawn_blocking(move || {
        wanted
            .into_iter()
            .map(|at| {
                let StoredAt { former: is_former, partition, offset } = at;
                let topic = if is_former { &former } else { &now };
                let mut reading = Reading {
                    topic: topic.clone(),
                    is_former,
                    next: HashMap::from([(partition, offset)]),
                    start: vec![partition],
                    source: None,
                    ends: HashMap::from([(partition, offset + 1)]),
                    records: Vec::new(),
                };
                reading.run(&client)?;
                reading.records.into_iter().find(|r| r.at == at).ok_or_else(|| {
                    let what = format!("{topic} partition {partition} has no record at {offset} any more");
                    KafkaError::retriable(Reason::KAFKA_ERROR, what)
                })
            })
            .collect()
    });
    done.await.expect("reading does not panic")
}
