//! Judges every key of a file by where it stands: what it does here, and where it does nothing, why.

use super::dedicated::Dedicated;
use super::keys::{self, ClientFate, Fate};
use super::report::{Effect, Entry};

/// Where a key stands in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Top,
    /// `X.<key>`
    Cluster,
    /// `X->Y.<key>`
    Flow,
}

type Verdict = (Effect, String);

/// How alike two keys must be for one to be a misspelling of the other: Jaro-Winkler, 0 to 1.
const ALIKE: f64 = 0.9;
const ROLES: [&str; 3] = ["consumer", "producer", "admin"];
/// Keys of a flow that decide whether there is one.
const DECIDES: [&str; 2] = ["enabled", "emit.heartbeats.enabled"];
const PACKAGE: &str = "org.apache.kafka.connect.mirror.";

/// Every key of the file, by the scope it stands in.
pub(super) fn dedicated(file: &Dedicated) -> Vec<Entry> {
    let clusters = file.clusters();
    let mut entries = Vec::new();
    for (full, value) in file.raw() {
        let (effect, why) = if let Some((flow, key)) = flow_key(full, &clusters) {
            match shadowed(file, &flow, key) {
                Some(why) => (Effect::Ignored, why),
                None => judge(Scope::Flow, key, value),
            }
        } else if let Some(what) = broken_flow(full, value, &clusters) {
            (Effect::Unknown, what)
        } else if let Some(key) = cluster_key(full, &clusters) {
            judge(Scope::Cluster, key, value)
        } else {
            let verdict = judge(Scope::Top, full, value);
            match miscased(full, &clusters).filter(|_| verdict.0 == Effect::Unknown) {
                Some(what) => (Effect::Unknown, what),
                None => verdict,
            }
        };
        entries.push(Entry { effect, key: full.clone(), why });
    }
    let unusable: Vec<Entry> = unusable_providers(file).collect();
    entries.retain(|entry| !unusable.iter().any(|other| other.key == entry.key));
    entries.extend(unusable);
    entries.extend(undecided(file, &clusters));
    entries
}

/// A provider that can't be used matters where something refers to it.
fn unusable_providers(file: &Dedicated) -> impl Iterator<Item = Entry> {
    let (_, unusable) = super::providers::Providers::read(file.raw());
    let used = |name: &str| file.raw().values().any(|value| value.contains(&format!("${{{name}:")));
    unusable.into_iter().map(move |(name, what)| {
        let effect = if used(&name) { Effect::Invalid } else { Effect::Ignored };
        Entry::new(effect, format!("config.providers.{name}.class"), what)
    })
}

/// What decides whether there is a flow at all must be readable, also where there is none: MM2 takes what it can't read for `false`.
fn undecided(file: &Dedicated, clusters: &Aliases) -> Vec<Entry> {
    let pairs = file.pairs();
    let wrong = |(full, value): &(&String, &String)| {
        let readable = ["true", "false"].iter().any(|word| value.trim().eq_ignore_ascii_case(word));
        let decides = match flow_key(full, clusters) {
            // Of a flow that there is, its mirror says it.
            Some((flow, key)) => DECIDES.contains(&key) && !pairs.contains(&flow),
            None => full.as_str() == DECIDES[1] && pairs.is_empty(),
        };
        decides && !readable
    };
    let entry = |(full, value): (&String, &String)| {
        Entry::new(Effect::Invalid, full, format!("{value:?} is neither true nor false"))
    };
    file.raw().iter().filter(wrong).map(entry).collect()
}

type Aliases = std::collections::BTreeSet<String>;

/// The flow and the key after its prefix. Aliases are free text: they are looked for, not parsed, and the longest counts.
fn flow_key<'a>(full: &'a str, clusters: &Aliases) -> Option<((String, String), &'a str)> {
    let pairs = clusters.iter().flat_map(|source| clusters.iter().map(move |target| (source, target)));
    let found = pairs.filter(|(source, target)| source != target).filter_map(|(source, target)| {
        let rest = full.strip_prefix(source.as_str())?.strip_prefix("->")?;
        let key = rest.strip_prefix(target.as_str())?.strip_prefix('.')?;
        Some(((source.clone(), target.clone()), key))
    });
    found.min_by_key(|(_, key)| key.len())
}

/// The key after the longest alias.
fn cluster_key<'a>(full: &'a str, clusters: &Aliases) -> Option<&'a str> {
    let keys = clusters.iter().filter_map(|alias| full.strip_prefix(alias.as_str())?.strip_prefix('.'));
    keys.min_by_key(|key| key.len())
}

