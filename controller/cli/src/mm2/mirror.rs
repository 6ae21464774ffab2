//! One flow's connectors as a mirror.

mod naming;

use std::collections::HashMap;

use twinlog_proto::v1;

use super::Props;
use super::connector::Role;
use super::connector::{Connector, Invalid, Side};
use super::flow::FlowView;
use super::keys::{self, ClientFate};

pub(super) use naming::{Policy, said_once};

/// Excludes nothing; an empty list would mean the defaults.
const NOTHING: &str = r"[^\s\S]";
/// What the API takes, seconds.
const REFRESH_SECONDS: (i64, i64) = (1, 3600);
const SYNC_SECONDS: (i64, i64) = (1, 24 * 3600);
/// Refresh that is switched off still happens, this rarely.
const RAREST_REFRESH: i64 = REFRESH_SECONDS.1;
/// MM2's defaults.
const CHECKPOINT_SECONDS: i64 = 60;
const REPLICATION_FACTOR: i64 = 2;
const INTERNAL_REPLICATION_FACTOR: i64 = 3;

/// What a flow's mirror is, and what of its values can't be used.
pub(super) struct Made {
    pub(super) mirror: v1::Mirror,
    pub(super) invalid: Vec<Invalid>,
    /// Values that were changed to what the API takes, and what else is worth saying.
    pub(super) notes: Vec<String>,
}

/// Which connectors do anything, by MM2's rules.
struct Active<'a> {
    source: Option<&'a Connector>,
    checkpoint: Option<&'a Connector>,
    heartbeat: Option<&'a Connector>,
}

/// Reads values and goes on after one that can't be used.
#[derive(Default)]
struct Reader {
    invalid: Vec<Invalid>,
    notes: Vec<String>,
}

impl Reader {
    fn take<T>(&mut self, result: Result<T, Invalid>) -> Option<T> {
        result.map_err(|e| self.invalid.push(e)).ok()
    }

    fn flag(&mut self, connector: &Connector, key: &str, default: bool) -> bool {
        self.take(connector.flag(key, default)).unwrap_or(default)
    }

    /// Whether a job runs. As in MM2, an interval below zero switches it off.
    fn runs(&mut self, connector: &Connector, enabled: &str, interval: &str, default: bool) -> bool {
        let negative = self.take(connector.number(interval)).flatten().is_some_and(|given| given < 0);
        self.flag(connector, enabled, default) && !negative
    }

    fn seconds(
        &mut self,
        connector: &Connector,
        key: &str,
        (min, max): (i64, i64),
    ) -> Option<prost_types::Duration> {
        // Below 0 it doesn't run at all.
        let given = self.take(connector.number(key)).flatten().filter(|given| *given >= 0)?;
        let seconds = given.clamp(min, max);
        if seconds != given {
            self.notes.push(format!("{key}={given} becomes {seconds} s: {min} s to {max} s are possible"));
        }
        Some(prost_types::Duration { seconds, nanos: 0 })
    }

    fn replication(&mut self, connector: Option<&Connector>, key: &str, default: i64) -> i32 {
        let given =
            connector.and_then(|connector| self.take(connector.number(key)).flatten()).unwrap_or(default);
        match i32::try_from(given) {
            Ok(-1) => -1,
            Ok(n @ 1..=32767) => n,
            _ => {
                let what = format!("{given} is neither positive nor -1 (the broker's default)");
                self.invalid.push(Invalid { key: key.to_owned(), what });
                -1
            }
        }
    }

    fn patterns(&mut self, connector: &Connector, key: &str) -> Option<Vec<String>> {
        self.take(connector.patterns(key)).flatten()
    }

    /// An exclusion; not given means the default, which an empty list means here.
    fn exclusion(&mut self, connector: &Connector, key: &str) -> Vec<String> {
        match self.patterns(connector, key) {
            None => Vec::new(),
            Some(given) if given.is_empty() => vec![NOTHING.to_owned()],
            Some(given) => given,
        }
    }
}

