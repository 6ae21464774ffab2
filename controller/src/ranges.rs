//! How topics are cut into partition ranges: aligned blocks, for life. Nobody else cuts.

use std::ops::Range;

use twinlog_proto::internal::v1 as internal;

/// A topic that is blocked as a whole has no partitions to copy. One that is blocked in part (the target can't grow) is copied
/// as far as it goes.
pub(crate) fn is_copied(topic: &internal::InventoryTopic) -> bool {
    topic.partitions > 0
}

/// The blocks of a topic with so many partitions.
pub(crate) fn blocks(partitions: u32, block_size: u32) -> Range<u32> {
    0..partitions.div_ceil(block_size.max(1))
}

/// Every range of a topic as it is now.
pub(crate) fn cut(
    topic: &internal::InventoryTopic,
    block_size: u32,
) -> impl Iterator<Item = internal::PartitionRange> {
    let partitions = u32::try_from(topic.partitions).unwrap_or(0);
    blocks(partitions, block_size).filter_map(move |block| range(topic, block, block_size))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(partitions: i32) -> internal::InventoryTopic {
        internal::InventoryTopic { partitions, ..Default::default() }
    }

    fn cuts(partitions: i32, block_size: u32) -> Vec<(i32, i32)> {
        cut(&topic(partitions), block_size).map(|r| (r.first_partition, r.partition_count)).collect()
    }

    #[test]
    fn every_partition_is_in_one_range_and_growth_moves_none() {
        for (block_size, partitions) in [(1, 7), (8, 1), (8, 8), (8, 9), (256, 1_000)] {
            let ranges = cuts(partitions, block_size);
            let covered: Vec<i32> = ranges.iter().flat_map(|(first, count)| *first..first + count).collect();
            assert_eq!(covered, (0..partitions).collect::<Vec<_>>());
            let grown = cuts(partitions + 1, block_size);
            let firsts = |ranges: &[(i32, i32)]| ranges.iter().map(|(first, _)| *first).collect::<Vec<_>>();
            assert_eq!(firsts(&grown[..ranges.len()]), firsts(&ranges));
        }
        assert_eq!(cuts(9, 8), [(0, 8), (8, 1)]);
    }

    #[test]
    fn what_has_no_partitions_has_no_ranges() {
        assert!(cuts(0, 8).is_empty() && cuts(-1, 8).is_empty());
        assert!(range(&topic(8), 1, 8).is_none() && range(&topic(8), u32::MAX, 8).is_none());
    }
}
