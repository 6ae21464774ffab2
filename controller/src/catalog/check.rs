//! What the API accepts, beyond what the domain model itself checks: sizes, enum values, secrets.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use prost::Message;
use twinlog_proto::model::{self, Violation};
use twinlog_proto::reason::Reason;
use twinlog_proto::{client_properties, names, secret, v1};

use super::LiteralSecrets;
use super::mask::Mask;
use crate::limits::{
    MAX_BOOTSTRAP_SERVERS, MAX_LABELS, MAX_NAMED_TOPICS, MAX_PATTERNS, MAX_PROPERTIES, MAX_TEXT_BYTES,
};
use crate::refusal::Refusal;

/// Largest cluster or mirror, bytes on the wire: well under what stores take in one write.
pub const MAX_RESOURCE_BYTES: usize = 1_000_000;
/// A value of a topic config, characters: the longest lists of Kafka's are far shorter.
const MAX_CONFIG_CHARS: usize = 8 * 1024;
/// Violations that are kept; more are only counted.
const MAX_VIOLATIONS: usize = 100;
const MAX_LABEL_CHARS: usize = 256;
const MAX_DISPLAY_NAME_CHARS: usize = 256;
/// What the API shows instead of a literal secret; sent back in an update it keeps the stored one.
pub(super) const HIDDEN: &str = "(hidden)";

/// Problems of one resource, with fields relative to it.
#[derive(Default)]
struct Problems {
    first: Vec<(Reason, Violation)>,
    /// Besides those.
    more: usize,
}

impl Problems {
    fn add(&mut self, reason: Reason, field: impl Into<String>, what: impl Into<String>) {
        match self.first.len() < MAX_VIOLATIONS {
            true => self.first.push((reason, (field.into(), what.into()))),
            false => self.more += 1,
        }
    }

    fn has(&self, field: &str) -> bool {
        self.first.iter().any(|(_, (known, _))| known == field)
    }

    fn invalid(&mut self, field: impl Into<String>, what: impl Into<String>) {
        self.add(Reason::INVALID_FIELD, field, what);
    }

    fn at_most(&mut self, field: &str, what: &str, count: usize, limit: usize) {
        if count > limit {
            self.invalid(field, format!("{count} {what}, at most {limit} are allowed"));
        }
    }

    fn labels(&mut self, field: &str, labels: &HashMap<String, String>) {
        self.at_most(field, "labels", labels.len(), MAX_LABELS);
        for (key, value) in labels {
            let field =
                || format!("{field}.{}", key.escape_debug().take(MAX_LABEL_CHARS).collect::<String>());
            if key.is_empty() {
                self.invalid(field(), format!("a label is 1-{MAX_LABEL_CHARS} characters"));
            }
            for text in [key, value] {
                if let Err(what) = names::line(text, MAX_LABEL_CHARS) {
                    self.invalid(field(), format!("a label or its value: {what}"));
                }
            }
        }
    }

    fn display_name(&mut self, name: &str) {
        self.named("display_name", names::line(name, MAX_DISPLAY_NAME_CHARS));
    }

    /// A field that breaks a rule of `names`.
    fn named(&mut self, field: impl Into<String>, checked: Result<(), String>) {
        if let Err(what) = checked {
            self.invalid(field, what);
        }
    }

    /// A field that may be left out.
    fn given(&mut self, field: &str, text: &str, rule: impl Fn(&str) -> Result<(), String>) {
        if !text.is_empty() {
            self.named(field, rule(text));
        }
    }

    fn size(&mut self, message: &impl Message) {
        self.at_most("", "bytes", message.encoded_len(), MAX_RESOURCE_BYTES);
    }

    /// Enums travel as numbers; a number that this version doesn't know must not become a default.
    fn known<E: TryFrom<i32>>(&mut self, field: &str, value: i32) {
        if E::try_from(value).is_err() {
            self.invalid(field, format!("{value} is no value that this controller knows"));
        }
    }

    /// The refusal carries the violations, and the reason of the first.
    fn refuse(self, prefix: &str) -> Result<(), Refusal> {
        let Some((reason, _)) = self.first.first() else { return Ok(()) };
        let reason = *reason;
        let path = |field: String| match field.as_str() {
            "" => prefix.to_owned(),
            _ => format!("{prefix}.{field}"),
        };
        let violations: Vec<Violation> =
            self.first.into_iter().map(|(_, (field, what))| (path(field), what)).collect();
        Err(Refusal::of_more_fields(reason, violations, self.more))
    }
}