/// The mirror of a flow, without name, clusters and client properties.
pub(super) fn make(flow: &FlowView) -> Made {
    let mut reader = Reader::default();
    let active = active(flow, &mut reader);
    let any = flow.connectors().next();
    let mut mirror = v1::Mirror {
        display_name: flow.name(),
        guarantee: guarantee(flow).into(),
        desired_state: if flow.paused { v1::DesiredState::Paused } else { v1::DesiredState::Running }.into(),
        naming: any.map(|connector| naming::read(flow, connector, &mut reader)),
        heartbeats: Some(heartbeats(&active, &mut reader)),
        checkpoints: Some(v1::Checkpoints {
            enabled: Some(active.checkpoint.is_some()),
            replication_factor: reader.replication(
                active.checkpoint,
                "checkpoints.topic.replication.factor",
                INTERNAL_REPLICATION_FACTOR,
            ),
        }),
        // MM2's idle connectors sync nothing.
        config_sync: Some(v1::ConfigSync { enabled: Some(false), ..v1::ConfigSync::default() }),
        acl_sync: Some(v1::AclSync { enabled: Some(false), ..v1::AclSync::default() }),
        offset_syncs: Some(v1::OffsetSyncs {
            location: v1::offset_syncs::Location::Disabled.into(),
            ..v1::OffsetSyncs::default()
        }),
        ..v1::Mirror::default()
    };
    if let Some(connector) = active.source {
        source(&mut mirror, connector, &mut reader);
        producer(&mut mirror, flow, connector, &mut reader);
    }
    if let Some(connector) = active.checkpoint {
        checkpoint(&mut mirror, connector, &mut reader);
    }
    refresh(&mut mirror, &active, &mut reader);
    let mut invalid = reader.invalid;
    invalid.sort_by(|a, b| a.key.cmp(&b.key));
    invalid.dedup();
    Made { mirror, invalid, notes: reader.notes }
}

fn active<'a>(flow: &'a FlowView, reader: &mut Reader) -> Active<'a> {
    let mut enabled = |connector: &'a Option<Connector>, key: &str| {
        connector.as_ref().filter(|connector| reader.flag(connector, key, true))
    };
    let source = enabled(&flow.source_connector, "enabled");
    let checkpoint = enabled(&flow.checkpoint_connector, "enabled");
    let heartbeat = flow.heartbeat_connector.as_ref().filter(|connector| {
        reader.runs(connector, "emit.heartbeats.enabled", "emit.heartbeats.interval.seconds", true)
    });
    // MM2 doesn't create a checkpoint connector that could emit nothing.
    let checkpoint = checkpoint.filter(|connector| {
        let (bad, without): (Vec<_>, Vec<_>) =
            connector.refused_as_checkpoint().into_iter().partition(|found| !found.key.starts_with("emit."));
        reader.invalid.extend(bad);
        let said = without
            .iter()
            .map(|found| format!("no checkpoints and no group offsets: {} is {}", found.key, found.what));
        reader.notes.extend(said);
        const EMIT: [&str; 2] = ["emit.checkpoints.enabled", "emit.checkpoints.interval.seconds"];
        let runs = reader.runs(connector, EMIT[0], EMIT[1], true);
        if !runs && without.is_empty() {
            reader.notes.push(format!("no checkpoints and no group offsets: {} is below 0", EMIT[1]));
        }
        runs && without.is_empty()
    });
    if let Some(source) = source {
        // exactly.once.support=required is met here whatever the isolation level.
        let refused =
            source.refused_as_source().into_iter().filter(|found| found.key != "exactly.once.support");
        reader.invalid.extend(refused);
    }
    Active { source, checkpoint, heartbeat }
}

/// `exactly_once` unless the file says no: a `read_committed` reader of the target sees what it would see of MM2, and no duplicates.
fn guarantee(flow: &FlowView) -> v1::Guarantee {
    match flow.worker.get("exactly.once.source.support") {
        Some(given) if given.trim().eq_ignore_ascii_case("disabled") => v1::Guarantee::AtLeastOnce,
        _ => v1::Guarantee::ExactlyOnce,
    }
}

