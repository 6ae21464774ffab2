//! What the target holds of a mirror's positions and of how its source ended: read as a whole, written where it has changed.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use prost::Message;
use twinlog_proto::id::{MirrorId, SourceOffset, TargetOffset};
use twinlog_proto::lag;
use twinlog_proto::model::Mirror;
use twinlog_proto::reason::Reason;
use twinlog_proto::storage::{PartitionEnds, ProgressKey, SourceEnds, SourceEndsKey};

use super::Topic;
use crate::cluster::ClusterHandle;
use crate::kafka::KafkaError;
use crate::produce::{Producer, Record};
use crate::progress::{RangeProgress, StorageTopics, millis, storage_partition, time};
use crate::scan::{self, Span, Wanted};
use crate::topic::TopicPartition;

/// Name of the record that says when all of it was last found to be so.
const ALL: &str = "*";
/// Reading all of it takes longer only where a broker is away or a transaction hides it.
const READ_DEADLINE: Duration = Duration::from_secs(20);

/// What is on the target of one partition.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Copied {
    pub(super) position: SourceOffset,
    pub(super) topic_id: String,
    pub(super) target_end: TargetOffset,
    epoch: i64,
}

#[cfg(test)]
impl Copied {
    pub(super) fn at(position: i64, topic_id: &str) -> Self {
        let (position, target_end) = (SourceOffset(position), TargetOffset(position));
        Self { position, topic_id: topic_id.to_owned(), target_end, epoch: 1 }
    }
}

/// How a partition ended, and of which life of its topic that is known.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kept {
    pub(super) ends: lag::Ends,
    /// Empty where the broker has none.
    pub(super) topic_id: String,
}

#[derive(Debug, Default)]
pub(super) struct Recalled {
    copied: HashMap<TopicPartition, Copied>,
    ends: HashMap<TopicPartition, Kept>,
    /// As they were written here, by topic.
    written: HashMap<String, SourceEnds>,
    /// The same as an older version has left it: it counts where nothing was written here yet.
    left: HashMap<String, SourceEnds>,
    all_seen: i64,
}

impl Recalled {
    pub(super) fn copied(&self, topic: &str, partition: i32) -> Option<&Copied> {
        self.copied.get(&TopicPartition::new(topic, partition))
    }

    /// The latest word on each partition, and where its log began.
    pub(super) fn ends(&self) -> impl Iterator<Item = (&TopicPartition, &Kept, Option<SourceOffset>)> {
        self.ends.iter().map(|(key, kept)| {
            let written = self.written.get(&key.topic).or_else(|| self.left.get(&key.topic));
            let part = written.and_then(|w| w.partitions.iter().find(|part| part.partition == key.partition));
            (key, kept, part.map(|part| SourceOffset(part.log_start)))
        })
    }

    /// When the source answered last, as far as was written.
    pub(super) fn contact(&self) -> Option<SystemTime> {
        self.ends.values().map(|kept| kept.ends.seen).max()
    }

    pub(super) fn record(&mut self, key: &[u8], value: &[u8]) {
        if let Ok(SourceEndsKey { source_topic }) = SourceEndsKey::decode(key)
            && !source_topic.is_empty()
        {
            let Ok(ends) = SourceEnds::decode(value) else { return };
            match source_topic == ALL {
                true => self.all_seen = self.all_seen.max(ends.seen_ms),
                false => {
                    self.written.insert(source_topic, ends);
                }
            }
            return;
        }
        let (Ok(_), Ok(progress)) = (ProgressKey::decode(key), RangeProgress::decode(value)) else { return };
        for (number, partition) in progress.partitions {
            let key = TopicPartition::new(&progress.source_topic, number);
            if self.copied.get(&key).is_some_and(|known| known.epoch > progress.epoch) {
                continue;
            }
            if let Some(ends) = progress.ends.get(&number) {
                let kept = Kept { ends: *ends, topic_id: partition.source_topic_id.clone() };
                self.ends.insert(key.clone(), kept);
            }
            let copied = Copied {
                position: partition.position,
                topic_id: partition.source_topic_id,
                target_end: partition.chunk.target_end(),
                epoch: progress.epoch,
            };
            self.copied.insert(key, copied);
        }
    }

    /// Read under the name of older versions, before what lies under that of now.
    pub(super) fn left(mut self) -> Self {
        self.left = std::mem::take(&mut self.written);
        self
    }

    pub(super) fn wrote(&mut self, records: Vec<(String, SourceEnds)>) {
        for (topic, ends) in records {
            match topic == ALL {
                true => self.all_seen = ends.seen_ms,
                false => {
                    self.written.insert(topic, ends);
                }
            }
        }
    }

    /// What was kept here counts where lanes have not seen anything later.
    pub(super) fn settle(&mut self) {
        let left = self.left.iter().filter(|(topic, _)| !self.written.contains_key(*topic));
        for (topic, written) in self.written.iter().chain(left) {
            let seen = time(written.seen_ms.max(self.all_seen));
            for part in &written.partitions {
                let ends = lag::Ends {
                    high_watermark: part.high_watermark,
                    last_stable: part.last_stable_offset,
                    seen,
                };
                let kept = Kept { ends, topic_id: written.source_topic_id.clone() };
                let key = TopicPartition::new(topic, part.partition);
                let slot = self.ends.entry(key).or_insert_with(|| kept.clone());
                if slot.ends.seen < seen {
                    *slot = kept;
                }
            }
        }
        let (written, left, all_seen) = (&self.written, &self.left, self.all_seen);
        self.ends.retain(|TopicPartition { topic, partition }, kept| {
            let written = written.get(topic).or_else(|| left.get(topic));
            !written.is_some_and(|written| is_gone(*partition, kept, written, all_seen))
        });
    }
}

