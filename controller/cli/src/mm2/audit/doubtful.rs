//! What MirrorMaker reads in a way that hardly anybody means: comments behind values, quotes, keys that are given twice.

use crate::mm2::dedicated::Dedicated;
use crate::mm2::list;
use crate::mm2::report::{Effect, Entry, Remedy};

/// Keys whose values are patterns.
const PATTERNS: [&str; 4] = ["topics", "topics.exclude", "groups", "groups.exclude"];

/// What to say where a value looks as if a comment stood behind it.
pub(in crate::mm2) fn comment(value: &str) -> &'static str {
    match behind(value) {
        Some(_) => " (# begins a comment only at the beginning of a line: here it is part of the value)",
        None => "",
    }
}

/// The value before what looks like a comment.
fn behind(value: &str) -> Option<&str> {
    let at = value.find(" #").or_else(|| value.find("\t#"))?;
    Some(value[..at].trim_end())
}

pub(super) fn of_file(file: &Dedicated) -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    for (key, value) in file.raw() {
        let name = PATTERNS.iter().find(|name| key == *name || key.ends_with(&format!(".{name}")));
        if name.is_some() {
            found.extend(pattern(key, value));
        }
    }
    for (key, lines) in file.repeated() {
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        if !found.iter().any(|entry| entry.key == *key) {
            let why = format!(
                "given with different values in lines {}: the last counts, as in MirrorMaker",
                lines.join(", ")
            );
            found.push(Entry::new(Effect::Doubtful, key, why));
        }
    }
    found
}

/// A list of patterns with something in it that no topic and hardly a group is called.
pub(in crate::mm2) fn pattern(key: &str, value: &str) -> Option<Entry> {
    if let Some(before) = behind(value) {
        let why = format!(
            "# begins a comment only at the beginning of a line: MirrorMaker takes all of {:?} for the pattern",
            value.trim()
        );
        return Some(Entry::new(Effect::Doubtful, key, why).or(Remedy::Value(before.to_owned())));
    }
    let quoted =
        list(value).into_iter().any(|item| item.starts_with(['"', '\'']) || item.ends_with(['"', '\'']));
    quoted.then(|| {
        let without = value.trim().replace(['"', '\''], "");
        let why = format!("quotes are part of the pattern {}, which no topic's name matches", value.trim());
        Entry::new(Effect::Doubtful, key, why).or(Remedy::Value(without))
    })
}