fn heartbeats(active: &Active<'_>, reader: &mut Reader) -> v1::Heartbeats {
    const HOUR: i64 = 3600;
    v1::Heartbeats {
        enabled: Some(active.heartbeat.is_some()),
        interval: active
            .heartbeat
            .and_then(|c| reader.seconds(c, "emit.heartbeats.interval.seconds", (1, HOUR))),
        replicate: Some(
            active.source.is_some_and(|c| reader.flag(c, "heartbeats.replication.enabled", true)),
        ),
        // The flow in the other direction does it.
        on_source: Some(false),
        replication_factor: reader.replication(
            active.heartbeat,
            "heartbeats.topic.replication.factor",
            INTERNAL_REPLICATION_FACTOR,
        ),
    }
}

/// What the source connector does.
fn source(mirror: &mut v1::Mirror, connector: &Connector, reader: &mut Reader) {
    mirror.topics = reader.patterns(connector, "topics").unwrap_or_else(|| vec![".*".to_owned()]);
    mirror.topics_exclude = reader.exclusion(connector, "topics.exclude");
    mirror.topic_creation = Some(v1::TopicCreation {
        enabled: Some(true),
        replication_factor: reader.replication(Some(connector), "replication.factor", REPLICATION_FACTOR),
        config_overrides: HashMap::new(),
        config_exclude: reader.exclusion(connector, "config.properties.exclude"),
    });
    let from_source =
        reader.take(connector.text("use.defaults.from")).flatten().is_some_and(|from| from == "source");
    let defaults =
        if from_source { v1::config_sync::Defaults::Source } else { v1::config_sync::Defaults::Target };
    mirror.config_sync = Some(v1::ConfigSync {
        enabled: Some(reader.runs(
            connector,
            "sync.topic.configs.enabled",
            "sync.topic.configs.interval.seconds",
            true,
        )),
        interval: reader.seconds(connector, "sync.topic.configs.interval.seconds", SYNC_SECONDS),
        defaults_from: defaults.into(),
    });
    mirror.acl_sync = Some(v1::AclSync {
        enabled: Some(reader.runs(
            connector,
            "sync.topic.acls.enabled",
            "sync.topic.acls.interval.seconds",
            true,
        )),
        interval: reader.seconds(connector, "sync.topic.acls.interval.seconds", SYNC_SECONDS),
        remove: false,
    });
    if reader.flag(connector, "emit.offset-syncs.enabled", true) {
        let location = match reader.take(connector.offset_syncs_side()) {
            Some(Side::Target) => v1::offset_syncs::Location::Target,
            _ => v1::offset_syncs::Location::Source,
        };
        mirror.offset_syncs = Some(v1::OffsetSyncs {
            location: location.into(),
            replication_factor: reader.replication(
                Some(connector),
                "offset-syncs.topic.replication.factor",
                INTERNAL_REPLICATION_FACTOR,
            ),
            // Below 0 is as 0 in MM2: a sync for every record.
            lag_max: reader.take(connector.number("offset.lag.max")).flatten().map(|lag| lag.max(0)),
        });
    }
    mirror.start = start(connector);
}

fn start(connector: &Connector) -> Option<v1::StartPosition> {
    use v1::start_position::Position;
    let reset = connector.given(Side::Source, Role::Consumer).remove("auto.offset.reset");
    let position = match reset.as_deref().map(str::trim) {
        Some("latest") => Position::Latest(true),
        _ => Position::Earliest(true),
    };
    Some(v1::StartPosition { position: Some(position), group: String::new() })
}

/// What the framework's producer of records says about the mirror itself.
fn producer(mirror: &mut v1::Mirror, flow: &FlowView, connector: &Connector, reader: &mut Reader) {
    let codec = connector
        .props()
        .get("producer.override.compression.type")
        .or_else(|| flow.worker.get("producer.compression.type"));
    let Some(codec) = codec.map(|codec| codec.trim()).filter(|codec| !codec.is_empty()) else { return };
    match v1::Compression::from_name(&codec.to_ascii_uppercase()) {
        Some(codec) => mirror.set_compression(codec),
        None => {
            let what = format!("{codec:?} is none of none, gzip, snappy, lz4, zstd");
            reader.invalid.push(Invalid { key: "producer.compression.type".to_owned(), what });
        }
    }
}

