//! TLS, SASL, ACLs, and what users read when something of it is wrong.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use rdkafka::consumer::{BaseConsumer, Consumer};
use twinlog_proto::reason::Reason;
use twinlog_tests::sandbox::{Certificates, Kafka, KafkaOptions, Sandbox};
use twinlog_tests::tools::Tools;
use twinlog_worker::kafka::{
    Acl, AclFilter, AclOperation, AclPattern, AclResource, Isolation, KafkaClient, KafkaError, OffsetSpec,
    Role,
};

use super::{TRY, client, commit, names, properties, topic};

/// How long the broker lets an authentication count.
const SESSION: Duration = Duration::from_secs(2);
const SCRAM_JAAS: &str = "org.apache.kafka.common.security.scram.ScramLoginModule required";
const PLAIN_JAAS: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required";
const OAUTH_JAAS: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required";

/// One broker with a listener for every way to connect.
fn start(sandbox: &Sandbox, certificates: &Certificates) -> Result<Kafka> {
    let server = certificates.server.display().to_string();
    let options = KafkaOptions::default()
        .scram_over_tls("SCRAM", certificates)
        .listener("TLS", "SSL")
        .prop("listener.name.tls.ssl.keystore.type", "PEM")
        .prop("listener.name.tls.ssl.keystore.location", server.clone())
        .listener("MUTUAL", "SSL")
        .prop("listener.name.mutual.ssl.keystore.type", "PEM")
        .prop("listener.name.mutual.ssl.keystore.location", server)
        .prop("listener.name.mutual.ssl.truststore.type", "PEM")
        .prop("listener.name.mutual.ssl.truststore.location", certificates.ca.display().to_string())
        .prop("listener.name.mutual.ssl.client.auth", "required")
        .listener("SASL", "SASL_PLAINTEXT")
        .prop("listener.name.sasl.sasl.enabled.mechanisms", "PLAIN,OAUTHBEARER")
        .prop("listener.name.sasl.plain.sasl.jaas.config", format!("{PLAIN_JAAS} user_alice=\"right\";"))
        .prop(
            "listener.name.sasl.oauthbearer.sasl.jaas.config",
            format!("{OAUTH_JAAS} unsecuredLoginStringClaim_sub=\"broker\";"),
        )
        .prop(
            "listener.name.sasl.oauthbearer.sasl.server.callback.handler.class",
            "org.apache.kafka.common.security.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler",
        )
        .prop("connections.max.reauth.ms", SESSION.as_millis().to_string())
        .prop("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer");
    sandbox.kafka("a", options)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_in_works_and_every_wrong_one_says_what_is_wrong() -> Result<()> {
    let sandbox = Sandbox::new("client-security")?;
    let certificates = Certificates::create(sandbox.folder())?;
    let kafka = start(&sandbox, &certificates)?;
    Tools::start(&sandbox)?.scram_user(&kafka, "alice", "right")?;
    let ca = certificates.ca.display().to_string();
    let server = certificates.server.display().to_string();
    let way = |listener: &str| Way { kafka: &kafka, listener: listener.to_owned(), set: vec![] };
    let tls = |listener| way(listener).with("security.protocol", "SSL").with("ssl.truststore.location", &ca);
    let scram = |password: &str| {
        let jaas = format!("{SCRAM_JAAS} username=\"alice\" password=\"{password}\";");
        tls("SCRAM")
            .with("security.protocol", "SASL_SSL")
            .with("sasl.mechanism", "SCRAM-SHA-256")
            .with("sasl.jaas.config", &jaas)
    };
    let plain = |password| {
        let sasl = way("SASL").with("security.protocol", "SASL_PLAINTEXT").with("sasl.mechanism", "PLAIN");
        sasl.with("sasl.username", "alice").with("sasl.password", password)
    };
    let token = sandbox.folder().join("token");
    std::fs::write(&token, "not.a.token")?;
    let oauth = way("SASL").with("security.protocol", "SASL_PLAINTEXT").with("sasl.mechanism", "OAUTHBEARER");

    // What works, for us and for rdkafka with the same properties.
    for (way, principal) in [
        (tls("TLS"), Some("User:ANONYMOUS")),
        (tls("MUTUAL").with("ssl.keystore.location", &server), None),
        (scram("right"), Some("User:alice")),
        (plain("right"), Some("User:alice")),
    ] {
        let client = way.client()?;
        client.describe_cluster().await?;
        assert_eq!(client.properties().principal().as_deref(), principal);
        let consumer: BaseConsumer = client.properties().rdkafka(Role::Consumer).create()?;
        assert_eq!(consumer.fetch_metadata(None, TRY)?.brokers().len(), 1, "{way:?}");
    }
    let unsecured = format!("{OAUTH_JAAS} unsecuredLoginStringClaim_sub=\"alice\";");
    oauth.clone().with("sasl.jaas.config", &unsecured).client()?.describe_cluster().await?;

    // What doesn't, and the words that help.
    let bad_token = format!("${{file:{}}}", token.display());
    let tls_failed = Reason::TLS_FAILED;
    let refused = Reason::AUTHENTICATION_FAILED;
    for (way, reason, words) in [
        (way("TLS").with("security.protocol", "SSL"), tls_failed, vec!["not trusted", "ssl.ca.location"]),
        (tls("MUTUAL"), tls_failed, vec!["ssl.certificate.location"]),
        (
            way("PLAINTEXT").with("security.protocol", "SSL"),
            tls_failed,
            vec!["plaintext", "security.protocol"],
        ),
        (way("TLS"), tls_failed, vec!["speaks TLS", "PLAINTEXT"]),
        (way("SASL"), Reason::CLUSTER_UNREACHABLE, vec!["security.protocol", "PLAINTEXT"]),
        (scram("wrong"), refused, vec!["User:alice", "SCRAM-SHA-256"]),
        (plain("wrong"), refused, vec!["User:alice", "PLAIN", "Invalid username or password"]),
        (
            plain("right").with("sasl.mechanism", "SCRAM-SHA-512"),
            refused,
            vec!["SCRAM-SHA-512", "offers only", "OAUTHBEARER"],
        ),
        (oauth.with("sasl.oauthbearer.token", &bad_token), refused, vec!["OAUTHBEARER", "invalid_token"]),
    ] {
        let error = way.client()?.describe_cluster().await.expect_err("nobody may get in this way");
        assert_eq!(error.reason, reason, "{way:?}: {error}");
        words.iter().for_each(|word| assert!(error.message.contains(word), "{word} is not in: {error}"));
        assert!(!error.message.contains("wrong\"") && !error.message.contains("not.a.token"), "{error}");
    }

    denials_name_who_needs_what(&client(&kafka.bootstrap())?, &plain("right").client()?).await?;
    sessions_are_renewed(&client(&kafka.bootstrap())?, &scram("right").client()?).await
}

#[derive(Clone)]
struct Way<'a> {
    kafka: &'a Kafka,
    listener: String,
    set: Vec<(String, String)>,
}