fn miscased(full: &str, clusters: &Aliases) -> Option<String> {
    let (before, rest) = full.split_once('.')?;
    let alias = clusters.iter().find(|alias| alias.eq_ignore_ascii_case(before))?;
    Some(format!("aliases are case-sensitive, and MM2 ignores it too: did you mean {alias}.{rest}?"))
}

fn broken_flow(full: &str, value: &str, clusters: &Aliases) -> Option<String> {
    let alone = full.strip_suffix("->").unwrap_or(full);
    if clusters.contains(alone) && (alone != full || value.starts_with("->")) {
        return Some(format!(
            "a blank ends a key: write {alone}->B.<key> without blanks, B being the target"
        ));
    }
    let (before, after) = full.split_once("->")?;
    if let Some(alias) = clusters.iter().find(|alias| *alias != before && alias.eq_ignore_ascii_case(before))
    {
        return Some(format!("aliases are case-sensitive: did you mean {alias}->{after}?"));
    }
    let target = after.split('.').next().unwrap_or_default();
    let known = clusters.iter().cloned().collect::<Vec<_>>().join(", ");
    Some(match clusters.iter().find(|alias| *alias == before) {
        Some(_) if before == target => "a cluster has no flow to itself".to_owned(),
        Some(_) => format!("no cluster {target} is named in clusters ({known})"),
        None => format!("no cluster {before} is named in clusters ({known})"),
    })
}

/// MM2 fills `source.consumer.*` from the cluster, and that beats the flow's `consumer.*`.
fn shadowed(file: &Dedicated, (source, target): &(String, String), key: &str) -> Option<String> {
    let (role, setting) = key.split_once('.')?;
    let alias = match role {
        "consumer" => source,
        "producer" => target,
        _ => return None,
    };
    if setting.starts_with("override.") || !file.cluster_props(alias).contains_key(key) {
        return None;
    }
    let side = if alias == source { "source" } else { "target" };
    Some(format!(
        "the cluster's {alias}.{setting} or {alias}.{key} beats it, as in MM2: write {source}->{target}.{side}.{key}"
    ))
}

pub(super) fn judge(scope: Scope, key: &str, value: &str) -> Verdict {
    if let Some((_, why)) = keys::REMOVED.iter().find(|(removed, _)| *removed == key) {
        // What was excluded no longer is: worth being said without being asked.
        let effect = if key.ends_with(".blacklist") { Effect::Unknown } else { Effect::Ignored };
        return (effect, (*why).to_owned());
    }
    let value = value.trim();
    match scope {
        Scope::Top => top(key, value),
        Scope::Cluster => cluster(key, value),
        Scope::Flow => flow(key, value),
    }
}

fn top(key: &str, value: &str) -> Verdict {
    if let Some(fate) = find(keys::PROCESS, key).or_else(|| find(keys::CONNECTOR, key)) {
        return fated(fate, key, value);
    }
    if keys::is_client_key(key) {
        return client("", key, value);
    }
    if key.starts_with("config.providers.") {
        return match key.ends_with(".class") {
            true => honoured(),
            false => ignored("workers resolve references by rules of their own"),
        };
    }
    if flow_only(key).is_some() {
        return ignored(
            "MM2 takes it with a flow's prefix only (A->B.<key>), and drops it here without a word",
        );
    }
    if keys::WORKER_FROM_TOP.iter().any(|prefix| key.starts_with(prefix)) {
        return worker(key, value).unwrap_or_else(|| unknown(Scope::Top, key));
    }
    if let Some((role, setting)) = role_key(key) {
        let what = format!(
            "MM2 drops it here: write X.{role}.{setting} for a cluster, or A->B.source.{role}.{setting} for a flow"
        );
        return (Effect::Ignored, what);
    }
    if worker(key, value).is_some() {
        return ignored(
            "MM2 takes it from a flow's target cluster only (X.<key>), and drops it here without a word",
        );
    }
    unknown(Scope::Top, key)
}

fn cluster(key: &str, value: &str) -> Verdict {
    if let Some((role, setting)) = role_key(key) {
        return client(role, setting, value);
    }
    if keys::is_client_key(key) {
        return client("", key, value);
    }
    if let Some(verdict) = worker(key, value) {
        return verdict;
    }
    if keys::is_connector_key(key) || flow_only(key).is_some() {
        return ignored("MM2 takes it from the top level or a flow (A->B.<key>), not from a cluster");
    }
    unknown(Scope::Cluster, key)
}

