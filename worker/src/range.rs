//! A partition range: consecutive partitions of one topic, the unit of assignment, of fencing and of progress.

use twinlog_proto::internal::v1 as internal;
use twinlog_proto::model;
use uuid::Uuid;

/// Consecutive partitions of one topic: the unit of assignment, of fencing and of progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    pub source_topic: String,
    pub target_topic: String,
    pub block: u32,
    pub first_partition: i32,
    pub partition_count: i32,
    /// `None` where the source broker has no topic ids.
    pub source_topic_id: Option<Uuid>,
    /// `max.message.bytes` of the target topic, if known.
    pub target_max_message_bytes: Option<i32>,
    /// Partitions that the topic had when the mirror began with it; later ones are copied from their first record.
    pub initial_partitions: i32,
    /// As the survey saw it; `None` where the target broker has no topic ids, or the topic was just created.
    pub target_topic_id: Option<Uuid>,
}

impl Range {
    /// Numbers of its partitions.
    pub fn partitions(&self) -> impl Iterator<Item = i32> + use<> {
        self.first_partition..self.first_partition + self.partition_count
    }
}

/// Why a range from the wire can't be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("partition range: {field} {value:?} is not valid: {rule}")]
pub struct InvalidRange {
    pub field: &'static str,
    pub value: String,
    pub rule: &'static str,
}

impl TryFrom<&internal::PartitionRange> for Range {
    type Error = InvalidRange;

    fn try_from(wire: &internal::PartitionRange) -> Result<Self, InvalidRange> {
        let invalid =
            |field, value: &dyn ToString, rule| InvalidRange { field, value: value.to_string(), rule };
        for (field, value) in [("source_topic", &wire.source_topic), ("target_topic", &wire.target_topic)] {
            if value.is_empty() {
                return Err(invalid(field, value, "it must not be empty"));
            }
        }
        if wire.first_partition < 0 {
            return Err(invalid("first_partition", &wire.first_partition, "it must not be negative"));
        }
        if wire.partition_count < 1 || wire.partition_count > model::MAX_BLOCK_SIZE {
            return Err(invalid("partition_count", &wire.partition_count, "it must be 1 to 256"));
        }
        let block = u32::try_from(wire.block)
            .map_err(|_| invalid("block", &wire.block, "it must not be negative"))?;
        let topic_id = |field, text: &str| match text {
            "" => Ok(None),
            text => Uuid::parse_str(text).map(Some).map_err(|_| invalid(field, &text, "it must be a UUID")),
        };
        let source_topic_id = topic_id("source_topic_id", &wire.source_topic_id)?;
        let target_topic_id = topic_id("target_topic_id", &wire.target_topic_id)?;
        Ok(Self {
            source_topic: wire.source_topic.clone(),
            target_topic: wire.target_topic.clone(),
            block,
            first_partition: wire.first_partition,
            partition_count: wire.partition_count,
            source_topic_id,
            target_max_message_bytes: Some(wire.target_max_message_bytes).filter(|n| *n > 0),
            initial_partitions: wire.initial_partitions,
            target_topic_id,
        })
    }
}
