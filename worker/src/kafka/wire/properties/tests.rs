use twinlog_proto::id::ClusterId;
use twinlog_proto::reason::Reason;

use super::*;

fn resolve(properties: &[(&str, &str)]) -> Result<ClientProperties, KafkaError> {
    ClientProperties::resolve(&model::Cluster {
        id: ClusterId::new("eu").unwrap(),
        bootstrap_servers: vec!["b1:9092".to_owned(), "[::1]:9093".to_owned()],
        properties: properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
    })
}

fn invalid(properties: &[(&str, &str)]) -> String {
    let error = resolve(properties).expect_err("these properties are wrong");
    assert_eq!(error.reason, Reason::INVALID_PROPERTY, "{error}");
    assert!(!error.retriable);
    error.message
}

#[test]
fn nothing_set_means_plaintext_and_anonymous() {
    let p = resolve(&[]).unwrap();
    assert_eq!((p.security_protocol(), p.sasl_mechanism()), ("PLAINTEXT", None));
    assert_eq!(p.principal().as_deref(), Some("User:ANONYMOUS"));
    let config = p.rdkafka(Role::Consumer);
    assert_eq!(config.get("bootstrap.servers"), Some("b1:9092,[::1]:9093"));
    assert_eq!(config.get("client.id"), Some("twinlog"));
}

#[test]
fn java_and_librdkafka_spellings_mean_the_same() {
    let jaas =
        "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"bob\" password=\"pw\";";
    let java = resolve(&[
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.jaas.config", jaas),
        ("max.request.size", "3000000"),
    ])
    .unwrap();
    let librdkafka = resolve(&[
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanisms", "PLAIN"),
        ("sasl.username", "bob"),
        ("sasl.password", "pw"),
        ("message.max.bytes", "3000000"),
    ])
    .unwrap();
    for p in [java, librdkafka] {
        assert_eq!(p.principal().as_deref(), Some("User:bob"));
        let config = p.rdkafka(Role::Producer);
        for (key, value) in [
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanisms", "PLAIN"),
            ("sasl.username", "bob"),
            ("sasl.password", "pw"),
            ("message.max.bytes", "3000000"),
        ] {
            assert_eq!(config.get(key), Some(value), "{key}");
        }
        assert!(config.create_native_config().is_ok());
    }
}

#[test]
fn a_role_has_its_own_overrides() {
    let p = resolve(&[("linger.ms", "5"), ("producer.linger.ms", "7"), ("consumer.fetch.min.bytes", "9")])
        .unwrap();
    assert_eq!(p.rdkafka(Role::Producer).get("linger.ms"), Some("7"));
    assert_eq!(p.rdkafka(Role::Consumer).get("linger.ms"), Some("5"));
    assert_eq!(p.rdkafka(Role::Consumer).get("fetch.min.bytes"), Some("9"));
    assert_eq!(p.rdkafka(Role::Producer).get("fetch.min.bytes"), None);
}

