//! Where else a key would do something. What is proposed has been judged there: a hint that doesn't help is not given.

use super::judge::judge;
use super::{Place, Scope, Verdict};
use crate::mm2::keys;
use crate::mm2::report::{Effect, Remedy};

/// How alike two keys must be for one to be a misspelling of the other: Jaro-Winkler, 0 to 1.
const ALIKE: f64 = 0.9;

/// What people write, and what it is called.
const MISNAMED: &[(&str, &str)] = &[
    ("topics.include", "topics"),
    ("topics.whitelist", "topics"),
    ("topic.whitelist", "topics"),
    ("topics.regex", "topics"),
    ("topics.pattern", "topics"),
    ("topic.blacklist", "topics.exclude"),
    ("topics.excludes", "topics.exclude"),
    ("groups.include", "groups"),
    ("groups.whitelist", "groups"),
    ("groups.pattern", "groups"),
    ("emit.heartbeats", "emit.heartbeats.enabled"),
    ("emit.checkpoints", "emit.checkpoints.enabled"),
    ("sync.topic.acls", "sync.topic.acls.enabled"),
    ("sync.topic.configs", "sync.topic.configs.enabled"),
    ("sync.group.offsets", "sync.group.offsets.enabled"),
    ("offset.syncs.topic.replication.factor", "offset-syncs.topic.replication.factor"),
    ("offset.syncs.topic.location", "offset-syncs.topic.location"),
];
/// What a misspelling must not turn into its contrary.
const CONTRARY: [(&str, &str); 3] =
    [("include", "exclude"), ("whitelist", "exclude"), ("whitelist", "blacklist")];

/// Where a key would stand instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    Here,
    Flow,
    Source,
    Target,
}

impl At {
    /// Every place of this kind, of its scope.
    fn places(self, from: &Place) -> Vec<Place> {
        let (scope, prefixes) = match self {
            Self::Here => return vec![from.clone()],
            Self::Flow => (Scope::Flow, &from.flows),
            Self::Source => (Scope::Cluster, &from.sources),
            Self::Target => (Scope::Cluster, &from.targets),
        };
        prefixes.iter().map(|here| Place { scope, here: here.clone(), ..from.clone() }).collect()
    }
}

/// Whether the value has an effect under this key at this place.
pub(super) fn helps(place: &Place, key: &str, value: &str) -> bool {
    matches!(judge(place, key, value).effect, Effect::Honoured | Effect::Different)
}

/// Full keys under which the value has an effect; none where it has none in one of them.
fn renamed(from: &Place, value: &str, at: At, key: &str) -> Option<Remedy> {
    let places = at.places(from);
    let helpful = !places.is_empty() && places.iter().all(|place| helps(place, key, value));
    helpful.then(|| Remedy::Rename(places.iter().map(|place| format!("{}{key}", place.here)).collect()))
}

/// Without effect here, but under the first of these that helps.
pub(super) fn instead(from: &Place, value: &str, why: &str, meant: &[(At, &str)]) -> Verdict {
    let remedy = meant.iter().find_map(|(at, key)| renamed(from, value, *at, key));
    if remedy.is_some() {
        return Verdict::new(Effect::Ignored, why).or(remedy);
    }
    // Where it is read, it has no effect either: that is the reason to give.
    let there = meant.iter().find_map(|(at, key)| Some(judge(at.places(from).first()?, key, value)));
    match there {
        Some(there) if there.effect == Effect::Unknown => there,
        Some(there) if there.effect == Effect::Ignored => Verdict::new(Effect::Ignored, there.why),
        _ => Verdict::new(Effect::Ignored, why),
    }
}

/// Without effect here, but under any of these that help.
pub(super) fn either(from: &Place, value: &str, why: &str, meant: &[(At, &str)]) -> Verdict {
    let remedies = meant.iter().filter_map(|(at, key)| renamed(from, value, *at, key));
    Verdict::new(Effect::Ignored, why).or(remedies)
}

/// A client's setting where no client reads it.
pub(super) fn of_role(from: &Place, role: &str, setting: &str, value: &str, why: &str) -> Verdict {
    let setting = setting.strip_prefix("override.").unwrap_or(setting);
    let (keyed, override_, consumed) = (
        format!("{role}.{setting}"),
        format!("producer.override.{setting}"),
        format!("source.consumer.{setting}"),
    );
    let key = keyed.as_str();
    match (role, from.scope) {
        ("consumer", Scope::Flow) => instead(from, value, why, &[(At::Here, &consumed)]),
        ("consumer", _) => instead(from, value, why, &[(At::Source, key)]),
        ("producer", Scope::Flow) => instead(from, value, why, &[(At::Here, &override_)]),
        ("producer", _) => instead(from, value, why, &[(At::Target, key)]),
        (_, Scope::Flow) => instead(from, value, why, &[(At::Here, key)]),
        _ => instead(from, value, why, &[(At::Source, key), (At::Target, key)]),
    }
}

/// A key that nobody has, and the one that may be meant.
pub(super) fn unknown(place: &Place, key: &str, value: &str) -> Verdict {
    let verdict = Verdict::new(Effect::Unknown, "MM2 has no such key here, and ignores it too");
    if let Some((_, meant)) = MISNAMED.iter().find(|(misnamed, _)| *misnamed == key) {
        return verdict.or(renamed(place, value, At::Here, meant));
    }
    let connector = keys::CONNECTOR.iter().map(|(key, _)| *key);
    let flow_only = keys::FLOW_ONLY.iter().map(|(key, _)| *key);
    let process = keys::PROCESS.iter().map(|(key, _)| *key);
    let worker = keys::WORKER.iter().map(|(key, _)| *key);
    let client = keys::SECURITY.iter().copied();
    let like = match place.scope {
        Scope::Top => alike(key, connector.chain(process).chain(client)),
        Scope::Cluster => alike(key, worker.chain(client)),
        Scope::Flow => alike(key, connector.chain(flow_only)),
    };
    let helpful = like.into_iter().find_map(|meant| renamed(place, value, At::Here, meant));
    verdict.or(helpful)
}

/// Those of the known keys that this could be a misspelling of, the likeliest first.
pub(super) fn alike<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let contrary = |other: &str| CONTRARY.iter().any(|(one, not)| key.contains(one) && other.contains(not));
    let mut like: Vec<(f64, &str)> = known
        .filter(|other| !contrary(other))
        .map(|other| (strsim::jaro_winkler(key, other), other))
        .filter(|(score, _)| *score >= ALIKE)
        .collect();
    like.sort_by(|a, b| b.0.total_cmp(&a.0));
    like.into_iter().map(|(_, other)| other).collect()
}
