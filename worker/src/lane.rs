//! A lane: one partition range while it runs in this worker, from source reader to target writer to progress.
//!
//! It has an engine of its own, shares no lock with other lanes, and runs until it is drained, restarting itself with backoff
//! on what heals.

mod clusters;
mod gather;
pub(crate) mod lag;
mod missing;
mod old_format;
mod place;
mod questions;
mod recognised;
mod recover;
mod run;
mod slowed;
mod start;
mod status;
mod tail;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use twinlog_proto::id::{Epoch, TaskName, WorkerId};
use twinlog_proto::model;
use twinlog_proto::reason::Reason;

use self::clusters::Clusters;
use self::run::Runner;
use crate::budget::Budget;
use crate::cause::Cause;
use crate::choice::Choice;
use crate::cluster::ClusterHandle;
use crate::control::Control;
use crate::engine::Engine;
use crate::progress::Mode;
use crate::status::{PartitionStatus, State};

pub use crate::offset_map::{SourcePosition, Translation, Translator};
pub use crate::range::Range;

/// Everything a lane needs to know.
#[derive(Clone)]
pub struct LaneSpec {
    pub task: TaskName,
    pub epoch: Epoch,
    pub worker: WorkerId,
    pub mirror: Arc<model::Mirror>,
    pub range: Range,
    pub source: Arc<ClusterHandle>,
    pub target: Arc<ClusterHandle>,
}

/// How a lane is doing.
#[derive(Debug, Clone)]
pub struct LaneStatus {
    pub state: State,
    pub cause: Option<Cause>,
    /// What a lane knows by itself: positions, rates, and the source's ends where it has met them. `lag` adds the rest.
    pub partitions: Vec<PartitionStatus>,
    /// Of the newest copied record of a partition, milliseconds since 1970.
    pub(crate) newest: BTreeMap<i32, i64>,
    /// What moves the records, once that was begun.
    pub moved_by: Option<Choice>,
    /// Likewise: how they become durable.
    pub mode: Option<Mode>,
}

/// A running lane. Dropping the handle drains it without waiting.
pub struct LaneHandle {
    control: Arc<Control>,
    status: watch::Receiver<LaneStatus>,
    /// The lane holds the other end until it is done.
    done: watch::Receiver<()>,
}

/// Starts a lane; it runs until drained, restarting itself with backoff on what heals. Must be called inside a tokio runtime.
pub fn start(spec: LaneSpec, budget: &Arc<Budget>) -> LaneHandle {
    start_with(spec, (Engine::new(budget.shared()), Clusters::Kafka), budget)
}

fn start_with(spec: LaneSpec, with: (Engine, Clusters), budget: &Arc<Budget>) -> LaneHandle {
    let control = Arc::new(Control::new(spec.mirror.clone(), spec.range.clone()));
    let starting = Cause::new(Reason::STARTING, "the lane is connecting");
    let (status_sender, status) = watch::channel(LaneStatus {
        state: State::Pending,
        cause: Some(starting),
        partitions: Vec::new(),
        newest: BTreeMap::new(),
        moved_by: None,
        mode: None,
    });
    let (done_sender, done) = watch::channel(());
    let runner = Runner::new(spec, control.clone(), with, budget, status_sender);
    tokio::spawn(async move {
        runner.run().await;
        drop(done_sender);
    });
    LaneHandle { control, status, done }
}

/// The words for a thread that the system doesn't give.
fn no_thread(error: &str) -> String {
    format!(
        "no thread for this range: {error}. The system limits how many threads this worker may have: raise that (`ulimit -u`, \
         TasksMax of a systemd unit, the container's pids limit) or add workers"
    )
}

impl LaneHandle {
    pub fn status(&self) -> watch::Receiver<LaneStatus> {
        self.status.clone()
    }

    /// The epoch in progress on the target that is later than this lane's own, once it was found: then the lane is fenced until it
    /// is started with a later one.
    pub fn later_epoch(&self) -> Option<Epoch> {
        self.control.later_epoch()
    }

    /// Stops fetching, commits what is in flight, and closes.
    pub fn drain(&self) {
        self.control.drain();
    }

    /// Resolves when this lane will never write again.
    pub async fn stopped(&mut self) {
        while self.done.changed().await.is_ok() {}
    }

    /// The range may grow (a topic gained partitions) and hints or the mirror's mutable settings may change without a new
    /// epoch. The lane commits what is in flight and goes on with the new ones.
    pub fn update(&self, mirror: Arc<model::Mirror>, range: Range) {
        self.control.update(mirror, range);
    }
}

impl Drop for LaneHandle {
    fn drop(&mut self) {
        self.control.drain();
    }
}
