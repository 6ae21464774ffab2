use twinlog_proto::v1;

use super::*;
use crate::survey::tests::wire;
use ConfigSource::{Default as BuiltIn, DynamicBroker, DynamicDefaultBroker, DynamicTopic, StaticBroker};

fn entry(name: &str, value: &str, source: ConfigSource) -> ConfigEntry {
    let value = Some(value.to_owned());
    ConfigEntry { name: name.to_owned(), value, source, read_only: false, sensitive: false }
}

fn mirror(change: impl FnOnce(&mut v1::Mirror)) -> Mirror {
    let mut wire = wire("a", "b");
    change(&mut wire);
    Mirror::parse(&wire).unwrap()
}

fn from_source(m: &mut v1::Mirror) {
    let mut sync = v1::ConfigSync::default();
    sync.set_defaults_from(v1::config_sync::Defaults::Source);
    m.config_sync = Some(sync);
}

fn overriding(name: &str, value: &str) -> Mirror {
    let config_overrides = [(name.to_owned(), value.to_owned())].into();
    mirror(|m| m.topic_creation = Some(v1::TopicCreation { config_overrides, ..Default::default() }))
}

/// Name and what it is set to (`None`: unset) of each difference.
fn changes(mirror: &Mirror, source: &[ConfigEntry], target: &[ConfigEntry]) -> Vec<(String, Option<String>)> {
    let change = |d: &Difference| (d.name.clone(), d.value().map(str::to_owned));
    differences(mirror, source, target).iter().map(change).collect()
}

fn set(name: &str, value: &str) -> (String, Option<String>) {
    (name.to_owned(), Some(value.to_owned()))
}

