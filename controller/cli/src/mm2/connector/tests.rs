//! Clients and validation, by MM2's own tests (mirrormaker2 reference 10.2).

use twinlog_proto::filter::Filter;

use super::*;

fn connector(pairs: &[(&str, &str)]) -> Connector {
    let base =
        [("name", "ConnectorName"), ("source.cluster.alias", "source1"), ("target.cluster.alias", "target2")];
    let props = base.iter().chain(pairs).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Connector::new(props, &Providers::default())
}

fn keys_of(found: &[Invalid]) -> Vec<&str> {
    found.iter().map(|invalid| invalid.key.as_str()).collect()
}

/// C7: an unknown security protocol is refused, whatever the connector; the case of a known one is free.
#[test]
fn c7_a_security_protocol_is_checked_without_its_case() {
    let bad = connector(&[("security.protocol", "abc"), ("enabled", "true")]);
    for found in [bad.refused(), bad.refused_as_source(), bad.refused_as_checkpoint()] {
        assert_eq!(keys_of(&found), ["security.protocol"]);
        assert!(found[0].what.contains("abc") && found[0].what.contains("SASL_SSL"), "{}", found[0].what);
    }
    let good = connector(&[("security.protocol", "sasl_ssl"), ("enabled", "true")]);
    assert!(
        good.refused().is_empty()
            && good.refused_as_source().is_empty()
            && good.refused_as_checkpoint().is_empty()
    );
}

/// C8: each client's defaults, overrides and name.
#[test]
fn c8_clients_have_mm2s_defaults_overrides_and_names() {
    let plain = connector(&[]).client_config(Side::Source, Role::Consumer, None, "test");
    assert_eq!(plain["enable.auto.commit"], "false");
    assert_eq!(plain["auto.offset.reset"], "earliest");
    assert_eq!(plain["client.id"], "source1->target2|ConnectorName|test");
    for (role, prefix) in [(Role::Consumer, "consumer"), (Role::Producer, "producer"), (Role::Admin, "admin")]
    {
        for (side, name) in [(Side::Source, "source"), (Side::Target, "target")] {
            let (common, sided) = (format!("{prefix}.x"), format!("{name}.{prefix}.y"));
            let (both, both_sided) = (format!("{prefix}.z"), format!("{name}.{prefix}.z"));
            let security = format!("{name}.cluster.security.protocol");
            let own = format!("{name}.cluster.max.poll.records");
            let given = [
                (common.as_str(), "1"),
                (&sided, "2"),
                (&both, "3"),
                (&both_sided, "4"),
                (&security, "SSL"),
                (&own, "9"),
            ];
            let props = connector(&given).client_config(side, role, Some(1), "role");
            assert_eq!(
                (props["x"].as_str(), props["y"].as_str(), props["z"].as_str()),
                ("1", "2", "4"),
                "{sided}"
            );
            assert_eq!(props["security.protocol"], "SSL");
            assert!(!props.contains_key("max.poll.records"), "only security comes from the cluster");
            assert_eq!(props["client.id"], "source1->target2|ConnectorName-1|role");
        }
    }
    let overridden = connector(&[
        ("consumer.auto.offset.reset", "latest"),
        ("consumer.enable.auto.commit", "true"),
        ("source.consumer.client.id", "me"),
    ]);
    let props = overridden.client_config(Side::Source, Role::Consumer, None, "test");
    assert_eq!(
        (props["auto.offset.reset"].as_str(), props["enable.auto.commit"].as_str()),
        ("latest", "false")
    );
    assert_eq!(props["client.id"], "me|source1->target2|ConnectorName|test");
}

/// C9: offset syncs live on the source unless the file says target; their clients are that side's own.
#[test]
fn c9_offset_syncs_are_on_the_source_by_default() {
    let source =
        connector(&[("source.cluster.bootstrap.servers", "s"), ("target.cluster.bootstrap.servers", "t")]);
    let target = connector(&[
        ("offset-syncs.topic.location", "target"),
        ("source.cluster.bootstrap.servers", "s"),
        ("target.cluster.bootstrap.servers", "t"),
    ]);
    for (connector, side, servers, topic) in [
        (&source, Side::Source, "s", "mm2-offset-syncs.target2.internal"),
        (&target, Side::Target, "t", "mm2-offset-syncs.source1.internal"),
    ] {
        assert_eq!(connector.offset_syncs_side().unwrap(), side);
        for role in Role::ALL {
            let mut syncs = connector.client_config(side, role, None, "offset-syncs");
            let mut plain = connector.client_config(side, role, None, "other");
            assert_eq!(syncs["bootstrap.servers"], servers);
            assert_ne!(syncs.remove("client.id"), plain.remove("client.id"));
            assert_eq!(syncs, plain);
        }
        let naming = twinlog_proto::policy::Naming::Prefix { separator: ".".into() };
        let policy = twinlog_proto::policy::Policy::new(naming, "source1", "target2");
        let other = if side == Side::Source { "target2" } else { "source1" };
        assert_eq!(policy.offset_syncs_topic(other), topic);
    }
    let bad = connector(&[("offset-syncs.topic.location", "something")]).offset_syncs_side().unwrap_err();
    assert!(bad.key == "offset-syncs.topic.location" && bad.what.contains("something"));
}

fn selects(list: &str, topic: &str) -> bool {
    let given = connector(&[("topics", list)]).patterns("topics").unwrap().unwrap();
    Filter::new(&given, &[] as &[&str]).unwrap().matches(topic)
}

