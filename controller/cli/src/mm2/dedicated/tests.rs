//! Precedence, by MM2's own tests (mirrormaker2 reference 10.2).

use super::*;
use crate::mm2::connector::Side;

fn file(text: &str) -> Dedicated {
    Dedicated::new(
        twinlog_proto::properties::lines(text).unwrap(),
        std::path::Path::new("/etc/twinlog/secrets"),
    )
}

fn unresolved(value: &str) -> String {
    value.to_owned()
}

fn connector(file: &Dedicated, source: &str, target: &str) -> Connector {
    Connector::new(file.connector_config(source, target, CONNECTORS[0]), file.providers())
}

/// C1: each cluster's bootstrap servers, and the top level's security.
#[test]
fn c1_a_connector_knows_both_clusters() {
    let file = file(
        "clusters=a,b\na.bootstrap.servers=one\nb.bootstrap.servers=two\nsecurity.protocol=SSL\nreplication.factor=4\n",
    );
    let props = file.connector_config("a", "b", "MirrorSourceConnector");
    assert_eq!(props["source.cluster.bootstrap.servers"], "one");
    assert_eq!(props["target.cluster.bootstrap.servers"], "two");
    assert_eq!(props["source.cluster.alias"], "a");
    assert_eq!(props["target.cluster.alias"], "b");
    assert_eq!(props["security.protocol"], "SSL");
    assert_eq!(props["source.cluster.security.protocol"], "SSL");
    assert_eq!(props["replication.factor"], "4");
    assert_eq!(props["name"], "MirrorSourceConnector");
    assert_eq!(props["enabled"], "false");
}

/// C2: a flow's keys beat the top level's, of which only known ones pass.
#[test]
fn c2_a_flow_inherits_known_keys_and_overrides_them() {
    let file = file(
        "clusters=a, b\na->b.tasks.max=123\ntasks.max=100\ntopics=topic-1\ngroups=group-2\nreplication.policy.separator=__\n\
        config.properties.exclude=property-3\nmetric.reporters=FakeMetricsReporter\ntopic.filter.class=org.example.Filter\nxxx=yyy\nuse.defaults.from=source\ntopic.creation.default.partitions=3\n",
    );
    let props = file.connector_config("a", "b", "MirrorSourceConnector");
    for (key, value) in [
        ("tasks.max", "123"),
        ("topics", "topic-1"),
        ("groups", "group-2"),
        ("replication.policy.separator", "__"),
        ("config.properties.exclude", "property-3"),
        ("metric.reporters", "FakeMetricsReporter"),
        ("topic.filter.class", "org.example.Filter"),
    ] {
        assert_eq!(props[key], value, "{key}");
    }
    for dropped in ["xxx", "use.defaults.from", "topic.creation.default.partitions"] {
        assert!(!props.contains_key(dropped), "{dropped}");
    }
    assert_eq!(file.connector_config("b", "a", "MirrorSourceConnector")["tasks.max"], "100");

    let own = self::file(
        "clusters=a,b\ntopics=top\na->b.topics=own-1,own-2\na->b.topics.exclude=own-2\na->b.use.defaults.from=source\n",
    );
    let connector = connector(&own, "a", "b");
    assert_eq!(connector.patterns("topics").unwrap().unwrap(), ["own-1", "own-2"]);
    assert_eq!(connector.patterns("topics.exclude").unwrap().unwrap(), ["own-2"]);
    assert_eq!(connector.props()["use.defaults.from"], "source");
}

/// C3: a role's security beats the cluster's, which beats the top level's; a MirrorClient gets security only, resolved.
#[test]
fn c3_clients_inherit_security_by_role_then_cluster_then_top_level() {
    let secrets = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secrets.path(), "password=hush\n").unwrap();
    let text = format!(
        "clusters=a,b\na.bootstrap.servers=one\nb.bootstrap.servers=two\nsecurity.protocol=SSL\nssl.truststore.password=pass\n\
         ssl.key.password=${{fake:{}:password}}\nssl.keystore.location=/keys\nconfig.providers=fake\n\
         config.providers.fake.class=org.apache.kafka.common.config.provider.FileConfigProvider\n\
         a.security.protocol=PLAINTEXT\na.producer.security.protocol=SSL\nb.forwarding.admin.class=org.example.Admin\n\
         metric.reporters=FakeMetricsReporter\na.consumer.client.id=mine\n",
        secrets.path().display()
    );
    let file = file(&text);
    let resolve =
        |value: &str| twinlog_proto::secret::resolve(&file.providers().translate(value).unwrap()).unwrap();
    let config = |alias: &str, role: Role| file.client_config(alias, role, resolve);
    assert_eq!(config("a", Role::Admin)["security.protocol"], "PLAINTEXT");
    assert_eq!(config("a", Role::Consumer)["security.protocol"], "PLAINTEXT");
    assert_eq!(config("a", Role::Producer)["security.protocol"], "SSL");
    assert_eq!(config("b", Role::Admin)["security.protocol"], "SSL");
    assert_eq!(config("a", Role::Producer)["ssl.truststore.password"], "pass");
    assert_eq!(config("b", Role::Consumer)["ssl.keystore.location"], "/keys");
    for alias in ["a", "b"] {
        let props = config(alias, Role::Consumer);
        assert_eq!(props["ssl.key.password"], "hush");
        assert!(!props.contains_key("metric.reporters") && !props.contains_key("client.id"), "{props:?}");
    }
    assert_eq!(file.cluster_props("b")["forwarding.admin.class"], "org.example.Admin");
    assert!(!file.cluster_props("a").contains_key("forwarding.admin.class"));
}

