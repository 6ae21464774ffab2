//! Connectors as people give them to Kafka Connect itself: the JSON of its REST interface, `connect-standalone` files, Strimzi's
//! `KafkaConnector` resources. One to three of them are a flow.

mod json;

use std::collections::BTreeMap;
use std::path::Path;

pub(crate) use json::connectors as of_json;

use super::audit::{self, Place, judge};
use super::connector::{Connector, Side};
use super::flow::{ClusterView, FlowView};
use super::providers::Providers;
use super::report::{Effect, Entry, Remedy};
use super::views::{Held, Views};
use super::{Props, keys};

const PACKAGE: &str = "org.apache.kafka.connect.mirror.";
const GROUP: &str = "group.id";
const OFFSETS_TOPIC: &str = "offset.storage.topic";
/// Where `connect-standalone` keeps positions.
const OFFSETS_FILE: &str = "offset.storage.file.filename";
/// What a cluster without a usable alias is registered as.
const IDS: [&str; 2] = ["source", "target"];

/// Which of MM2's connectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Source,
    Checkpoint,
    Heartbeat,
}

impl Kind {
    /// Of a class, as Connect finds it: by its whole name, its simple name, or that without `Connector`. `None`: none of MM2's.
    pub(crate) fn of(class: &str) -> Option<Self> {
        let class = class.trim();
        let simple = class.strip_prefix(PACKAGE).unwrap_or(class);
        match simple.strip_suffix("Connector").unwrap_or(simple) {
            "MirrorSource" => Some(Self::Source),
            "MirrorCheckpoint" => Some(Self::Checkpoint),
            "MirrorHeartbeat" => Some(Self::Heartbeat),
            _ => None,
        }
    }
}

/// A connector of a file.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    /// Connect's name for it; empty where the file has none.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) props: Props,
    pub(crate) paused: bool,
    /// What stands before its keys in the report.
    pub(crate) place: String,
    /// Its keys' lines, in a properties file.
    pub(crate) lines: BTreeMap<String, usize>,
    /// How workers refer to a key of it: `${file:<file>:<prefix><key>}`. `None`: they can't.
    pub(crate) secrets: Option<Held>,
}

impl Given {
    fn text(&self, key: &str) -> Option<&str> {
        self.props.get(key).map(|value| value.trim())
    }

    fn entry(&self, effect: Effect, key: &str, why: impl Into<String>) -> Entry {
        Entry {
            line: self.lines.get(key).copied(),
            ..Entry::new(effect, format!("{}{key}", self.place), why)
        }
    }

    /// Its own aliases. MM2 has a default for the target's only.
    fn aliases(&self) -> (Option<String>, String) {
        let alias = |key: &str| self.text(key).map(str::to_owned);
        (alias("source.cluster.alias"), alias("target.cluster.alias").unwrap_or_else(|| IDS[1].to_owned()))
    }
}

/// The flows that the connectors are. `worker`: what is known of the Connect workers' own configuration.
pub(crate) fn views(given: Vec<Given>, worker: &Props, secrets_dir: &Path) -> Views {
    let mut views = Views { connect: true, ..Views::default() };
    let providers = &Providers::of_strimzi(worker, secrets_dir);
    let mut flows: BTreeMap<(String, String), Vec<Given>> = BTreeMap::new();
    for connector in given {
        let (source, target) = connector.aliases();
        if source.is_none() {
            let why = "MirrorMaker needs it: what the source cluster is called";
            views.report.push(
                connector
                    .entry(Effect::Invalid, "source.cluster.alias", why)
                    .or(Remedy::Value(IDS[0].to_owned())),
            );
        }
        judge_all(&connector, &mut views);
        flows.entry((source.unwrap_or_default(), target)).or_default().push(connector);
    }
    for ((source, target), connectors) in flows {
        flow((&source, &target), connectors, worker, providers, &mut views);
    }
    if let Some(file) = worker.get(OFFSETS_FILE) {
        views.standalone = Some(file.clone());
    }
    views
}

fn judge_all(connector: &Given, views: &mut Views) {
    let place = Place::connector(&connector.place);
    for (key, value) in &connector.props {
        let entry = judge(&place, key, value).entry(format!("{}{key}", connector.place));
        views.report.push(Entry { line: connector.lines.get(key).copied(), ..entry });
        if ["topics", "topics.exclude", "groups", "groups.exclude"].contains(&key.as_str()) {
            let doubtful = audit::pattern(&format!("{}{key}", connector.place), value);
            views
                .report
                .extend(doubtful.map(|entry| Entry { line: connector.lines.get(key).copied(), ..entry }));
        }
    }
    views.replace(audit::excluded_of_connector(&connector.place, &connector.props));
}

