//! Where else a key would do something. What is proposed has been judged there: a hint that doesn't help is not given.

use super::alike::alike;
use super::effect;
use super::verdict::{At, Meant, Place, Scope, Verdict};
use crate::mm2::keys;
use crate::mm2::report::{Effect, Remedy};

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

/// What a key does at this place, and what would do what it was meant to do.
pub(in crate::mm2) fn judge(place: &Place, key: &str, value: &str) -> Verdict {
    let value = value.trim();
    let verdict = effect::of(place, key, value);
    let renamed = |(at, key): &(At, String)| renamed(place, value, *at, key);
    match &verdict.meant {
        Meant::Nothing => verdict,
        Meant::Instead(meant) => match meant.iter().find_map(renamed) {
            Some(remedy) => plain(verdict).or([remedy]),
            None => useless(place, value, verdict),
        },
        Meant::Either(meant) => {
            let remedies: Vec<_> = meant.iter().filter_map(renamed).collect();
            plain(verdict).or(remedies)
        }
        Meant::Misspelt => plain(verdict).or(spelt(place, key, value)),
    }
}

fn plain(verdict: Verdict) -> Verdict {
    Verdict { meant: Meant::Nothing, ..verdict }
}

/// Where it is read, it has no effect either: that is the reason to give.
fn useless(from: &Place, value: &str, verdict: Verdict) -> Verdict {
    let Meant::Instead(meant) = &verdict.meant else { return verdict };
    let there = meant.iter().find_map(|(at, key)| Some(judge(at.places(from).first()?, key, value)));
    match there {
        Some(there) if there.effect == Effect::Unknown => there,
        Some(there) if there.effect == Effect::Ignored => Verdict::ignored(there.why),
        _ => plain(verdict),
    }
}

/// Whether the value has an effect under this key at this place.
pub(super) fn helps(place: &Place, key: &str, value: &str) -> bool {
    matches!(effect::of(place, key, value).effect, Effect::Honoured | Effect::Different)
}

/// Full keys under which the value has an effect; none where it has none in one of them.
fn renamed(from: &Place, value: &str, at: At, key: &str) -> Option<Remedy> {
    let places = at.places(from);
    let helpful = !places.is_empty() && places.iter().all(|place| helps(place, key, value));
    helpful.then(|| Remedy::Rename(places.iter().map(|place| format!("{}{key}", place.here)).collect()))
}

/// The key that may be meant by one that nobody has.
fn spelt(place: &Place, key: &str, value: &str) -> Option<Remedy> {
    if let Some((_, meant)) = MISNAMED.iter().find(|(misnamed, _)| *misnamed == key) {
        return renamed(place, value, At::Here, meant);
    }
    let connector = keys::CONNECTOR.iter().map(|(key, _)| *key);
    let flow_only = keys::FLOW_ONLY.iter().map(|(key, _)| *key);
    let process = keys::PROCESS.iter().map(|(key, _)| *key);
    let worker = keys::WORKER.iter().map(|(key, _)| *key);
    let client = keys::security();
    let like = match place.scope {
        Scope::Top => alike(key, connector.chain(process).chain(client)),
        Scope::Cluster => alike(key, worker.chain(client)),
        Scope::Flow => alike(key, connector.chain(flow_only)),
    };
    like.into_iter().find_map(|meant| renamed(place, value, At::Here, meant))
}
