//! What properties say of tokens, in three spellings.

use twinlog_proto::id::ClusterId;
use twinlog_proto::model;
use twinlog_proto::reason::Reason;
use twinlog_proto::secret::Access;

use super::*;
use crate::kafka::wire::properties::{ClientProperties, Sasl};

const URL: &str = "https://login.example/oauth/token";
const MODULE: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required";

fn resolve(properties: &[(&str, &str)]) -> Result<ClientProperties, KafkaError> {
    let login = [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "OAUTHBEARER")];
    let properties = login.iter().chain(properties).map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    ClientProperties::resolve(&model::Cluster {
        id: ClusterId::new("eu").unwrap(),
        bootstrap_servers: vec!["b1:9092".to_owned()],
        properties: properties.collect(),
    })
}

#[test]
fn an_unsecured_token_says_who_and_until_when() {
    let token = TokenSource::Unsecured { subject: "admin".into() }.token_blocking().unwrap();
    assert_eq!(token.subject.as_deref(), Some("admin"));
    let left = token.expires.duration_since(SystemTime::now()).unwrap();
    assert!(left > Duration::from_secs(3590) && left <= Duration::from_secs(3600), "{left:?}");
    assert!(token.text.ends_with('.'));
}

fn property(value: String) -> TokenSource {
    let access = Arc::new(Access::Everything);
    TokenSource::Property {
        cluster: "eu".into(),
        value,
        secrets: Secrets::new(&access, &[], &BTreeMap::new()),
    }
}

#[test]
fn a_token_file_is_read_anew_each_time() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let source = property(format!("${{file:{}}}", file.path().display()));
    for text in ["first", "second"] {
        std::fs::write(file.path(), format!("{text}\n")).unwrap();
        assert_eq!(source.token_blocking().unwrap().text, text);
    }
}

#[test]
fn an_opaque_token_is_taken_as_it_is() {
    let token = property("a.!!.c".into()).token_blocking().unwrap();
    assert_eq!((token.text.as_str(), token.subject), ("a.!!.c", None));
    assert!(token.expires > SystemTime::now());
}

#[test]
fn an_endpoint_is_the_same_in_javas_librdkafkas_and_strimzis_spelling() {
    let jaas = format!("{MODULE} clientId=\"me\" clientSecret=\"hush\" scope=\"a b\";");
    let strimzi = format!(
        "{MODULE} oauth.client.id=\"me\" oauth.client.secret=\"hush\" oauth.scope=\"a b\" oauth.token.endpoint.uri=\"{URL}\";"
    );
    let module = format!("{MODULE};");
    let spellings = [
        vec![("sasl.oauthbearer.token.endpoint.url", URL), ("sasl.jaas.config", jaas.as_str())],
        vec![
            ("sasl.oauthbearer.token.endpoint.url", URL),
            ("sasl.oauthbearer.client.credentials.client.id", "me"),
            ("sasl.oauthbearer.client.credentials.client.secret", "hush"),
            ("sasl.oauthbearer.scope", "a b"),
            ("sasl.jaas.config", module.as_str()),
        ],
        vec![
            ("sasl.oauthbearer.method", "oidc"),
            ("sasl.oauthbearer.token.endpoint.url", URL),
            ("sasl.oauthbearer.client.id", "me"),
            ("sasl.oauthbearer.client.secret", "hush"),
            ("sasl.oauthbearer.scope", "a b"),
        ],
        vec![("sasl.jaas.config", strimzi.as_str())],
    ];
    let all: Vec<ClientProperties> = spellings.iter().map(|given| resolve(given).unwrap()).collect();
    for properties in &all {
        assert!(properties.0.security.sasl == all[0].0.security.sasl, "{properties:?}");
        assert_eq!(properties.principal().as_deref(), Some("User:me"), "until a token says who");
        let rdkafka = properties.rdkafka(crate::kafka::Role::Consumer);
        assert!(rdkafka.create_native_config().is_ok() && rdkafka.get("sasl.oauthbearer.method").is_none());
        assert!(!format!("{properties:?}").contains("hush"));
    }
    let other = resolve(&[&spellings[2][..], &[("sasl.oauthbearer.scope", "c")]].concat()).unwrap();
    assert!(other.0.security.sasl != all[0].0.security.sasl, "a changed scope is another client");
    let Some(Sasl::OAuthBearer(_)) = other.sasl() else { panic!("{other:?}") };
}