/// One flow's connectors, two of a kind refused.
fn flow(
    (source, target): (&str, &str),
    connectors: Vec<Given>,
    worker: &Props,
    providers: &Providers,
    views: &mut Views,
) {
    let mut by_kind: BTreeMap<Kind, Given> = BTreeMap::new();
    for connector in connectors {
        if let Some(other) = by_kind.get(&connector.kind) {
            let why = format!(
                "connector {} copies from {source:?} to {target:?}, too: write the topics of both into one, or give them different aliases",
                other.name
            );
            views.report.push(connector.entry(Effect::Invalid, "connector.class", why));
            continue;
        }
        by_kind.insert(connector.kind, connector);
    }
    let Some(first) = by_kind.values().next().cloned() else { return };
    let ids = [(Side::Source, source), (Side::Target, target)].map(|(side, alias)| {
        let id = id(side, alias);
        cluster(side, &id, &first, providers, views);
        id
    });
    for other in by_kind.values() {
        for side in IDS {
            let key = format!("{side}.cluster.bootstrap.servers");
            let differs = other.text(&key) != first.text(&key);
            if differs && other.text(&key).is_some() && first.text(&key).is_some() {
                let why = format!("connector {} has other servers for the same alias", first.name);
                views.report.push(other.entry(Effect::Invalid, &key, why));
            }
        }
    }
    let mut paused = false;
    let mut take = |kind: Kind, views: &mut Views| -> Option<Connector> {
        let given = by_kind.get(&kind)?.clone();
        let flow = format!("{}->{}", ids[0], ids[1]);
        for (key, value) in &given.props {
            views.held.push((flow.clone(), key.clone(), value.clone(), given.secrets.clone()));
        }
        match (given.paused, kind) {
            (true, Kind::Source) => paused = true,
            (true, _) => {
                views.report.push(given.entry(
                    Effect::Different,
                    "state",
                    "what it would write is not written: it doesn't run",
                ));
                return None;
            }
            _ => {}
        }
        let mut props = given.props;
        props.insert("name".into(), given.name);
        props.entry("target.cluster.alias".into()).or_insert_with(|| IDS[1].to_owned());
        Some(Connector::new(props, providers))
    };
    let [s, c, h] = [Kind::Source, Kind::Checkpoint, Kind::Heartbeat].map(|kind| take(kind, views));
    let [source, target] = ids;
    views.flows.push(FlowView {
        source,
        target,
        worker: worker.clone(),
        source_connector: s,
        checkpoint_connector: c,
        heartbeat_connector: h,
        paused,
    });
}

/// The cluster's id: its alias, where that can be one.
fn id(side: Side, alias: &str) -> String {
    let default = if side == Side::Source { IDS[0] } else { IDS[1] };
    if alias.is_empty() { default.to_owned() } else { alias.to_owned() }
}

/// A cluster as its flow's connector sees it. The same one of several flows is one.
fn cluster(side: Side, id: &str, connector: &Given, providers: &Providers, views: &mut Views) {
    let prefix = if side == Side::Source { "source.cluster." } else { "target.cluster." };
    let own = connector.props.iter().filter_map(|(key, value)| Some((key.strip_prefix(prefix)?, value)));
    let translated = own.filter(|(key, _)| keys::is_client_key(key)).map(|(key, value)| {
        (key.to_owned(), providers.translate(value).map_err(|what| (format!("{prefix}{key}"), what, value)))
    });
    let mut props = Props::new();
    for (key, ours) in translated {
        let ours = ours.unwrap_or_else(|(key, what, value)| {
            views.report.push(connector.entry(Effect::Invalid, &key, what));
            value.clone()
        });
        props.insert(key, ours);
    }
    let servers = format!("{prefix}bootstrap.servers");
    if !props.contains_key("bootstrap.servers") {
        let why = match side {
            Side::Source => "MirrorMaker needs it",
            Side::Target => {
                "MirrorMaker needs it: the servers of the cluster that Connect's workers belong to"
            }
        };
        views.report.push(connector.entry(Effect::Invalid, &servers, why));
    }
    for (key, value) in &props {
        views.held.push((
            id.to_owned(),
            key.clone(),
            value.clone(),
            connector.secrets.clone().map(|held| held.below(prefix)),
        ));
    }
    let view = ClusterView {
        alias: id.to_owned(),
        admin: props.clone(),
        consumer: props.clone(),
        producer: props.clone(),
        settings: Props::new(),
    };
    match views.clusters.iter().find(|known| known.alias == id) {
        None => views.clusters.push(view),
        Some(known) if known.admin.get("bootstrap.servers") == view.admin.get("bootstrap.servers") => {}
        Some(_) => {
            let why = format!("two clusters would be called {id}: give one of them another alias");
            views.report.push(connector.entry(Effect::Invalid, &servers, why));
        }
    }
}

/// What a take-over needs and no connector says: where Connect keeps positions, and its group.
pub(super) fn place_of_positions(
    worker: &mut Props,
    group: Option<&str>,
    offsets_topic: Option<&str>,
) -> Vec<&'static str> {
    for (key, given) in [(GROUP, group), (OFFSETS_TOPIC, offsets_topic)] {
        if let Some(given) = given {
            worker.insert(key.to_owned(), given.to_owned());
        }
    }
    [OFFSETS_TOPIC, GROUP].into_iter().filter(|key| !worker.contains_key(*key)).collect()
}
