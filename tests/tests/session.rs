//! The worker's side of the session, against a controller of straw: what it says, what it refuses, and that losing
//! controllers changes nothing about what runs. The clusters it is sent to don't exist: no Kafka is needed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::v1;
use twinlog_tests::controller::{FakeController, FakeSession};
use twinlog_worker::{RunError, WorkerConfig};

const SOON: Duration = Duration::from_secs(5);

/// A worker in this process.
struct Worker {
    stop: CancellationToken,
    running: JoinHandle<Result<(), RunError>>,
}

impl Worker {
    fn start(controllers: &[String], change: impl FnOnce(&mut WorkerConfig)) -> Self {
        let mut config = WorkerConfig {
            controllers: controllers.to_vec(),
            // Most tests don't relieve it.
            leave_timeout: Duration::ZERO,
            ..WorkerConfig::default()
        };
        change(&mut config);
        let stop = CancellationToken::new();
        Self { stop: stop.clone(), running: tokio::spawn(twinlog_worker::run(config, stop)) }
    }

    async fn stopped(self) -> Result<()> {
        self.stop.cancel();
        Ok(tokio::time::timeout(SOON, self.running).await???)
    }
}

fn heartbeat(epoch: i64) -> internal::Task {
    internal::Task {
        name: "heartbeat/m".into(),
        epoch,
        mirror: "mirrors/m".into(),
        kind: Some(internal::task::Kind::Heartbeat(internal::HeartbeatTask {})),
    }
}

fn survey(epoch: i64) -> internal::Task {
    internal::Task {
        name: "survey/m".into(),
        kind: Some(internal::task::Kind::Survey(internal::SurveyTask {})),
        ..heartbeat(epoch)
    }
}

/// Mirror `m` between two clusters that nobody answers for.
fn set(term: i64, generation: i64, tasks: Vec<internal::Task>) -> internal::AssignmentSet {
    let cluster = |id: &str| v1::Cluster {
        name: format!("clusters/{id}"),
        bootstrap_servers: vec!["127.0.0.1:1".into()],
        ..Default::default()
    };
    let mirror = v1::Mirror {
        name: "mirrors/m".into(),
        source: "clusters/a".into(),
        target: "clusters/b".into(),
        topics: vec![".*".into()],
        ..Default::default()
    };
    internal::AssignmentSet {
        term,
        generation,
        tasks,
        mirrors: vec![mirror],
        clusters: vec![cluster("a"), cluster("b")],
        heard_report: None,
    }
}

fn running(report: &internal::Report) -> Vec<(String, i64)> {
    let applied = report.applied.as_ref().expect("every report says what is applied");
    applied.running.iter().map(|task| (task.task.clone(), task.epoch)).collect()
}

fn version(report: &internal::Report) -> (i64, i64) {
    let applied = report.applied.as_ref().expect("every report says what is applied");
    (applied.term, applied.generation)
}

async fn applied(session: &mut FakeSession, wanted: (i64, i64)) -> Result<internal::Report> {
    session.report(SOON, "the set to be applied", |report| version(report) == wanted).await
}

