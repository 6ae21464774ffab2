//! What a target topic's configs should be: what was set on the source topic itself, minus exclusions, plus overrides. Pure.
//!
//! Unlike MM2, values that the source's brokers set for all topics are not copied: they say how that cluster is run, not
//! what the topic is. Only `defaults_from_source` brings them over, as what they are: the source's defaults.

use std::collections::{BTreeMap, HashMap};

use twinlog_proto::model::Mirror;

use crate::kafka::{ConfigEntry, ConfigSource};

/// What one config should be on the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Set on the topic itself.
    Set(String),
    /// This value, wherever it comes from: as long as it is in effect nothing is set.
    InEffect(String),
    /// Not set on the topic.
    Unset,
}

/// A config that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub name: String,
    pub wanted: Wanted,
    /// What is set on the source topic (or by the mirror's overrides), or is to be in effect; `None`: its default.
    pub source_value: Option<String>,
    /// What is set on the target topic, or is in effect there; `None`: its default.
    pub target_value: Option<String>,
    /// The target has no such config.
    pub unknown: bool,
}

impl Difference {
    /// To be set; `None`: to be unset.
    pub fn value(&self) -> Option<&str> {
        match &self.wanted {
            Wanted::Set(value) | Wanted::InEffect(value) => Some(value),
            Wanted::Unset => None,
        }
    }
}

/// Configs for a topic that is created.
pub fn configs(mirror: &Mirror, source: &[ConfigEntry]) -> BTreeMap<String, String> {
    let value = |wanted| match wanted {
        Wanted::Set(value) | Wanted::InEffect(value) => Some(value),
        Wanted::Unset => None,
    };
    wanted(mirror, source).into_iter().filter_map(|(name, wanted)| Some((name, value(wanted)?))).collect()
}

/// What differs between an existing pair of topics and should not.
pub fn differences(mirror: &Mirror, source: &[ConfigEntry], target: &[ConfigEntry]) -> Vec<Difference> {
    let there: HashMap<&str, &ConfigEntry> =
        target.iter().map(|entry| (entry.name.as_str(), entry)).collect();
    wanted(mirror, source)
        .into_iter()
        .filter(|(name, wanted)| differs(wanted, there.get(name.as_str()).copied()))
        .map(|(name, wanted)| difference(there.get(name.as_str()).copied(), name, wanted))
        .collect()
}

fn difference(target: Option<&ConfigEntry>, name: String, wanted: Wanted) -> Difference {
    let shown = |entry: &ConfigEntry| {
        let counts = entry.source == ConfigSource::DynamicTopic || matches!(wanted, Wanted::InEffect(_));
        entry.value.clone().filter(|_| counts)
    };
    let target_value = target.and_then(shown);
    let unknown = target.is_none();
    let mut difference = Difference { name, wanted, source_value: None, target_value, unknown };
    difference.source_value = difference.value().map(str::to_owned);
    difference
}

fn differs(wanted: &Wanted, target: Option<&ConfigEntry>) -> bool {
    let Some(target) = target else { return matches!(wanted, Wanted::Set(_)) };
    let is_set = target.source == ConfigSource::DynamicTopic;
    if target.read_only || target.sensitive {
        return false;
    }
    let is = |value: &str| target.value.as_deref().is_some_and(|there| is_same(there, value));
    match wanted {
        Wanted::Set(value) => !(is_set && is(value)),
        Wanted::InEffect(value) => !is(value),
        Wanted::Unset => is_set,
    }
}

/// Brokers answer in their own spelling: `compact, delete` comes back as `compact,delete`, `TRUE` as `true`.
fn is_same(a: &str, b: &str) -> bool {
    let switch = |text: &str| ["true", "false"].iter().any(|word| text.eq_ignore_ascii_case(word));
    let items = |text: &'_ str| text.split(',').map(|item| item.trim().to_owned()).collect::<Vec<_>>();
    items(a) == items(b) || (switch(a.trim()) && a.trim().eq_ignore_ascii_case(b.trim()))
}

/// By name, everything the mirror has a say in.
fn wanted(mirror: &Mirror, source: &[ConfigEntry]) -> BTreeMap<String, Wanted> {
    let mut all: BTreeMap<_, _> = source
        .iter()
        .filter(|entry| !entry.read_only && !entry.sensitive)
        .filter(|entry| !mirror.config_exclude.matches(&entry.name))
        .filter_map(|entry| Some((entry.name.clone(), wanted_of(mirror, entry)?)))
        .collect();
    let overrides = mirror.config_overrides.iter();
    all.extend(overrides.map(|(name, value)| (name.clone(), Wanted::Set(value.clone()))));
    all
}

/// As MM2, leaves alone what the source's broker was started with: every broker may have its own.
fn wanted_of(mirror: &Mirror, entry: &ConfigEntry) -> Option<Wanted> {
    match entry.source {
        ConfigSource::DynamicTopic => entry.value.clone().map(Wanted::Set),
        ConfigSource::Default | ConfigSource::DynamicDefaultBroker | ConfigSource::DynamicBroker => {
            if mirror.config_sync.defaults_from_source {
                entry.value.clone().map(Wanted::InEffect)
            } else {
                Some(Wanted::Unset)
            }
        }
        _ => None,
    }
}

/// A config's value as a number, wherever it was set.
pub fn number(entries: &[ConfigEntry], name: &str) -> Option<i32> {
    entries.iter().find(|entry| entry.name == name)?.value.as_deref()?.parse().ok()
}

#[cfg(test)]
mod tests;
