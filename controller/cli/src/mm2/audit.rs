//! Judges every key of a file by where it stands: what it does here, and where it does nothing, why, and what would.

mod alike;
mod client;
mod doubtful;
mod effect;
mod excluded;
mod hints;
mod verdict;

use std::collections::BTreeSet;

use super::dedicated::Dedicated;
use super::report::{Effect, Entry, Remedy};
use verdict::Verdict;

pub(super) use doubtful::{comment, pattern};
pub(super) use excluded::of_connector as excluded_of_connector;
pub(super) use hints::judge;
pub(super) use verdict::{Place, Scope};

/// Keys of a flow that decide whether there is one.
const DECIDES: [&str; 2] = ["enabled", "emit.heartbeats.enabled"];

type Aliases = BTreeSet<String>;
type Flow = (String, String);

/// Every key of the file, by the place it stands in.
pub(super) fn dedicated(file: &Dedicated) -> Vec<Entry> {
    let clusters = file.clusters();
    let mut entries: Vec<Entry> =
        file.raw().iter().map(|(full, value)| entry(file, &clusters, full, value)).collect();
    let more: Vec<Entry> = unusable_providers(file)
        .chain(undecided(file, &clusters))
        .chain(excluded::of_file(file))
        .chain(doubtful::of_file(file))
        .collect();
    entries.retain(|entry| !more.iter().any(|other| other.key == entry.key));
    entries.extend(more);
    for entry in &mut entries {
        entry.line = file.line(&entry.key);
    }
    entries
}

fn entry(file: &Dedicated, clusters: &Aliases, full: &str, value: &str) -> Entry {
    if let Some((flow, key)) = flow_key(full, clusters) {
        return match shadowed(file, &flow, key) {
            Some(shadowed) => shadowed.entry(full),
            None => judge(&of_flow(&flow), key, value).entry(full),
        };
    }
    if let Some(broken) = broken_flow(full, value, clusters) {
        return broken.entry(full);
    }
    if let Some((alias, key)) = cluster_key(full, clusters) {
        return judge(&of_cluster(file, alias), key, value).entry(full);
    }
    let verdict = judge(&of_top(file), full, value);
    let miscased =
        (verdict.effect == Effect::Unknown).then(|| miscased(file, full, value, clusters)).flatten();
    miscased.unwrap_or(verdict).entry(full)
}

fn of_top(file: &Dedicated) -> Place {
    place(Scope::Top, String::new(), &file.busy_pairs())
}

fn of_flow(flow: &Flow) -> Place {
    place(Scope::Flow, format!("{}->{}.", flow.0, flow.1), std::slice::from_ref(flow))
}

fn of_cluster(file: &Dedicated, alias: &str) -> Place {
    let mut flows = file.busy_pairs();
    flows.retain(|(source, target)| source == alias || target == alias);
    place(Scope::Cluster, format!("{alias}."), &flows)
}

fn place(scope: Scope, here: String, flows: &[Flow]) -> Place {
    let prefixes = |of: fn(&Flow) -> String| -> Vec<String> {
        flows.iter().map(of).collect::<BTreeSet<_>>().into_iter().collect()
    };
    Place {
        scope,
        here,
        flows: prefixes(|(source, target)| format!("{source}->{target}.")),
        sources: prefixes(|(source, _)| format!("{source}.")),
        targets: prefixes(|(_, target)| format!("{target}.")),
    }
}

/// A provider that can't be used matters where something refers to it.
fn unusable_providers(file: &Dedicated) -> impl Iterator<Item = Entry> {
    let unusable = file.unusable_providers();
    let used = |name: &str| file.raw().values().any(|value| value.contains(&format!("${{{name}:")));
    unusable.into_iter().map(move |(name, what)| {
        let effect = if used(&name) { Effect::Invalid } else { Effect::Ignored };
        Entry::new(effect, format!("config.providers.{name}.class"), what)
    })
}

/// What decides whether there is a flow at all: MM2 takes what it can't read for `false`.
fn undecided(file: &Dedicated, clusters: &Aliases) -> Vec<Entry> {
    let pairs = file.pairs();
    let deciding = |(full, value): (&String, &String)| {
        let flow = flow_key(full, clusters);
        let decides = match &flow {
            // Of a flow that there is, its mirror says it.
            Some((flow, key)) => DECIDES.contains(key) && !pairs.contains(flow),
            None => full.as_str() == DECIDES[1] && pairs.is_empty(),
        };
        let word = value.trim();
        if !decides || ["true", "false"].iter().any(|known| word.eq_ignore_ascii_case(known)) {
            return None;
        }
        let of = flow.map_or_else(String::new, |((source, target), _)| {
            format!("; nothing of {source}->{target} runs")
        });
        let why = format!("{word:?} is not true, and so MirrorMaker takes it for false{of}{}", comment(word));
        let means_yes = ["true", "yes", "on", "1", "enabled"]
            .iter()
            .any(|yes| word.to_ascii_lowercase().starts_with(yes));
        let meant = if means_yes { "true" } else { "false" };
        Some(Entry::new(Effect::Doubtful, full, why).or(Remedy::Value(meant.to_owned())))
    };
    file.raw().iter().filter_map(deciding).collect()
}

