//! The clusters and mirrors of a file, and what it says about every key.

mod secrets;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use twinlog_proto::id::{ClusterId, MirrorId, stable_hash};
use twinlog_proto::{model, names, secret, v1};

use crate::credentials;

use super::connect;
use super::connector::Role;
use super::connector::Side;
use super::dedicated::Dedicated;
use super::flow::{ClusterView, FlowView};
use super::report::{Effect, Entry, Remedy};
use super::views::Held;
use super::views::Views;
use super::{Props, audit, keys, mirror};

/// Label of mirrors that come from a file; its value is `LABEL_VALUE`.
pub(crate) const LABEL: &str = "imported-from";
pub(crate) const LABEL_VALUE: &str = "mirrormaker2";

/// What the caller wants beyond the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// Only flows into these clusters; empty means all.
    pub(crate) targets: Vec<String>,
    /// Where workers find the files, in their order: what their literal secrets become references to. Empty: they are refused.
    pub(crate) secrets_files: Vec<PathBuf>,
    /// Continue where a MirrorMaker 2 stopped.
    pub(crate) take_over: bool,
    /// The group of the Connect workers that are taken over from, and the topic of their positions, where the files don't say.
    pub(crate) take_over_group: Option<String>,
    pub(crate) take_over_offsets_topic: Option<String>,
    pub(crate) allow_loops: bool,
    /// The internal-topic rule of MirrorMaker before Kafka 4.0.
    pub(crate) before_kip_1074: bool,
}

/// What an import makes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    pub(crate) clusters: Vec<v1::Cluster>,
    pub(crate) mirrors: Vec<v1::Mirror>,
    /// Every key of the file, the gravest first.
    pub(crate) report: Vec<Entry>,
    /// What is worth saying without a key.
    pub(crate) notes: Vec<String>,
}

impl Plan {
    /// Entries with this effect.
    pub(crate) fn entries(&self, effect: Effect) -> impl Iterator<Item = &Entry> {
        self.report.iter().filter(move |entry| entry.effect == effect)
    }
}

pub(super) fn of_dedicated(file: &Dedicated, options: &Options) -> Plan {
    let (clusters, flows) = file.views();
    let mut making = Making::new(options, Some(file));
    making.plan.report = audit::dedicated(file);
    for alias in options.targets.iter().filter(|alias| !file.clusters().contains(*alias)) {
        making.invalid("--clusters", format!("{alias} is none of the file's clusters"));
    }
    making.make(&clusters, flows);
    if making.plan.mirrors.is_empty() {
        making.invalid(
            "clusters",
            "no flow is left: none is enabled, or none has a target that --clusters names".to_owned(),
        );
    }
    let mirrors = &making.plan.mirrors;
    if !mirrors.is_empty()
        && mirrors.iter().all(|mirror| mirror.topics.is_empty() && mirror.groups.is_empty())
    {
        let note = "no flow is enabled, so nothing but heartbeats is written: A->B.enabled = true enables the one from A to B";
        making.plan.notes.insert(0, note.to_owned());
    }
    making.done()
}

pub(super) fn of_views(views: &Views, options: &Options) -> Plan {
    let mut making = Making::new(options, None);
    making.held = &views.held;
    making.plan.report = views.report.clone();
    making.plan.notes = views.notes.clone();
    let mut flows = views.flows.clone();
    if views.connect {
        making.positions(&mut flows, views.standalone.as_deref());
    }
    making.make(&views.clusters, flows);
    making.done()
}

/// What has to stand still before a take-over.
const WHAT_TO_STOP: &str = "Stop or delete the connectors there first (PUT /connectors/NAME/stop). Nothing is copied while the group has members: where the Connect cluster goes on with other connectors, give --take-over-group a name that no group has";

/// A plan while it is made.
struct Making<'a> {
    options: &'a Options,
    /// A properties file, in which keys have lines.
    file: Option<&'a Dedicated>,
    /// What other files hold, see `Views`.
    held: &'a [(String, String, String, Option<Held>)],
    plan: Plan,
    /// Alias to cluster id.
    ids: BTreeMap<String, ClusterId>,
}

