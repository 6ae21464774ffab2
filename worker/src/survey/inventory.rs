//! The survey's result as it is reported.

use std::collections::HashMap;

use twinlog_proto::id::stable_hash;
use twinlog_proto::model::Mirror;
use twinlog_proto::reason::Reason;

use super::decide::{Decision, Step};
use crate::cause::Cause;
use crate::inventory::{Inventory, InventoryTopic};
use crate::kafka::KafkaError;

/// Equal but for the time of the look.
pub(super) fn same(a: &Inventory, b: &Inventory) -> bool {
    let timeless = |i: &Inventory| Inventory { time: None, ..i.clone() };
    timeless(a) == timeless(b)
}

/// The last complete inventory's topics, by source topic.
pub(super) fn by_source(known: &Inventory) -> HashMap<&str, &InventoryTopic> {
    known.topics.iter().map(|topic| (topic.source_topic.as_str(), topic)).collect()
}

/// Stands for what the mirror's topics are selected with.
pub(super) fn selected_by(mirror: &Mirror) -> String {
    let filters = format!("{:?} {:?}", mirror.topics, mirror.policy);
    format!("{:016x}", stable_hash(filters.as_bytes()))
}

/// A selected topic. `known`: what was reported of it before.
pub(super) fn topic(
    decision: &Decision,
    max_message_bytes: Option<i32>,
    known: Option<&InventoryTopic>,
) -> InventoryTopic {
    let cause = match &decision.step {
        // What is copied goes on: its lanes see for themselves whether they can.
        Step::Unknown(..) if known.is_some_and(|known| known.partitions > 0) => {
            return known.cloned().expect("just seen");
        }
        Step::Blocked(reason, message) | Step::Unknown(reason, message) => Some(Cause::new(*reason, message)),
        Step::Nothing | Step::Create | Step::Grow | Step::Skip(_) => None,
    };
    InventoryTopic {
        source_topic: decision.source.name.clone(),
        source_topic_id: decision.source.id,
        target_topic: decision.target.clone(),
        source_partitions: decision.source.partitions,
        partitions: decision.partitions(),
        blocked: cause.map(|cause| cause.continuing(known.and_then(|known| known.blocked.as_ref()))),
        target_max_message_bytes: max_message_bytes,
        drift: Vec::new(),
        drift_mended: 0,
        note: String::new(),
        target_topic_id: decision.target_id,
    }
}

/// A known topic that the source no longer lists. `error`: what it says when asked for it by name. Only a topic that the
/// source says doesn't exist is given up; of any other its lanes see for themselves whether they can go on.
pub(super) fn gone(mirror: &Mirror, known: &InventoryTopic, error: Option<&KafkaError>) -> InventoryTopic {
    if error.is_none_or(|error| error.reason != Reason::TOPIC_NOT_FOUND) {
        return known.clone();
    }
    let message = format!(
        "{} was deleted on {}; {} on {} keeps what was copied",
        known.source_topic, mirror.source, known.target_topic, mirror.target
    );
    let cause = Cause::new(Reason::SOURCE_TOPIC_DELETED, message);
    InventoryTopic {
        partitions: 0,
        source_partitions: 0,
        blocked: Some(cause.continuing(known.blocked.as_ref())),
        ..known.clone()
    }
}

/// A topic that must not be copied, whatever was known of it.
pub(super) fn refused(decision: &Decision, cause: &Cause) -> InventoryTopic {
    InventoryTopic { partitions: 0, blocked: Some(cause.clone()), ..topic(decision, None, None) }
}
