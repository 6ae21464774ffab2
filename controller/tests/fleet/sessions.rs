//! One leader and its workers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use twinlog_controller::fleet::Question;
use twinlog_controller::keys;
use twinlog_controller::store::embedded::EmbeddedStore;
use twinlog_controller::store::{Store, Transaction, Write};
use twinlog_proto::id::{MirrorId, WorkerId};
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::v1;

use crate::ledger::Ledger;
use crate::replica::{Replica, eventually, mirror, put_clusters, put_mirror};
use crate::worker::{FakeWorker, Spec};

/// 12 ranges, a survey, a checkpoint and a heartbeat.
const TASKS: usize = 15;

struct World {
    store: Arc<EmbeddedStore>,
    replica: Replica,
    ledger: Ledger,
    dir: TempDir,
}

impl World {
    async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let store = Arc::new(EmbeddedStore::open(&dir.path().join("twinlog.redb")).unwrap());
        put_clusters(store.as_ref()).await;
        put_mirror(store.as_ref(), &mirror("m")).await;
        let replica = Replica::start("replica-1", store.clone()).await;
        eventually("it leads", || replica.controller.is_leader()).await;
        Self { store, replica, ledger: Ledger::default(), dir }
    }

    fn worker(&self, id: &str) -> FakeWorker {
        self.spawn(Spec::new(id))
    }

    fn spawn(&self, spec: Spec) -> FakeWorker {
        FakeWorker::start(spec, vec![self.replica.address.clone()], &self.ledger)
    }

    async fn status(&self) -> v1::MirrorStatus {
        self.replica.controller.informed().unwrap().mirror_status(&MirrorId::new("m").unwrap()).unwrap()
    }

    async fn eventually_is(&self, state: v1::State) -> v1::MirrorStatus {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let status = self.status().await;
            if status.state() == state {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "is {:?} and not {state:?}: {:?}",
                status.state(),
                status.causes
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn eventually_without_causes(&self) -> v1::MirrorStatus {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let status = self.status().await;
            if status.causes.is_empty() {
                return status;
            }
            assert!(Instant::now() < deadline, "{:?}", status.causes);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Ranges and the other tasks are even: nothing will move by itself.
async fn settled(one: &FakeWorker, two: &FakeWorker) {
    eventually("both have their share", || {
        one.ranges() == 6 && two.ranges() == 6 && one.running().len().abs_diff(two.running().len()) == 1
    })
    .await;
}

fn total(workers: &[&FakeWorker]) -> usize {
    workers.iter().map(|worker| worker.running().len()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_is_spread_and_a_killed_worker_is_replaced_within_the_reconnect_grace() {
    let world = World::new().await;
    let one = world.worker("w1");
    eventually("one worker runs everything", || one.running().len() == TASKS).await;
    let mut two = world.worker("w2");
    settled(&one, &two).await;
    world.eventually_is(v1::State::Active).await;
    let kept = one.running();
    let killed = Instant::now();
    two.kill().await;
    eventually("the first runs everything", || one.running().len() == TASKS).await;
    let took = killed.elapsed();
    assert!(took < Duration::from_millis(1000), "took {took:?} with a grace of 400 ms");
    for (task, epoch) in kept {
        assert_eq!(one.running()[&task], epoch, "{task} was not touched");
    }
    world.ledger.assert_one_owner_each();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_worker_loses_its_tasks_and_stops_them_when_it_is_back() {
    let world = World::new().await;
    let (one, two) = (world.worker("w1"), world.worker("w2"));
    settled(&one, &two).await;
    let before = two.running();
    two.freeze();
    eventually("the first runs everything", || one.running().len() == TASKS).await;
    for (task, epoch) in &before {
        assert!(one.running()[task] > *epoch, "the new owner of {task} has a newer epoch");
    }
    two.thaw();
    eventually("the second is back and has its share", || {
        total(&[&one, &two]) == TASKS && one.ranges() == 6 && two.ranges() == 6
    })
    .await;
    world.ledger.assert_one_owner_each();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_owner_waits_until_the_old_one_has_stopped() {
    let world = World::new().await;
    let slow = world.spawn(Spec { drain: Duration::from_millis(700), ..Spec::new("slow") });
    eventually("one worker runs everything", || slow.running().len() == TASKS).await;
    let two = world.worker("w2");
    eventually("ranges have moved", || two.ranges() == 6 && slow.ranges() == 6).await;
    world.replica.controller.informed().unwrap().drain(&WorkerId::new("slow").unwrap(), false).await.unwrap();
    eventually("everything has moved", || two.running().len() == TASKS && slow.running().is_empty()).await;
    let drained =
        world.replica.controller.informed().unwrap().worker(&WorkerId::new("slow").unwrap()).unwrap();
    assert_eq!(drained.state(), v1::worker::State::Drained);
    world.replica.controller.informed().unwrap().drain(&WorkerId::new("slow").unwrap(), true).await.unwrap();
    eventually("it works again", || slow.ranges() == 6).await;
    world.ledger.assert_one_owner_each();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_leaves_gives_everything_away_first() {
    let world = World::new().await;
    let (one, two) = (world.worker("w1"), world.worker("w2"));
    settled(&one, &two).await;
    one.leave();
    eventually("the other runs everything", || one.running().is_empty() && two.running().len() == TASKS)
        .await;
    world.ledger.assert_one_owner_each();
    drop(one);
    eventually("its drain is forgotten with it", || {
        world.replica.controller.cache().snapshot().drains.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_takes_over_without_moving_anything() {
    let world = World::new().await;
    let (one, two) = (world.worker("w1"), world.worker("w2"));
    settled(&one, &two).await;
    let before = (one.running(), two.running());
    let address = world.replica.address.clone();
    // An intruder takes the leadership away, twice; then the replica leads again in a new term.
    for _ in 0..2 {
        let term = world.store.leader().await.unwrap().unwrap().term;
        let deposed = Transaction { guards: Vec::new(), writes: vec![Write::delete(keys::LEADER)] };
        world.store.commit(deposed).await.unwrap();
        let store = world.store.clone();
        let deadline = Instant::now() + Duration::from_secs(10);
        while store.leader().await.unwrap().is_none_or(|leader| leader.term == term) {
            assert!(Instant::now() < deadline, "nobody leads");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    assert_eq!(address, world.replica.address);
    // Long enough for every grace to end.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!((one.running(), two.running()), before);
    world.ledger.assert_one_owner_each();
    for task in before.0.keys().chain(before.1.keys()).filter(|task| task.starts_with("replicate")) {
        assert!(world.ledger.starts(task) <= 2, "{task} was restarted");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_controller_goes_on_from_the_store() {
    let World { store, replica, ledger, dir } = World::new().await;
    let two_addresses = |id: &str, other: &str| {
        FakeWorker::start(Spec::new(id), vec![replica.address.clone(), other.to_owned()], &ledger)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (one, two) = (two_addresses("w1", &nobody), two_addresses("w2", &nobody));
    settled(&one, &two).await;
    let before = (one.running(), two.running());
    replica.stop().await;
    drop(store);
    // Nobody leads: the work goes on.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((one.running(), two.running()), before);
    let path = dir.path().join("twinlog.redb");
    let deadline = Instant::now() + Duration::from_secs(10);
    let store = loop {
        match EmbeddedStore::open(&path) {
            Ok(store) => break Arc::new(store),
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let again = Replica::start("replica-2", store.clone()).await;
    // The workers only know the old address, so new ones come in their place and must wait out the grace.
    let three = FakeWorker::start(Spec::new("w3"), vec![again.address.clone()], &ledger);
    let started = Instant::now();
    eventually("the newcomer has everything", || three.running().len() == TASKS).await;
    assert!(
        started.elapsed() > Duration::from_millis(1000),
        "it waited for the workers that the store names"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_mirror_stops_and_a_resumed_one_goes_on() {
    let world = World::new().await;
    let one = world.worker("w1");
    eventually("it works", || one.running().len() == TASKS).await;
    let paused = v1::Mirror { desired_state: v1::DesiredState::Paused.into(), ..mirror("m") };
    put_mirror(world.store.as_ref(), &paused).await;
    eventually("only the survey looks on", || one.running().len() == 1).await;
    world.eventually_is(v1::State::Paused).await;
    eventually("other assignments are gone", || {
        world.replica.controller.cache().snapshot().assignments.len() == 1
    })
    .await;
    put_mirror(world.store.as_ref(), &mirror("m")).await;
    eventually("it works again", || one.running().len() == TASKS).await;
    world.ledger.assert_one_owner_each();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_says_what_is_missing() {
    let world = World::new().await;
    let has =
        |status: &v1::MirrorStatus, reason: &str| status.causes.iter().any(|cause| cause.reason == reason);
    let status = world.eventually_is(v1::State::Pending).await;
    assert!(has(&status, "NO_WORKER"), "{:?}", status.causes);
    let zone = |zone: &str| BTreeMap::from([("zone".to_owned(), zone.to_owned())]);
    let placed = v1::Mirror { placement: zone("a").into_iter().collect(), ..mirror("m") };
    put_mirror(world.store.as_ref(), &placed).await;
    let _wrong = world.spawn(Spec { labels: zone("b"), ..Spec::new("wrong") });
    eventually_cause(&world, "NO_ELIGIBLE_WORKER").await;
    let small = world.spawn(Spec { labels: zone("a"), capacity: 5, ..Spec::new("small") });
    eventually("it is full", || small.ranges() == 5).await;
    eventually_cause(&world, "NO_CAPACITY").await;
    let big = world.spawn(Spec { labels: zone("a"), ..Spec::new("big") });
    eventually("all run", || small.ranges() + big.ranges() == 12).await;
    let status = world.eventually_without_causes().await;
    assert_eq!(status.state(), v1::State::Active);
    assert_eq!(status.topics[0].ranges.len(), 12);
    assert_eq!(status.tasks.len(), 3);
}

async fn eventually_cause(world: &World, reason: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let status = world.status().await;
        if status.causes.iter().any(|cause| cause.reason == reason) {
            return;
        }
        assert!(Instant::now() < deadline, "no {reason} in {:?}", status.causes);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_messages_and_old_surveys_do_no_harm() {
    let world = World::new().await;
    let one = world.spawn(Spec { repeat: 3, ..Spec::new("w1") });
    let two = world.spawn(Spec { repeat: 2, ..Spec::new("w2") });
    settled(&one, &two).await;
    let revision = || world.replica.controller.cache().snapshot().revision;
    let settled = revision();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(revision(), settled, "an unchanged inventory is not written again");
    world.ledger.assert_one_owner_each();
    let snapshot = world.replica.controller.cache().snapshot();
    let stored = &snapshot.inventories[&MirrorId::new("m").unwrap()];
    assert_eq!(stored.inventory.topics.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_answer_questions() {
    let world = World::new().await;
    let ask = || Question {
        question: internal::query::Question::ListTopics(internal::ListTopicsQuestion::default()),
        clusters: Vec::new(),
        mirror: None,
        deadline: Duration::from_millis(500),
    };
    let refused = world.replica.controller.informed().unwrap().ask(ask()).await.unwrap_err();
    assert_eq!(refused.reason.as_str(), "NO_WORKER");
    let one = world.worker("w1");
    eventually("it works", || one.running().len() == TASKS).await;
    let answered = world.replica.controller.informed().unwrap().ask(ask()).await.unwrap();
    assert_eq!(answered.worker.as_str(), "w1");
    one.freeze();
    let late = world.replica.controller.informed().unwrap().ask(ask()).await.unwrap_err();
    assert_eq!(late.reason.as_str(), "QUERY_TIMEOUT");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_connection_that_is_soon_back_moves_nothing() {
    let world = World::new().await;
    let (one, two) = (world.worker("w1"), world.worker("w2"));
    settled(&one, &two).await;
    let before = (one.running(), two.running());
    for _ in 0..5 {
        one.disconnect();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!((one.running(), two.running()), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_has_seen_newer_assignments_refuses_and_the_status_says_so() {
    let world = World::new().await;
    // As after the store was restored from an older backup.
    let newer = world.spawn(Spec { seen: (i64::MAX / 2, 1), ..Spec::new("w1") });
    eventually_cause(&world, "STALE_TERM").await;
    assert!(newer.running().is_empty());
}

/// NaN, infinities, numbers that no log has, negative ones: one kind for each range.
fn rubbish(report: &mut internal::Report) {
    let spoiled = [
        v1::PartitionStatus { bytes_per_second: f64::INFINITY, ..Default::default() },
        v1::PartitionStatus { records_per_second: f64::NAN, ..Default::default() },
        v1::PartitionStatus { records: 1 << 62, bytes: 1 << 62, ..Default::default() },
        v1::PartitionStatus { records: -5, lag_records: Some(i64::MIN), ..Default::default() },
        v1::PartitionStatus {
            latency_p99_ms: Some(f64::NEG_INFINITY),
            record_age_ms: Some(i64::MAX),
            ..Default::default()
        },
        v1::PartitionStatus {
            records: 1_000,
            target_end: Some(0),
            state: v1::State::Active.into(),
            ..Default::default()
        },
    ];
    let ranges = report.tasks.iter_mut().filter(|task| task.task.starts_with("replicate/"));
    for (task, partition) in ranges.zip(spoiled.iter().cycle()) {
        task.partitions = vec![partition.clone()];
    }
    report.memory_bytes = i64::MIN;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_reports_rubbish_is_doubted_by_name_and_counts_for_nothing() {
    let world = World::new().await;
    let broken = world.spawn(Spec { spoil: rubbish, ..Spec::new("broken") });
    eventually("it runs everything", || broken.running().len() == TASKS).await;
    let status = world.eventually_is(v1::State::Degraded).await;
    assert!(!status.causes.is_empty());
    for cause in &status.causes {
        assert_eq!(cause.reason, "REPORT_DOUBTED", "{cause:?}");
        assert!(cause.message.contains("worker broken") && cause.message.contains("drain"), "{cause:?}");
    }
    let totals = status.totals.unwrap();
    let sums = (
        totals.records,
        totals.bytes,
        totals.lag_records,
        totals.records_per_second,
        totals.bytes_per_second,
    );
    assert_eq!(sums, (0, 0, None, 0.0, 0.0));
    assert_eq!((totals.latency_p99_ms, totals.partitions_active), (None, 0));
    let workers = world.replica.controller.informed().unwrap().workers();
    assert_eq!((workers[0].memory_bytes, workers[0].bytes_per_second), (Some(0), Some(0.0)));
}

/// Claims every range of the mirror, wherever it runs, and the whole throughput.
fn of_others(report: &mut internal::Report) {
    report.tasks.clear();
    for block in 0..12 {
        for epoch in 0..200 {
            report.tasks.push(internal::TaskReport {
                task: format!("replicate/m/src.t/{block}"),
                epoch,
                state: v1::State::Stopped.into(),
                partitions: vec![v1::PartitionStatus { bytes_per_second: 1e9, ..Default::default() }],
                ..Default::default()
            });
        }
    }
    let running =
        report.tasks.iter().map(|task| internal::RunningTask { task: task.task.clone(), epoch: task.epoch });
    let running: Vec<_> = running.collect();
    report.applied.as_mut().unwrap().running.extend(running.into_iter().filter(|task| task.epoch == 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_reports_on_what_it_was_given_only() {
    let world = World::new().await;
    let one = world.worker("w1");
    eventually("one worker runs everything", || one.running().len() == TASKS).await;
    world.eventually_is(v1::State::Active).await;
    let other = world.spawn(Spec { spoil: of_others, ..Spec::new("other") });
    // It leaves at once, so that nothing is given to it; what it says goes on.
    other.leave();
    let deadline = Instant::now() + Duration::from_secs(2);
    while Instant::now() < deadline {
        let status = world.status().await;
        assert_ne!(status.state(), v1::State::Stopped, "{:?}", status.causes);
        assert_eq!(status.totals.unwrap().bytes_per_second, 0.0);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