#[test]
fn what_is_wrong_is_named_with_key_and_value() {
    let sasl =
        |rest: &[(&'static str, &'static str)]| [&[("security.protocol", "SASL_PLAINTEXT")], rest].concat();
    for (properties, names) in [
        (vec![("security.protocol", "SASL")], vec!["security.protocol", "\"SASL\"", "SASL_SSL"]),
        (sasl(&[]), vec!["sasl.mechanism"]),
        (sasl(&[("sasl.mechanism", "GSSAPI")]), vec!["sasl.mechanism", "GSSAPI", "OAUTHBEARER"]),
        (sasl(&[("sasl.mechanism", "PLAIN")]), vec!["sasl.username"]),
        (sasl(&[("sasl.mechanism", "PLAIN"), ("sasl.username", "u")]), vec!["sasl.password"]),
        (sasl(&[("sasl.mechanism", "OAUTHBEARER")]), vec!["sasl.oauthbearer.token"]),
        (
            sasl(&[
                ("sasl.mechanism", "SCRAM-SHA-512"),
                ("sasl.jaas.config", "a.PlainLoginModule required;"),
            ]),
            vec!["sasl.jaas.config", "ScramLoginModule", "PlainLoginModule"],
        ),
        (vec![("request.timeout.ms", "soon")], vec!["request.timeout.ms", "\"soon\""]),
        (vec![("request.timeout.ms", "0")], vec!["request.timeout.ms", "\"0\""]),
        (vec![("linger.ms", "x1")], vec!["linger.ms", "x1"]),
        (vec![("no.such.key", "1")], vec!["no.such.key", "no such property"]),
        (vec![("consumer.group.id", "g")], vec!["consumer.group.id", "guarantees"]),
        (vec![("client.id", "${env:HOME}")], vec!["client.id", "credentials only"]),
        (vec![("producer.no.such.key", "1")], vec!["producer.no.such.key"]),
        (vec![("bootstrap.servers", "other:9092")], vec!["bootstrap.servers", "other:9092"]),
        (
            vec![("security.protocol", "SSL"), ("ssl.ca.location", "/no/such.pem")],
            vec!["ssl.ca.location", "/no/such.pem", "No such file"],
        ),
        (vec![("security.protocol", "SSL"), ("ssl.ca.pem", "nonsense")], vec!["ssl.ca.pem", "neither PEM"]),
        (
            vec![("security.protocol", "SSL"), ("enable.ssl.certificate.verification", "false")],
            vec!["enable.ssl.certificate.verification", "ssl.ca.location"],
        ),
        (
            vec![("security.protocol", "SSL"), ("ssl.endpoint.identification.algorithm", "dns")],
            vec!["ssl.endpoint.identification.algorithm", "\"dns\""],
        ),
    ] {
        let message = invalid(&properties);
        assert!(message.starts_with("cluster eu: "), "{message}");
        names.iter().for_each(|name| assert!(message.contains(name), "{name} is not in: {message}"));
    }
}

#[test]
fn bootstrap_servers_need_a_port() {
    for server in ["b1", ":9092", "b1:", "b1:0", "b1:70000", "b1:x"] {
        let error = ClientProperties::resolve(&model::Cluster {
            id: ClusterId::new("eu").unwrap(),
            bootstrap_servers: vec![server.to_owned()],
            properties: BTreeMap::new(),
        })
        .unwrap_err();
        assert!(error.message.contains(server) && error.message.contains("host:port"), "{error}");
    }
}

#[test]
fn a_reference_that_leads_nowhere_is_named() {
    let sasl = [("security.protocol", "SASL_SSL"), ("sasl.mechanism", "PLAIN"), ("sasl.username", "u")];
    for value in ["${env:TWINLOG_NO_SUCH_VARIABLE}", "${file:/no/such/file}", "${vault:x}"] {
        let error = resolve(&[&sasl[..], &[("sasl.password", value)]].concat()).unwrap_err();
        assert_eq!(error.reason, Reason::SECRET_UNRESOLVED);
        let names =
            error.message.contains("sasl.password") && error.message.contains(&value[2..value.len() - 1]);
        assert!(names, "{error}");
    }
}

#[test]
fn security_settings_of_another_protocol_do_no_harm() {
    resolve(&[("sasl.jaas.config", "nonsense"), ("ssl.truststore.location", "/no/such.jks")]).unwrap();
    let message = invalid(&[
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "u"),
        ("sasl.password", "p"),
        ("sasl.login.callback.handler.class", "com.example.Handler"),
    ]);
    assert!(message.contains("sasl.login.callback.handler.class"), "{message}");
}

#[test]
fn secrets_are_never_shown() {
    let secret = "hunter2";
    let p = resolve(&[
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "SCRAM-SHA-256"),
        ("sasl.username", "bob"),
        ("sasl.password", secret),
    ])
    .unwrap();
    let client = crate::kafka::wire::client::KafkaClient::new(p.clone());
    for shown in [format!("{p:?}"), format!("{client:?}")] {
        assert!(shown.contains("User:bob") && !shown.contains(secret), "{shown}");
    }
    let jaas = "PlainLoginModule required username=\"bob\" password=\"hunter2";
    let wrong_jaas =
        [("security.protocol", "SASL_SSL"), ("sasl.mechanism", "PLAIN"), ("sasl.jaas.config", jaas)];
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), secret).unwrap();
    let reference = format!("${{file:{}}}", file.path().display());
    for properties in [
        wrong_jaas.to_vec(),
        vec![("my.password", secret)],
        vec![("producer.my.secret", secret)],
        vec![("security.protocol", "SASL_SSL"), ("sasl.mechanism", "PLAIN"), ("sasl.password", secret)],
        vec![("linger.ms", &reference)],
        vec![("request.timeout.ms", &reference)],
        vec![("security.protocol", &reference)],
        vec![("ssl.key.pem", secret), ("security.protocol", "SSL")],
    ] {
        let message = invalid(&properties);
        assert!(!message.contains(secret), "{message}");
    }
}

