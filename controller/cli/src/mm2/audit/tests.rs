use super::*;

fn report(text: &str) -> Vec<Entry> {
    dedicated(&Dedicated::new(
        twinlog_proto::properties::lines(text).unwrap(),
        std::path::Path::new("/etc/twinlog/secrets"),
    ))
}

fn verdict(entries: &[Entry], key: &str) -> (Effect, String) {
    let entry = entries
        .iter()
        .find(|entry| entry.key == key)
        .unwrap_or_else(|| panic!("{key} is not in {entries:?}"));
    (entry.effect, entry.says())
}

#[test]
fn every_key_is_judged_where_it_stands() {
    use Effect::{Different, Honoured, Ignored, Unknown, Unsupported};
    let text = "clusters=A,B\nA.bootstrap.servers=a:1\nA->B.enabled=true\nA->B.topics=x\ntopics.exclude=y\nemit.heartbeats.interval.seconds=5\n\
        tasks.max=4\nA->B.tasks.max=9\nuse.defaults.from=source\nA->B.use.defaults.from=source\noffset.flush.interval.ms=1\nB.offset.flush.interval.ms=1\n\
        A->B.offset.flush.interval.ms=1\nconsumer.fetch.min.bytes=1\nA.consumer.fetch.min.bytes=1\nA->B.consumer.fetch.min.bytes=1\nA->B.consumer.client.rack=r\n\
        A.topics=z\nB.exactly.once.source.support=enabled\nA->B.producer.linger.ms=5\nA->B.producer.override.linger.ms=5\nB.producer.batch.size=1\n\
        topics.blacklist=q\nA->B.topcs=x\nA->B.enable=true\nemit.heartbeats=false\nA->C.topics=x\ntransforms=a\ntransforms.a.type=t\ntransforms.b=1\n\
        key.converter=org.apache.kafka.connect.json.JsonConverter\nB.value.converter=org.apache.kafka.connect.converters.ByteArrayConverter\n\
        forwarding.admin.class=org.example.Admin\nB.forwarding.admin.class=org.example.Admin\nreplication.policy.class=io.strimzi.kafka.connect.mirror.IdentityReplicationPolicy\n\
        A->B.replication.policy.class=org.example.Policy\ntopic.filter.class=org.example.Filter\nA.consumer.isolation.level=read_uncommitted\n\
        A.consumer.fetch.min.byte=1\nA->B.exactly.once.support=required\nlisteners=http://:8083\nA.ssl.truststore.location=/x.jks\nA.sasl.kerberos.service.name=k\n\
        A.admin.request.timeout.ms=1\nA->B.target.consumer.fetch.min.bytes=1\nA->B.source.cluster.security.protocol=SSL\nA->A.topics=x\nxyzzy=1\nA->B.source.consumer.bootstrap.servers=x:1\n";
    let entries = report(text);
    assert_eq!(entries.len(), text.lines().count(), "each key once");
    for (key, effect, says) in [
        ("clusters", Honoured, ""),
        ("A.bootstrap.servers", Honoured, ""),
        ("A->B.enabled", Honoured, ""),
        ("topics.exclude", Honoured, ""),
        ("tasks.max", Ignored, "spread"),
        ("A->B.tasks.max", Ignored, "spread"),
        ("use.defaults.from", Ignored, "write A->B.use.defaults.from instead"),
        ("A->B.use.defaults.from", Honoured, ""),
        ("offset.flush.interval.ms", Ignored, "progress"),
        ("B.offset.flush.interval.ms", Ignored, "progress"),
        ("A->B.offset.flush.interval.ms", Ignored, "progress"),
        ("consumer.fetch.min.bytes", Ignored, "write A.consumer.fetch.min.bytes instead"),
        ("A.consumer.fetch.min.bytes", Honoured, ""),
        ("A->B.consumer.fetch.min.bytes", Ignored, "write A->B.source.consumer.fetch.min.bytes instead"),
        ("A->B.consumer.client.rack", Honoured, ""),
        ("A.topics", Ignored, "not from a cluster: write A->B.topics instead"),
        ("B.exactly.once.source.support", Honoured, ""),
        ("A->B.producer.linger.ms", Ignored, "write A->B.producer.override.linger.ms instead"),
        ("A->B.producer.override.linger.ms", Honoured, ""),
        ("B.producer.batch.size", Ignored, "max.message.bytes"),
        ("topics.blacklist", Ignored, "topics.exclude is given"),
        ("A->B.topcs", Unknown, "write A->B.topics instead"),
        ("A->B.enable", Unknown, "write A->B.enabled instead"),
        ("emit.heartbeats", Unknown, "write emit.heartbeats.enabled instead"),
        ("A->C.topics", Unknown, "no cluster C"),
        ("A->A.topics", Unknown, "no flow to itself"),
        ("transforms", Unsupported, "would differ"),
        ("transforms.a.type", Ignored, "transforms or predicates"),
        ("key.converter", Unsupported, "JsonConverter"),
        ("B.value.converter", Honoured, ""),
        ("forwarding.admin.class", Unsupported, "org.example.Admin"),
        ("B.forwarding.admin.class", Ignored, "not from a cluster"),
        ("replication.policy.class", Honoured, ""),
        ("A->B.replication.policy.class", Unsupported, "org.example.Policy"),
        ("topic.filter.class", Unsupported, "org.example.Filter"),
        ("A.consumer.isolation.level", Different, "read committed"),
        ("A.consumer.fetch.min.byte", Unknown, "write A.consumer.fetch.min.bytes instead"),
        ("A->B.exactly.once.support", Different, "always possible"),
        ("listeners", Ignored, "REST"),
        ("A.ssl.truststore.location", Honoured, ""),
        ("A.sasl.kerberos.service.name", Ignored, "no Kerberos here"),
        ("A.admin.request.timeout.ms", Honoured, ""),
        ("A->B.target.consumer.fetch.min.bytes", Ignored, "internal topics"),
        ("A->B.source.cluster.security.protocol", Honoured, ""),
        ("A->B.source.consumer.bootstrap.servers", Unsupported, "brokers"),
        ("xyzzy", Unknown, "ignores it too"),
    ] {
        let (found, why) = verdict(&entries, key);
        assert_eq!(found, effect, "{key}: {why}");
        assert!(why.contains(says), "{key}: {why}");
    }
}