impl<'a> Making<'a> {
    fn new(options: &'a Options, file: Option<&'a Dedicated>) -> Self {
        Self { options, file, held: &[], plan: Plan::default(), ids: BTreeMap::new() }
    }

    fn invalid(&mut self, key: &str, what: String) {
        let line = self.file.and_then(|file| file.line(key));
        self.plan.report.push(Entry { line, ..Entry::new(Effect::Invalid, key, what) });
    }

    /// What is wrong with a key of a flow or a cluster: under the name that it has in the file.
    fn invalid_in(&mut self, place: &str, key: &str, what: String) {
        let spelled = self.file.and_then(|file| {
            // With the flow's or the cluster's name before it, with that of one of the flow's clusters, or for all of them.
            let ends = place.split("->").map(|alias| format!("{alias}.{key}"));
            let own = [
                format!("{place}.{}", key.replace("producer.", "producer.override.")),
                format!("{place}.{key}"),
            ];
            let names = own.into_iter().chain([key.to_owned()]).chain(ends);
            names.into_iter().find(|name| file.raw().contains_key(name))
        });
        let spelled = spelled.unwrap_or_else(|| match self.file {
            Some(_) => format!("{place}.{key}"),
            None => format!("{place}: {key}"),
        });
        let what = match self.file.and_then(|file| file.raw().get(&spelled)) {
            Some(value) => format!("{what}{}", audit::comment(value)),
            None => what,
        };
        self.invalid(&spelled, what);
    }

    /// Where a Connect cluster keeps positions no connector says. Those that the file or the caller names are taken over.
    fn positions(&mut self, flows: &mut [FlowView], standalone: Option<&str>) {
        let (group, topic) = (&self.options.take_over_group, &self.options.take_over_offsets_topic);
        let mut missing = BTreeSet::new();
        for flow in flows.iter_mut() {
            missing.extend(connect::place_of_positions(&mut flow.worker, group.as_deref(), topic.as_deref()));
        }
        if !self.options.take_over {
            return;
        }
        const ANEW: &str = "--no-take-over";
        if let (Some(file), true) = (standalone, topic.is_none()) {
            let why = format!(
                "connect-standalone keeps positions in its own file {file}, which can't be taken over: topics are copied from their start, also where they have been copied before"
            );
            self.plan.report.push(
                Entry::new(Effect::Invalid, "offset.storage.file.filename", why)
                    .or(Remedy::Flag(ANEW.to_owned())),
            );
            return;
        }
        if missing.is_empty() {
            self.plan.notes.push(WHAT_TO_STOP.to_owned());
            return;
        }
        let flags = missing.iter().map(|key| match *key {
            "group.id" => "--take-over-group GROUP",
            _ => "--take-over-offsets-topic TOPIC",
        });
        let flags: Vec<&str> = flags.collect();
        let missing: Vec<&str> = missing.into_iter().collect();
        let why = format!(
            "to continue where these connectors stopped, the {} of their Connect cluster must be known, as connect-distributed.properties has it. {WHAT_TO_STOP}",
            missing.join(" and ")
        );
        let entry = Entry::new(Effect::Invalid, missing.join(", "), why);
        self.plan.report.push(entry.or(Remedy::Flag(flags.join(" "))).or(Remedy::Flag(ANEW.to_owned())));
    }

    fn make(&mut self, clusters: &[ClusterView], flows: Vec<FlowView>) {
        let targets = &self.options.targets;
        let flows: Vec<FlowView> =
            flows.into_iter().filter(|flow| targets.is_empty() || targets.contains(&flow.target)).collect();
        let used: BTreeSet<&str> =
            flows.iter().flat_map(|f| [f.source.as_str(), f.target.as_str()]).collect();
        for cluster in clusters.iter().filter(|cluster| used.contains(cluster.alias.as_str())) {
            self.cluster(cluster, &flows);
        }
        let views: BTreeMap<&str, &ClusterView> = clusters.iter().map(|c| (c.alias.as_str(), c)).collect();
        for flow in &flows {
            if let (Some(source), Some(target)) =
                (views.get(flow.source.as_str()), views.get(flow.target.as_str()))
            {
                self.flow(flow, source, target);
            }
        }
        self.refuse_same_ids();
    }