/// What the checkpoint connector does.
fn checkpoint(mirror: &mut v1::Mirror, connector: &Connector, reader: &mut Reader) {
    mirror.groups = reader.patterns(connector, "groups").unwrap_or_else(|| vec![".*".to_owned()]);
    mirror.groups_exclude = reader.exclusion(connector, "groups.exclude");
    mirror.sync_group_offsets =
        reader.runs(connector, "sync.group.offsets.enabled", "sync.group.offsets.interval.seconds", false);
    // With offset syncs on the target nobody needs them on the source.
    let here = mirror.offset_syncs.map(|syncs| syncs.location());
    if let Some(side) = reader.take(connector.offset_syncs_side())
        && here.is_some_and(|here| here != v1::offset_syncs::Location::Disabled)
        && (side == Side::Target) != (here == Some(v1::offset_syncs::Location::Target))
    {
        reader.notes.push("offset-syncs.topic.location differs between the source and the checkpoint connector: the source connector's counts".to_owned());
    }
}

fn refresh(mirror: &mut v1::Mirror, active: &Active<'_>, reader: &mut Reader) {
    const TOPICS: [&str; 2] = ["refresh.topics.enabled", "refresh.topics.interval.seconds"];
    let topics = active.source.and_then(|connector| {
        if reader.runs(connector, TOPICS[0], TOPICS[1], true) {
            return reader.seconds(connector, TOPICS[1], REFRESH_SECONDS);
        }
        reader
            .notes
            .push(format!("{}=false, or {} below 0, becomes a refresh once an hour", TOPICS[0], TOPICS[1]));
        Some(prost_types::Duration { seconds: RAREST_REFRESH, nanos: 0 })
    });
    let groups = active.checkpoint.and_then(|connector| groups(connector, mirror.sync_group_offsets, reader));
    if topics.is_some() || groups.is_some() {
        mirror.refresh = Some(v1::RefreshIntervals { topics, groups });
    }
}

/// The shortest interval of the three jobs that are one here; what the file leaves out of them is MM2's. `None`: it has none.
fn groups(connector: &Connector, sync: bool, reader: &mut Reader) -> Option<prost_types::Duration> {
    const REFRESH: [&str; 2] = ["refresh.groups.enabled", "refresh.groups.interval.seconds"];
    let mut given =
        |key: &str| reader.seconds(connector, key, REFRESH_SECONDS).map(|duration| duration.seconds);
    let emit = given("emit.checkpoints.interval.seconds");
    let sync = sync.then(|| given("sync.group.offsets.interval.seconds"));
    let refresh = match reader.runs(connector, REFRESH[0], REFRESH[1], true) {
        true => reader.seconds(connector, REFRESH[1], REFRESH_SECONDS).map(|duration| duration.seconds),
        false => {
            let note =
                format!("{}=false, or {} below 0: new groups are found all the same", REFRESH[0], REFRESH[1]);
            reader.notes.push(note);
            None
        }
    };
    // The file says nothing of them: Twinlog's own.
    emit.or(refresh).or(sync.flatten())?;
    let sync = sync.map(|given| given.unwrap_or(CHECKPOINT_SECONDS));
    let seconds = [refresh, Some(emit.unwrap_or(CHECKPOINT_SECONDS)), sync].into_iter().flatten().min()?;
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// Client properties as Twinlog's workers take them, from one role's: under the role's prefix, and only what has an effect.
pub(super) fn passed(role: Role, given: &Props) -> Props {
    let mut passed = Props::new();
    for (key, value) in given {
        // Java's -1 leaves the size to the system, which is what no value does here.
        let system_buffer = key.ends_with(".buffer.bytes") && value.trim() == "-1";
        if keys::is_client_key(key)
            || keys::client_fate(role.as_str(), key) != ClientFate::Passed
            || system_buffer
        {
            continue;
        }
        let key = match role {
            Role::Admin => key.clone(),
            role => format!("{}.{key}", role.as_str()),
        };
        passed.insert(key, value.clone());
    }
    passed
}