/// C10: what a list of topics selects. (MM2's lists of partitions as text have no counterpart: ranges are messages.)
#[test]
fn c10_lists_of_patterns_select_what_they_select_in_mm2() {
    assert!(!selects("", "topic1") && !selects("", ""));
    assert!(selects(".*", "topic1") && selects(".*", ""));
    for (topic, selected) in
        [("topic1", true), ("topic2", true), ("topic3", false), ("topic1, topic2", false), ("xtopic1", false)]
    {
        assert_eq!(selects("topic1, topic2", topic), selected, "{topic}");
    }
    assert!(connector(&[]).patterns("topics").unwrap().is_none());
}

/// A comma splits even within a group, and an inline flag reaches into what follows: MM2 joins the list to one pattern.
#[test]
fn lists_keep_the_meaning_of_mm2s_one_pattern() {
    assert_eq!(patterns("a,b.*"), ["a", "b.*"]);
    assert_eq!(patterns("(a,b)"), ["(a|b)"]);
    assert!(selects("(a,b)", "a") && selects("(a,b)", "b") && !selects("(a,b)", "a,b"));
    assert!(selects("(?i)a,b", "B"));
}

/// C11: metric reporters replace each other as any value does; they, like the policy class, are data of one connector.
#[test]
fn c11_metric_reporters_are_replaced_not_added() {
    let reporters = |given: &[(&str, &str)]| {
        super::list(
            connector(given)
                .props()
                .get("metric.reporters")
                .map_or("org.apache.kafka.common.metrics.JmxReporter", String::as_str),
        )
        .len()
    };
    assert_eq!(reporters(&[]), 1);
    assert_eq!(reporters(&[("metric.reporters", "org.example.Reporter")]), 1);
    assert_eq!(
        reporters(&[(
            "metric.reporters",
            "org.example.Reporter, org.apache.kafka.common.metrics.JmxReporter"
        )]),
        2
    );
}

/// C12: a checkpoint connector that is on must emit checkpoints and have offset syncs.
#[test]
fn c12_a_checkpoint_connector_needs_checkpoints_and_offset_syncs() {
    let refused = |pairs: &[(&str, &str)]| connector(pairs).refused_as_checkpoint();
    assert!(
        refused(&[
            ("enabled", "false"),
            ("emit.checkpoints.enabled", "false"),
            ("emit.offset-syncs.enabled", "false")
        ])
        .is_empty()
    );
    assert!(refused(&[("enabled", "true")]).is_empty());
    assert_eq!(
        keys_of(&refused(&[("enabled", "true"), ("emit.checkpoints.enabled", "false")])),
        ["emit.checkpoints.enabled"]
    );
    assert_eq!(keys_of(&refused(&[("emit.offset-syncs.enabled", "false")])), ["emit.offset-syncs.enabled"]);
}

/// C13: exactly-once that is required needs a committed reader, and hides no other error.
#[test]
fn c13_required_exactly_once_needs_read_committed() {
    let refused = |pairs: &[(&str, &str)]| connector(pairs).refused_as_source();
    for support in ["requested", "garbage"] {
        assert!(refused(&[("exactly.once.support", support)]).is_empty(), "{support}");
    }
    assert!(refused(&[]).is_empty());
    let required = ("exactly.once.support", "required");
    let found = refused(&[required]);
    assert_eq!(keys_of(&found), ["exactly.once.support"]);
    assert!(found[0].what.contains("isolation.level"), "{}", found[0].what);
    assert!(refused(&[required, ("consumer.isolation.level", "read_committed")]).is_empty());
    assert_eq!(
        keys_of(&refused(&[required, ("offset.lag.max", "bad")])),
        ["offset.lag.max", "exactly.once.support"]
    );
    assert_eq!(keys_of(&refused(&[("offset.lag.max", "bad")])), ["offset.lag.max"]);
}

/// C13: which readers support it.
#[test]
fn c13_support_is_the_sides_isolation_level_over_the_common_one() {
    const COMMITTED: &str = "read_committed";
    for (common, sided, supported) in [
        (Some(COMMITTED), None, true),
        (None, Some(COMMITTED), true),
        (Some("read_uncommitted"), Some(COMMITTED), true),
        (Some(COMMITTED), Some(COMMITTED), true),
        (Some("garbage"), Some(COMMITTED), true),
        (None, None, false),
        (Some("read_uncommitted"), None, false),
        (None, Some("read_uncommitted"), false),
        (Some(COMMITTED), Some("read_uncommitted"), false),
        (Some(COMMITTED), Some("garbage"), false),
        (Some("garbage"), None, false),
    ] {
        let mut given = Vec::new();
        given.extend(common.map(|level| ("consumer.isolation.level", level)));
        given.extend(sided.map(|level| ("source.consumer.isolation.level", level)));
        assert_eq!(connector(&given).supports_exactly_once(), supported, "{common:?} {sided:?}");
    }
}

/// Without offset syncs nothing may configure them.
#[test]
fn settings_of_offset_syncs_without_offset_syncs_are_refused() {
    let found =
        connector(&[("emit.offset-syncs.enabled", "false"), ("offset-syncs.topic.replication.factor", "1")])
            .refused_as_source();
    assert_eq!(keys_of(&found), ["emit.offset-syncs.enabled"]);
    assert!(found[0].what.contains("offset-syncs.topic.replication.factor"));
    assert!(connector(&[("emit.offset-syncs.enabled", "false")]).refused_as_source().is_empty());
}
