//! Two replicas on a real etcd: any of them serves, one leads, and losing either costs no task.

use std::sync::Arc;
use std::time::{Duration, Instant};

use twinlog_controller::fleet::Question;
use twinlog_controller::store::Store;
use twinlog_controller::store::etcd::EtcdStore;
use twinlog_proto::id::{MirrorId, WorkerId};
use twinlog_proto::{reason, v1};

use crate::etcd_process::Etcd;
use crate::ledger::Ledger;
use crate::replica::{Replica, eventually, mirror, put_clusters, put_mirror};
use crate::worker::{FakeWorker, Spec};

const TASKS: usize = 15;

struct Pair {
    etcd: Etcd,
    store: Arc<EtcdStore>,
    leader: Replica,
    follower: Replica,
    ledger: Ledger,
}

impl Pair {
    async fn new() -> Self {
        let etcd = Etcd::start();
        let store = Arc::new(etcd.connect("").await);
        put_clusters(store.as_ref()).await;
        put_mirror(store.as_ref(), &mirror("m")).await;
        // Each replica has connections of its own.
        let leader = Replica::start("one", Arc::new(etcd.connect("").await)).await;
        eventually("the first leads", || leader.controller.is_leader()).await;
        let follower = Replica::start("two", Arc::new(etcd.connect("").await)).await;
        Self { etcd, store, leader, follower, ledger: Ledger::default() }
    }

    /// Workers that try the follower first, so that every session is relayed.
    fn worker(&self, id: &str) -> FakeWorker {
        let addresses = vec![self.follower.address.clone(), self.leader.address.clone()];
        FakeWorker::start(Spec::new(id), addresses, &self.ledger)
    }