#[test]
fn a_client_certificate_is_read_in_every_form() {
    let key = rcgen::generate_simple_self_signed(vec!["client".to_owned()]).unwrap();
    let (certificate, private) = (key.cert.pem(), key.signing_key.serialize_pem());
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (ca, both) = (file("ca.pem", &certificate), file("both.pem", &format!("{private}{certificate}")));
    let (cert_file, key_file) = (file("c.pem", &certificate), file("k.pem", &private));
    for properties in [
        vec![("ssl.keystore.type", "PEM"), ("ssl.keystore.location", &both)],
        vec![("ssl.keystore.certificate.chain", &certificate), ("ssl.keystore.key", &private)],
        vec![("ssl.certificate.location", &cert_file), ("ssl.key.location", &key_file)],
        vec![("ssl.certificate.pem", &certificate), ("ssl.key.pem", &private)],
    ] {
        let mut all = vec![("security.protocol", "SSL"), ("ssl.truststore.location", ca.as_str())];
        all.extend(properties);
        let p = resolve(&all).unwrap();
        assert_eq!(p.principal(), None);
        assert_eq!(p.rdkafka(Role::Consumer).get("ssl.ca.location"), Some(ca.as_str()));
        assert!(p.rdkafka(Role::Consumer).create_native_config().is_ok());
    }
    let message = invalid(&[("security.protocol", "SSL"), ("ssl.certificate.location", &cert_file)]);
    assert!(message.contains("ssl.key.location"), "{message}");
}

#[test]
fn a_role_may_connect_in_a_way_of_its_own() {
    let p = resolve(&[
        ("security.protocol", "PLAINTEXT"),
        ("producer.bootstrap.servers", "other:9093, more:9093"),
        ("producer.security.protocol", "SASL_PLAINTEXT"),
        ("producer.sasl.mechanism", "PLAIN"),
        ("producer.sasl.username", "writer"),
        ("producer.sasl.password", "pw"),
        ("producer.linger.ms", "7"),
        ("consumer.fetch.min.bytes", "9"),
    ])
    .unwrap();
    assert_eq!((p.security_protocol(), p.principal().as_deref()), ("PLAINTEXT", Some("User:ANONYMOUS")));
    let (consumer, producer) = (p.rdkafka(Role::Consumer), p.rdkafka(Role::Producer));
    assert_eq!(consumer.get("bootstrap.servers"), Some("b1:9092,[::1]:9093"));
    assert_eq!((consumer.get("security.protocol"), consumer.get("sasl.username")), (Some("plaintext"), None));
    assert_eq!(producer.get("bootstrap.servers"), Some("other:9093,more:9093"));
    assert_eq!(producer.get("security.protocol"), Some("sasl_plaintext"));
    assert_eq!(producer.get("sasl.username"), Some("writer"));
    assert_eq!((producer.get("linger.ms"), consumer.get("fetch.min.bytes")), (Some("7"), Some("9")));
    assert!(producer.create_native_config().is_ok());

    // A role inherits what it doesn't say itself.
    let p = resolve(&[
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "all"),
        ("sasl.password", "pw"),
        ("consumer.sasl.username", "reader"),
    ])
    .unwrap();
    assert_eq!(p.rdkafka(Role::Consumer).get("sasl.username"), Some("reader"));
    assert_eq!(p.rdkafka(Role::Consumer).get("sasl.password"), Some("pw"));
    assert_eq!(p.rdkafka(Role::Producer).get("sasl.username"), Some("all"));
    assert_eq!(p.principal().as_deref(), Some("User:all"));
    let consumers = p.of_role(Role::Consumer).expect("consumers are somebody else");
    assert_eq!(consumers.principal().as_deref(), Some("User:reader"));
    assert_eq!(consumers.bootstrap_servers(), p.bootstrap_servers());
    assert!(consumers.of_role(Role::Consumer).is_none());

    let message =
        invalid(&[("producer.security.protocol", "SASL_PLAINTEXT"), ("producer.sasl.mechanism", "MAGIC")]);
    assert!(message.contains("producer.") && message.contains("MAGIC"), "{message}");
}