fn flow(key: &str, value: &str) -> Verdict {
    if let Some(fate) = find(keys::CONNECTOR, key).or_else(|| flow_only(key)) {
        return fated(fate, key, value);
    }
    if key.ends_with(".bootstrap.servers") {
        return unsupported("a flow has the brokers of its clusters: name a cluster of its own for others");
    }
    for side in ["source", "target"] {
        let Some(rest) = key.strip_prefix(side).and_then(|rest| rest.strip_prefix('.')) else { continue };
        if let Some(setting) = rest.strip_prefix("cluster.") {
            return match keys::is_client_key(setting) {
                true => client("", setting, value),
                false => ignored("of a cluster only bootstrap.servers and security settings stand here"),
            };
        }
        if let Some((role, setting)) = role_key(rest) {
            return match (side, role) {
                ("source", "consumer") | (_, "admin") => client(role, setting, value),
                _ => ignored(INTERNAL_CLIENT),
            };
        }
    }
    match role_key(key) {
        Some(("consumer", setting)) => return client("consumer", setting, value),
        Some(("admin", setting)) => return client("admin", setting, value),
        Some(_) => return ignored(INTERNAL_CLIENT),
        None => {}
    }
    if keys::is_client_key(key) {
        return ignored("MM2 only checks it here: write source.cluster.<key> or target.cluster.<key>");
    }
    if worker(key, value).is_some() {
        return ignored("MM2 takes it from the target cluster only (Y.<key>), never from a flow");
    }
    unknown(Scope::Flow, key)
}

const INTERNAL_CLIENT: &str = "in MM2 it reaches only clients of internal topics: write producer.override.<key> for the producer of records, or source.consumer.<key> for their consumer";

fn find(table: &[(&str, Fate)], key: &str) -> Option<Fate> {
    table.iter().find(|(known, _)| *known == key).map(|(_, fate)| *fate)
}

fn flow_only(key: &str) -> Option<Fate> {
    let by_prefix =
        || keys::FLOW_ONLY_PREFIXES.iter().find(|(prefix, _)| key.starts_with(prefix)).map(|(_, fate)| *fate);
    find(keys::FLOW_ONLY, key).or_else(by_prefix)
}

fn role_key(key: &str) -> Option<(&str, &str)> {
    key.split_once('.').filter(|(role, _)| ROLES.contains(role))
}

fn worker(key: &str, value: &str) -> Option<Verdict> {
    if let Some(fate) = find(keys::WORKER, key) {
        return Some(fated(fate, key, value));
    }
    let known = keys::WORKER_PREFIXES.iter().any(|prefix| key.starts_with(prefix));
    known.then(|| ignored("it configures Kafka Connect, which is not there"))
}

fn honoured() -> Verdict {
    (Effect::Honoured, String::new())
}

fn ignored(why: &str) -> Verdict {
    (Effect::Ignored, why.to_owned())
}

fn unsupported(why: impl Into<String>) -> Verdict {
    (Effect::Unsupported, why.into())
}

fn fated(fate: Fate, key: &str, value: &str) -> Verdict {
    match fate {
        Fate::Honoured => honoured(),
        Fate::Different(how) => (Effect::Different, how.to_owned()),
        Fate::NoEffect(why) => ignored(why),
        Fate::Depends => by_value(key, value),
    }
}

fn by_value(key: &str, value: &str) -> Verdict {
    let only = |class: &str, what: &str| match value.strip_prefix(PACKAGE) {
        Some(own) if own == class => honoured(),
        _ => unsupported(format!("{what} {value} can't run here")),
    };
    match key {
        "topic.filter.class" => only("DefaultTopicFilter", "topic filter"),
        "group.filter.class" => only("DefaultGroupFilter", "group filter"),
        "config.property.filter.class" => only("DefaultConfigPropertyFilter", "config filter"),
        "replication.policy.class" if super::mirror::naming_kind(value).is_some() => honoured(),
        "replication.policy.class" => unsupported(format!("replication policy {value} can't run here: DefaultReplicationPolicy and IdentityReplicationPolicy are known")),
        "forwarding.admin.class" if value == "org.apache.kafka.clients.admin.ForwardingAdmin" => honoured(),
        "forwarding.admin.class" => unsupported(format!("{value} can't run here: topics, configs and ACLs are written to the target cluster itself")),
        "key.converter" | "value.converter" | "header.converter" => {
            match value == "org.apache.kafka.connect.converters.ByteArrayConverter" {
                true => honoured(),
                false => unsupported(format!("records are copied byte for byte, without {value}: they would differ from MM2's")),
            }
        }
        "transforms" | "predicates" if value.is_empty() => honoured(),
        "transforms" => unsupported(format!("records are copied as they are, without the transforms {value}: they would differ from MM2's")),
        "predicates" => ignored("predicates only steer transforms"),
        "exactly.once.source.support" => match value.to_ascii_lowercase().as_str() {
            "enabled" | "disabled" => honoured(),
            "preparing" => (Effect::Different, "there is nothing to prepare: the mirror is exactly_once".to_owned()),
            _ => (Effect::Invalid, format!("{value:?} is none of disabled, preparing, enabled")),
        },
        "exactly.once.support" => (Effect::Different, "the source is always read committed, so exactly-once is always possible; exactly.once.source.support of the target decides".to_owned()),
        _ if key.starts_with("producer.override.") => client("producer", &key["producer.override.".len()..], value),
        _ => ignored("it belongs to transforms or predicates"),
    }
}

