//! One key at one place: what it does there, by itself.

use super::client::client;
use super::verdict::{At, Place, Scope, Verdict};
use crate::mm2::keys::{self, Fate};
use crate::mm2::mirror::Policy;
use crate::mm2::report::{Effect, Remedy};

pub(super) const ROLES: [&str; 3] = ["consumer", "producer", "admin"];
const PACKAGE: &str = "org.apache.kafka.connect.mirror.";
const FORWARDING_ADMIN: &str = "org.apache.kafka.clients.admin.ForwardingAdmin";
const BYTES: &str = "org.apache.kafka.connect.converters.ByteArrayConverter";

/// What it does where it stands; `hints` looks where else it would do something.
pub(super) fn of(place: &Place, key: &str, value: &str) -> Verdict {
    if let Some((_, why)) = keys::REMOVED.iter().find(|(removed, _)| *removed == key) {
        return Verdict::ignored(*why);
    }
    let value = value.trim();
    match place.scope {
        Scope::Top => top(place, key, value),
        Scope::Cluster => cluster(place, key, value),
        Scope::Flow => flow(place, key, value),
    }
}

fn top(place: &Place, key: &str, value: &str) -> Verdict {
    if let Some(fate) = find(keys::PROCESS, key).or_else(|| find(keys::CONNECTOR, key)) {
        return fated(place, fate, key, value);
    }
    if keys::is_client_key(key) {
        return client(place, "", key, value);
    }
    if key.starts_with("config.providers.") {
        return match key.ends_with(".class") {
            true => Verdict::honoured(),
            false => Verdict::ignored("workers resolve references by rules of their own"),
        };
    }
    if flow_only(key).is_some() {
        return Verdict::instead(
            "MM2 takes it with a flow's prefix only, and drops it here without a word",
            [(At::Flow, key.to_owned())],
        );
    }
    if keys::WORKER_FROM_TOP.iter().any(|prefix| key.starts_with(prefix)) {
        return worker(place, key, value).unwrap_or_else(Verdict::unknown);
    }
    if let Some((role, setting)) = role_key(key) {
        return of_role(place, role, setting, "MM2 drops it here without a word");
    }
    of_target(
        place,
        key,
        value,
        "MM2 takes it from a flow's target cluster only, and drops it here without a word",
    )
}

fn cluster(place: &Place, key: &str, value: &str) -> Verdict {
    // In a resource the target's configuration is Connect's own.
    if place.flows.is_empty() && (key == "config.providers" || key.starts_with("config.providers.")) {
        return match key.contains(".param.") {
            true => Verdict::ignored("workers resolve references by rules of their own"),
            false => Verdict::honoured(),
        };
    }
    if let Some((role, setting)) = role_key(key) {
        if let Some(setting) = setting.strip_prefix("override.") {
            return of_role(place, role, setting, "MM2 takes overrides from a flow only");
        }
        return client(place, role, setting, value);
    }
    if key == "alias" {
        return Verdict::new(
            Effect::Different,
            "MirrorMaker takes it for source.cluster.alias or target.cluster.alias of this cluster's flows",
        );
    }
    if keys::is_client_key(key) {
        return client(place, "", key, value);
    }
    if let Some(verdict) = worker(place, key, value) {
        return verdict;
    }
    if keys::is_connector_key(key) || flow_only(key).is_some() {
        let why = "MM2 takes it from the top level or a flow, not from a cluster";
        return Verdict::instead(why, [(At::Flow, key.to_owned())]);
    }
    Verdict::unknown()
}

