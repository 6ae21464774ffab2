//! One worker, from its configuration to its end.
//!
//! On `stop` it says that it is leaving and keeps copying until the controller has moved its tasks (at most
//! `leave_timeout`), then drains what is left (at most `drain_timeout`), says what still runs, and ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinlog_proto::descriptors;
use twinlog_proto::id::WorkerId;

use crate::assignments::{Assignments, Seen};
use crate::board::Board;
use crate::budget::Budget;
use crate::clusters::Clusters;
use crate::config::{ConfigError, WorkerConfig};
use crate::metrics;
use crate::query::Queries;
use crate::session::{Controllers, Identity, Mirrors, Session, SessionError};
use crate::supervisor::{Context, Supervisor};

/// While leaving: how often to look whether everything has moved.
const LEAVE_POLL: Duration = Duration::from_millis(50);

/// Why a worker could not start. Once it runs, nothing outside ends it but `stop`.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot serve metrics on {address}: is the port taken?")]
    Metrics {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "worker id {id} is in use: {said}. Give every worker an id of its own with --worker-id, or leave it out and one is made up"
    )]
    IdInUse { id: WorkerId, said: String },
}

/// Runs until `stop` is cancelled, then drains (bounded by `leave_timeout` + `drain_timeout`) and returns.
pub async fn run(config: WorkerConfig, stop: CancellationToken) -> Result<(), RunError> {
    config.check()?;
    crate::allocator::limit_heaps();
    let identity = identity(&config);
    let board = Board::new();
    let budget = Budget::with_descriptors(config.memory_bytes, for_ranges(descriptors::raise()));
    let context = Arc::new(Context {
        worker: identity.worker.clone(),
        clusters: Clusters::new(config.secrets.clone()),
        budget: budget.clone(),
        board: board.clone(),
    });
    let worker = identity.worker.clone();
    let connected = watch::Sender::new(false);
    let background = Background::default();
    background.record_metrics(config.metrics_listen, &board, &budget, connected.subscribe()).await?;
    tracing::info!(worker = %identity.worker, version = env!("CARGO_PKG_VERSION"), controllers = ?config.controllers,
        memory_bytes = config.memory_bytes, "worker starts");

    let assignments = watch::Sender::new(Arc::<Assignments>::default());
    let stop_tasks = CancellationToken::new();
    let supervisor = tokio::spawn(Supervisor::new(context.clone()).run(
        assignments.subscribe(),
        stop_tasks.clone(),
        config.drain_timeout,
    ));
    let session = Session {
        identity,
        board: board.clone(),
        assignments: assignments.clone(),
        queries: Queries::new(context.clone()),
        seen: Seen::default(),
        mirrors: Mirrors::default(),
        connected: connected.clone(),
    };
    let stop_session = CancellationToken::new();
    let controllers = Controllers { addresses: config.controllers, tls: config.tls };
    let mut session = tokio::spawn(session.run(controllers, stop_session.clone()));
    background.refresh_when_told(context);

    let ended = tokio::select! {
        biased;
        () = stop.cancelled() => None,
        ended = &mut session => Some(ended),
    };
    if ended.is_none() {
        tracing::info!("worker leaves");
        board.set_leaving();
        leave(&board, &connected, config.leave_timeout).await;
    }
    stop_tasks.cancel();
    joined("supervisor", supervisor.await);
    stop_session.cancel();
    let ended = match ended {
        Some(ended) => ended,
        None => session.await,
    };
    background.stop().await;
    tracing::info!("worker ended");
    match joined("session", ended) {
        Some(Err(SessionError::Refused(status))) => {
            Err(RunError::IdInUse { id: worker, said: status.message().to_owned() })
        }
        _ => Ok(()),
    }
}

/// Of the descriptors that the process may have, those that ranges may open: not what is open now, nor what else will be
/// (connections of surveys, checkpoints and controllers, files).
fn for_ranges(allowed: u64) -> u64 {
    let others = (allowed / 8).clamp(64, 1024);
    allowed.saturating_sub(others + descriptors::open().unwrap_or(0))
}

fn joined<T>(what: &str, result: Result<T, tokio::task::JoinError>) -> Option<T> {
    result.inspect_err(|error| tracing::error!(%error, "the {what} ended badly")).ok()
}

/// Waits until the controller has moved everything away. Without a controller there is nothing to wait for.
async fn leave(board: &Board, connected: &watch::Sender<bool>, timeout: Duration) {
    let moved = async {
        while !board.is_idle() && *connected.borrow() {
            tokio::time::sleep(LEAVE_POLL).await;
        }
    };
    if tokio::time::timeout(timeout, moved).await.is_err() && !timeout.is_zero() {
        tracing::warn!(
            ?timeout,
            "the controller has not moved everything away in time; draining what is left"
        );
    }
}

fn identity(config: &WorkerConfig) -> Identity {
    Identity {
        worker: config.worker_id.clone().unwrap_or_else(fresh_id),
        instance: uuid::Uuid::new_v4().to_string(),
        labels: config.labels.clone(),
        capacity: config.capacity,
        memory_bytes: config.memory_bytes,
        started: SystemTime::now(),
    }
}

/// host-pid-random: readable, and different for every process.
fn fresh_id() -> WorkerId {
    const HOST_CHARS: usize = 40;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let host: String = host.trim().chars().filter(allowed).take(HOST_CHARS).collect();
    let host = if host.is_empty() { "worker" } else { &host };
    WorkerId::new(format!("{host}-{}-{:08x}", std::process::id(), rand::random::<u32>()))
        .expect("made of allowed characters, at most 60 of them")
}

/// What runs beside the work.
#[derive(Default)]
struct Background {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Background {
    /// Without an address for whoever records metrics in this process, if anybody does.
    async fn record_metrics(
        &self,
        address: Option<SocketAddr>,
        board: &Arc<Board>,
        budget: &Arc<Budget>,
        connected: watch::Receiver<bool>,
    ) -> Result<(), RunError> {
        let mut handle = None;
        if let Some(address) = address {
            let failed = |source| RunError::Metrics { address, source };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            handle = metrics::install();
            self.tasks.spawn(metrics::serve(listener, handle.clone(), connected, self.stop.clone()));
        }
        metrics::describe();
        self.tasks.spawn(metrics::refresh(board.clone(), budget.clone(), handle, self.stop.clone()));
        Ok(())
    }

    /// SIGHUP ends nobody: secrets and certificates are read again at once, not after the usual seconds. Those of the session to
    /// the controller are read with every new connection.
    fn refresh_when_told(&self, context: Arc<Context>) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    told = hangup.recv() => if told.is_none() { return },
                }
                tracing::info!("SIGHUP: secrets and certificates are read again");
                let context = context.clone();
                let _ = tokio::task::spawn_blocking(move || context.clusters.refresh()).await;
            }
        });
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
