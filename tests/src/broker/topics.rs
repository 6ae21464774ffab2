//! Topics with their configs, ids, leaders and replicas.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::codec::Codec;
use super::log::Log;

/// `max.message.bytes` of a default broker.
const MAX_MESSAGE_BYTES: i64 = (1 << 20) + 12;
/// `segment.bytes` of a default broker.
const SEGMENT_BYTES: i64 = 1 << 30;

/// What a broker of that release has by default, and can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Release {
    /// Transaction version 1.
    V3_9,
    /// Transaction version 2; timestamps at most an hour ahead.
    #[default]
    V4_3,
}

#[derive(Debug)]
pub(super) struct Partition {
    /// `None` while nobody leads it.
    pub(super) leader: Option<i32>,
    pub(super) leader_epoch: i32,
    pub(super) replicas: Vec<i32>,
    pub(super) in_sync: Vec<i32>,
    pub(super) log: Log,
}

impl Partition {
    fn new(replicas: Vec<i32>) -> Self {
        let mut log = Log::default();
        log.epochs.begin(0, 0);
        Self { leader: replicas.first().copied(), leader_epoch: 0, in_sync: replicas.clone(), replicas, log }
    }

    /// A new leader, or none; the epoch rises.
    pub(super) fn lead(&mut self, leader: Option<i32>) {
        self.leader = leader;
        self.leader_epoch += 1;
        if leader.is_some() {
            self.log.epochs.begin(self.leader_epoch, self.log.end());
        }
    }
}

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) id: Uuid,
    pub(super) configs: BTreeMap<String, String>,
    pub(super) partitions: Vec<Partition>,
    release: Release,
}

impl Topic {
    pub(super) fn new(
        name: &str,
        replicas: Vec<Vec<i32>>,
        configs: BTreeMap<String, String>,
        release: Release,
    ) -> Self {
        let partitions = replicas.into_iter().map(Partition::new).collect();
        Self { name: name.to_owned(), id: Uuid::new_v4(), configs, partitions, release }
    }

    pub(super) fn partition(&self, index: i32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    pub(super) fn partition_mut(&mut self, index: i32) -> Option<&mut Partition> {
        self.partitions.get_mut(usize::try_from(index).ok()?)
    }

    /// Adds partitions by their replicas.
    pub(super) fn grow(&mut self, replicas: Vec<Vec<i32>>) {
        self.partitions.extend(replicas.into_iter().map(Partition::new));
    }

    fn number(&self, name: &str, default: i64) -> i64 {
        self.configs.get(name).and_then(|value| value.parse().ok()).unwrap_or(default)
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.configs.get(name).is_some_and(|has| has == value)
    }

    pub(super) fn max_message_bytes(&self) -> i64 {
        self.number("max.message.bytes", MAX_MESSAGE_BYTES)
    }

    pub(super) fn segment_bytes(&self) -> i64 {
        self.number("segment.bytes", SEGMENT_BYTES)
    }

    pub(super) fn min_in_sync(&self) -> usize {
        usize::try_from(self.number("min.insync.replicas", 1)).unwrap_or(1)
    }

    /// `None`: as the producer has it.
    pub(super) fn codec(&self) -> Option<Codec> {
        self.configs.get("compression.type").and_then(|name| Codec::named(name))
    }

    pub(super) fn is_log_append_time(&self) -> bool {
        self.is("message.timestamp.type", "LogAppendTime")
    }

    pub(super) fn is_compacted(&self) -> bool {
        self.configs.get("cleanup.policy").is_some_and(|policy| policy.contains("compact"))
    }

    /// How far a timestamp may lie in the past and in the future, ms.
    pub(super) fn timestamp_bounds(&self) -> (i64, i64) {
        let after = match self.release {
            Release::V3_9 => i64::MAX,
            Release::V4_3 => 3_600_000,
        };
        (
            self.number("message.timestamp.before.max.ms", i64::MAX),
            self.number("message.timestamp.after.max.ms", after),
        )
    }

    /// What DescribeConfigs shows: (name, value, whether it was set on the topic).
    pub(super) fn described(&self) -> Vec<(String, String, bool)> {
        let (before, after) = self.timestamp_bounds();
        let defaults = [
            ("cleanup.policy", "delete".to_owned()),
            ("compression.type", "producer".to_owned()),
            ("max.message.bytes", self.max_message_bytes().to_string()),
            ("message.timestamp.after.max.ms", after.to_string()),
            ("message.timestamp.before.max.ms", before.to_string()),
            ("message.timestamp.type", "CreateTime".to_owned()),
            ("min.insync.replicas", self.min_in_sync().to_string()),
            ("segment.bytes", self.segment_bytes().to_string()),
        ];
        let mut all: BTreeMap<String, (String, bool)> =
            defaults.into_iter().map(|(name, value)| (name.to_owned(), (value, false))).collect();
        all.extend(self.configs.iter().map(|(name, value)| (name.clone(), (value.clone(), true))));
        all.into_iter().map(|(name, (value, set))| (name, value, set)).collect()
    }
}

#[derive(Debug, Default)]
pub(super) struct Topics(BTreeMap<String, Topic>);

impl Topics {
    pub(super) fn add(&mut self, topic: Topic) {
        self.0.insert(topic.name.clone(), topic);
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Topic> {
        self.0.remove(name)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Topic> {
        self.0.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Topic> {
        self.0.get_mut(name)
    }

    pub(super) fn name_of(&self, id: Uuid) -> Option<&str> {
        self.0.values().find(|topic| topic.id == id).map(|topic| topic.name.as_str())
    }

    pub(super) fn partition(&self, topic: &str, index: i32) -> Option<&Partition> {
        self.0.get(topic)?.partition(index)
    }

    pub(super) fn partition_mut(&mut self, topic: &str, index: i32) -> Option<&mut Partition> {
        self.0.get_mut(topic)?.partition_mut(index)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.0.values()
    }

    pub(super) fn partitions_mut(&mut self) -> impl Iterator<Item = &mut Partition> {
        self.0.values_mut().flat_map(|topic| &mut topic.partitions)
    }
}
