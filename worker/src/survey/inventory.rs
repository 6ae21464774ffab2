//! The survey's result as it is reported.

use std::collections::HashMap;

use twinlog_proto::id::stable_hash;
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::model::Mirror;
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;

use super::decide::{Decision, Step};
use crate::cause::Cause;
use crate::kafka::KafkaError;

/// Equal but for the time of the look.
pub(super) fn same(a: &internal::Inventory, b: &internal::Inventory) -> bool {
    let timeless = |i: &internal::Inventory| internal::Inventory { time: None, ..i.clone() };
    timeless(a) == timeless(b)
}

/// The last complete inventory's topics, by source topic.
pub(super) fn by_source(known: &internal::Inventory) -> HashMap<&str, &internal::InventoryTopic> {
    known.topics.iter().map(|topic| (topic.source_topic.as_str(), topic)).collect()
}

/// Stands for what the mirror's topics are selected with.
pub(super) fn selected_by(mirror: &Mirror) -> String {
    let filters = format!("{:?} {:?}", mirror.topics, mirror.policy);
    format!("{:016x}", stable_hash(filters.as_bytes()))
}

/// On the wire, with the earlier beginning where the same was said before.
pub(super) fn continuing(cause: Cause, before: Option<&v1::Cause>) -> v1::Cause {
    let now = v1::Cause::from(cause);
    match before {
        Some(before) if before.reason == now.reason => v1::Cause { since: before.since, ..now },
        _ => now,
    }
}

/// A selected topic. `known`: what was reported of it before.
pub(super) fn topic(
    decision: &Decision,
    max_message_bytes: Option<i32>,
    known: Option<&internal::InventoryTopic>,
) -> internal::InventoryTopic {
    let cause = match &decision.step {
        // What is copied goes on: its lanes see for themselves whether they can.
        Step::Unknown(..) if known.is_some_and(|known| known.partitions > 0) => {
            return known.cloned().expect("just seen");
        }
        Step::Blocked(reason, message) | Step::Unknown(reason, message) => Some(Cause::new(*reason, message)),
        Step::Nothing | Step::Create | Step::Grow | Step::Skip(_) => None,
    };
    internal::InventoryTopic {
        source_topic: decision.source.name.clone(),
        source_topic_id: decision.source.id.map(|id| id.to_string()).unwrap_or_default(),
        target_topic: decision.target.clone(),
        source_partitions: decision.source.partitions,
        partitions: decision.partitions(),
        blocked: cause.map(|cause| continuing(cause, known.and_then(|known| known.blocked.as_ref()))),
        target_max_message_bytes: max_message_bytes.unwrap_or(0),
        drift: Vec::new(),
        drift_mended: 0,
        // The controller knows.
        initial_partitions: 0,
        note: String::new(),
        target_topic_id: decision.target_id.map(|id| id.to_string()).unwrap_or_default(),
    }
}

/// A known topic that the source no longer lists. `error`: what it says when asked for it by name. Only a topic that the
/// source says doesn't exist is given up; of any other its lanes see for themselves whether they can go on.
pub(super) fn gone(
    mirror: &Mirror,
    known: &internal::InventoryTopic,
    error: Option<&KafkaError>,
) -> internal::InventoryTopic {
    if error.is_none_or(|error| error.reason != Reason::TOPIC_NOT_FOUND) {
        return known.clone();
    }
    let message = format!(
        "{} was deleted on {}; {} on {} keeps what was copied",
        known.source_topic, mirror.source, known.target_topic, mirror.target
    );
    let cause = Cause::new(Reason::SOURCE_TOPIC_DELETED, message);
    internal::InventoryTopic {
        partitions: 0,
        source_partitions: 0,
        blocked: Some(continuing(cause, known.blocked.as_ref())),
        ..known.clone()
    }
}

/// A topic that must not be copied, whatever was known of it.
pub(super) fn refused(decision: &Decision, cause: &v1::Cause) -> internal::InventoryTopic {
    internal::InventoryTopic { partitions: 0, blocked: Some(cause.clone()), ..topic(decision, None, None) }
}
