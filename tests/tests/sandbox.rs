//! The sandbox itself: processes start, survive what tests do to them, and are gone afterwards.

use std::time::Duration;

use anyhow::Result;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use twinlog_tests::sandbox::{Certificates, KafkaOptions, Sandbox, wait_until};
use twinlog_tests::tools::Tools;

#[test]
fn a_cluster_survives_kill_9_and_keeps_its_address() -> Result<()> {
    let sandbox = Sandbox::new("kill9")?;
    let kafka = sandbox.kafka("a", KafkaOptions::default())?;
    kafka.broker(1).kill9()?;
    assert!(!kafka.broker(1).is_running());
    kafka.broker(1).start_again()?;
    kafka.wait_ready()
}

#[test]
fn three_brokers_and_three_etcd_members_form_clusters() -> Result<()> {
    let sandbox = Sandbox::new("three")?;
    let kafka = sandbox.kafka("a", KafkaOptions::default().brokers(3))?;
    assert_eq!(kafka.bootstrap().split(',').count(), 3);
    let etcd = sandbox.etcd(3)?;
    etcd.kill_all()?;
    etcd.start_all()
}

#[test]
fn a_dropped_sandbox_leaves_no_process_and_only_logs() -> Result<()> {
    let sandbox = Sandbox::new("drop")?;
    let etcd = sandbox.etcd(1)?;
    let pid = etcd.member(1).pid().expect("it runs");
    let folder = sandbox.folder().to_owned();
    drop((etcd, sandbox));
    wait_until(Duration::from_secs(5), "the process to be gone", || {
        Ok((!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(()))
    })?;
    assert!(folder.join("etcd-1/log").exists() && !folder.join("etcd-1/data").exists());
    Ok(())
}

#[test]
fn a_guarded_listener_lets_only_the_right_password_in() -> Result<()> {
    let sandbox = Sandbox::new("guarded")?;
    let certificates = Certificates::create(sandbox.folder())?;
    let options = KafkaOptions::default().scram_over_tls("SECURE", &certificates);
    let kafka = sandbox.kafka("a", options)?;
    Tools::start(&sandbox)?.scram_user(&kafka, "user", "right")?;
    let connect = |password: &str| -> Result<usize> {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", kafka.bootstrap_of("SECURE")?).set("security.protocol", "SASL_SSL");
        client.set("ssl.ca.location", certificates.ca.display().to_string()).set("log_level", "0");
        client
            .set("sasl.mechanism", "SCRAM-SHA-256")
            .set("sasl.username", "user")
            .set("sasl.password", password);
        let client: BaseConsumer = client.create()?;
        Ok(client.fetch_metadata(None, Duration::from_secs(3))?.brokers().len())
    };
    let brokers = wait_until(Duration::from_secs(20), "the user to be known", || connect("right").map(Some))?;
    assert_eq!(brokers, 1);
    assert!(connect("wrong").is_err());
    Ok(())
}