/// Checks a cluster as it is to be stored.
pub(super) fn cluster(wire: &v1::Cluster, secrets: LiteralSecrets) -> Result<model::Cluster, Refusal> {
    let mut problems = Problems::default();
    problems.size(wire);
    problems.at_most("bootstrap_servers", "servers", wire.bootstrap_servers.len(), MAX_BOOTSTRAP_SERVERS);
    problems.labels("labels", &wire.labels);
    problems.display_name(&wire.display_name);
    problems.at_most("properties", "properties", wire.properties.len(), MAX_PROPERTIES);
    let mut properties: Vec<_> = wire.properties.iter().collect();
    properties.sort();
    for (key, value) in properties {
        property(&mut problems, "properties", key, value, secrets);
    }
    for (i, server) in wire.bootstrap_servers.iter().enumerate() {
        problems.named(format!("bootstrap_servers[{i}]"), names::server(server));
    }
    let parsed = model::Cluster::parse(wire);
    for (field, what) in parsed.as_ref().err().into_iter().flatten() {
        if !problems.has(field) {
            problems.invalid(field, what);
        }
    }
    problems.refuse("cluster")?;
    Ok(parsed.expect("its violations are problems"))
}

fn property(problems: &mut Problems, within: &str, key: &str, value: &str, secrets: LiteralSecrets) {
    let field = format!("{within}.{}", key.escape_debug().take(MAX_LABEL_CHARS).collect::<String>());
    let of_mirror = within != "properties";
    if key == "bootstrap.servers" || key == "metadata.broker.list" {
        problems.invalid(field, "brokers belong in bootstrap_servers");
    } else if of_mirror && client_properties::bare(key) == "bootstrap.servers" {
        problems.invalid(field, "a mirror has the brokers of its clusters: register a cluster for others");
    } else if let Some(why) = client_properties::fate(key).refusal() {
        problems.add(Reason::INVALID_PROPERTY, field, format!("is not taken: {why}"));
    } else if secret::refers(value) && !secret::may_refer(key) {
        problems.add(Reason::INVALID_PROPERTY, field, secret::ONLY_CREDENTIALS);
    } else if key.is_empty() || value.len() > MAX_TEXT_BYTES {
        problems
            .invalid(field, format!("a property has a name, and a value of at most {MAX_TEXT_BYTES} bytes"));
    } else if let Err(problem) = names::lines(value) {
        problems.invalid(field, problem);
    } else if let Err(problem) = secret::check(value) {
        problems.invalid(field, problem.to_string());
    } else if let Some(problem) = client_properties::problem(key, value) {
        problems.add(Reason::INVALID_PROPERTY, field, problem);
    } else if value == HIDDEN {
        problems.invalid(field, format!("{HIDDEN:?} is what the API shows instead of a secret, not a value"));
    } else if secrets == LiteralSecrets::Refused && secret::is_literal(key, value) {
        problems.add(
            Reason::LITERAL_SECRET,
            field,
            "holds a secret in clear: give a reference that workers resolve, ${env:TWINLOG_SECRET_NAME} or ${file:/etc/twinlog/secrets/NAME}, or start the controller with --store-encrypted-at-rest",
        );
    }
}

/// Replaces literal secrets by a text that says so. The API never returns one.
pub fn hide_secrets(mut cluster: v1::Cluster) -> v1::Cluster {
    for (key, value) in &mut cluster.properties {
        if secret::is_literal(key, value) {
            HIDDEN.clone_into(value);
        }
    }
    cluster
}

/// Puts stored secrets back where the caller returned what the API shows.
pub(super) fn restore_secrets(given: &mut HashMap<String, String>, stored: &HashMap<String, String>) {
    for (key, value) in given.iter_mut().filter(|(_, value)| *value == HIDDEN) {
        if let Some(secret) = stored.get(key) {
            value.clone_from(secret);
        }
    }
}

