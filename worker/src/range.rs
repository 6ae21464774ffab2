//! A partition range: consecutive partitions of one topic, the unit of assignment, of fencing and of progress.

use crate::topic::TopicId;

/// Consecutive partitions of one topic: the unit of assignment, of fencing and of progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    pub source_topic: String,
    pub target_topic: String,
    pub block: u32,
    pub first_partition: i32,
    pub partition_count: i32,
    /// `None` where the source broker has no topic ids.
    pub source_topic_id: Option<TopicId>,
    /// `max.message.bytes` of the target topic, if known.
    pub target_max_message_bytes: Option<i32>,
    /// Partitions that the topic had when the mirror began with it; later ones are copied from their first record.
    pub initial_partitions: i32,
    /// As the survey saw it; `None` where the target broker has no topic ids, or the topic was just created.
    pub target_topic_id: Option<TopicId>,
}

impl Range {
    /// Numbers of its partitions.
    pub fn partitions(&self) -> impl Iterator<Item = i32> + use<> {
        self.first_partition..self.first_partition + self.partition_count
    }
}