    async fn two_workers(&self) -> (FakeWorker, FakeWorker) {
        let (one, two) = (self.worker("w1"), self.worker("w2"));
        eventually("both have their share", || {
            one.ranges() == 6 && two.ranges() == 6 && one.running().len().abs_diff(two.running().len()) == 1
        })
        .await;
        (one, two)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_does_not_lead_answers_for_the_leader() {
    let pair = Pair::new().await;
    let (_one, _two) = pair.two_workers().await;
    let id = MirrorId::new("m").unwrap();
    for replica in [&pair.leader, &pair.follower] {
        let workers = replica.controller.workers().await.unwrap();
        assert_eq!(workers.iter().map(|w| w.name.as_str()).collect::<Vec<_>>(), ["workers/w1", "workers/w2"]);
        assert_eq!(replica.controller.ranges(&id).await.unwrap().len(), 12);
        assert_eq!(replica.controller.mirror_status(&id).await.unwrap().state(), v1::State::Active);
        let question = Question {
            question: v1::query::Question::ListTopics(v1::ListTopicsQuestion::default()),
            clusters: Vec::new(),
            mirror: None,
            deadline: Duration::from_secs(2),
        };
        replica.controller.query(question).await.unwrap();
        let unknown = MirrorId::new("unknown").unwrap();
        let error = replica.controller.mirror_status(&unknown).await.unwrap_err();
        assert_eq!(reason::reason_of(&error).as_deref(), Some("MIRROR_NOT_FOUND"));
    }
    let drained = pair.follower.controller.drain_worker(&WorkerId::new("w1").unwrap(), false).await.unwrap();
    assert_eq!(drained.state(), v1::worker::State::Draining);
    eventually("it is empty", || _one.running().is_empty() && _two.running().len() == TASKS).await;
    pair.ledger.assert_one_owner_each();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_goes_and_nothing_moves() {
    let pair = Pair::new().await;
    let (one, mut two) = pair.two_workers().await;
    let before = (one.running(), two.running());
    let Pair { leader, follower, ledger, etcd, .. } = pair;
    leader.stop().await;
    let resigned = Instant::now();
    eventually("the other leads", || follower.controller.is_leader()).await;
    assert!(resigned.elapsed() < Duration::from_secs(1), "a resignation is seen at once");
    eventually("both workers are with it", || {
        let sees = follower.controller.workers();
        futures::executor::block_on(sees).is_ok_and(|workers| workers.len() == 2)
    })
    .await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!((one.running(), two.running()), before);
    // The new leader does all that the old one did.
    two.kill().await;
    eventually("the lost worker is replaced", || one.running().len() == TASKS).await;
    ledger.assert_one_owner_each();
    drop(etcd);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_vanishes_while_a_range_is_being_handed_over() {
    let pair = Pair::new().await;
    let slow = Spec { drain: Duration::from_millis(2500), ..Spec::new("slow") };
    let addresses = vec![pair.follower.address.clone(), pair.leader.address.clone()];
    let slow = FakeWorker::start(slow, addresses, &pair.ledger);
    eventually("one worker runs everything", || slow.running().len() == TASKS).await;
    let other = pair.worker("other");
    pair.leader.controller.drain_worker(&WorkerId::new("slow").unwrap(), false).await.unwrap();
    let cache = pair.follower.controller.cache().clone();
    eventually("it is decided", || {
        let snapshot = cache.snapshot();
        !snapshot.assignments.is_empty()
            && snapshot.assignments.values().all(|a| a.worker.as_ref().is_some_and(|w| w.as_str() == "other"))
    })
    .await;
    assert!(other.running().is_empty(), "the old owner still drains");
    let Pair { leader, follower, ledger, etcd, store } = pair;
    leader.stop().await;
    eventually("the other leads", || follower.controller.is_leader()).await;
    eventually("everything has moved", || other.running().len() == TASKS && slow.running().is_empty()).await;
    ledger.assert_one_owner_each();
    drop((etcd, store));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_etcd_work_goes_on_and_nothing_moves_afterwards() {
    let mut pair = Pair::new().await;
    let (one, two) = pair.two_workers().await;
    let before = (one.running(), two.running());
    pair.etcd.kill();
    eventually("nobody leads", || !pair.leader.controller.is_leader()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((one.running(), two.running()), before);
    pair.etcd.run();
    eventually("somebody leads again", || {
        pair.leader.controller.is_leader() || pair.follower.controller.is_leader()
    })
    .await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!((one.running(), two.running()), before);
    let paused = v1::Mirror { desired_state: v1::DesiredState::Paused.into(), ..mirror("m") };
    put_mirror(pair.store.as_ref(), &paused).await;
    eventually("changes are made again", || one.running().is_empty() && two.running().is_empty()).await;
    pair.ledger.assert_one_owner_each();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_leader_calls_say_so_and_when_to_come_back() {
    let mut pair = Pair::new().await;
    pair.etcd.kill();
    eventually("nobody leads", || !pair.leader.controller.is_leader()).await;
    let error = pair.leader.controller.workers().await.unwrap_err();
    assert_eq!(reason::reason_of(&error).as_deref(), Some("NO_LEADER"));
    assert_eq!(error.code(), tonic::Code::Unavailable);
    let hint = tonic_types::StatusExt::get_details_retry_info(&error).unwrap();
    assert!(hint.retry_delay.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_replaced_within_its_lease_and_nothing_moves() {
    let etcd = Etcd::start();
    let store = etcd.connect("").await;
    put_clusters(&store).await;
    put_mirror(&store, &mirror("m")).await;
    let for_leader = store.clone();
    let leader = Replica::start_apart("one", async move || Arc::new(for_leader) as Arc<dyn Store>);
    eventually("the first leads", || leader.controller.is_leader()).await;
    let follower = Replica::start("two", Arc::new(etcd.connect("").await)).await;
    let ledger = Ledger::default();
    let addresses = vec![leader.address.clone(), follower.address.clone()];
    let worker = |id: &str| FakeWorker::start(Spec::new(id), addresses.clone(), &ledger);
    let (one, two) = (worker("w1"), worker("w2"));
    eventually("both have their share", || {
        one.ranges() == 6 && two.ranges() == 6 && one.running().len().abs_diff(two.running().len()) == 1
    })
    .await;
    let before = (one.running(), two.running());
    let killed = Instant::now();
    leader.kill();
    eventually("the other leads", || follower.controller.is_leader()).await;
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(5), "with a TTL of 2 s it took {took:?}");
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!((one.running(), two.running()), before);
    ledger.assert_one_owner_each();
    println!("another leads after {took:?}");
}