/// CREDENTIALS_REQUIRED where a change sends the stored credentials elsewhere, or less well protected, and the call doesn't bring
/// them itself: whoever may change an address must not get to see a secret by it.
pub(super) fn credentials(
    stored: &v1::Cluster,
    given: &v1::Cluster,
    next: &v1::Cluster,
    mask: &Mask,
) -> Result<(), Refusal> {
    let Some(changed) = moved(stored, next) else { return Ok(()) };
    let again = |key: &String| {
        mask.names_entry("properties", key) && given.properties.get(key).is_some_and(|value| value != HIDDEN)
    };
    let mut kept: Vec<&String> = stored
        .properties
        .keys()
        .filter(|key| secret::is_secret_key(key) && next.properties.contains_key(*key))
        .collect();
    kept.retain(|key| !again(key));
    kept.sort();
    let violation = |key: &String| {
        let what = format!(
            "it was given for {}, and {changed} changes: give it again in the same update, the reference will do",
            stored.bootstrap_servers.join(", ")
        );
        (format!("cluster.properties.{key}"), what)
    };
    match kept.is_empty() {
        true => Ok(()),
        false => {
            let violations: Vec<Violation> = kept.into_iter().map(violation).collect();
            Err(Refusal::of_fields(Reason::CREDENTIALS_REQUIRED, violations))
        }
    }
}

/// What of a change moves credentials.
fn moved(stored: &v1::Cluster, next: &v1::Cluster) -> Option<String> {
    if next.bootstrap_servers.iter().any(|server| !stored.bootstrap_servers.contains(server)) {
        return Some("bootstrap_servers".to_owned());
    }
    let keys: BTreeSet<&String> = stored.properties.keys().chain(next.properties.keys()).collect();
    let differs = |key: &&String| {
        client_properties::is_destination(key) && stored.properties.get(*key) != next.properties.get(*key)
    };
    keys.into_iter().find(differs).cloned()
}

/// CREDENTIALS_REQUIRED where a mirror's own properties would send its cluster's credentials elsewhere.
pub(super) fn overlay(
    field: &str,
    overlay: &HashMap<String, String>,
    cluster: &v1::Cluster,
) -> Result<(), Refusal> {
    let known: BTreeMap<String, String> = cluster.properties.clone().into_iter().collect();
    let mut moving: Vec<&String> = overlay
        .iter()
        .filter(|(key, value)| model::moves_credentials(&known, key, value))
        .map(|(key, _)| key)
        .collect();
    moving.sort();
    let used =
        known.keys().any(|key| secret::is_sent(key)) && !overlay.keys().any(|key| secret::is_sent(key));
    match moving.first() {
        Some(key) if used => {
            let what = format!(
                "it changes where the credentials of {} go: give credentials here too (sasl.password or sasl.jaas.config)",
                cluster.name
            );
            Err(Refusal::of_fields(
                Reason::CREDENTIALS_REQUIRED,
                vec![(format!("mirror.{field}.{key}"), what)],
            ))
        }
        _ => Ok(()),
    }
}

/// Checks a mirror as it is to be stored.
pub(super) fn mirror(wire: &v1::Mirror) -> Result<model::Mirror, Refusal> {
    let mut problems = Problems::default();
    problems.size(wire);
    let creation = wire.topic_creation.clone().unwrap_or_default();
    for (field, list) in [
        ("topics", &wire.topics),
        ("topics_exclude", &wire.topics_exclude),
        ("groups", &wire.groups),
        ("groups_exclude", &wire.groups_exclude),
        ("topic_creation.config_exclude", &creation.config_exclude),
    ] {
        problems.at_most(field, "patterns", list.len(), MAX_PATTERNS);
    }
    if !problems.first.is_empty() {
        // Limits come before work: what is too much is not looked at, nor compiled.
        return Err(problems.refuse("mirror").expect_err("there are problems"));
    }
    problems.labels("labels", &wire.labels);
    problems.labels("placement", &wire.placement);
    problems.display_name(&wire.display_name);
    for (field, properties) in
        [("source_properties", &wire.source_properties), ("target_properties", &wire.target_properties)]
    {
        problems.at_most(field, "properties", properties.len(), MAX_PROPERTIES);
        for (key, value) in properties {
            // Mirrors are shown as they are stored: what is secret belongs in the cluster, or behind a reference.
            property(&mut problems, field, key, value, LiteralSecrets::Refused);
        }
    }
    enums(&mut problems, wire);
    texts(&mut problems, wire);
    let parsed = model::Mirror::parse(wire);
    for (field, what) in parsed.as_ref().err().into_iter().flatten() {
        if problems.has(field) {
            continue;
        }
        let reason = match field.as_str() {
            "target" if wire.source == wire.target => Reason::SOURCE_IS_TARGET,
            _ if what.starts_with("pattern ") => Reason::INVALID_PATTERN,
            _ => Reason::INVALID_FIELD,
        };
        problems.add(reason, field, what);
    }
    problems.refuse("mirror")?;
    Ok(parsed.expect("its violations are problems"))
}

