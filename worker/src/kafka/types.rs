//! What the client takes and answers, in the domain's words.
//!
//! A value that Kafka encodes with a magic number (-1, empty string) is an `Option` here, except for offsets, where the number
//! is documented.

use std::collections::BTreeMap;

use bytes::Bytes;
use uuid::Uuid;

use super::{BatchHeader, KafkaError};

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

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    pub id: i32,
    pub host: String,
    pub port: u16,
    pub rack: Option<String>,
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

/// Which position of a partition is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The log start.
    Earliest,
    /// The high watermark, or with `Isolation::Committed` the last stable offset.
    Latest,
    /// The first record whose timestamp is not below this, milliseconds since 1970.
    Timestamp(i64),
}

/// How a piece of a log is fetched.
#[derive(Debug, Clone, Copy)]
pub struct FetchHow {
    /// A first batch or message larger than that comes whole.
    pub max_bytes: i32,
    pub isolation: Isolation,
    /// How long the broker waits for the first byte at the end of the log, milliseconds.
    pub max_wait_ms: i32,
}

/// What a reader sees of transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    Uncommitted,
    #[default]
    Committed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOffset {
    /// -1: no record is that young (only for `OffsetSpec::Timestamp`).
    pub offset: i64,
    /// Of the record found; -1 unless asked by timestamp.
    pub timestamp: i64,
    /// -1 where the broker doesn't know it.
    pub leader_epoch: i32,
}

/// Where an epoch of leadership ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The newest epoch that is not above the one asked for; -1: none is known.
    pub leader_epoch: i32,
    /// The first offset that no longer belongs to it; -1: unknown.
    pub end_offset: i64,
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

/// What one fetch of one partition brought: whole batches, as they are in the log.
#[derive(Debug, Clone)]
pub struct FetchedBatches {
    /// Every complete batch, oldest first. The first may begin below the offset asked for.
    pub batches: Vec<FetchedBatch>,
    /// Transactions to leave out, in the order of their first offset; empty with `Isolation::Uncommitted`.
    pub aborted: Vec<AbortedTransaction>,
    /// First offset that still exists; -1 where the broker doesn't tell.
    pub log_start: i64,
    pub high_watermark: i64,
    /// -1 where the broker doesn't tell.
    pub last_stable_offset: i64,
}

impl FetchedBatches {
    /// The offset to fetch next, if this fetch brought anything.
    pub fn next_offset(&self) -> Option<i64> {
        self.batches.last().map(|b| b.header.last_offset() + 1)
    }
}

/// A piece of a log as the broker sent it, in whatever formats its messages are.
#[derive(Debug, Clone)]
pub struct FetchedLog {
    /// Often ends with a part of a batch or message.
    pub records: Bytes,
    /// Transactions to leave out, in the order of their first offset; empty with `Isolation::Uncommitted`.
    pub aborted: Vec<AbortedTransaction>,
    /// First offset that still exists; -1 where the broker doesn't tell.
    pub log_start: i64,
    pub high_watermark: i64,
    /// -1 where the broker doesn't tell.
    pub last_stable_offset: i64,
}

/// What a log holds at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Nothing yet.
    End,
    /// A message as brokers before 0.11 wrote them.
    Old,
    /// A batch, which spans the offsets below `below`.
    Batch { below: i64 },
}

#[derive(Debug, Clone)]
pub struct FetchedBatch {
    pub header: BatchHeader,
    /// The whole batch, header included.
    pub bytes: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
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

macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $number:literal $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($variant,)* Other(i8) }

        impl $name {
            pub fn from_wire(number: i8) -> Self {
                match number { $($number => Self::$variant,)* other => Self::Other(other) }
            }
            pub fn to_wire(self) -> i8 {
                match self { $(Self::$variant => $number,)* Self::Other(other) => other }
            }
            /// As Kafka's own tools print it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* Self::Other(_) => "UNKNOWN" }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

wire_enum!(
    /// What an access control entry is about.
    AclResource {
        Topic = 2 "TOPIC",
        Group = 3 "GROUP",
        Cluster = 4 "CLUSTER",
        TransactionalId = 5 "TRANSACTIONAL_ID",
        DelegationToken = 6 "DELEGATION_TOKEN",
        User = 7 "USER",
    }
);

wire_enum!(
    /// How an entry's resource name is compared.
    AclPattern {
        Literal = 3 "LITERAL",
        Prefixed = 4 "PREFIXED",
    }
);

wire_enum!(
    /// What a principal does with a resource.
    AclOperation {
        All = 2 "ALL",
        Read = 3 "READ",
        Write = 4 "WRITE",
        Create = 5 "CREATE",
        Delete = 6 "DELETE",
        Alter = 7 "ALTER",
        Describe = 8 "DESCRIBE",
        ClusterAction = 9 "CLUSTER_ACTION",
        DescribeConfigs = 10 "DESCRIBE_CONFIGS",
        AlterConfigs = 11 "ALTER_CONFIGS",
        IdempotentWrite = 12 "IDEMPOTENT_WRITE",
        CreateTokens = 13 "CREATE_TOKENS",
        DescribeTokens = 14 "DESCRIBE_TOKENS",
        TwoPhaseCommit = 15 "TWO_PHASE_COMMIT",
    }
);

impl AclOperation {
    /// Reads the bit set of `authorized_operations` fields; `i32::MIN` means that the broker doesn't say.
    pub(super) fn from_bits(bits: i32) -> Option<Vec<Self>> {
        (bits != i32::MIN).then(|| {
            (0..31_i8)
                .filter(|n| bits & (1 << n) != 0)
                .map(Self::from_wire)
                .filter(|op| !matches!(op, Self::Other(_)))
                .collect()
        })
    }
}
