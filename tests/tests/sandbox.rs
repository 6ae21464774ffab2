//! The sandbox itself: processes start, survive what tests do to them, and are gone afterwards.

use std::time::Duration;

use anyhow::Result;
use twinlog_tests::sandbox::{KafkaOptions, Sandbox, wait_until};

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
fn a_dropped_sandbox_leaves_no_process_and_no_folder() -> Result<()> {
    let sandbox = Sandbox::new("drop")?;
    let etcd = sandbox.etcd(1)?;
    let pid = etcd.member(1).pid().expect("it runs");
    let folder = sandbox.folder().to_owned();
    drop((etcd, sandbox));
    wait_until(Duration::from_secs(5), "the process to be gone", || {
        Ok((!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(()))
    })?;
    assert!(!folder.exists());
    Ok(())
}
