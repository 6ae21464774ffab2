//! What a survey found: matched topics, partition counts, target names, what blocks them, and how the source's topics end.

mod ends;

use std::time::SystemTime;

use twinlog_proto::id::Epoch;
use twinlog_proto::reason::Reason;

use crate::cause::Cause;
use crate::topic::TopicId;

pub use ends::{PartitionEnds, SourceEnds, TopicEnds};

/// An inventory, and the epoch of the survey that found it.
#[derive(Debug, Clone)]
pub struct InventoryReport {
    pub epoch: Epoch,
    pub inventory: Inventory,
}

/// Whole, never a delta.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory {
    pub topics: Vec<InventoryTopic>,
    /// Why the survey could not be completed; the topics are then the last known ones or none.
    pub blocked: Option<Cause>,
    pub warnings: Vec<Warning>,
    /// Consumer groups that the mirror selects.
    pub groups: usize,
    /// Kafka's ids of the clusters; empty where it has none.
    pub source_cluster_id: String,
    pub target_cluster_id: String,
    pub time: Option<SystemTime>,
    /// Stands for the filters that the topics were selected with; empty while no survey was complete.
    pub selected_by: String,
}

/// A topic that the mirror selects.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InventoryTopic {
    pub source_topic: String,
    /// `None` where the broker has no topic ids.
    pub source_topic_id: Option<TopicId>,
    pub target_topic: String,
    pub target_topic_id: Option<TopicId>,
    pub source_partitions: i32,
    /// Those that exist on both sides and are to be copied.
    pub partitions: i32,
    /// Why this topic is not copied, or not completely.
    pub blocked: Option<Cause>,
    pub target_max_message_bytes: Option<i32>,
    pub drift: Vec<Drift>,
    pub drift_mended: i64,
    /// Why it is copied though the filter doesn't name it; empty where it does.
    pub note: String,
}

/// What an operator should know that stops nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    pub reason: Reason,
    pub message: String,
}

impl Warning {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// Something that differs between a source topic and its target topic, and should not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    pub kind: DriftKind,
    /// The config's name; the ACL as `principal operation permission host`.
    pub name: String,
    /// `None`: absent, or a default.
    pub source_value: Option<String>,
    pub target_value: Option<String>,
    /// Why it is still there.
    pub error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriftKind {
    Config,
    Acl,
}
