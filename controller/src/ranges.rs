//! How topics are cut into partition ranges: aligned blocks, for life.

use twinlog_proto::internal::v1 as internal;

/// A topic that is blocked as a whole has no partitions to copy. One that is blocked in part (the target can't grow) is copied
/// as far as it goes.
pub(crate) fn is_copied(topic: &internal::InventoryTopic) -> bool {
    topic.partitions > 0
}

/// A block of a topic as it is now; `None` where the topic has no such block.
pub(crate) fn range(
    topic: &internal::InventoryTopic,
    block: u32,
    block_size: u32,
) -> Option<internal::PartitionRange> {
    let first = i32::try_from(block.checked_mul(block_size)?).ok()?;
    let count = (topic.partitions - first).min(i32::try_from(block_size).ok()?);
    (count > 0).then(|| internal::PartitionRange {
        source_topic: topic.source_topic.clone(),
        target_topic: topic.target_topic.clone(),
        block: i32::try_from(block).unwrap_or(i32::MAX),
        first_partition: first,
        partition_count: count,
        source_topic_id: topic.source_topic_id.clone(),
        target_max_message_bytes: topic.target_max_message_bytes,
        initial_partitions: topic.initial_partitions,
        target_topic_id: topic.target_topic_id.clone(),
    })
}