    fn done(mut self) -> Plan {
        if !self.plan.mirrors.is_empty() {
            self.standing_notes();
        }
        self.plan.report.sort();
        self.plan.report.dedup();
        self.plan
    }

    /// Where Twinlog's defaults are not MM2's, whatever the file says.
    fn standing_notes(&mut self) {
        let mirrors = &self.plan.mirrors;
        let mut notes = vec![
            "records are read committed, and exactly_once unless the file has exactly.once.source.support=disabled (MM2: at least once, and aborted records too)",
            "topics are looked for every 3 s, groups every second, configs and ACLs every 60 s where the file gives no interval (MM2: 600 s, and 60 s for checkpoints)",
            "replication factors are MM2's where the file gives none: 2 for topics, 3 for MM2's own; -1 takes the broker's default",
        ];
        if mirrors
            .iter()
            .any(|mirror| !mirror.topics.is_empty() && mirror.compression() == v1::Compression::Unspecified)
        {
            notes.push("batches are compressed with lz4 where the file gives no producer.compression.type (MM2: none)");
        }
        notes.push(match self.options.take_over {
            true => "topics that a MirrorMaker 2 of the same flow has copied continue exactly where it stopped, and wait while it runs (--no-take-over begins anew)",
            false => "topics that a MirrorMaker 2 has copied already are copied again from the start: leave out --no-take-over to continue at its position",
        });
        self.plan.notes.extend(notes.into_iter().map(str::to_owned));
    }

    fn cluster(&mut self, view: &ClusterView, flows: &[FlowView]) {
        let Some(id) = self.cluster_id(&view.alias, flows) else { return };
        let servers = view.admin.get("bootstrap.servers").cloned().unwrap_or_default();
        let servers = match secret::resolve(&servers) {
            Ok(servers) => super::list(&servers),
            Err(what) => return self.invalid(&format!("{}.bootstrap.servers", view.alias), what.to_string()),
        };
        let bare =
            v1::Cluster { name: id.name(), bootstrap_servers: servers.clone(), ..v1::Cluster::default() };
        let parsed = model::Cluster::parse(&bare).err().unwrap_or_default().into_iter().map(|(_, what)| what);
        let named: Vec<String> = servers.iter().filter_map(|server| names::server(server).err()).collect();
        let wrong = if named.is_empty() { parsed.collect() } else { named };
        for what in wrong {
            self.invalid(&format!("{}.bootstrap.servers", view.alias), what);
        }
        let properties = cluster_properties(view);
        for (key, what) in credentials::wrong(&properties) {
            self.invalid_in(&view.alias, &key, what);
        }
        let properties = self.without_secrets(&view.alias, properties);
        self.ids.insert(view.alias.clone(), id.clone());
        self.plan.clusters.push(v1::Cluster {
            name: id.name(),
            bootstrap_servers: servers,
            properties: properties.into_iter().collect(),
            ..v1::Cluster::default()
        });
    }

    /// The alias, which names topics. One that can't be an id is only good for a target whose name stands in no topic.
    fn cluster_id(&mut self, alias: &str, flows: &[FlowView]) -> Option<ClusterId> {
        if let Ok(id) = ClusterId::new(alias) {
            return Some(id);
        }
        let named = flows.iter().any(|flow| {
            let made = mirror::make(flow).mirror;
            let on_source =
                made.offset_syncs.is_some_and(|s| s.location() == v1::offset_syncs::Location::Source);
            flow.source == alias || (flow.target == alias && on_source)
        });
        if named {
            let what = format!(
                "the alias {alias:?} can't stand in topic names, and these flows need it there: use 1-64 characters of a-z, A-Z, 0-9, '.', '_' and '-'{}",
                if alias.contains(['"', '\'']) { " (quotes are part of the value)" } else { "" }
            );
            self.invalid("clusters", what);
            return None;
        }
        let kept: String =
            alias.chars().filter(|c| c.is_ascii_alphanumeric() || "_-".contains(*c)).take(40).collect();
        let id = format!("{kept}-{:08x}", stable_hash(alias.as_bytes()) as u32);
        self.plan.notes.push(format!("the alias {alias:?} can't be an id: the cluster is registered as {id}, and no topic is named after it"));
        ClusterId::new(id).ok()
    }