/// Everything that Java takes is taken, as near as librdkafka comes to it; a fetch of any size makes a client.
#[test]
fn javas_values_fit_librdkafkas_ranges() {
    let p = resolve(&[
        ("connections.max.idle.ms", "-1"),
        ("consumer.fetch.max.bytes", "500000"),
        ("consumer.fetch.min.bytes", "0"),
        ("consumer.max.partition.fetch.bytes", "2147483647"),
        ("consumer.receive.buffer.bytes", "-1"),
        ("consumer.retry.backoff.ms", "0"),
        ("consumer.socket.connection.setup.timeout.ms", "10"),
    ])
    .unwrap();
    let consumer = p.rdkafka(Role::Consumer);
    for (key, value) in [
        ("connections.max.idle.ms", "0"),
        ("fetch.max.bytes", "500000"),
        ("message.max.bytes", "500000"),
        ("fetch.min.bytes", "1"),
        ("max.partition.fetch.bytes", "1000000000"),
        ("socket.receive.buffer.bytes", "0"),
        ("retry.backoff.ms", "1"),
        ("socket.connection.setup.timeout.ms", "1000"),
    ] {
        assert_eq!(consumer.get(key), Some(value), "{key}");
    }
    let largest = resolve(&[("consumer.fetch.max.bytes", "2147483647")]).unwrap();
    for properties in [p, largest] {
        let memory = crate::engine::librdkafka::config::Memory::divide(64 << 20, 1);
        let config = crate::engine::librdkafka::config::source(properties.rdkafka(Role::Consumer), &memory);
        let made: Result<rdkafka::consumer::BaseConsumer, _> = config.create();
        assert!(made.is_ok(), "{:?}", made.err());
    }
    assert!(invalid(&[("consumer.fetch.min.bytes", "-2")]).contains("fetch.min.bytes"));
}

/// As Kafka's clients take values: a blank at the end of a line is no part of a password.
#[test]
fn blanks_around_values_do_not_count() {
    let p = resolve(&[
        ("security.protocol", " SASL_PLAINTEXT "),
        ("sasl.mechanism", "PLAIN "),
        ("sasl.jaas.config", " a.PlainLoginModule required username=\"me\" password=\"x\"; "),
        ("client.id", " mine "),
    ])
    .unwrap();
    assert_eq!(p.principal().as_deref(), Some("User:me"));
    assert_eq!(p.rdkafka(Role::Consumer).get("client.id"), Some("mine"));
}

#[test]
fn java_stores_are_read_as_they_are() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/kafka/wire/properties/store/tests");
    for (trust, key, password) in [("trust.jks", "key.jks", "another"), ("trust.p12", "key.p12", "")] {
        let (trust, key) = (format!("{folder}/{trust}"), format!("{folder}/{key}"));
        let all = [
            ("security.protocol", "SSL"),
            ("ssl.truststore.location", trust.as_str()),
            ("ssl.truststore.password", "secret "),
            ("ssl.truststore.type", "JKS"),
            ("ssl.keystore.location", key.as_str()),
            ("ssl.keystore.password", "secret"),
            ("ssl.key.password", password),
        ];
        let p = resolve(&all).unwrap();
        assert_eq!(p.principal(), None);
        let made: Result<rdkafka::consumer::BaseConsumer, _> = p.rdkafka(Role::Consumer).create();
        assert!(made.is_ok(), "{:?}", made.err());
        let wrong = [&all[..5], &[("ssl.keystore.password", "hush")]].concat();
        let message = invalid(&wrong);
        assert!(message.contains("ssl.keystore.location") && !message.contains("hush"), "{message}");
    }
}

#[test]
fn a_listeners_name_before_an_address_does_not_count() {
    let cluster = model::Cluster {
        id: twinlog_proto::id::ClusterId::new("eu").unwrap(),
        bootstrap_servers: vec!["PLAINTEXT://kafka:9092".to_owned(), "[::1]:9093".to_owned()],
        properties: BTreeMap::new(),
    };
    let p = ClientProperties::resolve(&cluster).unwrap();
    assert_eq!(p.bootstrap_servers(), ["kafka:9092", "[::1]:9093"]);
    assert_eq!(p.rdkafka(Role::Producer).get("bootstrap.servers"), Some("kafka:9092,[::1]:9093"));
}
