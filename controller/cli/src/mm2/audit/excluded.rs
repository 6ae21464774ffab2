//! Exclusions under the names that Kafka 4.0 removed, and inclusions under names that nobody ever had: a wider copy than was
//! meant is never silent.

use crate::mm2::Props;
use crate::mm2::dedicated::Dedicated;
use crate::mm2::report::{Effect, Entry, Remedy};

/// What MM2 up to 3.9 reads, and what it is called since 2.7.
const REMOVED: [(&str, &str); 3] = [
    ("topics.blacklist", "topics.exclude"),
    ("groups.blacklist", "groups.exclude"),
    ("config.properties.blacklist", "config.properties.exclude"),
];
/// What looks like a selection; no version of MM2 reads it.
const NEVER: [(&str, &str); 8] = [
    ("topics.whitelist", "topics"),
    ("topics.include", "topics"),
    ("topic.whitelist", "topics"),
    ("topics.regex", "topics"),
    ("topics.pattern", "topics"),
    ("groups.whitelist", "groups"),
    ("groups.include", "groups"),
    ("groups.pattern", "groups"),
];

pub(super) fn of_file(file: &Dedicated) -> Vec<Entry> {
    let flows: Vec<String> =
        file.busy_pairs().iter().map(|(source, target)| format!("{source}->{target}.")).collect();
    let raw = file.raw();
    let counts = |flow: &str, key: &str| raw.contains_key(&format!("{flow}{key}")) || raw.contains_key(key);
    let mut found = Vec::new();
    for (old, new) in REMOVED.into_iter().chain(NEVER) {
        if let Some(value) = raw.get(old) {
            let open: Vec<&String> = flows.iter().filter(|flow| !counts(flow, new)).collect();
            found.push(one("", old, new, value, !open.is_empty()));
        }
        for flow in &flows {
            if let Some(value) = raw.get(&format!("{flow}{old}")) {
                found.push(one(flow, old, new, value, !counts(flow, new)));
            }
        }
    }
    found
}

/// The same in one connector's own configuration.
pub(in crate::mm2) fn of_connector(here: &str, props: &Props) -> Vec<Entry> {
    let given = REMOVED.into_iter().chain(NEVER).filter_map(|(old, new)| Some((old, new, props.get(old)?)));
    given.map(|(old, new, value)| one(here, old, new, value, !props.contains_key(new))).collect()
}

fn one(here: &str, old: &str, new: &str, value: &str, open: bool) -> Entry {
    let key = format!("{here}{old}");
    let renamed = Remedy::Rename(vec![format!("{here}{new}")]);
    if !open {
        return Entry::new(Effect::Ignored, key, format!("{new} is given, and that counts"));
    }
    let value = value.trim();
    if NEVER.iter().any(|(never, _)| *never == old) {
        let why = format!(
            "MirrorMaker has no such key and takes everything, not only {value:?}; say which you want, with {here}{new}={value} or without this key"
        );
        return Entry::new(Effect::Invalid, key, why).or(renamed).or(Remedy::Remove);
    }
    let why = format!(
        "MirrorMaker up to 3.9 leaves out {value:?}, 4.x doesn't know the key and would not; say which you want, with {here}{new} or without this key"
    );
    Entry::new(Effect::Invalid, key, why).or(renamed).or(Remedy::Remove)
}