/// Progress tells of a partition that the topic had in an earlier life, and hasn't any more.
fn is_gone(partition: i32, kept: &Kept, written: &SourceEnds, all_seen: i64) -> bool {
    let another = !written.source_topic_id.is_empty()
        && !kept.topic_id.is_empty()
        && written.source_topic_id != kept.topic_id;
    another
        && kept.ends.seen < time(written.seen_ms.max(all_seen))
        && written.partitions.iter().all(|part| part.partition != partition)
}

pub(super) async fn read(target: &ClusterHandle, mirror: &MirrorId) -> Result<Recalled, KafkaError> {
    let ((former, _), (now, _)) = (StorageTopics::former_names(mirror), StorageTopics::names(mirror));
    let left = match read_into(Recalled::default(), target, former).await {
        // Who uses it still, can see it.
        Err(error) if error.reason == Reason::MISSING_PERMISSION => Recalled::default(),
        left => left?.left(),
    };
    let mut recalled = read_into(left, target, now).await?;
    recalled.settle();
    Ok(recalled)
}

async fn read_into(before: Recalled, target: &ClusterHandle, topic: String) -> Result<Recalled, KafkaError> {
    let bounds = scan::bounds(target, &topic).await?;
    let spans = bounds.into_iter().map(|(partition, (from, to))| Span { partition, from, to }).collect();
    let reading = scan::scan(target, &topic, spans, before, |recalled, record| {
        if let (Some(key), Some(value)) = (record.key, record.value) {
            recalled.record(key, value);
        }
        Wanted::More
    });
    tokio::time::timeout(READ_DEADLINE, reading).await.unwrap_or_else(|_| {
        let message = format!("{topic} can't be read within {READ_DEADLINE:?}");
        Err(KafkaError::retriable(Reason::KAFKA_ERROR, message))
    })
}

/// Records to write: topics that end elsewhere than was written, and that all of it was seen; by the name they are kept under.
pub(super) fn changed(
    topics: &BTreeMap<String, Topic>,
    recalled: &Recalled,
    contact: Option<SystemTime>,
) -> Vec<(String, SourceEnds)> {
    let Some(contact) = contact else { return Vec::new() };
    let seen_ms = millis(contact);
    let mut records: Vec<(String, SourceEnds)> = topics
        .iter()
        .map(|(name, topic)| {
            let parts = topic.partitions.iter().filter_map(|(partition, part)| {
                let part = part.filter(|part| part.answers)?;
                Some(PartitionEnds {
                    partition: *partition,
                    log_start: part.log_start.unwrap_or_default().0,
                    high_watermark: part.ends.high_watermark,
                    last_stable_offset: part.ends.last_stable,
                })
            });
            let ends = SourceEnds { source_topic_id: topic.id.clone(), partitions: parts.collect(), seen_ms };
            (name.clone(), ends)
        })
        .filter(|(_, ends)| !ends.partitions.is_empty())
        .filter(|(name, ends)| {
            let written = recalled.written.get(name);
            written.map(|w| (&w.partitions, &w.source_topic_id))
                != Some((&ends.partitions, &ends.source_topic_id))
        })
        .collect();
    if !topics.is_empty() && recalled.all_seen < seen_ms {
        records.push((ALL.to_owned(), SourceEnds { seen_ms, ..SourceEnds::default() }));
    }
    records
}

/// Topics first: only then is it true that all of it was seen.
pub(super) async fn write(
    producer: &mut Producer,
    target: &ClusterHandle,
    mirror: &Mirror,
    records: &[(String, SourceEnds)],
) -> Result<(), KafkaError> {
    let (topic, _) = StorageTopics::names(&mirror.id);
    let mut partitions = scan::bounds(target, &topic).await?.len();
    if partitions == 0 {
        if !mirror.running {
            return Ok(());
        }
        partitions = StorageTopics::ensure(&target.client, mirror).await?.progress_partitions;
    }
    let timestamp_ms = millis(SystemTime::now());
    let mut by_partition: BTreeMap<i32, Vec<Record>> = BTreeMap::new();
    let mut all = None;
    for (source_topic, ends) in records {
        let partition = storage_partition(source_topic, 0, partitions);
        let is_all = source_topic == ALL;
        let key = SourceEndsKey { source_topic: source_topic.clone() }.encode_to_vec();
        let record = Record { key, value: ends.encode_to_vec(), timestamp_ms };
        match is_all {
            true => all = Some((partition, record)),
            false => by_partition.entry(partition).or_default().push(record),
        }
    }
    for (partition, records) in by_partition {
        producer.send_all(&topic, partition, &records).await?;
    }
    match all {
        Some((partition, record)) => producer.send_all(&topic, partition, &[record]).await,
        None => Ok(()),
    }
}