impl std::fmt::Debug for Way<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.listener, self.set)
    }
}

impl Way<'_> {
    fn with(mut self, key: &str, value: &str) -> Self {
        self.set.retain(|(k, _)| k != key);
        self.set.push((key.to_owned(), value.to_owned()));
        self
    }

    fn client(&self) -> Result<KafkaClient> {
        let bootstrap = match self.listener.as_str() {
            "PLAINTEXT" => self.kafka.bootstrap(),
            listener => self.kafka.bootstrap_of(listener)?,
        };
        let set: Vec<_> = self.set.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        Ok(KafkaClient::new(properties(&bootstrap, &set)?).with_deadline(Duration::from_secs(5)))
    }
}

async fn denials_name_who_needs_what(admin: &KafkaClient, alice: &KafkaClient) -> Result<()> {
    for name in ["seen", "hidden"] {
        admin.ensure_topic(&topic(name, 1)).await?;
    }
    let allowed = [
        acl(AclResource::Topic, "seen", AclOperation::Describe),
        acl(AclResource::Group, "g", AclOperation::Describe),
    ];
    let added = admin.create_acls(&allowed).await?;
    assert!(added.iter().all(|(_, result)| result.is_ok()), "{added:?}");
    let of_alice = AclFilter { principal: Some("User:alice".to_owned()), ..AclFilter::default() };
    let mut listed = admin.describe_acls(&of_alice).await?;
    listed.sort_by_key(|a| a.resource_type);
    assert_eq!(listed, allowed);

    let found = alice.topics(Some(&names(&["seen", "hidden"]))).await?;
    denied(found[0].error.clone(), "DESCRIBE on TOPIC hidden");
    assert_eq!(found[1].authorized_operations.as_deref(), Some(&[AclOperation::Describe][..]));
    let latest = |t: &str| (t.to_owned(), 0, OffsetSpec::Latest);
    let offsets = alice.list_offsets(&[latest("seen"), latest("hidden")], Isolation::Committed).await?;
    assert_eq!(offsets[&("seen".to_owned(), 0)].clone()?.offset, 0);
    denied(offsets[&("hidden".to_owned(), 0)].clone().err(), "DESCRIBE on TOPIC hidden");
    denied(alice.fetch_batches("seen", 0, 0, 1, Isolation::Committed).await.err(), "READ on TOPIC seen");
    denied(alice.create_topics(&[topic("new", 1)], false).await?.remove(0).1.err(), "CREATE on TOPIC new");
    denied(
        alice.create_partitions(&[("seen".to_owned(), 3)]).await?.remove(0).1.err(),
        "ALTER on TOPIC seen",
    );
    let configs = alice.describe_configs(&names(&["seen"])).await?;
    denied(configs["seen"].clone().err(), "DESCRIBE_CONFIGS on TOPIC seen");
    let set = BTreeMap::from([("retention.ms".to_owned(), "1".to_owned())]);
    denied(alice.incremental_alter_configs("seen", &set, &[]).await.err(), "ALTER_CONFIGS on TOPIC seen");
    let groups = alice.fetch_offsets(&names(&["g", "h"])).await?;
    assert_eq!(groups["g"].clone()?, []);
    denied(groups["h"].clone().err(), "DESCRIBE on GROUP h");
    denied(alice.commit_offsets("g", &[commit("seen", 0, 0)]).await?.remove(0).1.err(), "READ on GROUP g");
    denied(alice.create_acls(&allowed).await?.remove(0).1.err(), "ALTER on CLUSTER kafka-cluster");
    denied(alice.describe_acls(&of_alice).await.err(), "DESCRIBE on CLUSTER kafka-cluster");
    assert_eq!(alice.describe_cluster().await?.authorized_operations, Some(vec![]));

    let removed = admin.delete_acls(&[of_alice]).await?.remove(0)?;
    assert_eq!(removed.len(), 2);
    Ok(())
}

fn acl(resource_type: AclResource, name: &str, operation: AclOperation) -> Acl {
    Acl {
        resource_type,
        resource_name: name.to_owned(),
        pattern: AclPattern::Literal,
        principal: "User:alice".to_owned(),
        host: "*".to_owned(),
        operation,
        allow: true,
    }
}

fn denied(error: Option<KafkaError>, needs: &str) {
    let error = error.expect("alice must not be able to do that");
    assert_eq!(error.reason, Reason::MISSING_PERMISSION, "{error}");
    let told = error.message.contains("User:alice") && error.message.contains(&format!("it needs {needs} "));
    assert!(told && !error.retriable, "{needs} is not in: {error}");
}

/// A client goes on for several sessions without a call that fails.
async fn sessions_are_renewed(admin: &KafkaClient, alice: &KafkaClient) -> Result<()> {
    admin.create_acls(&[acl(AclResource::Topic, "seen", AclOperation::Describe)]).await?;
    let begin = Instant::now();
    while begin.elapsed() < SESSION * 3 {
        let found = alice.topics(Some(&names(&["seen"]))).await?;
        assert!(found[0].error.is_none(), "{found:?}");
    }
    Ok(())
}