#[test]
fn aliases_are_free_text() {
    let entries = report(
        "clusters=us, us.east, b->c\nus.east.consumer.client.rack=r\nus.east.bootstrap.servers=x:1\nus->b->c.topics=t\nb->c->us.east.topics=t\n",
    );
    for key in [
        "us.east.consumer.client.rack",
        "us.east.bootstrap.servers",
        "us->b->c.topics",
        "b->c->us.east.topics",
    ] {
        assert_eq!(verdict(&entries, key).0, Effect::Honoured, "{key}");
    }
}

#[test]
fn a_provider_that_cant_be_used_is_named() {
    let entries = report(
        "clusters=a,b\nconfig.providers=v\nconfig.providers.v.class=com.example.Vault\nconfig.providers.v.param.x=1\na.ssl.key.password=${v:x:y}\n",
    );
    assert!(entries.iter().any(|e| e.effect == Effect::Invalid
        && e.key == "config.providers.v.class"
        && e.why.contains("com.example.Vault")));
    assert_eq!(verdict(&entries, "config.providers.v.param.x").0, Effect::Ignored);
    let unused = report("clusters=a,b\nconfig.providers=v\nconfig.providers.v.class=com.example.Vault\n");
    assert_eq!(verdict(&unused, "config.providers.v.class").0, Effect::Ignored);
}

#[test]
fn what_is_nearly_a_key_is_explained() {
    let entries = report(
        "clusters=A,B\nA -> B.enabled = true\nB-> A.enabled = true\na->B.topics=x\nb.bootstrap.servers=b:1\nA.ssl.trustore.location=/x\n\
        A.request.timeout.ms=1\nB.listeners=http://:1\nA.sasl.oauthbearer.token.endpoint.url=http://x\nA.ssl.cipher.suites=X\n\
        A.consumer.fetch.min.bytes=many\nA.sasl.mechanism=AWS_MSK_IAM\nB.security.protocol=tls\nB.consumer.security.protocol=sasl_ssl\nA.ssl.truststore.type=JKS\nA.ssl.keystore.type=BCFKS\n",
    );
    for (key, effect, says) in [
        ("A", Effect::Unknown, "write A->B.enabled without blanks"),
        ("B->", Effect::Unknown, "without blanks"),
        ("a->B.topics", Effect::Unknown, "write A->B.topics instead"),
        ("b.bootstrap.servers", Effect::Unknown, "aliases are case-sensitive"),
        ("A.ssl.trustore.location", Effect::Unknown, "write A.ssl.truststore.location instead"),
        ("A.request.timeout.ms", Effect::Ignored, "write A.admin.request.timeout.ms instead"),
        ("B.listeners", Effect::Ignored, "REST"),
        ("A.sasl.oauthbearer.token.endpoint.url", Effect::Honoured, ""),
        ("A.ssl.cipher.suites", Effect::Ignored, "TLS 1.2 and 1.3"),
        ("A.consumer.fetch.min.bytes", Effect::Invalid, "\"many\" is not a whole number"),
        ("A.sasl.mechanism", Effect::Different, "AWS_ACCESS_KEY_ID"),
        ("B.security.protocol", Effect::Invalid, "tls is not supported: PLAINTEXT"),
        ("B.consumer.security.protocol", Effect::Honoured, ""),
        ("A.ssl.truststore.type", Effect::Honoured, ""),
        ("A.ssl.keystore.type", Effect::Invalid, "BCFKS"),
    ] {
        let (found, why) = verdict(&entries, key);
        assert_eq!(found, effect, "{key}: {why}");
        assert!(why.contains(says), "{key}: {why}");
    }
}

#[test]
fn a_flow_that_an_unreadable_switch_leaves_out_is_no_secret() {
    let doubtful = |text: &str| -> Vec<String> {
        let found = report(text).into_iter().filter(|entry| entry.effect == Effect::Doubtful);
        found.map(|entry| entry.says()).collect()
    };
    let quiet = "clusters=A,B\nemit.heartbeats.enabled=false\nA->B.enabled=yes\n";
    assert_eq!(doubtful(quiet).len(), 1);
    assert!(
        doubtful(quiet)[0].contains("nothing of A->B runs: write A->B.enabled=true"),
        "{:?}",
        doubtful(quiet)
    );
    let comment = doubtful("clusters=A,B\nB->A.enabled=false # passive\n");
    assert!(comment[0].contains("# begins a comment only") && comment[0].ends_with("=false"), "{comment:?}");
    assert_eq!(doubtful("clusters=A,B\nemit.heartbeats.enabled=nope\n").len(), 1);
}
