//! What the API accepts, beyond what the domain model itself checks: sizes, enum values, secrets.

use std::collections::HashMap;

use prost::Message;
use tonic::Status;
use twinlog_proto::model::{self, Violation};
use twinlog_proto::reason::{self, Reason};
use twinlog_proto::{secret, v1};

use super::LiteralSecrets;

/// Largest cluster or mirror, bytes on the wire: well under what stores take in one write.
pub const MAX_RESOURCE_BYTES: usize = 1_000_000;
/// Patterns in one list.
const MAX_PATTERNS: usize = 1_000;
const MAX_BOOTSTRAP_SERVERS: usize = 64;
const MAX_PROPERTIES: usize = 200;
/// Long enough for a PEM chain.
const MAX_PROPERTY_BYTES: usize = 64 * 1024;
const MAX_LABELS: usize = 64;
const MAX_LABEL_CHARS: usize = 256;
const MAX_DISPLAY_NAME_CHARS: usize = 256;
/// What the API shows instead of a literal secret; sent back in an update it keeps the stored one.
pub(super) const HIDDEN: &str = "(hidden)";

/// Problems of one resource, with fields relative to it.
#[derive(Default)]
struct Problems(Vec<(Reason, Violation)>);

impl Problems {
    fn add(&mut self, reason: Reason, field: impl Into<String>, what: impl Into<String>) {
        self.0.push((reason, (field.into(), what.into())));
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
            if key.is_empty()
                || key.chars().count() > MAX_LABEL_CHARS
                || value.chars().count() > MAX_LABEL_CHARS
            {
                let rule = format!("a label is 1-{MAX_LABEL_CHARS} characters and its value at most as many");
                self.invalid(format!("{field}.{key}"), rule);
            }
        }
    }

    fn display_name(&mut self, name: &str) {
        self.at_most("display_name", "characters", name.chars().count(), MAX_DISPLAY_NAME_CHARS);
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

    /// The status carries every violation, and the reason of the first.
    fn status(self, prefix: &str) -> Result<(), Status> {
        let Some((reason, _)) = self.0.first() else { return Ok(()) };
        let reason = *reason;
        let path = |field: String| match field.as_str() {
            "" => prefix.to_owned(),
            _ => format!("{prefix}.{field}"),
        };
        let violations: Vec<Violation> =
            self.0.into_iter().map(|(_, (field, what))| (path(field), what)).collect();
        Err(reason::bad_request(reason, &violations))
    }
}

/// Checks a cluster as it is to be stored.
pub(super) fn cluster(wire: &v1::Cluster, secrets: LiteralSecrets) -> Result<model::Cluster, Status> {
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
    let parsed = model::Cluster::parse(wire);
    for (field, what) in parsed.as_ref().err().into_iter().flatten() {
        problems.invalid(field, what);
    }
    problems.status("cluster")?;
    Ok(parsed.expect("its violations are problems"))
}

fn property(problems: &mut Problems, within: &str, key: &str, value: &str, secrets: LiteralSecrets) {
    let field = format!("{within}.{key}");
    if key == "bootstrap.servers" || key == "metadata.broker.list" {
        problems.invalid(field, "brokers belong in bootstrap_servers");
    } else if key.is_empty() || value.len() > MAX_PROPERTY_BYTES {
        problems.invalid(
            field,
            format!("a property has a name, and a value of at most {MAX_PROPERTY_BYTES} bytes"),
        );
    } else if let Err(problem) = secret::check(value) {
        problems.invalid(field, problem.to_string());
    } else if value == HIDDEN {
        problems.invalid(field, format!("{HIDDEN:?} is what the API shows instead of a secret, not a value"));
    } else if secrets == LiteralSecrets::Refused && secret::is_literal(key, value) {
        problems.add(
            Reason::LITERAL_SECRET,
            field,
            "holds a secret in clear: give a reference that workers resolve, ${env:NAME} or ${file:/path}, or start the controller with --store-encrypted-at-rest",
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

/// Checks a mirror as it is to be stored.
pub(super) fn mirror(wire: &v1::Mirror) -> Result<model::Mirror, Status> {
    let mut problems = Problems::default();
    problems.size(wire);
    problems.labels("labels", &wire.labels);
    problems.labels("placement", &wire.placement);
    problems.display_name(&wire.display_name);
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
    let parsed = model::Mirror::parse(wire);
    for (field, what) in parsed.as_ref().err().into_iter().flatten() {
        let reason = match field.as_str() {
            "target" if wire.source == wire.target => Reason::SOURCE_IS_TARGET,
            _ if what.starts_with("pattern ") => Reason::INVALID_PATTERN,
            _ => Reason::INVALID_FIELD,
        };
        problems.add(reason, field, what);
    }
    problems.status("mirror")?;
    Ok(parsed.expect("its violations are problems"))
}

fn enums(problems: &mut Problems, wire: &v1::Mirror) {
    use v1::start_position::Position;
    problems.known::<v1::Guarantee>("guarantee", wire.guarantee);
    problems.known::<v1::DesiredState>("desired_state", wire.desired_state);
    problems.known::<v1::GapPolicy>("gap_policy", wire.gap_policy);
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