    fn flow(&mut self, flow: &FlowView, source: &ClusterView, target: &ClusterView) {
        let made = mirror::make(flow);
        let name = flow.name();
        for found in made.invalid {
            self.invalid_in(&name, &found.key, found.what);
        }
        let once = mirror::said_once(flow);
        self.plan.notes.extend(made.notes.into_iter().chain(once).map(|note| format!("{name}: {note}")));
        let (Some(from), Some(to)) =
            (self.ids.get(&flow.source).cloned(), self.ids.get(&flow.target).cloned())
        else {
            return;
        };
        let Some(id) = self.mirror_id(&from, &to) else { return };
        let (of_source, of_target) = overlays(flow, source, target);
        for (cluster, overlay) in [(source, &of_source), (target, &of_target)] {
            let mut all = cluster_properties(cluster);
            let known = credentials::wrong(&all);
            all.extend(overlay.clone());
            for (key, what) in credentials::wrong(&all).into_iter().filter(|found| !known.contains(found)) {
                self.invalid_in(&name, &key, what);
            }
        }
        let mut mirror = v1::Mirror {
            name: id.name(),
            source: from.name(),
            target: to.name(),
            source_properties: self.without_secrets(&name, of_source).into_iter().collect(),
            target_properties: self.without_secrets(&name, of_target).into_iter().collect(),
            labels: [(LABEL.to_owned(), LABEL_VALUE.to_owned())].into(),
            allow_loops: self.options.allow_loops,
            ..made.mirror
        };
        if self.options.before_kip_1074 {
            let naming = mirror.naming.get_or_insert_default();
            naming.internal_topics = v1::naming::InternalTopics::AnyInternalSuffix.into();
        }
        if self.options.take_over && !mirror.topics.is_empty() {
            mirror.take_over = Some(take_over(flow));
        }
        // What could not be read stands at its default here, and is named once.
        for (field, what) in model::Mirror::parse(&mirror).err().unwrap_or_default() {
            self.invalid_in(&name, key_of(&field), what);
        }
        self.plan.mirrors.push(mirror);
    }

    /// `<source>-<target>`, in what mirror ids may hold.
    fn mirror_id(&mut self, source: &ClusterId, target: &ClusterId) -> Option<MirrorId> {
        let text = format!("{source}-{target}").to_lowercase().replace('.', "_");
        let id = match text.len() {
            0..=64 => text,
            _ => format!("{}-{:016x}", &text[..47], stable_hash(text.as_bytes())),
        };
        let made = MirrorId::new(id);
        if let Err(e) = &made {
            self.invalid("clusters", e.to_string());
        }
        made.ok()
    }

    /// Two flows with one mirror id would be one mirror.
    fn refuse_same_ids(&mut self) {
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        for mirror in self.plan.mirrors.clone() {
            if let Some(other) = seen.insert(mirror.name.clone(), mirror.display_name.clone()) {
                let what = format!(
                    "{other} and {} would both be {}: rename a cluster",
                    mirror.display_name, mirror.name
                );
                self.invalid("clusters", what);
            }
        }
    }
}

/// The key of MirrorMaker's that a mirror's field is made of.
fn key_of(field: &str) -> &str {
    const KEYS: &[(&str, &str)] = &[
        ("topics_exclude", "topics.exclude"),
        ("topics", "topics"),
        ("groups_exclude", "groups.exclude"),
        ("groups", "groups"),
        ("topic_creation.config_exclude", "config.properties.exclude"),
        ("naming.separator", "replication.policy.separator"),
    ];
    KEYS.iter().find(|(prefix, _)| field.starts_with(prefix)).map_or(field, |(_, key)| key)
}