fn named(name: &str, epoch: i64) -> (String, i64) {
    (name.to_owned(), epoch)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_introduces_itself_and_runs_what_it_is_sent() -> Result<()> {
    let mut controller = FakeController::start().await?;
    let worker = Worker::start(&[controller.url()], |config| {
        config.labels.insert("region".into(), "eu".into());
        config.capacity = 7;
    });
    let mut session = controller.welcomed(1, SOON).await?;
    assert_eq!(session.hello.labels["region"], "eu");
    assert_eq!(session.hello.capacity, 7);
    assert!(session.hello.applied.as_ref().unwrap().running.is_empty());

    session.assign(set(1, 10, vec![heartbeat(5), survey(6)])).await?;
    let report = applied(&mut session, (1, 10)).await?;
    assert_eq!(running(&report), [named("survey/m", 6), named("heartbeat/m", 5)]);
    assert!(report.memory_bytes > 1 << 20, "the process has some memory");

    session.assign(set(1, 11, vec![heartbeat(5)])).await?;
    session.report(SOON, "the survey to end", |r| running(r) == [named("heartbeat/m", 5)]).await?;
    session.assign(set(1, 12, vec![heartbeat(12)])).await?;
    session.report(SOON, "the new epoch", |r| running(r) == [named("heartbeat/m", 12)]).await?;
    worker.stopped().await
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_that_do_not_answer_are_a_named_state() -> Result<()> {
    let mut controller = FakeController::start().await?;
    let worker = Worker::start(&[controller.url()], |_| {});
    let mut session = controller.welcomed(1, SOON).await?;
    let mut assignments = set(1, 1, vec![heartbeat(1), survey(1)]);
    assignments.mirrors[0].refresh =
        Some(v1::RefreshIntervals { topics: Some(Duration::from_millis(500).try_into()?), groups: None });
    session.assign(assignments).await?;
    let waiting = |report: &internal::Report| {
        report.tasks.len() == 2
            && report.tasks.iter().all(|task| {
                task.cause.as_ref().is_some_and(|cause| {
                    cause.reason == "CLUSTER_UNREACHABLE" && cause.message.contains("127.0.0.1:1")
                })
            })
    };
    session.report(Duration::from_secs(15), "the causes", waiting).await?;
    worker.stopped().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_not_there_stops_only_the_tasks_that_need_it() -> Result<()> {
    let mut controller = FakeController::start().await?;
    let worker = Worker::start(&[controller.url()], |_| {});
    let mut session = controller.welcomed(1, SOON).await?;
    let mut assignments = set(1, 1, vec![heartbeat(1)]);
    let mut guarded = assignments.clusters[0].clone();
    guarded.name = "clusters/guarded".into();
    guarded.properties.insert("security.protocol".into(), "SASL_PLAINTEXT".into());
    guarded.properties.insert("sasl.mechanism".into(), "PLAIN".into());
    guarded.properties.insert("sasl.username".into(), "me".into());
    guarded.properties.insert("sasl.password".into(), "${env:TWINLOG_NOBODY_SETS_THIS}".into());
    assignments.clusters.push(guarded);
    let mut other = assignments.mirrors[0].clone();
    other.name = "mirrors/n".into();
    other.source = "clusters/guarded".into();
    assignments.mirrors.push(other);
    let task = internal::Task { name: "heartbeat/n".into(), mirror: "mirrors/n".into(), ..heartbeat(1) };
    assignments.tasks.push(task);
    session.assign(assignments).await?;
    let report = session
        .report(SOON, "the cause", |r| {
            r.tasks.iter().any(|t| t.cause.as_ref().is_some_and(|c| c.reason == "SECRET_UNRESOLVED"))
        })
        .await?;
    let stopped = report.tasks.iter().find(|t| t.task == "heartbeat/n").expect("it is reported");
    assert_eq!(stopped.state(), v1::State::Stopped);
    assert!(stopped.cause.as_ref().unwrap().message.contains("TWINLOG_NOBODY_SETS_THIS"));
    let other = report.tasks.iter().find(|t| t.task == "heartbeat/m").expect("it is reported");
    assert_ne!(other.state(), v1::State::Stopped);
    worker.stopped().await
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_assignments_are_refused_and_say_so() -> Result<()> {
    let mut controller = FakeController::start().await?;
    let worker = Worker::start(&[controller.url()], |_| {});
    let mut session = controller.welcomed(7, SOON).await?;
    session.assign(set(7, 100, vec![heartbeat(50)])).await?;
    applied(&mut session, (7, 100)).await?;

    for (stale, reason) in [
        (set(6, 200, vec![]), "STALE_TERM"),
        (set(7, 99, vec![]), "STALE_GENERATION"),
        (set(8, 1, vec![heartbeat(49)]), "STALE_EPOCH"),
    ] {
        session.assign(stale).await?;
        let refused = |r: &internal::Report| r.refused.as_ref().is_some_and(|cause| cause.reason == reason);
        let report = session.report(SOON, reason, refused).await?;
        assert_eq!(running(&report), [named("heartbeat/m", 50)], "{reason}: what runs goes on");
    }
    session.assign(set(8, 2, vec![heartbeat(51)])).await?;
    session.report(SOON, "the refusal to be over", |r| r.refused.is_none() && version(r) == (8, 2)).await?;
    worker.stopped().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_controller_tasks_go_on_and_the_next_one_hears_of_them() -> Result<()> {
    let mut first = FakeController::start().await?;
    let mut second = FakeController::start().await?;
    let worker = Worker::start(&[first.url(), second.url()], |_| {});
    let mut session = first.welcomed(1, SOON).await?;
    let worker_id = session.hello.worker_id.clone();
    session.assign(set(1, 10, vec![heartbeat(5)])).await?;
    applied(&mut session, (1, 10)).await?;

    drop(session);
    drop(first);
    let session = second.welcomed(1, SOON).await?;
    assert_eq!(session.hello.worker_id, worker_id, "the same process, the same worker");
    let known = session.hello.applied.as_ref().unwrap();
    assert_eq!((known.term, known.generation), (1, 10));
    assert_eq!(known.running.len(), 1, "nothing was stopped meanwhile");
    worker.stopped().await
}

/// Passes bytes to a controller until it is cut: then it holds the connection and passes nothing.
async fn cuttable(to: std::net::SocketAddr) -> Result<(String, Arc<AtomicBool>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let cut = Arc::new(AtomicBool::new(false));
    let is_cut = cut.clone();
    tokio::spawn(async move {
        while let Ok((worker, _)) = listener.accept().await {
            let Ok(controller) = TcpStream::connect(to).await else { return };
            let (worker_in, worker_out) = worker.into_split();
            let (controller_in, controller_out) = controller.into_split();
            tokio::spawn(pass(worker_in, controller_out, is_cut.clone()));
            tokio::spawn(pass(controller_in, worker_out, is_cut.clone()));
        }
    });
    Ok((url, cut))
}

async fn pass(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, cut: Arc<AtomicBool>) {
    let mut buffer = [0; 4096];
    while let Ok(n) = from.read(&mut buffer).await {
        if cut.load(Ordering::Relaxed) {
            // Keeps both ends open and silent.
            std::future::pending::<()>().await;
        }
        if n == 0 || to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_network_is_noticed_within_three_seconds() -> Result<()> {
    let mut first = FakeController::start().await?;
    let mut second = FakeController::start().await?;
    let (cuttable, cut) = cuttable(first.address()).await?;
    let worker = Worker::start(&[cuttable, second.url()], |_| {});
    let mut session = first.welcomed(1, SOON).await?;
    session.report(SOON, "a report", |_| true).await?;
    let begin = Instant::now();
    cut.store(true, Ordering::Relaxed);
    second.welcomed(1, SOON).await?;
    let noticed = begin.elapsed();
    assert!(noticed < Duration::from_millis(3500), "noticed after {noticed:?}");
    worker.stopped().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaving_worker_waits_to_be_relieved_and_says_when_nothing_runs() -> Result<()> {
    let mut controller = FakeController::start().await?;
    let worker = Worker::start(&[controller.url()], |config| config.leave_timeout = SOON);
    let mut session = controller.welcomed(1, SOON).await?;
    session.assign(set(1, 10, vec![heartbeat(5), survey(5)])).await?;
    applied(&mut session, (1, 10)).await?;

    worker.stop.cancel();
    let leaving = session.report(SOON, "its leaving", |report| report.leaving).await?;
    assert_eq!(running(&leaving).len(), 2, "it goes on until it is relieved");
    session.assign(set(1, 11, vec![])).await?;
    session.report(SOON, "the last report", |report| running(report).is_empty()).await?;
    while session.next(SOON).await?.is_some() {}
    worker.stopped().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaving_worker_that_nobody_relieves_drains_by_itself() -> Result<()> {
    let mut controller = FakeController::start().await?;
    let worker =
        Worker::start(&[controller.url()], |config| config.leave_timeout = Duration::from_millis(500));
    let mut session = controller.welcomed(1, SOON).await?;
    session.assign(set(1, 10, vec![heartbeat(5)])).await?;
    applied(&mut session, (1, 10)).await?;
    worker.stop.cancel();
    session.report(SOON, "nothing to run", |report| running(report).is_empty()).await?;
    worker.stopped().await
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_are_answered_and_bounded() -> Result<()> {
    let mut controller = FakeController::start().await?;
    let worker = Worker::start(&[controller.url()], |_| {});
    let mut session = controller.welcomed(1, SOON).await?;
    let query = |id: &str, deadline_ms: i64, clusters: Vec<v1::Cluster>| internal::Query {
        id: id.into(),
        deadline_ms,
        clusters,
        question: Some(internal::query::Question::ListTopics(internal::ListTopicsQuestion {
            patterns: vec![],
        })),
        ..Default::default()
    };
    let error = |answer: internal::answer::Answer| match answer {
        internal::answer::Answer::Error(cause) => cause.reason,
        other => panic!("{other:?}"),
    };
    let answer = session.ask(query("1", 1000, vec![]), SOON).await?;
    assert_eq!(error(answer), "INVALID_FIELD");

    // A listener that never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let cluster = v1::Cluster {
        name: "clusters/silent".into(),
        bootstrap_servers: vec![silent.local_addr()?.to_string()],
        ..Default::default()
    };
    let begin = Instant::now();
    let answer = session.ask(query("2", 1500, vec![cluster]), SOON).await?;
    assert_eq!(error(answer), "CLUSTER_UNREACHABLE");
    assert!(begin.elapsed() < Duration::from_millis(1700), "answered within its deadline");
    worker.stopped().await
}
