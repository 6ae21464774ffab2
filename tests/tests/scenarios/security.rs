//! Clusters that ask who we are: TLS, SCRAM and an authorizer, with the wrong password, without a permission, and with both right.

use std::time::Duration;

use anyhow::{Context, Result};
use twinlog_proto::v1;
use twinlog_tests::sandbox::{Certificates, KafkaOptions, Sandbox};
use twinlog_tests::tools::LoadOptions;
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::beside;

const SAID: Duration = Duration::from_secs(30);
const COPIED: Duration = Duration::from_secs(60);

/// A cluster with a SASL_SSL listener, SCRAM users and an authorizer.
fn guarded(certificates: &Certificates) -> KafkaOptions {
    KafkaOptions::default()
        .scram_over_tls("SECURE", certificates)
        .prop("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
}

#[test]
fn credentials_and_permissions_are_asked_for_by_name() -> Result<()> {
    let _beside = beside();
    let files = Sandbox::new("security-files")?;
    let certificates = Certificates::create(files.folder())?;
    let worker_args = vec!["--secret-dir".to_owned(), files.folder().display().to_string()];
    let options = WorldOptions { source: guarded(&certificates), worker_args, ..Default::default() };
    let world = World::start("security", options)?;
    world.tools.scram_user(&world.source, "mirror", "right")?;
    world.tools.create_topic(&world.source, "guarded.orders", 2, &[])?;
    let load = LoadOptions { rate: 5_000.0, records: Some(1_000), ..LoadOptions::new(2) };
    world.tools.load(&world.source, "guarded.orders", &load)?;

    let password = files.folder().join("password");
    std::fs::write(&password, "wrong")?;
    let reference = format!("${{file:{}}}", password.display());
    let ca = certificates.ca.display().to_string();
    let properties = [
        ("security.protocol", "SASL_SSL"),
        ("ssl.ca.location", ca.as_str()),
        ("sasl.mechanism", "SCRAM-SHA-256"),
        ("sasl.username", "mirror"),
        ("sasl.password", reference.as_str()),
    ];
    world.api.add_cluster("guarded", &world.source.bootstrap_of("SECURE")?, &properties)?;
    let guarded = v1::Mirror { source: "clusters/guarded".into(), ..mirror(&[r"guarded\..*"]) };
    world.api.add_mirror("guarded", guarded)?;

    let message = world.api.wait_cause("guarded", "AUTHENTICATION_FAILED", SAID)?;
    assert!(message.contains("guarded"), "names the cluster: {message}");
    let status = format!("{:?}", world.api.status("guarded")?);
    assert!(!status.contains("wrong\""), "never the secret: {status}");

    // The secret is mended where it lies; nobody touches the mirror.
    std::fs::write(&password, "right")?;
    let message = wait_permission(&world)?;
    assert!(message.contains("User:mirror"), "names who needs it: {message}");

    for (operation, name) in
        [("DESCRIBE", "TOPIC"), ("READ", "TOPIC"), ("DESCRIBE_CONFIGS", "TOPIC"), ("DESCRIBE", "GROUP")]
    {
        world.tools.allow(&world.source, "User:mirror", (operation, name, "*"))?;
    }
    world.tools.allow(&world.source, "User:mirror", ("DESCRIBE", "CLUSTER", "kafka-cluster"))?;
    world.wait_exact("guarded.orders", "guarded.guarded.orders", COPIED)?;
    Ok(())
}

/// What is missing is said by the mirror, or by a test of the cluster where the topic isn't even visible.
fn wait_permission(world: &World) -> Result<String> {
    // Without DESCRIBE a topic is invisible, so nothing matches: only reading is forbidden here.
    world.tools.allow(&world.source, "User:mirror", ("DESCRIBE", "TOPIC", "*"))?;
    world.api.wait_cause("guarded", "MISSING_PERMISSION", SAID).context("after the password was mended")
}

#[test]
fn an_untrusted_certificate_is_named() -> Result<()> {
    let _beside = beside();
    let files = Sandbox::new("tls-files")?;
    let certificates = Certificates::create(files.folder())?;
    let world = World::start(
        "tls",
        WorldOptions { source: guarded(&certificates), workers: 1, ..Default::default() },
    )?;
    // Another CA than the one that signed the broker's certificate.
    let other = Sandbox::new("tls-other-files")?;
    let ca = Certificates::create(other.folder())?.ca.display().to_string();
    let properties = [("security.protocol", "SSL"), ("ssl.ca.location", ca.as_str())];
    world.api.add_cluster("untrusted", &world.source.bootstrap_of("SECURE")?, &properties)?;
    let name = "clusters/untrusted".to_owned();
    let answer = world.api.test_cluster(v1::TestClusterRequest { name, ..Default::default() });
    let answer = answer.map_err(twinlog_tests::api::told)?;
    let said = answer.cause.clone().unwrap_or_default().message.to_lowercase();
    assert!(!answer.reachable && said.contains("certificate"), "{answer:?}");
    Ok(())
}