/// What all clients of the cluster get, as Twinlog's workers take it.
fn cluster_properties(view: &ClusterView) -> Props {
    let mut properties: Props = view
        .admin
        .iter()
        .filter(|(key, _)| *key != "bootstrap.servers" && keys::is_taken_security(key))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    for (role, secured) in [(Role::Consumer, &view.consumer), (Role::Producer, &view.producer)] {
        let own = secured.iter().filter(|(key, _)| keys::is_taken_security(key));
        let own = own.filter(|(key, value)| view.admin.get(*key) != Some(*value));
        properties.extend(own.map(|(key, value)| (format!("{}.{key}", role.as_str()), value.clone())));
    }
    for role in Role::ALL {
        let prefix = format!("{}.", role.as_str());
        let own =
            view.settings.iter().filter_map(|(k, v)| Some((k.strip_prefix(&prefix)?.to_owned(), v.clone())));
        properties.extend(mirror::passed(role, &own.collect()));
    }
    properties
}

/// What this flow says of its clients over what their clusters say.
fn overlays(flow: &FlowView, source: &ClusterView, target: &ClusterView) -> (Props, Props) {
    let Some(connector) = &flow.source_connector else { return (Props::new(), Props::new()) };
    let (of_source, of_target) = (cluster_properties(source), cluster_properties(target));
    let differs = |base: &Props, given: Props| -> Props {
        given.into_iter().filter(|(key, value)| base.get(key) != Some(value)).collect()
    };
    let consumer = connector.given(Side::Source, Role::Consumer);
    let mut source_own = security(connector.given(Side::Source, Role::Admin));
    source_own.extend(role_security(Role::Consumer, &source_own, &consumer, &of_source));
    source_own.extend(mirror::passed(Role::Consumer, &consumer));
    source_own.extend(mirror::passed(Role::Admin, &connector.given(Side::Source, Role::Admin)));
    let mut producer: Props = Props::new();
    for (key, value) in &flow.worker {
        if let Some(key) = key.strip_prefix("producer.") {
            producer.insert(key.to_owned(), value.clone());
        }
    }
    for (key, value) in connector.props() {
        if let Some(key) = key.strip_prefix("producer.override.") {
            producer.insert(key.to_owned(), value.clone());
        }
    }
    let mut target_own = security(connector.given(Side::Target, Role::Admin));
    target_own.extend(role_security(Role::Producer, &target_own, &producer, &of_target));
    target_own.extend(mirror::passed(Role::Producer, &producer));
    target_own.extend(mirror::passed(Role::Admin, &connector.given(Side::Target, Role::Admin)));
    (differs(&of_source, source_own), differs(&of_target, target_own))
}

fn security(mut props: Props) -> Props {
    props.retain(|key, _| keys::is_taken_security(key) && key != "bootstrap.servers");
    props
}

/// What a role's security settings have over the others', in the worker's spelling.
fn role_security(role: Role, shared: &Props, own: &Props, cluster: &Props) -> Props {
    let own = own.iter().filter(|(key, _)| keys::is_taken_security(key) && *key != "bootstrap.servers");
    let differs = own.filter(|(key, value)| {
        let prefixed = format!("{}.{key}", role.as_str());
        let inherited = cluster.get(&prefixed).or_else(|| shared.get(*key));
        inherited != Some(*value)
    });
    differs.map(|(key, value)| (format!("{}.{key}", role.as_str()), value.clone())).collect()
}

/// Where the running MM2 keeps its positions.
fn take_over(flow: &FlowView) -> v1::TakeOver {
    let get = |key: &str| flow.worker.get(key).cloned().unwrap_or_default();
    let connector =
        flow.source_connector.as_ref().and_then(|c| c.props().get("name").cloned()).unwrap_or_default();
    v1::TakeOver { connector, offsets_topic: get("offset.storage.topic"), group: get("group.id") }
}

#[cfg(test)]
mod tests;
