//! Identities and positions: one newtype each, so that none can be taken for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An id or a name that breaks its rule: what, which value, which rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} is not valid: {rule}")]
pub struct InvalidId {
    pub what: &'static str,
    pub value: String,
    pub rule: &'static str,
}

macro_rules! resource_id {
    ($name:ident, $what:literal, $collection:literal, $extra:expr, $rule:literal) => {
        #[doc = concat!("Id of a ", $what, "; its resource name is `", $collection, "/{id}`.")]
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Parses a bare id.
            pub fn new(id: impl Into<String>) -> Result<Self, InvalidId> {
                let value = id.into();
                let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || $extra.contains(c);
                // What file systems and topic names take for something else.
                let is_dots = value == "." || value == "..";
                if value.is_empty() || value.len() > 64 || is_dots || !value.chars().all(allowed) {
                    return Err(InvalidId { what: concat!($what, " id"), value, rule: $rule });
                }
                Ok(Self(value))
            }
            /// Parses a resource name.
            pub fn from_name(name: &str) -> Result<Self, InvalidId> {
                match name.strip_prefix(concat!($collection, "/")) {
                    Some(id) => Self::new(id),
                    None => Err(InvalidId {
                        what: concat!($what, " name"),
                        value: name.to_owned(),
                        rule: concat!("it must look like ", $collection, "/{id}"),
                    }),
                }
            }
            pub fn name(&self) -> String {
                format!(concat!($collection, "/{}"), self.0)
            }
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(s: &str) -> Result<Self, InvalidId> {
                Self::new(s)
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(s: String) -> Result<Self, InvalidId> {
                Self::new(s)
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

resource_id!(
    ClusterId,
    "cluster",
    "clusters",
    "_-.ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "1-64 characters of a-z, A-Z, 0-9, '_', '-' and '.', and neither \".\" nor \"..\""
);
resource_id!(MirrorId, "mirror", "mirrors", "_-", "1-64 characters of a-z, 0-9, '_' and '-'");
resource_id!(
    WorkerId,
    "worker",
    "workers",
    "_-.ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "1-64 characters of a-z, A-Z, 0-9, '_', '-' and '.', and neither \".\" nor \"..\""
);

macro_rules! number {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number!(SourceOffset, "An offset in a source partition.");
number!(TargetOffset, "An offset in a target partition.");
number!(
    Epoch,
    "Epoch of one task's assignment; only grows (it is the store's revision at the write): the fence."
);
number!(Term, "A leadership: the create revision of the leader's key.");
number!(Generation, "Version of the fleet's assignments within a term: the store's revision.");

/// Name of a task. Text form: `survey/{mirror}`, `replicate/{mirror}/{target topic}/{block}`,
/// `checkpoint/{mirror}/{shard}`, `heartbeat/{mirror}`. Kafka topic names hold no `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TaskName {
    Survey { mirror: MirrorId },
    Replicate { mirror: MirrorId, target_topic: String, block: u32 },
    Checkpoint { mirror: MirrorId, shard: u32 },
    Heartbeat { mirror: MirrorId },
}

impl TaskName {
    pub fn mirror(&self) -> &MirrorId {
        match self {
            Self::Survey { mirror }
            | Self::Replicate { mirror, .. }
            | Self::Checkpoint { mirror, .. }
            | Self::Heartbeat { mirror } => mirror,
        }
    }

    pub fn is_replicate(&self) -> bool {
        matches!(self, Self::Replicate { .. })
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Survey { mirror } => write!(f, "survey/{mirror}"),
            Self::Replicate { mirror, target_topic, block } => {
                write!(f, "replicate/{mirror}/{target_topic}/{block}")
            }
            Self::Checkpoint { mirror, shard } => write!(f, "checkpoint/{mirror}/{shard}"),
            Self::Heartbeat { mirror } => write!(f, "heartbeat/{mirror}"),
        }
    }
}

impl FromStr for TaskName {
    type Err = InvalidId;

    fn from_str(s: &str) -> Result<Self, InvalidId> {
        let bad = || InvalidId {
            what: "task name",
            value: s.to_owned(),
            rule: "expected survey/M, replicate/M/TOPIC/BLOCK, checkpoint/M/SHARD or heartbeat/M",
        };
        let parts: Vec<&str> = s.split('/').collect();
        let mirror = |id: &str| MirrorId::new(id);
        match parts.as_slice() {
            ["survey", m] => Ok(Self::Survey { mirror: mirror(m)? }),
            ["heartbeat", m] => Ok(Self::Heartbeat { mirror: mirror(m)? }),
            ["checkpoint", m, shard] => {
                Ok(Self::Checkpoint { mirror: mirror(m)?, shard: shard.parse().map_err(|_| bad())? })
            }
            ["replicate", m, topic, block] if !topic.is_empty() => Ok(Self::Replicate {
                mirror: mirror(m)?,
                target_topic: (*topic).to_owned(),
                block: block.parse().map_err(|_| bad())?,
            }),
            _ => Err(bad()),
        }
    }
}

/// FNV-1a, 64 bit: a hash that stays the same over versions and machines. Used where a value is placed for life: the
/// internal topics' partition of a range, the shard of a consumer group.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_names_round_trip() {
        for text in ["survey/m1", "replicate/m1/a.orders/7", "checkpoint/m1/0", "heartbeat/m-2"] {
            assert_eq!(text.parse::<TaskName>().unwrap().to_string(), text);
        }
        for bad in ["", "survey", "replicate/m1/t", "replicate/m1//0", "checkpoint/m1/x", "survey/M"] {
            assert!(bad.parse::<TaskName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn resource_names_are_checked() {
        assert_eq!(ClusterId::from_name("clusters/eu-1").unwrap().as_str(), "eu-1");
        assert!(ClusterId::from_name("cluster/eu").is_err());
        for dots in [".", ".."] {
            assert!(ClusterId::new(dots).is_err() && WorkerId::new(dots).is_err());
        }
        assert!(ClusterId::new("...").is_ok());
        assert!(MirrorId::new("Has Space").is_err());
        assert!(MirrorId::new("x".repeat(65)).is_err());
    }

    #[test]
    fn stable_hash_never_changes() {
        assert_eq!(stable_hash(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(stable_hash(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