/// A client's setting; `role` is empty for all of a cluster's clients.
fn client(role: &str, key: &str, value: &str) -> Verdict {
    if value.is_empty() && keys::is_client_key(key) {
        return honoured();
    }
    if keys::TOKEN_PREFIXES.iter().any(|prefix| key.starts_with(prefix)) {
        return unsupported(
            "tokens are not fetched here: write sasl.oauthbearer.token=${file:/path} for one that something else keeps fresh",
        );
    }
    let java_class = key.ends_with(".class") && (key.starts_with("sasl.") || key.starts_with("ssl."));
    if java_class {
        return unsupported(format!("the Java class {value} can't run here"));
    }
    if key.starts_with("sasl.kerberos.") || (key == "sasl.mechanism" && value.eq_ignore_ascii_case("GSSAPI"))
    {
        return unsupported("Kerberos is not supported: use SCRAM, PLAIN, OAUTHBEARER or certificates");
    }
    if !value.contains("${") && !is_known(key, value) {
        let known = if key == "sasl.mechanism" { MECHANISMS } else { PROTOCOLS };
        return unsupported(format!("{value} is not supported: {} are", known.join(", ")));
    }
    let known = ["PEM", "JKS", "PKCS12"].iter().any(|kind| value.eq_ignore_ascii_case(kind));
    if (key == "ssl.truststore.type" || key == "ssl.keystore.type") && !known {
        return unsupported(format!(
            "{value} stores can't be read: convert it to PKCS12 with keytool -importkeystore"
        ));
    }
    if keys::is_number(key) && !value.contains("${") && value.parse::<i64>().is_err() {
        return (Effect::Invalid, format!("{value:?} is not a whole number"));
    }
    match keys::client_fate(role, key) {
        ClientFate::Passed => honoured(),
        ClientFate::NoEffect(why) => ignored(why),
        ClientFate::Mirror if key == "isolation.level" => match value {
            "read_committed" => honoured(),
            _ => (
                Effect::Different,
                "records of aborted transactions are never copied: the source is always read committed"
                    .to_owned(),
            ),
        },
        ClientFate::Mirror if key == "auto.offset.reset" => match value {
            "earliest" | "latest" => honoured(),
            _ => unsupported(format!(
                "{value}: a mirror starts at the earliest or the latest record, or at a time (twinlog mirror create --start)"
            )),
        },
        ClientFate::Mirror => honoured(),
        ClientFate::Unknown => {
            let hint = suggestion(key, keys::client_keys(role).into_iter());
            (Effect::Unknown, format!("no {role} setting that Kafka or Twinlog knows{hint}"))
        }
    }
}

const MECHANISMS: [&str; 4] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"];
const PROTOCOLS: [&str; 4] = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];

fn is_known(key: &str, value: &str) -> bool {
    match key {
        "sasl.mechanism" => MECHANISMS.contains(&value),
        "security.protocol" => PROTOCOLS.iter().any(|known| known.eq_ignore_ascii_case(value)),
        _ => true,
    }
}

fn unknown(scope: Scope, key: &str) -> Verdict {
    let connector = keys::CONNECTOR.iter().map(|(key, _)| *key);
    let flow_only = keys::FLOW_ONLY.iter().map(|(key, _)| *key);
    let process = keys::PROCESS.iter().map(|(key, _)| *key);
    let worker = keys::WORKER.iter().map(|(key, _)| *key);
    let client = keys::SECURITY.iter().copied();
    let hint = match scope {
        Scope::Top => suggestion(key, connector.chain(process).chain(client)),
        Scope::Cluster => suggestion(key, worker.chain(client)),
        Scope::Flow => suggestion(key, connector.chain(flow_only)),
    };
    (Effect::Unknown, format!("MM2 has no such key here, and ignores it too{hint}"))
}

fn suggestion(key: &str, known: impl Iterator<Item = &'static str>) -> String {
    let like = |other: &'static str| (strsim::jaro_winkler(key, other), other);
    let best = known.map(like).filter(|(score, _)| *score >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, other)| format!("; did you mean {other}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests;
