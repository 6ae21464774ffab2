//! Clusters that want tokens of an OAuth server: both kinds of clients fetch them, and fetch new ones before they expire.

use std::time::{Duration, Instant};

use anyhow::Result;
use twinlog_proto::v1;
use twinlog_tests::sandbox::{KafkaOptions, Sandbox, wait_until};
use twinlog_tests::token_server::{TokenServer, TokenServerOptions};
use twinlog_tests::tools::LoadOptions;
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::alone;

const SAID: Duration = Duration::from_secs(60);
const COPIED: Duration = Duration::from_secs(90);
/// Brokers close what was authenticated with a token that has expired.
const LIFETIME: Duration = Duration::from_secs(10);
const MODULE: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required";

/// A listener that takes unsecured tokens, and lets a session last as long as its token.
fn guarded() -> KafkaOptions {
    KafkaOptions::default()
        .listener("TOKEN", "SASL_PLAINTEXT")
        .prop("listener.name.token.sasl.enabled.mechanisms", "OAUTHBEARER")
        .prop(
            "listener.name.token.oauthbearer.sasl.jaas.config",
            format!("{MODULE} unsecuredLoginStringClaim_sub=\"broker\";"),
        )
        .prop(
            "listener.name.token.oauthbearer.sasl.server.callback.handler.class",
            "org.apache.kafka.common.security.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler",
        )
        .prop("listener.name.token.oauthbearer.connections.max.reauth.ms", "3600000")
}

#[test]
fn a_mirror_with_fetched_tokens_outlives_them_and_names_a_wrong_secret() -> Result<()> {
    let _alone = alone();
    let files = Sandbox::new("oauth-files")?;
    let server = TokenServer::start(TokenServerOptions {
        client_id: "mirror".to_owned(),
        client_secret: "right-one".to_owned(),
        scope: "kafka".to_owned(),
        lifetime: LIFETIME,
    })?;
    let worker_args = vec!["--secret-dir".to_owned(), files.folder().display().to_string()];
    let options = WorldOptions { source: guarded(), target: guarded(), worker_args, ..Default::default() };
    let world = World::start("oauth", options)?;
    world.tools.create_topic(&world.source, "tokens.orders", 2, &[])?;
    let load = || LoadOptions { rate: 2_000.0, records: Some(1_000), ..LoadOptions::new(2) };
    world.tools.load(&world.source, "tokens.orders", &load())?;

    let secret = files.folder().join("secret");
    std::fs::write(&secret, "wrong-one")?;
    let reference = format!("${{file:{}}}", secret.display());
    let login = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "OAUTHBEARER"),
        ("sasl.oauthbearer.token.endpoint.url", server.url()),
    ];
    // Java's spelling for one cluster, librdkafka's for the other.
    let jaas = format!("{MODULE} clientId=\"mirror\" clientSecret=\"{reference}\" scope=\"kafka\";");
    let java = [&login[..], &[("sasl.jaas.config", jaas.as_str())]].concat();
    let librdkafka = [
        &login[..],
        &[
            ("sasl.oauthbearer.method", "oidc"),
            ("sasl.oauthbearer.client.id", "mirror"),
            ("sasl.oauthbearer.client.secret", reference.as_str()),
            ("sasl.oauthbearer.scope", "kafka"),
        ],
    ]
    .concat();
    world.api.add_cluster("from", &world.source.bootstrap_of("TOKEN")?, &java)?;
    world.api.add_cluster("to", &world.target.bootstrap_of("TOKEN")?, &librdkafka)?;
    let guarded = v1::Mirror {
        source: "clusters/from".into(),
        target: "clusters/to".into(),
        ..mirror(&[r"tokens\..*"])
    };
    world.api.add_mirror("tokens", guarded)?;

    let message = world.api.wait_cause("tokens", "AUTHENTICATION_FAILED", SAID)?;
    for part in [server.url(), "401 Unauthorized", "invalid_client", "no such client or secret"] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
    let status = format!("{:?}", world.api.status("tokens")?);
    assert!(!status.contains("wrong-one"), "never the secret: {status}");
    assert_eq!(server.given(), 0);

    // The secret is mended where it lies; nobody touches the mirror.
    std::fs::write(&secret, "right-one")?;
    world.wait_exact("tokens.orders", "from.tokens.orders", COPIED)?;
    let (begin, before) = (Instant::now(), server.given());
    while begin.elapsed() < LIFETIME * 3 {
        world.tools.load(&world.source, "tokens.orders", &load())?;
        std::thread::sleep(Duration::from_secs(1));
    }
    world.wait_exact("tokens.orders", "from.tokens.orders", COPIED)?;
    assert!(server.given() >= before + 4, "new tokens for both clusters: {before}, {}", server.given());

    // Without a server nothing changes before the tokens are over; then it is named, and with it back all goes on by itself.
    server.set_down(true);
    wait_until(SAID, "the status to name the token server", || {
        let message = world.api.wait_cause("tokens", "AUTHENTICATION_FAILED", SAID)?;
        Ok(message.contains(server.url()).then_some(()))
    })?;
    world.tools.load(&world.source, "tokens.orders", &load())?;
    server.set_down(false);
    world.wait_exact("tokens.orders", "from.tokens.orders", COPIED)?;
    Ok(())
}
