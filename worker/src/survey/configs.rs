//! Which configs a created topic gets: what was set on the source topic itself, minus exclusions, plus overrides. Pure.
//!
//! Unlike MM2, values that the source's brokers set for all topics are not copied: they say how that cluster is run, not
//! what the topic is.

use std::collections::BTreeMap;

use twinlog_proto::model::Mirror;

use crate::kafka::{ConfigEntry, ConfigSource};

pub fn configs(mirror: &Mirror, source: &[ConfigEntry]) -> BTreeMap<String, String> {
    let mut configs: BTreeMap<_, _> = source
        .iter()
        .filter(|entry| entry.source == ConfigSource::DynamicTopic && !entry.read_only && !entry.sensitive)
        .filter(|entry| !mirror.config_exclude.matches(&entry.name))
        .filter_map(|entry| Some((entry.name.clone(), entry.value.clone()?)))
        .collect();
    configs.extend(mirror.config_overrides.clone());
    configs
}

/// A config's value as a number, wherever it was set.
pub fn number(entries: &[ConfigEntry], name: &str) -> Option<i32> {
    entries.iter().find(|entry| entry.name == name)?.value.as_deref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use twinlog_proto::v1;

    use super::*;

    fn entry(name: &str, value: &str, source: ConfigSource) -> ConfigEntry {
        let value = Some(value.to_owned());
        ConfigEntry { name: name.to_owned(), value, source, read_only: false, sensitive: false }
    }

    #[test]
    fn only_what_was_set_on_the_topic_is_copied() {
        let mirror = Mirror::parse(&v1::Mirror {
            topic_creation: Some(v1::TopicCreation {
                config_overrides: [("retention.ms".to_owned(), "1000".to_owned())].into(),
                ..Default::default()
            }),
            ..crate::survey::tests::wire("a", "b")
        })
        .unwrap();
        let source = [
            entry("cleanup.policy", "compact", ConfigSource::DynamicTopic),
            entry("retention.ms", "5", ConfigSource::DynamicTopic),
            entry("min.insync.replicas", "2", ConfigSource::DynamicTopic),
            entry("message.timestamp.type", "LogAppendTime", ConfigSource::DynamicTopic),
            entry("compression.type", "zstd", ConfigSource::DynamicBroker),
            entry("segment.bytes", "1073741824", ConfigSource::Default),
            ConfigEntry { read_only: true, ..entry("x", "y", ConfigSource::DynamicTopic) },
            ConfigEntry { sensitive: true, value: None, ..entry("z", "", ConfigSource::DynamicTopic) },
        ];
        let expected = [("cleanup.policy", "compact"), ("retention.ms", "1000")];
        let expected: BTreeMap<_, _> = expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        assert_eq!(configs(&mirror, &source), expected);
        assert_eq!(number(&source, "segment.bytes"), Some(1_073_741_824));
    }
}