#[test]
fn what_is_missing_or_cant_be_done_is_named() {
    let id = ("sasl.oauthbearer.client.id", "me");
    let secret = ("sasl.oauthbearer.client.secret", "hush");
    let url = ("sasl.oauthbearer.token.endpoint.url", URL);
    let elsewhere =
        format!("{MODULE} oauth.client.id=\"me\" oauth.token.endpoint.uri=\"https://evil.example\";");
    let refresh = format!("{MODULE} clientId=\"me\" oauth.refresh.token=\"hush\";");
    let extension =
        format!("{MODULE} clientId=\"me\" clientSecret=\"hush\" extension_logicalCluster=\"lkc\";");
    let trust = format!("{MODULE} clientId=\"me\" clientSecret=\"hush\" ssl.truststore.location=\"/x\";");
    for (given, words) in [
        (vec![], "sasl.oauthbearer.token.endpoint.url"),
        (vec![url, id], "client's secret: set sasl.oauthbearer.client.credentials.client.secret"),
        (vec![url, secret], "client's id"),
        (vec![id, secret, ("sasl.oauthbearer.token.endpoint.url", "login.example")], "https://host/path"),
        (
            vec![id, secret, ("sasl.oauthbearer.token.endpoint.url", "https://u:p@login.example/t")],
            "user name",
        ),
        (vec![id, secret, ("sasl.oauthbearer.token.endpoint.url", "file:///token")], "${file:/path}"),
        (vec![url, id, secret, ("sasl.oauthbearer.grant.type", "x:jwt-bearer")], "client_credentials"),
        (vec![url, id, secret, ("sasl.oauthbearer.extensions", "a=b")], "not supported"),
        (vec![url, ("sasl.jaas.config", &refresh)], "oauth.refresh.token"),
        (vec![url, ("sasl.jaas.config", &extension)], "extension_logicalCluster"),
        (vec![url, ("sasl.jaas.config", &trust)], "https.ca.location"),
        // A secret that was given for one endpoint isn't sent to another that a login module names.
        (vec![secret, ("sasl.jaas.config", &elsewhere)], "client's secret"),
        (vec![url, id, secret, ("https.ca.location", "/no/such")], "/no/such"),
        (vec![("sasl.mechanism", "GSSAPI")], "Kerberos"),
    ] {
        let error = resolve(&given).expect_err(words);
        assert_eq!(error.reason, Reason::INVALID_PROPERTY, "{error}");
        assert!(error.message.contains(words) && !error.message.contains("hush"), "{words}: {error}");
    }
}

#[test]
fn a_login_module_shows_the_client_and_not_its_secret() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "x").unwrap();
    let reference = format!("${{file:{}}}", file.path().display());
    let jaas = format!("{MODULE} clientId=\"me\" clientSecret=\"hush\" scope=\"{reference}\";");
    let cluster = model::Cluster {
        id: ClusterId::new("eu").unwrap(),
        bootstrap_servers: vec!["b1:9092".to_owned()],
        properties: [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "OAUTHBEARER"),
            ("sasl.oauthbearer.token.endpoint.url", URL),
            ("sasl.jaas.config", &jaas),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into(),
    };
    let properties = ClientProperties::resolve_for(&cluster, &Arc::new(Access::Everything)).unwrap();
    assert_eq!(properties.principal().as_deref(), Some("User:me"));
}

const MSK: &str = "b-1.demo.abc.c2.kafka.eu-west-1.amazonaws.com:9098";

fn msk(server: &str, properties: &[(&str, &str)], access: Access) -> Result<ClientProperties, KafkaError> {
    let login = [("security.protocol", "SASL_SSL"), ("sasl.mechanism", "AWS_MSK_IAM")];
    let properties = login.iter().chain(properties).map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let cluster = model::Cluster {
        id: ClusterId::new("msk").unwrap(),
        bootstrap_servers: vec![server.to_owned()],
        properties: properties.collect(),
    };
    ClientProperties::resolve_for(&cluster, &Arc::new(access))
}

/// Without credentials in the environment of tests: everything but the signature.
#[test]
fn msks_mechanism_is_for_msks_brokers_over_tls_and_with_credentials_that_the_worker_may_read() {
    let role = "software.amazon.msk.auth.iam.IAMLoginModule required awsRoleArn=\"arn:x\";";
    for (server, more, words) in [
        ("broker.evil.example:9098", vec![], "MSK's own names"),
        (MSK, vec![("security.protocol", "SASL_PLAINTEXT")], "SASL_SSL"),
        (MSK, vec![("ssl.endpoint.identification.algorithm", "")], "names checked"),
        (MSK, vec![("producer.bootstrap.servers", "broker.evil.example:9098")], "MSK's own names"),
        (MSK, vec![("sasl.jaas.config", role)], "the option awsRoleArn is not taken"),
        (MSK, vec![], "--secret-env-prefix AWS_=*.amazonaws.com"),
    ] {
        let error = msk(server, &more, Access::default()).expect_err(words);
        assert!(error.message.contains(words), "{words}: {error}");
    }
    let allowed = twinlog_proto::secret::Rule::env_prefix("AWS_=*.amazonaws.com").unwrap();
    if std::env::var_os("AWS_ACCESS_KEY_ID").is_none() {
        let error = msk(MSK, &[], Access::with(vec![allowed])).expect_err("there is no such variable");
        assert!(
            error.message.contains("${env:AWS_ACCESS_KEY_ID}: the worker's environment has no such"),
            "{error}"
        );
    }
}

#[test]
fn what_is_said_of_tokens_does_no_harm_where_none_are_used() {
    let given = [
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "u"),
        ("sasl.password", "p"),
        ("sasl.oauthbearer.token.endpoint.url", URL),
        ("sasl.oauthbearer.client.credentials.client.id", "me"),
        ("https.ca.location", "/no/such"),
    ];
    assert_eq!(resolve(&given).unwrap().sasl_mechanism(), Some("PLAIN"));
}
