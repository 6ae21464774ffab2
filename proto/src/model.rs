//! The domain's own types, parsed once from the wire. Inside, nothing is optional that can't be absent.
//!
//! `Cluster` and `Mirror` are what controller and worker reason about; `v1::Cluster` and `v1::Mirror` never leave the API
//! and the session. Parsing collects every violation, not just the first.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::filter::Filter;
use crate::id::{ClusterId, MirrorId};
use crate::policy::Policy;
use crate::{client_properties, secret, v1};

mod sync;
mod violations;

pub use sync::{AclSync, ConfigSync, InternalReplication, Partitioning, TakeOver};
use violations::Violations;

/// Field path and what is wrong with it, as in `google.rpc.BadRequest`.
pub type Violation = (String, String);

/// A registered Kafka cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    pub id: ClusterId,
    /// host:port, at least one.
    pub bootstrap_servers: Vec<String>,
    /// Client properties, values possibly with `${...}` references.
    pub properties: BTreeMap<String, String>,
}

/// Where a partition starts that has no progress yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    Earliest,
    Latest,
    /// Milliseconds since 1970.
    Timestamp(i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarantee {
    ExactlyOnce,
    AtLeastOnce,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapPolicy {
    Halt,
    Resume,
}

/// What to do with a copy that holds records where the mirror has no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OntoExisting {
    Refuse,
    /// Go on where the copy ends in the source.
    Align,
    /// Copy behind what is there.
    Append,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSyncLocation {
    Target,
    Source,
    Disabled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// What moves a mirror's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Engine {
    /// What fits best.
    #[default]
    Auto,
    Librdkafka,
    Native,
}

impl Engine {
    fn of(wire: v1::Engine) -> Self {
        match wire {
            v1::Engine::Librdkafka => Self::Librdkafka,
            v1::Engine::Native => Self::Native,
            v1::Engine::Auto | v1::Engine::Unspecified => Self::Auto,
        }
    }
}

impl Compression {
    fn of(wire: v1::Compression) -> Self {
        match wire {
            v1::Compression::None => Self::None,
            v1::Compression::Gzip => Self::Gzip,
            v1::Compression::Snappy => Self::Snappy,
            v1::Compression::Zstd => Self::Zstd,
            v1::Compression::Lz4 | v1::Compression::Unspecified => Self::Lz4,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// What `v1::Mirror` says, with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    pub id: MirrorId,
    pub source: ClusterId,
    pub target: ClusterId,
    pub topics: Filter,
    pub policy: Policy,
    pub start: Start,
    /// The consumer group of the source whose offsets come before `start`.
    pub start_group: Option<String>,
    pub guarantee: Guarantee,
    pub groups: Filter,
    pub sync_group_offsets: bool,
    pub sync_group_offsets_to_source: bool,
    pub heartbeats: bool,
    pub heartbeat_interval: Duration,
    pub create_topics: bool,
    /// -1: the broker's default.
    pub replication_factor: i16,
    pub config_overrides: BTreeMap<String, String>,
    pub config_exclude: Filter,
    pub refresh_topics: Duration,
    pub refresh_groups: Duration,
    pub target_latency: Duration,
    pub placement: BTreeMap<String, String>,
    pub running: bool,
    pub gap_policy: GapPolicy,
    pub offset_syncs: OffsetSyncLocation,
    pub block_size: u32,
    pub compression: Compression,
    pub engine: Engine,
    pub config_sync: ConfigSync,
    pub acl_sync: AclSync,
    pub partitioning: Partitioning,
    /// Whether MM2 checkpoint records are written.
    pub checkpoints: bool,
    /// Copy heartbeats topics whatever `topics` says.
    pub replicate_heartbeats: bool,
    /// The mirror that does it instead of this one.
    pub heartbeats_carried_by: Option<String>,
    /// Write heartbeats to the source too.
    pub heartbeats_on_source: bool,
    /// Target offsets between two offset syncs at most; 0: a sync for every record.
    pub offset_lag_max: i64,
    pub internal_replication: InternalReplication,
    pub allow_loops: bool,
    /// Client properties over those of the clusters.
    pub source_properties: BTreeMap<String, String>,
    pub target_properties: BTreeMap<String, String>,
    pub take_over: Option<TakeOver>,
    pub onto_existing: OntoExisting,
    /// Go on behind what others write to the copies.
    pub allow_foreign_writes: bool,
    /// Exactly once in transactions, also what is recent.
    pub always_transactions: bool,
}

/// Excluded where a mirror names no exclusion: MM2 4.3.0's list (KIP-1074), and Twinlog's own internal topics.
pub const DEFAULT_TOPICS_EXCLUDE: &[&str] =
    &[r"mm2.*\.internal", r".*\.replica", "__.*", r"twinlog\..*\.(progress|offsets)"];
pub const DEFAULT_GROUPS_EXCLUDE: &[&str] = &["console-consumer-.*", "connect-.*", "__.*"];
/// MM2 4.3.0's `config.properties.exclude`, both spellings of the timestamp limits (KAFKA-20163), and the message format: 4.x refuses
/// the config, and older targets would lose headers and transactions by it.
pub const DEFAULT_CONFIG_EXCLUDE: &[&str] = &[
    r"follower\.replication\.throttled\.replicas",
    r"leader\.replication\.throttled\.replicas",
    r"message\.timestamp\.difference\.max\.ms",
    r"(log\.)?message\.timestamp\.before\.max\.ms",
    r"(log\.)?message\.timestamp\.after\.max\.ms",
    r"message\.timestamp\.type",
    r"unclean\.leader\.election\.enable",
    r"min\.insync\.replicas",
    r"message\.format\.version",
];

pub const DEFAULT_BLOCK_SIZE: u32 = 8;
pub const MAX_BLOCK_SIZE: i32 = 256;
pub const DEFAULT_TARGET_LATENCY: Duration = Duration::from_millis(200);
pub const DEFAULT_REFRESH_TOPICS: Duration = Duration::from_secs(3);
pub const DEFAULT_REFRESH_GROUPS: Duration = Duration::from_secs(1);
pub const DEFAULT_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
pub const DEFAULT_SYNC_INTERVAL: Duration = Duration::from_secs(60);
/// MM2's `offset.lag.max`.
pub const DEFAULT_OFFSET_LAG_MAX: i64 = 100;

impl Cluster {
    /// The same cluster with a mirror's own properties over its own. Where these change who gets to see its credentials, it has
    /// none but theirs.
    #[must_use]
    pub fn with(mut self, properties: &BTreeMap<String, String>) -> Self {
        if properties.iter().any(|(key, value)| moves_credentials(&self.properties, key, value)) {
            self.properties.retain(|key, _| !secret::is_sent(key));
        }
        self.properties.extend(properties.clone());
        self
    }

    /// Parses and checks a cluster. Errors name fields relative to `cluster`.
    pub fn parse(wire: &v1::Cluster) -> Result<Self, Vec<Violation>> {
        let mut bad = Violations::default();
        let id = bad.take("name", ClusterId::from_name(&wire.name));
        if wire.bootstrap_servers.is_empty() {
            bad.add("bootstrap_servers", "at least one host:port is needed");
        }
        for (i, server) in wire.bootstrap_servers.iter().enumerate() {
            if !is_host_port(server) {
                bad.add(&format!("bootstrap_servers[{i}]"), format!("{server:?} is not host:port"));
            }
        }
        let properties: BTreeMap<_, _> = wire.properties.clone().into_iter().collect();
        bad.done(())?;
        Ok(Self {
            id: id.expect("checked by done()"),
            bootstrap_servers: wire.bootstrap_servers.clone(),
            properties,
        })
    }
}

/// Whether a property with this value sends the credentials beside it elsewhere, or less well protected.
pub fn moves_credentials(properties: &BTreeMap<String, String>, key: &str, value: &str) -> bool {
    client_properties::is_destination(key) && properties.get(key).map(String::as_str) != Some(value)
}

fn is_host_port(text: &str) -> bool {
    let address = text.rsplit_once("://").map_or(text, |(_, address)| address);
    match address.rsplit_once(':') {
        Some((host, port)) => is_host(host) && port.parse::<u16>().is_ok_and(|p| p > 0),
        None => false,
    }
}

/// A name or an address; one of IPv6 stands in brackets, or as it is.
fn is_host(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    !bare.is_empty() && bare.chars().all(|c| c.is_alphanumeric() || ".-_:%".contains(c))
}

impl Mirror {
    /// Parses and checks a mirror, filling in defaults. Errors name fields relative to `mirror`.
    pub fn parse(wire: &v1::Mirror) -> Result<Self, Vec<Violation>> {
        Self::parse_with(wire, None)
    }

    /// As `parse`, of a mirror that was parsed `before`: patterns that have not changed, which may have taken a second to compile, are
    /// taken over.
    pub fn parse_again(wire: &v1::Mirror, before: (&v1::Mirror, &Self)) -> Result<Self, Vec<Violation>> {
        let (said, parsed) = before;
        Self::parse_with(wire, (patterns(said) == patterns(wire)).then_some(parsed))
    }

    /// `compiled`: with the same patterns.
    #[expect(clippy::too_many_lines, reason = "a line or two for each field, in their order")]
    fn parse_with(wire: &v1::Mirror, compiled: Option<&Self>) -> Result<Self, Vec<Violation>> {
        let mut bad = Violations::default();
        let id = bad.take("name", MirrorId::from_name(&wire.name));
        let source = bad.take("source", ClusterId::from_name(&wire.source));
        let target = bad.take("target", ClusterId::from_name(&wire.target));
        if source.is_some() && source == target {
            bad.add("target", "source and target are the same cluster");
        }
        let creation = wire.topic_creation.clone().unwrap_or_default();
        let (topics, groups, config_exclude) = if let Some(known) = compiled {
            (Some(known.topics.clone()), Some(known.groups.clone()), Some(known.config_exclude.clone()))
        } else {
            let exclude = or_default(&creation.config_exclude, DEFAULT_CONFIG_EXCLUDE);
            (
                bad.filter("topics", &wire.topics, &wire.topics_exclude, DEFAULT_TOPICS_EXCLUDE),
                bad.filter("groups", &wire.groups, &wire.groups_exclude, DEFAULT_GROUPS_EXCLUDE),
                bad.take_at("topic_creation.config_exclude", Filter::new(&exclude, &[] as &[&str])),
            )
        };
        let naming = bad.naming(wire.naming.as_ref());
        let heartbeats = wire.heartbeats.unwrap_or_default();
        let refresh = wire.refresh.unwrap_or_default();
        let second = Duration::from_secs(1);
        let hour = Duration::from_secs(3600);
        let heartbeat_interval = bad.duration(
            "heartbeats.interval",
            heartbeats.interval.as_ref(),
            DEFAULT_HEARTBEAT_INTERVAL,
            (second / 10, hour),
        );
        let refresh_topics = bad.duration(
            "refresh.topics",
            refresh.topics.as_ref(),
            DEFAULT_REFRESH_TOPICS,
            (second / 2, hour),
        );
        let refresh_groups = bad.duration(
            "refresh.groups",
            refresh.groups.as_ref(),
            DEFAULT_REFRESH_GROUPS,
            (second / 2, hour),
        );
        let target_latency = bad.duration(
            "target_latency",
            wire.target_latency.as_ref(),
            DEFAULT_TARGET_LATENCY,
            (Duration::from_millis(5), Duration::from_secs(60)),
        );
        let block_size = match wire.block_size {
            0 => DEFAULT_BLOCK_SIZE,
            n if (1..=MAX_BLOCK_SIZE).contains(&n) => n.unsigned_abs(),
            n => {
                bad.add("block_size", format!("{n} is not between 1 and {MAX_BLOCK_SIZE}"));
                DEFAULT_BLOCK_SIZE
            }
        };
        let replication_factor =
            bad.replication_factor("topic_creation.replication_factor", creation.replication_factor);
        let syncs = wire.offset_syncs.unwrap_or_default();
        let offset_lag_max = syncs.lag_max.unwrap_or(DEFAULT_OFFSET_LAG_MAX);
        if offset_lag_max < 0 {
            bad.add("offset_syncs.lag_max", format!("{offset_lag_max} is negative"));
        }
        let internal_replication = InternalReplication::parse(wire, &mut bad);
        let internal_topics = bad.internal_topics(wire.naming.as_ref());
        let config_sync = ConfigSync::parse(wire, &mut bad);
        let acl_sync = AclSync::parse(wire, &mut bad);
        bad.latency_objective(wire.latency_objective);
        let start = bad.start(wire.start.as_ref());
        let start_group = bad.start_group(wire);
        let name = |id: &Option<ClusterId>| id.as_ref().map(ToString::to_string).unwrap_or_default();
        let names = (name(&source), name(&target));
        let (from, to) = bad.aliases(wire.naming.as_ref(), &names.0, &names.1);
        bad.done(())?;
        let (source, target) = (source.expect("checked by done()"), target.expect("checked by done()"));
        Ok(Self {
            id: id.expect("checked by done()"),
            policy: Policy::new(naming.expect("checked by done()"), from, to)
                .with_internal_topics(internal_topics),
            take_over: wire.take_over.as_ref().map(|wire| TakeOver::of(wire, &source)),
            source,
            target,
            topics: topics.expect("checked by done()"),
            start,
            start_group,
            guarantee: match wire.guarantee() {
                v1::Guarantee::AtLeastOnce => Guarantee::AtLeastOnce,
                _ => Guarantee::ExactlyOnce,
            },
            groups: groups.expect("checked by done()"),
            sync_group_offsets: wire.sync_group_offsets,
            sync_group_offsets_to_source: wire.sync_group_offsets_to_source,
            heartbeats: heartbeats.enabled.unwrap_or(true),
            heartbeat_interval,
            create_topics: creation.enabled.unwrap_or(true),
            replication_factor,
            config_overrides: creation.config_overrides.into_iter().collect(),
            config_exclude: config_exclude.expect("checked by done()"),
            refresh_topics,
            refresh_groups,
            target_latency,
            placement: wire.placement.clone().into_iter().collect(),
            running: wire.desired_state() != v1::DesiredState::Paused,
            gap_policy: match wire.gap_policy() {
                v1::GapPolicy::Resume => GapPolicy::Resume,
                _ => GapPolicy::Halt,
            },
            offset_syncs: match syncs.location() {
                v1::offset_syncs::Location::Source => OffsetSyncLocation::Source,
                v1::offset_syncs::Location::Disabled => OffsetSyncLocation::Disabled,
                _ => OffsetSyncLocation::Target,
            },
            block_size,
            compression: Compression::of(wire.compression()),
            engine: Engine::of(wire.engine()),
            config_sync,
            acl_sync,
            partitioning: match wire.partitioning() {
                v1::Partitioning::ByKey => Partitioning::ByKey,
                _ => Partitioning::Preserve,
            },
            checkpoints: wire.checkpoints.unwrap_or_default().enabled.unwrap_or(true),
            replicate_heartbeats: heartbeats.replicate.unwrap_or(true),
            heartbeats_carried_by: Some(wire.heartbeats_carried_by.clone()).filter(|id| !id.is_empty()),
            heartbeats_on_source: heartbeats.on_source.unwrap_or(true),
            offset_lag_max,
            internal_replication,
            allow_loops: wire.allow_loops,
            onto_existing: match wire.onto_existing() {
                v1::OntoExisting::Align => OntoExisting::Align,
                v1::OntoExisting::Append => OntoExisting::Append,
                _ => OntoExisting::Refuse,
            },
            allow_foreign_writes: wire.allow_foreign_writes,
            always_transactions: wire.always_transactions,
            source_properties: wire.source_properties.clone().into_iter().collect(),
            target_properties: wire.target_properties.clone().into_iter().collect(),
        })
    }

    /// Whether a partition without progress begins at its first record.
    pub fn begins_at_first(&self) -> bool {
        self.start == Start::Earliest && self.start_group.is_none()
    }

    /// Whether records below the place where the mirror began may have been copied by somebody else, at the same places.
    pub fn continues_another(&self) -> bool {
        self.take_over.is_some() || self.start_group.is_some()
    }

    /// Whether a source topic is copied, ignoring what the target looks like: selected by the filter (or a heartbeats
    /// topic), not internal, not a cycle.
    pub fn selects(&self, topic: &str) -> bool {
        let carries = self.replicate_heartbeats && self.heartbeats_carried_by.is_none();
        (self.topics.matches(topic) || (carries && self.policy.is_heartbeats_topic(topic)))
            && !self.policy.is_internal_topic(topic)
            && !self.policy.is_cycle(topic)
            && !self.policy.is_copied_into_heartbeats(topic)
    }
}

/// Every list of patterns that a mirror has.
fn patterns(wire: &v1::Mirror) -> [&[String]; 5] {
    let of_configs = wire.topic_creation.as_ref().map_or(&[] as &[String], |made| &made.config_exclude);
    [&wire.topics, &wire.topics_exclude, &wire.groups, &wire.groups_exclude, of_configs]
}

fn or_default(given: &[String], default: &[&str]) -> Vec<String> {
    if given.is_empty() { default.iter().map(|s| (*s).to_owned()).collect() } else { given.to_vec() }
}
