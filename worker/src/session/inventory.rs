//! What surveys found, as messages.

use twinlog_proto::id::MirrorId;
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::v1;

use super::status::{cause, count};
use crate::inventory::{
    Drift, DriftKind, InventoryReport, InventoryTopic, PartitionEnds, SourceEnds, TopicEnds, Warning,
};
use crate::topic::TopicId;

/// In place of an end that isn't known.
const NOT_KNOWN: i64 = -1;

pub(super) fn report(
    mirror: &MirrorId,
    InventoryReport { epoch, inventory }: &InventoryReport,
) -> internal::InventoryReport {
    let found = internal::Inventory {
        topics: inventory.topics.iter().map(topic).collect(),
        blocked: inventory.blocked.clone().map(cause),
        warnings: inventory.warnings.iter().cloned().map(warning).collect(),
        groups: count(inventory.groups),
        source_kafka_cluster_id: inventory.source_cluster_id.clone(),
        target_kafka_cluster_id: inventory.target_cluster_id.clone(),
        time: inventory.time.map(Into::into),
        selected_by: inventory.selected_by.clone(),
    };
    internal::InventoryReport { mirror: mirror.name(), epoch: epoch.0, inventory: Some(found) }
}

fn topic(topic: &InventoryTopic) -> internal::InventoryTopic {
    internal::InventoryTopic {
        source_topic: topic.source_topic.clone(),
        source_topic_id: topic_id(topic.source_topic_id),
        target_topic: topic.target_topic.clone(),
        source_partitions: topic.source_partitions,
        partitions: topic.partitions,
        blocked: topic.blocked.clone().map(cause),
        target_max_message_bytes: topic.target_max_message_bytes.unwrap_or(0),
        drift: topic.drift.iter().cloned().map(drift).collect(),
        drift_mended: topic.drift_mended,
        // The controller knows.
        initial_partitions: 0,
        note: topic.note.clone(),
        target_topic_id: topic_id(topic.target_topic_id),
    }
}

/// Empty where it isn't known.
pub(super) fn topic_id(id: Option<TopicId>) -> String {
    id.map(|id| id.to_string()).unwrap_or_default()
}

pub(super) fn warning(warning: Warning) -> v1::PlanWarning {
    v1::PlanWarning { reason: warning.reason.as_str().to_owned(), message: warning.message }
}

pub(super) fn drift(drift: Drift) -> v1::Drift {
    let kind = match drift.kind {
        DriftKind::Config => v1::drift::Kind::Config,
        DriftKind::Acl => v1::drift::Kind::Acl,
    };
    v1::Drift {
        kind: kind.into(),
        name: drift.name,
        source_value: drift.source_value,
        target_value: drift.target_value,
        error: drift.error.unwrap_or_default(),
    }
}

pub(super) fn source_ends(mirror: &MirrorId, ends: &SourceEnds) -> internal::SourceEndsReport {
    internal::SourceEndsReport {
        mirror: mirror.name(),
        epoch: ends.epoch.0,
        topics: ends.topics.iter().map(topic_ends).collect(),
        contact_time: ends.contact.map(Into::into),
        target_looks: ends.target_looks,
    }
}

fn topic_ends(topic: &TopicEnds) -> internal::TopicEnds {
    let log_end = |partition: &PartitionEnds| partition.target_log_end.map_or(NOT_KNOWN, |end| end.0);
    internal::TopicEnds {
        source_topic: topic.source_topic.clone(),
        target_topic: topic.target_topic.clone(),
        partitions: topic.partitions.iter().map(partition_ends).collect(),
        target_ends: topic.partitions.iter().map(log_end).collect(),
    }
}

fn partition_ends(partition: &PartitionEnds) -> v1::PartitionStatus {
    v1::PartitionStatus {
        partition: partition.partition,
        position: partition.position.map(|at| at.0),
        missing_from: partition.missing_from.map(|at| at.0),
        source_log_start: partition.log_start.map(|at| at.0),
        target_end: partition.target_end.map(|at| at.0),
        source_high_watermark: partition.ends.map(|ends| ends.high_watermark),
        source_last_stable_offset: partition.ends.and_then(|ends| ends.last_stable),
        source_seen_time: partition.ends.map(|ends| ends.seen.into()),
        lag_records: partition.lag(),
        lag_at_least: !partition.answers,
        ..v1::PartitionStatus::default()
    }
}