/// C4: the worker is the target cluster's, under the top level's storage and converters; references are resolved now.
#[test]
fn c4_the_worker_is_configured_by_the_target_and_the_top_level() {
    let file = file(
        "clusters=a,b\na.bootstrap.servers=one\nb.bootstrap.servers=two\nb.status.storage.replication.factor=456\n\
         offset.storage.replication.factor=123\nb.offset.storage.replication.factor=9\nb.producer.client.id=client-one\n\
         b.security.protocol=PLAINTEXT\nb.producer.security.protocol=SASL\nssl.truststore.password=secret1\nssl.key.password=${env:PATH}\n\
         config.providers=env\nconfig.providers.env.class=org.apache.kafka.common.config.provider.EnvVarConfigProvider\n\
         replication.policy.separator=__\na->b.offset.flush.interval.ms=1\n",
    );
    let resolved =
        |value: &str| if value.starts_with("${") { "resolved".to_owned() } else { value.to_owned() };
    let props = file.worker_config("a", "b", resolved);
    for (key, value) in [
        ("client.id", "a->b"),
        ("group.id", "a-mm2"),
        ("offset.storage.topic", "mm2-offsets.a.internal"),
        ("config.storage.topic", "mm2-configs.a.internal"),
        ("status.storage.topic", "mm2-status.a.internal"),
        ("offset.storage.replication.factor", "123"),
        ("status.storage.replication.factor", "456"),
        ("producer.client.id", "client-one"),
        ("bootstrap.servers", "two"),
        ("producer.bootstrap.servers", "two"),
        ("security.protocol", "PLAINTEXT"),
        ("producer.security.protocol", "SASL"),
        ("ssl.truststore.password", "secret1"),
        ("ssl.key.password", "resolved"),
        ("consumer.ssl.key.password", "resolved"),
        ("config.providers", "env"),
        ("replication.policy.separator", "__"),
    ] {
        assert_eq!(props[key], value, "{key}");
    }
    assert!(!props.contains_key("offset.flush.interval.ms"), "flow keys are no part of it");
    assert_eq!(file.worker_config("b", "a", resolved)["client.id"], "b->a");
}

/// C5: connectors keep references, the flow's own too.
#[test]
fn c5_connectors_keep_their_references() {
    let file = file(
        "clusters=a,b\na.bootstrap.servers=servers-one\nssl.key.password=${fake:secret:password}\nb.producer.client.id=client-one\n\
         config.providers=fake\nconfig.providers.fake.class=org.example.FakeProvider\nreplication.policy.separator=__\nb->a.topics=${fake:secret:topics}\n",
    );
    let props = file.connector_config("b", "a", "MirrorSourceConnector");
    assert_eq!(props["source.cluster.ssl.key.password"], "${fake:secret:password}");
    assert_eq!(props["source.producer.client.id"], "client-one");
    assert_eq!(props["topics"], "${fake:secret:topics}");
    assert_eq!(props["config.providers"], "fake");
    assert_eq!(props["config.providers.fake.class"], "org.example.FakeProvider");
    assert_eq!(props["replication.policy.separator"], "__");
}

/// C6: which pairs get a herder.
#[test]
fn c6_a_pair_runs_when_it_is_enabled_or_beats() {
    let pairs = |text: &str| file(text).pairs();
    let names = |pairs: Vec<(String, String)>| {
        pairs.into_iter().map(|(s, t)| format!("{s}->{t}")).collect::<Vec<_>>()
    };
    assert_eq!(names(pairs("clusters=a, b, c\n")), ["a->b", "a->c", "b->a", "b->c", "c->a", "c->b"]);
    assert!(pairs("clusters=a,b,c\nemit.heartbeats.enabled=false\n").is_empty());
    let two_off = "clusters=a,b,c\na->b.emit.heartbeats.enabled=false\na->c.emit.heartbeats.enabled=false\n";
    assert_eq!(names(pairs(two_off)), ["b->a", "b->c", "c->a", "c->b"]);
    let three_on = "clusters=a,b,c,d,e,f\nemit.heartbeats.enabled=false\na->b.enabled=true\na->c.enabled=true\nd->e.enabled=true\n";
    assert_eq!(names(pairs(three_on)), ["a->b", "a->c", "d->e"]);
    let central = "clusters=central,local_1,local_2\ncentral->local_1.enabled=false\nlocal_1->central.enabled=true\nlocal_2->central.enabled=true\n\
         emit.heartbeats.enabled=false\ncentral->local_1.emit.heartbeats.enabled=true\n";
    assert_eq!(names(pairs(central)), ["central->local_1", "local_1->central", "local_2->central"]);
    let one = "clusters=a,b\na->b.enabled=true\na->b.emit.heartbeats.enabled=false\nb->a.emit.heartbeats.enabled=false\n";
    assert_eq!(names(pairs(one)), ["a->b"]);
}

/// The traps of 1.2 and 1.3: what looks like the flow's and is the cluster's.
#[test]
fn a_clusters_client_setting_beats_the_flows_unless_that_names_the_side() {
    let file = file(
        "clusters=a,b\na.consumer.fetch.min.bytes=1\na->b.consumer.fetch.min.bytes=2\na->b.consumer.client.rack=r\nconsumer.client.rack=top\n\
         a->b.source.consumer.fetch.max.bytes=3\na->b.consumer.fetch.max.bytes=4\nconsumer.poll.timeout.ms=7\n",
    );
    let props =
        connector(&file, "a", "b").client_config(Side::Source, Role::Consumer, None, "replication-consumer");
    assert_eq!(props["fetch.min.bytes"], "1");
    assert_eq!(props["fetch.max.bytes"], "3");
    assert_eq!(props["client.rack"], "r");
    assert_eq!(file.connector_config("a", "b", "x")["consumer.poll.timeout.ms"], "7");
    assert!(!file.worker_config("a", "b", unresolved).contains_key("fetch.min.bytes"));
}