fn flow(place: &Place, key: &str, value: &str) -> Verdict {
    if let Some(fate) = find(keys::CONNECTOR, key).or_else(|| flow_only(key)) {
        return fated(place, fate, key, value);
    }
    if key == "config.providers" || key.starts_with("config.providers.") {
        return Verdict::ignored(
            "config providers are the process's, not a flow's: name them at the top level",
        );
    }
    // Part of the clusters themselves.
    if place.sources.is_empty()
        && ["source.cluster.bootstrap.servers", "target.cluster.bootstrap.servers"].contains(&key)
    {
        return Verdict::honoured();
    }
    if key.ends_with(".bootstrap.servers") {
        return Verdict::unsupported(
            "a flow has the brokers of its clusters: name a cluster of its own for others",
        );
    }
    for side in ["source", "target"] {
        let Some(rest) = key.strip_prefix(side).and_then(|rest| rest.strip_prefix('.')) else { continue };
        if let Some(setting) = rest.strip_prefix("cluster.") {
            return of_side(place, side, setting, value);
        }
        if let Some((role, setting)) = role_key(rest) {
            return match (side, role) {
                ("source", "consumer") | (_, "admin") => client(place, role, setting, value),
                _ => of_role(place, role, setting, INTERNAL_CLIENT),
            };
        }
    }
    match role_key(key) {
        Some(("consumer", setting)) if !setting.starts_with("override.") => {
            return client(place, "consumer", setting, value);
        }
        Some(("admin", setting)) if !setting.starts_with("override.") => {
            return client(place, "admin", setting, value);
        }
        Some((role, setting)) => {
            let why = if role == "producer" {
                INTERNAL_CLIENT
            } else {
                "Connect overrides no such client of a source connector"
            };
            let setting = setting.strip_prefix("override.").unwrap_or(setting);
            return of_role(place, role, setting, why);
        }
        None => {}
    }
    if keys::is_client_key(key) {
        let sides = ["source", "target"].map(|side| (At::Here, format!("{side}.cluster.{key}")));
        return Verdict::either("MM2 only checks it here", sides);
    }
    of_target(place, key, value, "MM2 takes it from the target cluster only, never from a flow")
}

/// What only a target's Connect workers take, given where it has no effect.
fn of_target(place: &Place, key: &str, value: &str, why: &str) -> Verdict {
    match worker(place, key, value) {
        Some(there) if there.effect == Effect::Ignored => there,
        Some(_) => Verdict::instead(why, [(At::Target, key.to_owned())]),
        None => Verdict::unknown(),
    }
}

/// `source.cluster.<key>`: only what says where to connect, and as whom, is read there; Connect JSON often has clients' settings.
fn of_side(place: &Place, side: &str, setting: &str, value: &str) -> Verdict {
    if keys::is_client_key(setting) {
        return client(place, "", setting, value);
    }
    let why = "of a cluster only bootstrap.servers and security settings are read here, by MM2 too";
    let (role, setting) = match role_key(setting) {
        Some((role, setting)) => (role, setting),
        None if side == "source" => ("consumer", setting),
        None => ("producer", setting),
    };
    of_role(place, role, setting, why)
}

/// A client's setting where no client reads it.
fn of_role(from: &Place, role: &str, setting: &str, why: &str) -> Verdict {
    let setting = setting.strip_prefix("override.").unwrap_or(setting);
    let key = format!("{role}.{setting}");
    let meant = match (role, from.scope) {
        ("consumer", Scope::Flow) => vec![(At::Here, format!("source.consumer.{setting}"))],
        ("consumer", _) => vec![(At::Source, key)],
        ("producer", Scope::Flow) => vec![(At::Here, format!("producer.override.{setting}"))],
        ("producer", _) => vec![(At::Target, key)],
        (_, Scope::Flow) => vec![(At::Here, key)],
        _ => vec![(At::Source, key.clone()), (At::Target, key)],
    };
    Verdict::instead(why, meant)
}

const INTERNAL_CLIENT: &str = "in MM2 it reaches only clients of internal topics";

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

fn worker(place: &Place, key: &str, value: &str) -> Option<Verdict> {
    if let Some(fate) = find(keys::WORKER, key) {
        return Some(fated(place, fate, key, value));
    }
    let known = keys::WORKER_PREFIXES.iter().any(|prefix| key.starts_with(prefix));
    known.then(|| Verdict::ignored("it configures Kafka Connect, which is not there"))
}

