//! What a mirror keeps in step besides records: configs, ACLs, and MM2's own topics.

use std::time::Duration;

use super::DEFAULT_SYNC_INTERVAL;
use super::violations::Violations;
use crate::id::ClusterId;
use crate::v1;

const MIN_SYNC_INTERVAL: Duration = Duration::from_secs(1);
const MAX_SYNC_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// Configs of target topics follow their source topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigSync {
    pub enabled: bool,
    pub interval: Duration,
    /// What is a default on the source is set on the target, instead of becoming the target's default.
    pub defaults_from_source: bool,
}

/// ACLs of literal topic names follow their source topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AclSync {
    pub enabled: bool,
    pub interval: Duration,
    /// Also remove what the source doesn't have.
    pub remove: bool,
}

/// Which partition of the target a record goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitioning {
    /// Partition N to partition N.
    Preserve,
    /// By murmur2 of the key, into any number of partitions.
    ByKey,
}

/// Replication factors of MM2's own topics when created; -1: the broker's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InternalReplication {
    pub offset_syncs: i16,
    pub checkpoints: i16,
    pub heartbeats: i16,
}

/// Where the position of a MirrorMaker 2 is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakeOver {
    /// `None`: any source connector of this flow.
    pub connector: Option<String>,
    pub offsets_topic: String,
    /// Connect's group on the target.
    pub group: String,
}

impl ConfigSync {
    pub(super) fn parse(wire: &v1::Mirror, bad: &mut Violations) -> Self {
        let wire = wire.config_sync.unwrap_or_default();
        Self {
            enabled: wire.enabled.unwrap_or(true),
            interval: interval(bad, "config_sync.interval", wire.interval.as_ref()),
            defaults_from_source: wire.defaults_from() == v1::config_sync::Defaults::Source,
        }
    }
}

impl AclSync {
    pub(super) fn parse(wire: &v1::Mirror, bad: &mut Violations) -> Self {
        let wire = wire.acl_sync.unwrap_or_default();
        Self {
            enabled: wire.enabled.unwrap_or(false),
            interval: interval(bad, "acl_sync.interval", wire.interval.as_ref()),
            remove: wire.remove,
        }
    }
}

fn interval(bad: &mut Violations, field: &str, given: Option<&prost_types::Duration>) -> Duration {
    bad.duration(field, given, DEFAULT_SYNC_INTERVAL, (MIN_SYNC_INTERVAL, MAX_SYNC_INTERVAL))
}

impl InternalReplication {
    pub(super) fn parse(wire: &v1::Mirror, bad: &mut Violations) -> Self {
        let syncs = wire.offset_syncs.unwrap_or_default().replication_factor;
        let checkpoints = wire.checkpoints.unwrap_or_default().replication_factor;
        let heartbeats = wire.heartbeats.unwrap_or_default().replication_factor;
        Self {
            offset_syncs: bad.replication_factor("offset_syncs.replication_factor", syncs),
            checkpoints: bad.replication_factor("checkpoints.replication_factor", checkpoints),
            heartbeats: bad.replication_factor("heartbeats.replication_factor", heartbeats),
        }
    }
}

impl TakeOver {
    /// By MM2's own names.
    pub fn by_default(source: &ClusterId) -> Self {
        Self::of(&v1::TakeOver::default(), source)
    }

    /// Empty fields mean MM2's own names.
    pub fn of(wire: &v1::TakeOver, source: &ClusterId) -> Self {
        let or = |given: &str, default: String| if given.is_empty() { default } else { given.to_owned() };
        Self {
            connector: Some(wire.connector.clone()).filter(|name| !name.is_empty()),
            // Connect's own topics always use `.`, whatever the separator.
            offsets_topic: or(&wire.offsets_topic, format!("mm2-offsets.{source}.internal")),
            group: or(&wire.group, format!("{source}-mm2")),
        }
    }
}
