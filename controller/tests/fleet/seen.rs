//! Workers that have seen more than the store gives out, and workers that have the same id.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use twinlog_controller::store::Store;
use twinlog_controller::store::embedded::EmbeddedStore;
use twinlog_proto::id::{MirrorId, WorkerId};
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::internal::v1::worker_message::Message as Out;
use twinlog_proto::internal::v1::worker_service_client::WorkerServiceClient;
use twinlog_proto::v1;

use crate::ledger::Ledger;
use crate::replica::{Replica, eventually, mirror, put_clusters, put_mirror};
use crate::worker::{FakeWorker, Spec};

/// 12 ranges, a survey, a checkpoint and a heartbeat.
const TASKS: usize = 15;
/// An hour further than the clock, as of a controller whose clock was wrong.
const AHEAD_MS: i64 = 3_600_000;

struct World {
    store: std::sync::Arc<EmbeddedStore>,
    replica: Replica,
    ledger: Ledger,
    _dir: TempDir,
}

impl World {
    async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let store = std::sync::Arc::new(EmbeddedStore::open(&dir.path().join("twinlog.redb")).unwrap());
        put_clusters(store.as_ref()).await;
        put_mirror(store.as_ref(), &mirror("m")).await;
        let replica = Replica::start("replica-1", store.clone()).await;
        eventually("it leads", || replica.controller.is_leader()).await;
        Self { store, replica, ledger: Ledger::default(), _dir: dir }
    }

    fn spawn(&self, spec: Spec) -> FakeWorker {
        FakeWorker::start(spec, vec![self.replica.address.clone()], &self.ledger)
    }

    async fn worker(&self, id: &str) -> v1::Worker {
        self.replica.controller.informed().unwrap().worker(&WorkerId::new(id).unwrap()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_goes_on_above_the_terms_and_epochs_that_workers_have_seen() {
    let world = World::new().await;
    let before = world.store.leader().await.unwrap().unwrap().term;
    let seen = before.0 + AHEAD_MS;
    // As after a restored store: it has seen a later term, and of one task an even later epoch.
    let epochs = [("replicate/m/src.t/3".to_owned(), seen + 50)];
    let worker = world.spawn(Spec { seen: (seen, 1), epochs: epochs.into(), ..Spec::new("w1") });
    eventually("it runs everything, without a restart", || worker.running().len() == TASKS).await;
    let now = world.store.leader().await.unwrap().unwrap().term;
    assert!(now.0 > seen + 50, "term {now}, seen {seen}");
    assert!(worker.running().values().all(|epoch| *epoch > seen + 50), "{:?}", worker.running());
    let id = MirrorId::new("m").unwrap();
    let paused = v1::Mirror { desired_state: v1::DesiredState::Paused.into(), ..mirror("m") };
    put_mirror(world.store.as_ref(), &paused).await;
    eventually("a pause is effective", || worker.running().len() == 1).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while world.replica.controller.informed().unwrap().mirror_status(&id).unwrap().state()
        != v1::State::Paused
    {
        assert!(Instant::now() < deadline, "it stays pausing");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_whose_worker_knows_of_a_later_epoch_is_given_a_later_one() {
    let world = World::new().await;
    // Later than the assignments will be, and no later than what the store gives out next.
    let epochs = [("survey/m".to_owned(), world.store.list("/").await.unwrap().revision + 15)];
    let worker = world.spawn(Spec { epochs: epochs.into(), ..Spec::new("w1") });
    eventually("it runs everything", || worker.running().len() == TASKS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_refuses_is_given_nothing_and_named_until_it_accepts() {
    let world = World::new().await;
    // Further than any clock: nobody follows it there.
    let refuses = world.spawn(Spec { seen: (i64::MAX / 2, 1), ..Spec::new("a-refuses") });
    let sound = world.spawn(Spec::new("sound"));
    eventually("the other one runs everything", || sound.running().len() == TASKS).await;
    assert!(refuses.running().is_empty());
    let deadline = Instant::now() + Duration::from_secs(10);
    let shown = loop {
        let shown = world.worker("a-refuses").await;
        if shown.state() == v1::worker::State::Refusing {
            break shown;
        }
        assert!(Instant::now() < deadline, "{shown:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let cause = shown.cause.unwrap();
    assert_eq!(cause.reason, "STALE_TERM");
    assert!(cause.message.contains("worker a-refuses refuses its assignments"), "{}", cause.message);
    // Restarted, it accepts, and has its share.
    drop(refuses);
    let again = world.spawn(Spec::new("a-refuses"));
    eventually("it has its share", || again.ranges() == 6 && sound.ranges() == 6).await;
    world.ledger.assert_one_owner_each();
}

/// Opens a session by hand: the welcome, or why there is none.
async fn greet(
    world: &World,
    id: &str,
    instance: &str,
) -> Result<tonic::Streaming<internal::ControllerMessage>, tonic::Status> {
    let hello =
        internal::Hello { worker_id: id.to_owned(), instance: instance.to_owned(), ..Default::default() };
    let hello = internal::WorkerMessage { message: Some(Out::Hello(hello)) };
    let mut client = WorkerServiceClient::connect(world.replica.address.clone()).await.unwrap();
    let messages = tokio_stream::StreamExt::chain(tokio_stream::once(hello), tokio_stream::pending());
    let mut stream = client.session(messages).await?.into_inner();
    stream.message().await?.expect("a welcome");
    Ok(stream)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_with_the_same_id_is_refused_by_name() {
    let world = World::new().await;
    let first = world.spawn(Spec { instance: "one".to_owned(), ..Spec::new("w1") });
    eventually("it runs everything", || first.running().len() == TASKS).await;
    let before = first.running();
    for _ in 0..3 {
        let refused = greet(&world, "w1", "two").await.unwrap_err();
        let reason = twinlog_proto::reason::reason_of(&refused);
        assert_eq!(reason.as_deref(), Some("WORKER_ID_IN_USE"), "{refused:?}");
        assert!(refused.message().contains("another process with this id is connected since"), "{refused:?}");
    }
    assert_eq!(first.running(), before, "the first one noticed nothing");
    for task in before.keys() {
        assert_eq!(world.ledger.starts(task), 1, "{task}");
    }
    // The same process on a new stream is no other one.
    first.disconnect();
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(first.running(), before);
}

/// The machine is gone and nobody closed its stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_process_gets_its_id_back_with_the_end_of_the_lease() {
    let world = World::new().await;
    let first = world.spawn(Spec { instance: "one".to_owned(), ..Spec::new("w1") });
    eventually("it runs everything", || first.running().len() == TASKS).await;
    first.freeze();
    // What it sent before is heard.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let asked = Instant::now();
    let second = world.spawn(Spec { instance: "two".to_owned(), ..Spec::new("w1") });
    eventually("the second one runs everything", || second.running().len() == TASKS).await;
    let took = asked.elapsed();
    assert!(took > Duration::from_millis(500), "the first one's lease is waited for, {took:?}");
    assert!(took < Duration::from_secs(8), "{took:?}");
    // And the first one, should it live again, has lost its id.
    let refused = greet(&world, "w1", "one").await.unwrap_err();
    assert_eq!(twinlog_proto::reason::reason_of(&refused).as_deref(), Some("WORKER_ID_IN_USE"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_mirrors_that_the_store_does_not_know_end_and_are_named() {
    let World { store, replica, ledger, _dir } = World::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let next = format!("http://{}", listener.local_addr().unwrap());
    let worker = FakeWorker::start(Spec::new("w1"), vec![replica.address.clone(), next.clone()], &ledger);
    eventually("it runs everything", || worker.running().len() == TASKS).await;
    replica.stop().await;
    drop(store);
    // In place of the store there is a new one, as after an emptied folder.
    let dir = TempDir::new().unwrap();
    let store = std::sync::Arc::new(EmbeddedStore::open(&dir.path().join("twinlog.redb")).unwrap());
    let replica = Replica::start_on(listener, "replica-2", store.clone()).await;
    eventually("it ends what it ran", || worker.running().is_empty()).await;
    let id = WorkerId::new("w1").unwrap();
    let seen = replica.controller.informed().unwrap().worker(&id).unwrap();
    let cause = seen.cause.clone().expect("a cause");
    assert_eq!(cause.reason, "MIRROR_NOT_FOUND");
    for said in ["must end them: m.", "lost or replaced", "twinlog apply"] {
        assert!(cause.message.contains(said), "{}", cause.message);
    }
    // The remedy that was named.
    put_clusters(store.as_ref()).await;
    put_mirror(store.as_ref(), &mirror("m")).await;
    eventually("it runs everything again", || worker.running().len() == TASKS).await;
    assert_eq!(replica.controller.informed().unwrap().worker(&id).unwrap().cause, None);
}
