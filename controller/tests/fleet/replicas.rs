//! Two replicas on a real etcd: any of them serves, one leads, and losing either costs no task.

use std::sync::Arc;
use std::time::{Duration, Instant};

use twinlog_controller::store::Store;
use twinlog_controller::store::embedded::EmbeddedStore;
use twinlog_controller::store::etcd::EtcdStore;
use twinlog_proto::id::WorkerId;
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
    for replica in [&pair.leader, &pair.follower] {
        let listed = replica.fleet().list_workers(v1::ListWorkersRequest::default()).await.unwrap();
        let workers = listed.into_inner().workers;
        assert_eq!(workers.iter().map(|w| w.name.as_str()).collect::<Vec<_>>(), ["workers/w1", "workers/w2"]);
        let request = v1::ListRangesRequest { parent: "mirrors/m".to_owned(), ..Default::default() };
        let ranges = replica.mirrors().list_ranges(request).await.unwrap().into_inner().ranges;
        assert_eq!(ranges.len(), 12);
        let status = |name: &str| v1::GetMirrorStatusRequest { name: name.to_owned(), ..Default::default() };
        let known = replica.mirrors().get_mirror_status(status("mirrors/m")).await.unwrap();
        assert_eq!(known.into_inner().state(), v1::State::Active);
        let question = v1::ListTopicsRequest { parent: "clusters/src".to_owned(), ..Default::default() };
        replica.clusters().list_topics(question).await.unwrap();
        let error = replica.mirrors().get_mirror_status(status("mirrors/unknown")).await.unwrap_err();
        assert_eq!(reason::reason_of(&error).as_deref(), Some("MIRROR_NOT_FOUND"));
    }
    let drain = v1::DrainWorkerRequest { name: "workers/w1".to_owned(), cancel: false };
    let drained = pair.follower.fleet().drain_worker(drain).await.unwrap().into_inner();
    assert_eq!(drained.state(), v1::worker::State::Draining);
    eventually("it is empty", || _one.running().is_empty() && _two.running().len() == TASKS).await;
    pair.ledger.assert_one_owner_each();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_statuses_go_on_at_any_replica() {
    let pair = Pair::new().await;
    for id in ["k", "n"] {
        let paused = v1::Mirror { desired_state: v1::DesiredState::Paused.into(), ..mirror(id) };
        put_mirror(pair.store.as_ref(), &paused).await;
    }
    eventually("the leader sees them", || pair.leader.controller.cache().snapshot().mirrors.len() == 3).await;
    // m waits for a worker, which sorts before a paused one.
    for (order_by, order) in [("", ["k", "m", "n"]), ("state desc, mirror desc", ["n", "k", "m"])] {
        let (mut ids, mut page_token) = (Vec::new(), String::new());
        for replica in [&pair.follower, &pair.leader, &pair.follower] {
            let request = v1::ListMirrorStatusesRequest {
                parent: "mirrors/-".to_owned(),
                page_size: 1,
                page_token,
                order_by: order_by.to_owned(),
                ..Default::default()
            };
            let page = replica.mirrors().list_mirror_statuses(request).await.unwrap().into_inner();
            ids.extend(page.mirror_statuses.into_iter().map(|status| status.mirror));
            page_token = page.next_page_token;
        }
        assert_eq!((ids, page_token.as_str()), (order.map(|id| format!("mirrors/{id}")).to_vec(), ""));
    }
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
        follower.controller.informed().is_ok_and(|informed| informed.workers().len() == 2)
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
    pair.leader.controller.informed().unwrap().drain(&WorkerId::new("slow").unwrap(), false).await.unwrap();
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
    eventually("changes are made again", || one.running().len() + two.running().len() == 1).await;
    pair.ledger.assert_one_owner_each();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_leader_calls_say_so_and_when_to_come_back() {
    let mut pair = Pair::new().await;
    pair.etcd.kill();
    eventually("nobody leads", || !pair.leader.controller.is_leader()).await;
    let error = pair.leader.fleet().list_workers(v1::ListWorkersRequest::default()).await.unwrap_err();
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

/// Everything runs again, each task by a later epoch than any before, and a pause stops it.
async fn goes_on_and_can_be_paused(pair: &Pair, workers: &[&FakeWorker], seen: i64) {
    let running = |worker: &&FakeWorker| worker.running();
    eventually("everything runs by later epochs", || {
        let tasks: Vec<_> = workers.iter().flat_map(running).collect();
        tasks.len() == TASKS && tasks.iter().all(|(_, epoch)| *epoch > seen)
    })
    .await;
    put_mirror(
        pair.store.as_ref(),
        &v1::Mirror { desired_state: v1::DesiredState::Paused.into(), ..mirror("m") },
    )
    .await;
    let survey_only = || workers.iter().map(|worker| worker.running().len()).sum::<usize>() == 1;
    eventually("a pause is effective", survey_only).await;
    put_mirror(pair.store.as_ref(), &mirror("m")).await;
    eventually("it goes on", || workers.iter().map(|worker| worker.running().len()).sum::<usize>() == TASKS)
        .await;
}

fn latest(workers: &[&FakeWorker]) -> i64 {
    workers.iter().flat_map(|worker| worker.running().into_values()).max().unwrap_or(0)
}

async fn answers(store: &EtcdStore) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(error) = store.list("/").await {
        assert!(Instant::now() < deadline, "etcd does not answer: {error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_is_restored_or_wiped_fences_nobody_and_needs_no_restart() {
    let mut pair = Pair::new().await;
    let (one, two) = pair.two_workers().await;
    let workers = [&one, &two];
    pair.etcd.back_up();
    answers(&pair.store).await;
    // Later epochs that the copy doesn't know.
    for _ in 0..3 {
        goes_on_and_can_be_paused(&pair, &workers, 0).await;
    }
    let seen = latest(&workers);
    pair.etcd.restore();
    answers(&pair.store).await;
    goes_on_and_can_be_paused(&pair, &workers, seen).await;

    let seen = latest(&workers);
    pair.etcd.wipe();
    answers(&pair.store).await;
    put_clusters(pair.store.as_ref()).await;
    put_mirror(pair.store.as_ref(), &mirror("m")).await;
    goes_on_and_can_be_paused(&pair, &workers, seen).await;
    eventually("one leads, and the other knows it", || {
        pair.leader.controller.is_leader() != pair.follower.controller.is_leader()
            && pair.leader.controller.leader() == pair.follower.controller.leader()
    })
    .await;
    pair.ledger.assert_one_owner_each();
}

/// As after a restore by the book: controllers stopped first, started afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_start_on_a_restored_etcd_learn_from_the_workers() {
    let mut etcd = Etcd::start();
    let store = etcd.connect("").await;
    put_clusters(&store).await;
    put_mirror(&store, &mirror("m")).await;
    etcd.back_up();
    let first = Replica::start("one", Arc::new(etcd.connect("").await)).await;
    eventually("it leads", || first.controller.is_leader()).await;
    let ledger = Ledger::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let later = format!("http://{}", listener.local_addr().unwrap());
    let worker = FakeWorker::start(Spec::new("w1"), vec![first.address.clone(), later.clone()], &ledger);
    eventually("it runs everything", || worker.running().len() == TASKS).await;
    for round in 0..3 {
        let state = if round % 2 == 0 { v1::DesiredState::Paused } else { v1::DesiredState::Running };
        put_mirror(&store, &v1::Mirror { desired_state: state.into(), ..mirror("m") }).await;
        let wanted = if round % 2 == 0 { 1 } else { TASKS };
        eventually("it follows", || worker.running().len() == wanted).await;
    }
    put_mirror(&store, &mirror("m")).await;
    eventually("it runs everything", || worker.running().len() == TASKS).await;
    let seen = worker.running().into_values().max().unwrap();
    first.stop().await;
    drop(store);
    etcd.restore();
    let second = Replica::start_on(listener, "two", Arc::new(etcd.connect("").await)).await;
    eventually("it runs everything by later epochs", || {
        let running = worker.running();
        running.len() == TASKS && running.values().all(|epoch| *epoch > seen)
    })
    .await;
    second.stop().await;
}

/// The store names nobody, and the worker that runs everything is heard of last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_of_a_new_store_gives_nothing_away_before_all_workers_can_have_come() {
    let dir = tempfile::TempDir::new().unwrap();
    let store = async |name: &str| {
        let store = Arc::new(EmbeddedStore::open(&dir.path().join(name)).unwrap());
        put_clusters(store.as_ref()).await;
        put_mirror(store.as_ref(), &mirror("m")).await;
        store
    };
    let first = Replica::start("one", store("lost").await).await;
    eventually("it leads", || first.controller.is_leader()).await;
    let ledger = Ledger::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let later = format!("http://{}", listener.local_addr().unwrap());
    let old = FakeWorker::start(Spec::new("old"), vec![first.address.clone(), later], &ledger);
    eventually("it runs everything", || old.running().len() == TASKS).await;
    let before = old.running();
    first.stop().await;

    let anew = store("new").await;
    let second = Replica::start("two", anew.clone()).await;
    eventually("it leads", || second.controller.is_leader()).await;
    let new = FakeWorker::start(Spec::new("new"), vec![second.address.clone()], &ledger);
    eventually("it is connected", || {
        second.controller.informed().is_ok_and(|informed| informed.workers().len() == 1)
    })
    .await;
    // Longer than it takes to plan and to tell, and well within the startup grace.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((new.running().len(), old.running()), (0, before));
    assert!(second.controller.is_settling());
    let third = Replica::start_on(listener, "three", anew).await;
    eventually("everything runs, on both", || {
        old.ranges() == 6 && new.ranges() == 6 && old.running().len() + new.running().len() == TASKS
    })
    .await;
    ledger.assert_one_owner_each();
    drop((second, third));
}
