//! Makes what runs equal to what is assigned.
//!
//! Each time something happens (a set arrived, a task ended) it looks at everything assigned and everything that runs, and
//! acts on the difference. Promises: one owner per task; a task that runs on is never disturbed by what happens to others;
//! the same task in a newer epoch starts only when the older one has ended.

mod diff;
mod task;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use twinlog_proto::id::{TaskName, WorkerId};

use crate::assignments::{Assigned, Assignments, Version};
use crate::board::{Board, Running, StatusCell};
use crate::budget::Budget;
use crate::clusters::Clusters;

use diff::Action;

/// A task that ended by itself (a defect) is started again after this.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// How often secrets and certificates are read again.
const REFRESH_SECRETS: Duration = Duration::from_secs(5);

/// What every task of a worker uses.
pub struct Context {
    pub worker: WorkerId,
    pub clusters: Clusters,
    pub budget: Arc<Budget>,
    pub board: Arc<Board>,
}

/// A task that was started and has not ended.
struct Owned {
    assigned: watch::Sender<Assigned>,
    drain: CancellationToken,
    running: Running,
}

pub struct Supervisor {
    context: Arc<Context>,
    owned: BTreeMap<TaskName, Owned>,
    tasks: JoinSet<()>,
    names: HashMap<Id, TaskName>,
}

impl Supervisor {
    pub fn new(context: Arc<Context>) -> Self {
        Self { context, owned: BTreeMap::new(), tasks: JoinSet::new(), names: HashMap::new() }
    }

    /// Follows the assignments until `stop`, then drains everything, for at most `drain_timeout`.
    pub async fn run(
        mut self,
        mut assignments: watch::Receiver<Arc<Assignments>>,
        stop: CancellationToken,
        drain_timeout: Duration,
    ) {
        let mut refresh = tokio::time::interval(REFRESH_SECRETS);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut wanted = assignments.borrow_and_update().clone();
        loop {
            self.reconcile(&wanted);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = refresh.tick() => self.context.clusters.refresh(),
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                changed = assignments.changed() => match changed {
                    Ok(()) => wanted = assignments.borrow_and_update().clone(),
                    Err(_) => break,
                },
            }
        }
        let version = wanted.version;
        if tokio::time::timeout(drain_timeout, self.drain_all(version)).await.is_err() {
            let left: Vec<_> = self.owned.keys().map(ToString::to_string).collect();
            tracing::warn!(tasks = ?left, "not drained in time; the next owner fences them");
        }
        self.tasks.shutdown().await;
    }

    async fn drain_all(&mut self, version: Version) {
        let nothing = Assignments { version, ..Assignments::default() };
        loop {
            self.reconcile(&nothing);
            match self.tasks.join_next_with_id().await {
                Some(ended) => self.ended(ended),
                None => return,
            }
        }
    }

    /// One look at everything. Nothing here waits.
    fn reconcile(&mut self, wanted: &Assignments) {
        let observed = self.owned.iter().map(|(name, owned)| (name.clone(), owned.observed())).collect();
        for (name, action) in diff::diff(&observed, &wanted.tasks) {
            match action {
                Action::Start => self.start(name, wanted.tasks[name].clone(), Duration::ZERO),
                Action::Update => self.update(name, &wanted.tasks[name]),
                Action::Drain => self.drain(name),
            }
        }
        let running = self.owned.iter().map(|(name, owned)| (name.clone(), owned.running.clone())).collect();
        self.context.board.set_running(wanted.version, running);
    }

    fn start(&mut self, name: &TaskName, assigned: Assigned, pause: Duration) {
        tracing::info!(task = %name, epoch = %assigned.epoch, "task starts");
        let status = StatusCell::new(self.context.board.clone());
        let running = Running { epoch: assigned.epoch, status: status.subscribe() };
        let drain = CancellationToken::new();
        let (assigned, updates) = watch::channel(assigned);
        let task =
            task::Task { name: name.clone(), context: self.context.clone(), status, drain: drain.clone() };
        let handle = self.tasks.spawn(async move {
            tokio::time::sleep(pause).await;
            task.run(updates).await;
        });
        self.names.insert(handle.id(), name.clone());
        self.owned.insert(name.clone(), Owned { assigned, drain, running });
    }

    fn update(&mut self, name: &TaskName, assigned: &Assigned) {
        if let Some(owned) = self.owned.get(name) {
            tracing::info!(task = %name, epoch = %assigned.epoch, "task changes");
            owned.assigned.send_replace(assigned.clone());
        }
    }

    fn drain(&mut self, name: &TaskName) {
        if let Some(owned) = self.owned.get(name) {
            tracing::info!(task = %name, epoch = %owned.running.epoch, "task drains");
            owned.drain.cancel();
        }
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let Some(name) = self.names.remove(&id) else { return };
        let Some(owned) = self.owned.remove(&name) else { return };
        if let Err(error) = ended {
            tracing::error!(task = %name, %error, "task failed; it starts again");
        }
        if owned.drain.is_cancelled() {
            tracing::info!(task = %name, epoch = %owned.running.epoch, "task ended");
        } else {
            let assigned = owned.assigned.borrow().clone();
            self.start(&name, assigned, RESTART_PAUSE);
        }
    }
}

impl Owned {
    fn observed(&self) -> diff::Observed {
        diff::Observed { assigned: self.assigned.borrow().clone(), draining: self.drain.is_cancelled() }
    }
}
