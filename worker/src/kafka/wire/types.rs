//! The words that every room needs: brokers, positions, operations and what they are about.
//!
//! A value that Kafka encodes with a magic number (-1, empty string) is an `Option` here, except for offsets, where the number
//! is documented.

use kafka_protocol::protocol::StrBytes;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    pub id: i32,
    pub host: String,
    pub port: u16,
    pub rack: Option<String>,
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
    pub(in crate::kafka) fn from_bits(bits: i32) -> Option<Vec<Self>> {
        (bits != i32::MIN).then(|| {
            (0..31_i8)
                .filter(|n| bits & (1 << n) != 0)
                .map(Self::from_wire)
                .filter(|op| !matches!(op, Self::Other(_)))
                .collect()
        })
    }
}

/// A string of the protocol.
pub(in crate::kafka) fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_owned())
}