/// S5, W12: what was set on the topic is copied; defaults, the brokers' values and exclusions are not.
#[test]
fn s5_only_what_was_set_on_the_topic_is_copied_at_creation() {
    let source = [
        entry("cleanup.policy", "compact", DynamicTopic),
        entry("retention.ms", "5", DynamicTopic),
        entry("min.insync.replicas", "2", DynamicTopic),
        entry("message.timestamp.type", "LogAppendTime", DynamicTopic),
        entry("message.timestamp.before.max.ms", "1", DynamicTopic),
        entry("compression.type", "zstd", DynamicBroker),
        entry("flush.ms", "7", DynamicDefaultBroker),
        entry("flush.messages", "7", StaticBroker),
        entry("segment.bytes", "1073741824", BuiltIn),
        ConfigEntry { read_only: true, ..entry("x", "y", DynamicTopic) },
        ConfigEntry { sensitive: true, value: None, ..entry("z", "", DynamicTopic) },
    ];
    let text = |all: &[(&str, &str)]| -> BTreeMap<String, String> {
        all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    let own = [("cleanup.policy", "compact"), ("retention.ms", "1000")];
    assert_eq!(configs(&overriding("retention.ms", "1000"), &source), text(&own));
    let all = [
        ("cleanup.policy", "compact"),
        ("compression.type", "zstd"),
        ("flush.ms", "7"),
        ("retention.ms", "5"),
        ("segment.bytes", "1073741824"),
    ];
    assert_eq!(configs(&mirror(from_source), &source), text(&all), "with defaults_from = SOURCE");
    assert_eq!(number(&source, "segment.bytes"), Some(1_073_741_824));
}

/// S5: a pattern of one's own replaces the list.
#[test]
fn s5_a_custom_exclusion_holds_at_creation_and_in_sync() {
    let mirror = mirror(|m| {
        let config_exclude = vec!["exclude_param.*".to_owned()];
        m.topic_creation = Some(v1::TopicCreation { config_exclude, ..Default::default() });
    });
    let source =
        [entry("exclude_param.param1", "v", DynamicTopic), entry("min.insync.replicas", "2", DynamicTopic)];
    assert_eq!(configs(&mirror, &source).keys().collect::<Vec<_>>(), ["min.insync.replicas"]);
    assert_eq!(changes(&mirror, &source, &[]), [set("min.insync.replicas", "2")]);
}

/// W12: equal topics need no request at all.
#[test]
fn w12_nothing_differs_between_a_topic_and_its_copy() {
    let source = [
        entry("retention.ms", "5", DynamicTopic),
        entry("compression.type", "zstd", DynamicDefaultBroker),
        entry("flush.messages", "7", StaticBroker),
        entry("segment.bytes", "100", BuiltIn),
    ];
    let target = [
        entry("retention.ms", "5", DynamicTopic),
        entry("compression.type", "producer", BuiltIn),
        entry("flush.messages", "9", StaticBroker),
        entry("segment.bytes", "200", StaticBroker),
        entry("min.insync.replicas", "3", DynamicTopic),
    ];
    assert_eq!(changes(&mirror(|_| {}), &source, &target), []);
}

/// I16, I18: what was set on the source is set on the target, and what no longer is becomes the target's default.
#[test]
fn i16_i18_overrides_follow_the_source_in_both_directions() {
    let mirror = mirror(|_| {});
    let by_hand = [entry("retention.bytes", "2000", DynamicTopic)];
    let source = [entry("retention.bytes", "1000", DynamicTopic)];
    let found = differences(&mirror, &source, &by_hand);
    assert_eq!(found[0].value(), Some("1000"));
    assert_eq!(
        (found[0].source_value.as_deref(), found[0].target_value.as_deref()),
        (Some("1000"), Some("2000"))
    );

    let back_to_default = [entry("retention.bytes", "-1", BuiltIn)];
    let found = differences(&mirror, &back_to_default, &by_hand);
    assert_eq!((found[0].value(), &found[0].wanted), (None, &Wanted::Unset));
    assert_eq!((found[0].source_value.as_deref(), found[0].target_value.as_deref()), (None, Some("2000")));
    // The cluster-wide value is a default of that cluster, not the topic's own.
    let of_cluster = [entry("retention.bytes", "77", DynamicDefaultBroker)];
    assert_eq!(changes(&mirror, &of_cluster, &by_hand), [("retention.bytes".to_owned(), None)]);
    // What the broker was started with says nothing: as in MM2 the target stays as it is.
    assert_eq!(changes(&mirror, &[entry("retention.bytes", "77", StaticBroker)], &by_hand), []);
    // Set to what happens to be the target's default: it is pinned, as on the source.
    let default = [entry("retention.bytes", "1000", BuiltIn)];
    assert_eq!(changes(&mirror, &source, &default), [set("retention.bytes", "1000")]);
}

/// I17: with `defaults_from = SOURCE` the source's default is in effect on the target, set only where it has to be.
#[test]
fn i17_a_default_of_the_source_is_set_where_the_targets_differs() {
    let mirror = mirror(from_source);
    let source = [entry("retention.bytes", "-1", BuiltIn)];
    let with = |value, from| changes(&mirror, &source, &[entry("retention.bytes", value, from)]);
    assert_eq!(with("5000", StaticBroker), [set("retention.bytes", "-1")]);
    assert_eq!(with("2000", DynamicTopic), [set("retention.bytes", "-1")]);
    assert_eq!(with("-1", BuiltIn), []);
    assert_eq!(with("-1", DynamicTopic), []);
    assert_eq!(changes(&mirror, &source, &[]), [], "a default that the target doesn't know");
}

/// The mirror's overrides win over the source and over exclusions.
#[test]
fn overrides_win() {
    let source = [entry("retention.ms", "5", DynamicTopic)];
    let mirror = overriding("retention.ms", "1000");
    assert_eq!(
        changes(&mirror, &source, &[entry("retention.ms", "5", DynamicTopic)]),
        [set("retention.ms", "1000")]
    );
    assert_eq!(changes(&mirror, &source, &[entry("retention.ms", "1000", DynamicTopic)]), []);
    for (given, answered) in [("compact, delete", "compact,delete"), ("TRUE", "true")] {
        let there = [entry("x", answered, DynamicTopic)];
        assert_eq!(changes(&overriding("x", given), &[], &there), [], "the broker's spelling");
    }
}

/// A config that only the source knows is said, not tried.
#[test]
fn what_the_target_does_not_know_is_told_apart() {
    let found = differences(&mirror(|_| {}), &[entry("vendor.only", "x", DynamicTopic)], &[]);
    assert!(found[0].unknown, "{found:?}");
}