/// The flow and the key after its prefix. Aliases are free text: they are looked for, not parsed, and the longest counts.
pub(super) fn flow_key<'a>(full: &'a str, clusters: &Aliases) -> Option<(Flow, &'a str)> {
    let pairs = clusters.iter().flat_map(|source| clusters.iter().map(move |target| (source, target)));
    let found = pairs.filter(|(source, target)| source != target).filter_map(|(source, target)| {
        let rest = full.strip_prefix(source.as_str())?.strip_prefix("->")?;
        let key = rest.strip_prefix(target.as_str())?.strip_prefix('.')?;
        Some(((source.clone(), target.clone()), key))
    });
    found.min_by_key(|(_, key)| key.len())
}

/// The longest alias, and the key after it.
fn cluster_key<'a>(full: &'a str, clusters: &'a Aliases) -> Option<(&'a str, &'a str)> {
    let found = clusters.iter().filter_map(|alias| {
        let key = full.strip_prefix(alias.as_str())?.strip_prefix('.')?;
        Some((alias.as_str(), key))
    });
    found.min_by_key(|(_, key)| key.len())
}

fn miscased(file: &Dedicated, full: &str, value: &str, clusters: &Aliases) -> Option<Verdict> {
    let (before, rest) = full.split_once('.')?;
    let alias = clusters.iter().find(|alias| alias.eq_ignore_ascii_case(before))?;
    let meant = format!("{alias}.{rest}");
    let helps = hints::helps(&of_cluster(file, alias), rest, value) && !file.raw().contains_key(&meant);
    let verdict = Verdict::new(Effect::Unknown, "aliases are case-sensitive, and MM2 ignores it too");
    Some(verdict.or(helps.then(|| Remedy::Rename(vec![meant]))))
}

fn broken_flow(full: &str, value: &str, clusters: &Aliases) -> Option<Verdict> {
    let unknown = |why: String| Some(Verdict::new(Effect::Unknown, why));
    let alone = full.strip_suffix("->").unwrap_or(full);
    if clusters.contains(alone) && (alone != full || value.starts_with("->")) {
        // What was meant stands in the value, up to the next separator.
        let rest = value.trim_start_matches("->").trim_start();
        let meant =
            rest.split(['=', ':', ' ', '\t']).next().filter(|meant| cluster_key(meant, clusters).is_some());
        return unknown(match meant {
            Some(meant) => format!("a blank ends a key: write {alone}->{meant} without blanks"),
            None => format!("a blank ends a key: write {alone}->TARGET.KEY without blanks"),
        });
    }
    let (before, after) = full.split_once("->")?;
    let target = after.split('.').next().unwrap_or_default();
    let known = clusters.iter().cloned().collect::<Vec<_>>().join(", ");
    let like = |name: &str| clusters.iter().find(|alias| alias.eq_ignore_ascii_case(name));
    if let (Some(source), Some(goal)) = (like(before), like(target))
        && (source != before || goal != target)
        && source != goal
    {
        let key = after.strip_prefix(target).and_then(|key| key.strip_prefix('.')).unwrap_or_default();
        let flow = (source.clone(), goal.clone());
        let helps = hints::helps(&of_flow(&flow), key, value);
        let renamed = helps.then(|| Remedy::Rename(vec![format!("{source}->{goal}.{key}")]));
        return Some(
            Verdict::new(Effect::Unknown, "aliases are case-sensitive, and MM2 ignores it too").or(renamed),
        );
    }
    unknown(match clusters.contains(before) {
        true if before == target => "a cluster has no flow to itself".to_owned(),
        true => format!("no cluster {target} is named in clusters ({known})"),
        false => format!("no cluster {before} is named in clusters ({known})"),
    })
}

/// MM2 fills `source.consumer.*` from the cluster, and that beats the flow's `consumer.*`.
fn shadowed(file: &Dedicated, (source, target): &Flow, key: &str) -> Option<Verdict> {
    let (role, setting) = key.split_once('.')?;
    let (alias, instead) = match role {
        "consumer" => (source, format!("source.consumer.{setting}")),
        // The producer of records is another one, whatever the cluster says.
        _ => return None,
    };
    let cluster = file.cluster_props(alias);
    let value = file.raw().get(&format!("{source}->{target}.{key}"))?;
    if setting.starts_with("override.") || !cluster.contains_key(key) {
        return None;
    }
    let flow = (source.clone(), target.clone());
    let helps = hints::helps(&of_flow(&flow), &instead, value);
    let why = format!("the cluster's {alias}.{setting} or {alias}.{key} beats it, as in MM2");
    let renamed = Remedy::Rename(vec![format!("{source}->{target}.{instead}")]);
    Some(Verdict::new(Effect::Ignored, why).or(helps.then_some(renamed)))
}

#[cfg(test)]
mod tests;
