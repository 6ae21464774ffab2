//! Consumer groups of a mirror that nobody works for: as they were, with the time, whoever leads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prost_types::Timestamp;
use tempfile::TempDir;
use twinlog_controller::keys;
use twinlog_controller::store::embedded::EmbeddedStore;
use twinlog_controller::store::{Store, Transaction, Write};
use twinlog_proto::id::MirrorId;
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::v1;

use crate::etcd_process::Etcd;
use crate::ledger::Ledger;
use crate::replica::{Replica, eventually, mirror, put_clusters, put_mirror};
use crate::worker::{FakeWorker, Spec};

const TASKS: usize = 15;
const SYNCED: Timestamp = Timestamp { seconds: 1_800_000_000, nanos: 5 };

fn group(name: &str, state: &str, sync_time: Option<Timestamp>) -> v1::GroupStatus {
    v1::GroupStatus {
        group: name.to_owned(),
        partitions: 12,
        partitions_waiting: 1,
        state: v1::group_status::State::from_name(state).unwrap().into(),
        message: format!("why {name} is {state}"),
        to_source: Some(v1::GroupToSource {
            partitions: 3,
            state: v1::group_to_source::State::Synced.into(),
            ..Default::default()
        }),
        sync_time,
        ..Default::default()
    }
}

/// What the worker says, and what a status makes of it.
fn said(report: &mut internal::Report) {
    for task in report.tasks.iter_mut().filter(|task| task.task.starts_with("checkpoint/")) {
        task.groups = vec![group("billing", "SYNCED", None), group("audit", "NOT_SYNCED", None)];
        task.groups_sync_time = Some(SYNCED);
    }
}

fn shown() -> Vec<v1::GroupStatus> {
    vec![group("audit", "NOT_SYNCED", None), group("billing", "SYNCED", Some(SYNCED))]
}

fn paused() -> v1::Mirror {
    v1::Mirror { desired_state: v1::DesiredState::Paused.into(), ..mirror("m") }
}

async fn status(replica: &Replica) -> v1::MirrorStatus {
    replica.controller.informed().unwrap().mirror_status(&MirrorId::new("m").unwrap()).unwrap()
}

async fn until(replica: &Replica, what: &str, holds: impl Fn(&v1::MirrorStatus) -> bool) -> v1::MirrorStatus {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let status = status(replica).await;
        if holds(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}: {status:#?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn leads(replica: &Replica) {
    eventually("it leads", || replica.controller.is_leader()).await;
}

fn stored(replica: &Replica) -> usize {
    replica.controller.cache().snapshot().last_groups.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_of_a_paused_mirror_outlive_the_leader() {
    let etcd = Etcd::start();
    let store = etcd.connect("").await;
    put_clusters(&store).await;
    put_mirror(&store, &mirror("m")).await;
    let first = Replica::start("one", Arc::new(etcd.connect("").await)).await;
    leads(&first).await;
    let second = Replica::start("two", Arc::new(etcd.connect("").await)).await;
    let ledger = Ledger::default();
    let spec = Spec { spoil: said, drain: Duration::from_millis(700), ..Spec::new("w1") };
    let worker = FakeWorker::start(spec, vec![first.address.clone(), second.address.clone()], &ledger);
    eventually("it runs everything", || worker.running().len() == TASKS).await;
    let now = until(&first, "groups", |status| status.groups == shown()).await;
    assert_eq!((now.groups_time, stored(&first)), (None, 0), "they are what the worker says now");

    put_mirror(&store, &paused()).await;
    let pausing = until(&first, "it to pause", |status| status.state() == v1::State::Pausing).await;
    assert_eq!(pausing.groups, shown(), "they don't go while it stops");
    let before =
        until(&first, "it to be paused", |status| status.state() == v1::State::Paused && stored(&first) == 1)
            .await;
    assert_eq!(before.groups, shown());
    let time = before.groups_time.expect("nobody looks at them now");
    let heard = std::time::SystemTime::try_from(time).unwrap().elapsed().unwrap();
    assert!(heard < Duration::from_secs(10), "{heard:?} ago");
    first.stop().await;
    leads(&second).await;
    // Also before the workers are back.
    let after = status(&second).await;
    assert_eq!((after.groups, after.groups_time), (shown(), Some(time)));
    let after = until(&second, "it to be paused", |status| status.state() == v1::State::Paused).await;
    assert_eq!((after.groups, after.groups_time), (shown(), Some(time)));

    put_mirror(&store, &mirror("m")).await;
    let resumed = until(&second, "the worker to say it", |status| status.groups_time.is_none()).await;
    assert_eq!(resumed.groups, shown());
    eventually("nothing old is kept", || stored(&second) == 0).await;
    put_mirror(&store, &paused()).await;
    until(&second, "it to be paused again", |status| {
        status.groups_time.is_some_and(|now| now.seconds >= time.seconds && now != time)
    })
    .await;
    let delete = Write::delete(keys::mirror(&MirrorId::new("m").unwrap()));
    store.commit(Transaction { guards: Vec::new(), writes: vec![delete] }).await.unwrap();
    eventually("they go with their mirror", || stored(&second) == 0).await;
    second.stop().await;
}

async fn opened(dir: &TempDir) -> Arc<EmbeddedStore> {
    let path = dir.path().join("twinlog.redb");
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match EmbeddedStore::open(&path) {
            Ok(store) => return Arc::new(store),
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_outlive_the_workers_and_a_restart_of_the_controller() {
    let dir = TempDir::new().unwrap();
    let store = opened(&dir).await;
    put_clusters(store.as_ref()).await;
    put_mirror(store.as_ref(), &mirror("m")).await;
    let first = Replica::start("one", store.clone()).await;
    leads(&first).await;
    let ledger = Ledger::default();
    let spec = || Spec { spoil: said, ..Spec::new("w1") };
    let mut worker = FakeWorker::start(spec(), vec![first.address.clone()], &ledger);
    until(&first, "groups", |status| status.groups == shown()).await;
    worker.kill().await;
    let alone = until(&first, "the worker to be lost", |_| stored(&first) == 1).await;
    let time = alone.groups_time.expect("nobody looks at them now");
    assert_eq!((alone.state(), alone.groups), (v1::State::Pending, shown()));
    first.stop().await;
    drop(store);

    let second = Replica::start("two", opened(&dir).await).await;
    leads(&second).await;
    let after = status(&second).await;
    assert_eq!((after.groups, after.groups_time), (shown(), Some(time)));
    let _worker = FakeWorker::start(spec(), vec![second.address.clone()], &ledger);
    let back = until(&second, "a worker to say it", |status| status.groups_time.is_none()).await;
    assert_eq!(back.groups, shown());
    second.stop().await;
}
