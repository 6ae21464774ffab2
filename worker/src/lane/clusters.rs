//! What a lane asks both clusters, and what it writes there by itself. Records are its engine's.

#[cfg(test)]
pub(super) mod scripted;

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use super::gather::{self, Gathered};
use super::place::Place;
use super::questions::Questions;
use super::recognised::Sides;
use super::{LaneSpec, Range, old_format};
use crate::cause::Cause;
use crate::kafka::{ConfigEntry, Isolation, KafkaError, OffsetSpec};
use crate::ledger::Entry;
use crate::produce::{Producer, Record};
use crate::progress::{PartitionProgress, RangeProgress, StorageTopics, millis};

/// Where the answers come from. What waits for the clusters waits on the heap, for as long as it does: a lane lives long, and there
/// are thousands.
#[derive(Clone)]
pub(super) enum Clusters {
    /// The clusters themselves.
    Kafka,
    #[cfg(test)]
    Scripted(scripted::Clusters),
}

impl Clusters {
    /// Makes sure of the topics that hold the mirror's progress.
    pub(super) async fn storage_topics(&self, spec: &LaneSpec) -> Result<StorageTopics, KafkaError> {
        match self {
            Self::Kafka => Box::pin(Questions::of(&spec.target).storage_topics(&spec.mirror)).await,
            #[cfg(test)]
            Self::Scripted(clusters) => clusters.storage_topics(),
        }
    }

    /// Whether the range can run.
    pub(super) async fn look(&self, spec: &LaneSpec, range: &Range) -> Result<(), Cause> {
        match self {
            Self::Kafka => Box::pin(gather::look(spec, range)).await,
            #[cfg(test)]
            Self::Scripted(clusters) => clusters.look(),
        }
    }

    /// What decides where its partitions begin.
    pub(super) async fn gather(
        &self,
        spec: &LaneSpec,
        range: &Range,
        before: Option<&RangeProgress>,
        progress: &[Place<'_>],
    ) -> Result<Gathered, Cause> {
        match self {
            Self::Kafka => Box::pin(gather::gather(spec, range, before, progress)).await,
            #[cfg(test)]
            Self::Scripted(clusters) => clusters.gather(range),
        }
    }

    /// Value of the newest committed record with the key in a partition of one of the target's internal topics.
    pub(super) async fn newest(
        &self,
        spec: &LaneSpec,
        place: Place<'_>,
        key: Vec<u8>,
    ) -> Result<Option<Vec<u8>>, Cause> {
        match self {
            Self::Kafka => Box::pin(Questions::of(&spec.target).newest(place, key)).await,
            #[cfg(test)]
            Self::Scripted(clusters) => clusters.newest(&key),
        }
    }

    /// Progress of a partition with what its last owner, who wrote without transactions, had stored after it; `None`: nothing.
    pub(super) async fn recognised(
        &self,
        spec: &LaneSpec,
        partition: i32,
        before: (&PartitionProgress, i64),
        copy: (i64, i64),
    ) -> Result<Option<PartitionProgress>, KafkaError> {
        match self {
            Self::Kafka => {
                let (before, producer_id) = before;
                let source = Place { topic: &spec.range.source_topic, partition };
                let target = Place { topic: &spec.range.target_topic, partition };
                let (source, target) = ((&spec.source.client, source), (&spec.target.client, target));
                let sides = Sides { source, target, producer_id, copy };
                Box::pin(sides.recognise(before)).await
            }
            #[cfg(test)]
            Self::Scripted(_) => Ok(None),
        }
    }

    /// The partitions, of these with an offset each, whose log has an old format there.
    pub(super) async fn old_formats(
        &self,
        spec: &LaneSpec,
        topic: &str,
        places: Vec<(i32, i64)>,
    ) -> BTreeSet<i32> {
        match self {
            Self::Kafka => Box::pin(old_format::find(&spec.source.client, topic, places)).await,
            #[cfg(test)]
            Self::Scripted(_) => BTreeSet::new(),
        }
    }

    /// Where the source's partitions end for a reader; those that can't be asked are left out.
    pub(super) async fn source_ends(
        &self,
        spec: &LaneSpec,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, i64>, KafkaError> {
        match self {
            Self::Kafka => {
                let topic = &spec.range.source_topic;
                let one = |p: &i32| (topic.clone(), *p, OffsetSpec::Latest);
                let wanted: Vec<_> = partitions.iter().map(one).collect();
                let ends = Box::pin(spec.source.client.list_offsets(&wanted, Isolation::Committed)).await?;
                Ok(ends.into_iter().filter_map(|((_, p), end)| Some((p, end.ok()?.offset))).collect())
            }
            #[cfg(test)]
            Self::Scripted(clusters) => clusters.source_ends(partitions),
        }
    }

    /// Settings of the target topic; `None` where they can't be read.
    pub(super) async fn target_configs(
        &self,
        spec: &LaneSpec,
    ) -> Result<Option<Vec<ConfigEntry>>, KafkaError> {
        match self {
            Self::Kafka => {
                let topic = spec.range.target_topic.clone();
                let described = spec.target.client.describe_configs(std::slice::from_ref(&topic));
                let mut described = Box::pin(described).await?;
                Ok(described.remove(&topic).and_then(Result::ok))
            }
            #[cfg(test)]
            Self::Scripted(clusters) => Ok(clusters.target_configs()),
        }
    }

    /// Writes entries into internal topics of the target, one place after the other.
    pub(super) async fn write(
        &self,
        spec: &LaneSpec,
        places: Vec<(Place<'_>, Vec<Entry>)>,
    ) -> Result<(), KafkaError> {
        match self {
            Self::Kafka => {
                let now = millis(SystemTime::now());
                let record = |entry: Entry| Record { key: entry.key, value: entry.value, timestamp_ms: now };
                let mut producer = Producer::new(&spec.target);
                for (Place { topic, partition }, entries) in places {
                    let records: Vec<Record> = entries.into_iter().map(record).collect();
                    Box::pin(producer.send_all(topic, partition, &records)).await?;
                }
                Ok(())
            }
            #[cfg(test)]
            Self::Scripted(clusters) => clusters.write(places),
        }
    }
}
