//! The survey's result as it is reported.

use std::collections::HashMap;

use twinlog_proto::model::Mirror;
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;

use super::decide::{Decision, Step};
use crate::cause::Cause;
use crate::kafka::KafkaError;

/// Equal but for the time of the look.
pub(super) fn same(a: &v1::Inventory, b: &v1::Inventory) -> bool {
    let timeless = |i: &v1::Inventory| v1::Inventory { time: None, ..i.clone() };
    timeless(a) == timeless(b)
}

/// What blocks each source topic, so that a cause keeps its beginning.
pub(super) fn causes(known: &v1::Inventory) -> HashMap<String, v1::Cause> {
    known.topics.iter().filter_map(|t| Some((t.source_topic.clone(), t.blocked.clone()?))).collect()
}

/// On the wire, with the earlier beginning where the same was said before.
pub(super) fn continuing(cause: Cause, before: Option<&v1::Cause>) -> v1::Cause {
    let now = v1::Cause::from(cause);
    match before {
        Some(before) if before.reason == now.reason => v1::Cause { since: before.since, ..now },
        _ => now,
    }
}

pub(super) fn topic(
    decision: &Decision,
    max_message_bytes: Option<i32>,
    before: &HashMap<String, v1::Cause>,
) -> v1::InventoryTopic {
    let blocked = match &decision.step {
        Step::Blocked(reason, message) => {
            Some(continuing(Cause::new(*reason, message), before.get(&decision.source.name)))
        }
        _ => None,
    };
    v1::InventoryTopic {
        source_topic: decision.source.name.clone(),
        source_topic_id: decision.source.id.map(|id| id.to_string()).unwrap_or_default(),
        target_topic: decision.target.clone(),
        source_partitions: decision.source.partitions,
        partitions: decision.partitions(),
        blocked,
        target_max_message_bytes: max_message_bytes.unwrap_or(0),
    }
}

/// A known topic that the source no longer lists. `error`: what it says when asked for it by name.
pub(super) fn gone(
    mirror: &Mirror,
    known: &v1::InventoryTopic,
    error: Option<&KafkaError>,
) -> v1::InventoryTopic {
    let (cause, partitions) = match error {
        Some(error) if error.reason == Reason::TOPIC_NOT_FOUND => {
            let message = format!(
                "{} was deleted on {}; {} on {} keeps what was copied",
                known.source_topic, mirror.source, known.target_topic, mirror.target
            );
            (Cause::new(Reason::SOURCE_TOPIC_DELETED, message), 0)
        }
        Some(error) => (Cause::from(error.clone()), known.partitions),
        // It is there after all: the next look will list it.
        None => return known.clone(),
    };
    v1::InventoryTopic {
        partitions,
        source_partitions: partitions,
        blocked: Some(continuing(cause, known.blocked.as_ref())),
        ..known.clone()
    }
}
