//! What calls about topics, configs, groups and permissions take and answer, in the domain's words.
//!
//! A value that Kafka encodes with a magic number (-1, empty string) is an `Option` here, except for offsets, where the number
//! is documented.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::kafka::wire::error::KafkaError;
use crate::kafka::wire::types::{AclOperation, AclPattern, AclResource, Broker};

/// A Kafka cluster as one of its brokers describes it.
#[derive(Debug, Clone)]
pub struct ClusterInfo {
    /// The cluster's own id; brokers before 0.10.1 have none.
    pub cluster_id: Option<String>,
    pub controller_id: Option<i32>,
    pub brokers: Vec<Broker>,
    /// Broker software as far as its API versions tell, such as "4.x" (informative).
    pub broker_version: String,
    /// What this client's principal may do with the cluster resource; `None` where the broker doesn't say (before 2.3).
    pub authorized_operations: Option<Vec<AclOperation>>,
}

#[derive(Debug, Clone)]
pub struct TopicMetadata {
    pub name: String,
    /// `None` where the broker has no topic ids (before 2.8).
    pub topic_id: Option<Uuid>,
    pub internal: bool,
    /// In the order of their numbers; empty where `error` is set.
    pub partitions: Vec<PartitionMetadata>,
    /// What this client's principal may do with the topic; `None` where the broker doesn't say (before 2.3).
    pub authorized_operations: Option<Vec<AclOperation>>,
    /// Why nothing is known about the topic: missing, not authorized, invalid name.
    pub error: Option<KafkaError>,
}

impl TopicMetadata {
    pub fn replication_factor(&self) -> usize {
        self.partitions.first().map_or(0, |p| p.replicas.len())
    }
}

#[derive(Debug, Clone)]
pub struct PartitionMetadata {
    pub partition: i32,
    /// `None` while there is no leader.
    pub leader: Option<i32>,
    /// -1 where the broker doesn't tell (before 2.1).
    pub leader_epoch: i32,
    pub replicas: Vec<i32>,
    pub in_sync: Vec<i32>,
    pub offline: Vec<i32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    pub partitions: i32,
    /// -1: the broker's default.
    pub replication_factor: i16,
    pub configs: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    pub name: String,
    /// `None` for sensitive values.
    pub value: Option<String>,
    pub source: ConfigSource,
    pub read_only: bool,
    pub sensitive: bool,
}

/// What to change in a topic's configs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigChange {
    pub set: BTreeMap<String, String>,
    /// Returned to their defaults.
    pub delete: Vec<String>,
}

impl ConfigChange {
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.delete.is_empty()
    }
}

/// Where a config value was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConfigSource {
    DynamicTopic,
    DynamicBroker,
    DynamicDefaultBroker,
    StaticBroker,
    Default,
    DynamicBrokerLogger,
    ClientMetrics,
    Group,
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListing {
    pub group: String,
    /// `None` where the broker doesn't say (before 2.6).
    pub state: Option<GroupState>,
    /// "consumer", "connect", ...; empty for groups that only commit offsets.
    pub protocol_type: String,
    pub group_type: GroupType,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupType {
    Classic,
    /// KIP-848.
    Consumer,
    Share,
    Streams,
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupState {
    PreparingRebalance,
    CompletingRebalance,
    Stable,
    /// No members: its offsets may be committed from outside.
    Empty,
    /// There is no such group.
    Dead,
    Assigning,
    Reconciling,
    NotReady,
    Unknown,
}

impl GroupState {
    /// Whether offsets may be committed for the group without taking part in it.
    pub fn is_idle(self) -> bool {
        matches!(self, Self::Empty | Self::Dead)
    }
}

#[derive(Debug, Clone)]
pub struct GroupDescription {
    pub group: String,
    pub group_type: GroupType,
    pub state: GroupState,
    pub protocol_type: String,
    pub members: Vec<GroupMember>,
    /// What this client's principal may do with the group; `None` where the broker doesn't say.
    pub authorized_operations: Option<Vec<AclOperation>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    pub member_id: String,
    pub client_id: String,
    pub client_host: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    pub topic: String,
    pub partition: i32,
    /// The next record the group will read.
    pub offset: i64,
    /// -1: not recorded.
    pub leader_epoch: i32,
    pub metadata: String,
}

/// One access control entry on one resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Acl {
    pub resource_type: AclResource,
    pub resource_name: String,
    pub pattern: AclPattern,
    /// "User:alice".
    pub principal: String,
    /// "*" for any.
    pub host: String,
    pub operation: AclOperation,
    pub allow: bool,
}

/// Which entries are meant; `None` means any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AclFilter {
    pub resource_type: Option<AclResource>,
    pub resource_name: Option<String>,
    /// `None` means any, literal or prefixed.
    pub pattern: Option<AclPattern>,
    pub principal: Option<String>,
    pub host: Option<String>,
    pub operation: Option<AclOperation>,
    pub allow: Option<bool>,
}
