//! The stored form of an inventory, when two of them say the same, and what a mirror found when it began.
//!
//! An inventory of ten thousand topics is larger than etcd takes in one request; compressed it is a fifth of that.

use std::collections::HashMap;

use bytes::Bytes;
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::v1;

use crate::packed;

/// The value to store.
pub fn encode(inventory: &internal::Inventory) -> Bytes {
    packed::encode(inventory)
}

/// Parses a stored value.
pub fn decode(value: &[u8]) -> Result<internal::Inventory, String> {
    packed::decode(value)
}

/// Whether two inventories say the same, whenever they were made.
pub(crate) fn same(a: &internal::Inventory, b: &internal::Inventory) -> bool {
    let internal::Inventory {
        topics,
        blocked,
        warnings,
        groups,
        source_kafka_cluster_id,
        target_kafka_cluster_id,
        time: _,
        selected_by,
    } = a;
    let cause = |cause: &Option<v1::Cause>| cause.as_ref().map(|c| (c.reason.clone(), c.message.clone()));
    cause(blocked) == cause(&b.blocked)
        && *topics == b.topics
        && *warnings == b.warnings
        && *groups == b.groups
        && *source_kafka_cluster_id == b.source_kafka_cluster_id
        && *target_kafka_cluster_id == b.target_kafka_cluster_id
        && *selected_by == b.selected_by
}

/// Says of every topic how many partitions it had when the mirror began with it: what comes later is copied from its first
/// record, also by a mirror that starts at the end. What was said once stays; a survey doesn't know it.
///
/// Topics are there from the beginning where nothing complete is stored yet, and where the filters have changed: then the
/// user named them only now.
pub(crate) fn note_beginnings(next: &mut internal::Inventory, stored: Option<&internal::Inventory>) {
    let stored = stored.filter(|stored| !stored.selected_by.is_empty());
    if next.selected_by.is_empty() {
        // Not a complete look: it began nothing.
        next.selected_by = stored.map(|stored| stored.selected_by.clone()).unwrap_or_default();
    }
    let begins = stored.is_none_or(|stored| stored.selected_by != next.selected_by);
    let before: HashMap<&str, &internal::InventoryTopic> =
        stored.iter().flat_map(|s| &s.topics).map(|t| (t.source_topic.as_str(), t)).collect();
    for topic in &mut next.topics {
        topic.initial_partitions = match before.get(topic.source_topic.as_str()) {
            Some(known) if is_another(known, topic) => 0,
            Some(known) => known.initial_partitions,
            None if begins => topic.source_partitions,
            None => 0,
        };
    }
}

/// The name stands for another topic than it did.
fn is_another(before: &internal::InventoryTopic, now: &internal::InventoryTopic) -> bool {
    !before.source_topic_id.is_empty()
        && !now.source_topic_id.is_empty()
        && before.source_topic_id != now.source_topic_id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inventory(topics: i32) -> internal::Inventory {
        let topic = |i: i32| internal::InventoryTopic {
            source_topic: format!("team-{}.orders.{i}", i % 40),
            source_topic_id: uuid::Uuid::from_u128(
                u128::from(i.unsigned_abs()).wrapping_mul(u128::MAX / 7919),
            )
            .to_string(),
            target_topic: format!("eu.team-{}.orders.{i}", i % 40),
            source_partitions: 12,
            partitions: 12,
            ..internal::InventoryTopic::default()
        };
        internal::Inventory {
            topics: (0..topics).map(topic).collect(),
            groups: 7,
            ..internal::Inventory::default()
        }
    }

    #[test]
    fn small_and_large_inventories_come_back_as_they_were() {
        for topics in [0, 1, 50, 10_000] {
            let inventory = inventory(topics);
            assert_eq!(decode(&encode(&inventory)).unwrap(), inventory);
        }
        assert!(decode(&[0x1f, 0x8b, 0]).is_err());
    }

    #[test]
    fn ten_thousand_topics_fit_into_a_transaction() {
        let size = encode(&inventory(10_000)).len();
        assert!(size < crate::store::MAX_TXN_BYTES / 2, "{size} bytes");
    }

    #[test]
    fn the_time_of_a_survey_is_no_difference() {
        let (mut a, mut b) = (inventory(2), inventory(2));
        a.time = Some(prost_types::Timestamp::default());
        assert!(same(&a, &b));
        b.topics[1].partitions += 1;
        assert!(!same(&a, &b));
    }

    /// An inventory of topics with these partition counts, all selected by the same filters.
    fn selected(by: &str, topics: &[(&str, i32)]) -> internal::Inventory {
        let topic = |(name, partitions): &(&str, i32)| internal::InventoryTopic {
            source_topic: (*name).to_owned(),
            source_partitions: *partitions,
            source_topic_id: format!("id of {name}"),
            ..internal::InventoryTopic::default()
        };
        let topics = topics.iter().map(topic).collect();
        internal::Inventory { topics, selected_by: by.to_owned(), ..internal::Inventory::default() }
    }

    fn beginnings(
        mut next: internal::Inventory,
        stored: Option<&internal::Inventory>,
    ) -> (internal::Inventory, Vec<i32>) {
        note_beginnings(&mut next, stored);
        let counts = next.topics.iter().map(|t| t.initial_partitions).collect();
        (next, counts)
    }

    #[test]
    fn what_comes_after_the_beginning_is_new() {
        let (first, counts) = beginnings(selected("f", &[("a", 3), ("b", 1)]), None);
        assert_eq!(counts, [3, 1]);
        let grown = selected("f", &[("a", 8), ("b", 1), ("c", 4)]);
        let (grown, counts) = beginnings(grown, Some(&first));
        assert_eq!(counts, [3, 1, 0], "three old partitions of a, a new topic c");
        let mut other = selected("f", &[("a", 8)]);
        other.topics[0].source_topic_id = "another".to_owned();
        assert_eq!(beginnings(other, Some(&grown)).1, [0], "deleted and created again");
    }

    #[test]
    fn topics_that_the_user_adds_were_there_before() {
        let (first, _) = beginnings(selected("f", &[("a", 3)]), None);
        let (_, counts) = beginnings(selected("f, g", &[("a", 5), ("g", 2)]), Some(&first));
        assert_eq!(counts, [3, 2]);
    }

    #[test]
    fn a_survey_that_saw_nothing_begins_nothing() {
        let (blocked, _) = beginnings(selected("", &[]), None);
        let (first, counts) = beginnings(selected("f", &[("a", 3)]), Some(&blocked));
        assert_eq!(counts, [3]);
        let (blocked, counts) = beginnings(selected("", &[("a", 3)]), Some(&first));
        assert_eq!((blocked.selected_by.as_str(), counts), ("f", vec![3]));
        assert_eq!(beginnings(selected("f", &[("a", 3), ("b", 1)]), Some(&blocked)).1, [3, 0]);
    }
}