fn fated(place: &Place, fate: Fate, key: &str, value: &str) -> Verdict {
    match fate {
        Fate::Honoured => Verdict::honoured(),
        Fate::Different(how) => Verdict::new(Effect::Different, how),
        Fate::NoEffect(why) => Verdict::ignored(why),
        Fate::OfConnect => {
            let why = "in MM2 it reaches only Connect's own clients";
            Verdict::either(why, ROLES.map(|role| (At::Here, format!("{role}.{key}"))))
        }
        Fate::Depends => by_value(place, key, value),
    }
}

fn by_value(place: &Place, key: &str, value: &str) -> Verdict {
    match key {
        "topic.filter.class" => only("DefaultTopicFilter", "topic filter", value),
        "group.filter.class" => only("DefaultGroupFilter", "group filter", value),
        "config.property.filter.class" => only("DefaultConfigPropertyFilter", "config filter", value),
        "replication.policy.class" => policy(value),
        "forwarding.admin.class" if value == FORWARDING_ADMIN => Verdict::honoured(),
        "forwarding.admin.class" => Verdict::unsupported(format!(
            "{value} can't run here: topics, configs and ACLs are written to the target cluster itself"
        ))
        .or([Remedy::Remove]),
        "key.converter" | "value.converter" | "header.converter" => converter(value),
        "transforms" | "predicates" if value.is_empty() => Verdict::honoured(),
        "transforms" => Verdict::unsupported(format!(
            "records are copied as they are, without the transforms {value}: they would differ from MM2's"
        ))
        .or([Remedy::Remove]),
        "predicates" => Verdict::ignored("predicates only steer transforms"),
        "exactly.once.source.support" => match value.to_ascii_lowercase().as_str() {
            "enabled" | "disabled" => Verdict::honoured(),
            "preparing" => {
                Verdict::new(Effect::Different, "there is nothing to prepare: the mirror is exactly_once")
            }
            _ => Verdict::new(Effect::Invalid, format!("{value:?} is none of disabled, preparing, enabled"))
                .or([Remedy::Value("enabled".to_owned()), Remedy::Value("disabled".to_owned())]),
        },
        "exactly.once.support" => Verdict::new(
            Effect::Different,
            "the source is always read committed, so exactly-once is always possible; exactly.once.source.support of the target decides",
        ),
        _ if key.starts_with("producer.override.") => {
            client(place, "producer", &key["producer.override.".len()..], value)
        }
        _ => Verdict::ignored("it belongs to transforms or predicates"),
    }
}

fn only(class: &str, what: &str, value: &str) -> Verdict {
    match value.strip_prefix(PACKAGE) {
        Some(own) if own == class => Verdict::honoured(),
        _ => Verdict::unsupported(format!("{what} {value} can't run here"))
            .or([Remedy::Value(format!("{PACKAGE}{class}"))]),
    }
}

fn policy(value: &str) -> Verdict {
    const KNOWN: [&str; 2] = ["DefaultReplicationPolicy", "IdentityReplicationPolicy"];
    match Policy::of(value) {
        Policy::Known(_) => Verdict::honoured(),
        Policy::Prefixless => Verdict::new(
            Effect::Different,
            format!("{value} keeps topic names, and so it is taken for {PACKAGE}{}: only heartbeats topics have the source's alias before them", KNOWN[1]),
        ),
        Policy::Short(class) => Verdict::new(Effect::Invalid, format!("Java finds no class {value:?}: its package is missing"))
            .or([Remedy::Value(class.to_owned())]),
        Policy::Unknown => Verdict::unsupported(format!(
            "replication policy {value:?} can't run here. With the first of these the source's alias stands before each topic's name, with the second names stay as they are"
        ))
        .or(KNOWN.map(|known| Remedy::Value(format!("{PACKAGE}{known}")))),
    }
}

fn converter(value: &str) -> Verdict {
    match value == BYTES {
        true => Verdict::honoured(),
        false => Verdict::unsupported(format!(
            "records are copied byte for byte, without {value}: they would differ from MM2's"
        ))
        .or([Remedy::Value(BYTES.to_owned())]),
    }
}