/// Every text of a mirror that becomes a name in Kafka, or that people see.
fn texts(problems: &mut Problems, wire: &v1::Mirror) {
    let naming = wire.naming.clone().unwrap_or_default();
    problems.named("naming.separator", names::separator(&naming.separator));
    let map: BTreeMap<_, _> = naming.map.into_iter().collect();
    problems.at_most("naming.map", "topics", map.len(), MAX_NAMED_TOPICS);
    for (source, target) in map.iter().take(MAX_NAMED_TOPICS) {
        problems.named("naming.map", names::topic(source));
        problems.named(
            "naming.map",
            names::topic(target).map_err(|what| format!("{}: {what}", names::shown(source))),
        );
    }
    for (field, list) in [
        ("topics", &wire.topics),
        ("topics_exclude", &wire.topics_exclude),
        ("groups", &wire.groups),
        ("groups_exclude", &wire.groups_exclude),
    ] {
        for (i, pattern) in list.iter().take(MAX_PATTERNS).enumerate() {
            problems.named(format!("{field}[{i}]"), names::lines(pattern));
        }
    }
    let overrides = wire.topic_creation.iter().flat_map(|creation| &creation.config_overrides);
    let overrides: BTreeMap<_, _> = overrides.collect();
    problems.at_most("topic_creation.config_overrides", "configs", overrides.len(), MAX_PROPERTIES);
    for (name, value) in overrides.into_iter().take(MAX_PROPERTIES) {
        problems.named("topic_creation.config_overrides", names::config(name));
        let field = format!(
            "topic_creation.config_overrides.{}",
            name.escape_debug().take(MAX_LABEL_CHARS).collect::<String>()
        );
        problems.named(field, names::line(value, MAX_CONFIG_CHARS));
    }
    if let Some(start) = &wire.start {
        problems.given("start.group", &start.group, |text| names::line(text, MAX_LABEL_CHARS));
    }
    if let Some(take_over) = &wire.take_over {
        problems.given("take_over.offsets_topic", &take_over.offsets_topic, names::topic);
        problems
            .given("take_over.connector", &take_over.connector, |text| names::line(text, MAX_LABEL_CHARS));
        problems.given("take_over.group", &take_over.group, |text| names::line(text, MAX_LABEL_CHARS));
    }
}

fn enums(problems: &mut Problems, wire: &v1::Mirror) {
    use v1::start_position::Position;
    problems.known::<v1::Guarantee>("guarantee", wire.guarantee);
    problems.known::<v1::DesiredState>("desired_state", wire.desired_state);
    problems.known::<v1::GapPolicy>("gap_policy", wire.gap_policy);
    problems.known::<v1::OntoExisting>("onto_existing", wire.onto_existing);
    problems.known::<v1::Compression>("compression", wire.compression);
    problems.known::<v1::Engine>("engine", wire.engine);
    if let Some(naming) = &wire.naming {
        problems.known::<v1::naming::Kind>("naming.kind", naming.kind);
        problems.known::<v1::naming::InternalTopics>("naming.internal_topics", naming.internal_topics);
        if !naming.map.is_empty() && naming.kind() != v1::naming::Kind::Map {
            problems.invalid("naming.map", "is only used with kind MAP");
        }
    }
    if let Some(syncs) = &wire.offset_syncs {
        problems.known::<v1::offset_syncs::Location>("offset_syncs.location", syncs.location);
    }
    if let Some(sync) = &wire.config_sync {
        problems.known::<v1::config_sync::Defaults>("config_sync.defaults_from", sync.defaults_from);
    }
    problems.known::<v1::Partitioning>("partitioning", wire.partitioning);
    if let Some(Position::Earliest(false) | Position::Latest(false)) =
        wire.start.as_ref().and_then(|start| start.position.as_ref())
    {
        problems.invalid("start", "say true for the position that is meant: earliest, latest or a timestamp");
    }
}
