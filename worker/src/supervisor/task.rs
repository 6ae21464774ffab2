//! One task, from its start to its end, whatever its kind.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use twinlog_proto::id::{Epoch, TaskName};
use twinlog_proto::v1;

use super::Context;
use crate::assignments::{Assigned, Kind, Work};
use crate::board::{StatusCell, TaskStatus};
use crate::cause::Cause;
use crate::cluster::ClusterHandle;
use crate::kafka::KafkaError;
use crate::lane::{self, LaneHandle, LaneSpec, LaneStatus};
use crate::{checkpoint, heartbeat, survey};

/// Properties that can't be resolved (a secret's file may appear later) are tried again after this.
const RESOLVE_PAUSE: Duration = Duration::from_secs(5);

pub(super) struct Task {
    pub(super) name: TaskName,
    pub(super) context: Arc<Context>,
    pub(super) status: StatusCell,
    pub(super) drain: CancellationToken,
}

/// Both ends of a flow.
#[derive(Clone)]
pub struct Ends {
    pub source: Arc<ClusterHandle>,
    pub target: Arc<ClusterHandle>,
}

impl Task {
    /// Returns when it has been drained and will never write again.
    pub(super) async fn run(self, mut updates: watch::Receiver<Assigned>) {
        loop {
            let Assigned { epoch, work } = updates.borrow_and_update().clone();
            let work = match work {
                Ok(work) => work,
                Err(cause) => return self.blocked(cause).await,
            };
            let Some(ends) = self.ends(&work).await else { return };
            if let Kind::Replicate(range) = &work.kind {
                let range = range.clone();
                return self.replicate(epoch, work, range, ends, updates).await;
            }
            // These hold nothing that is worth carrying over: a change of settings starts them anew.
            tokio::select! {
                biased;
                () = self.drain.cancelled() => {
                    self.forget(&work);
                    return;
                }
                changed = updates.changed() => if changed.is_err() { return },
                () = self.periodic(epoch, &work, ends) => return,
            }
        }
    }

    async fn blocked(&self, cause: Cause) {
        self.status.stopped(cause);
        self.drain.cancelled().await;
    }

    /// The clients of both clusters, waiting until their properties can be resolved; `None` when drained meanwhile.
    async fn ends(&self, work: &Work) -> Option<Ends> {
        loop {
            let clusters = &self.context.clusters;
            let error = match (clusters.handle(&work.source), clusters.handle(&work.target)) {
                (Ok(source), Ok(target)) => return Some(Ends { source, target }),
                (Err(error), _) | (_, Err(error)) => error,
            };
            self.status.stopped(error.into());
            tokio::select! {
                biased;
                () = self.drain.cancelled() => return None,
                () = tokio::time::sleep(RESOLVE_PAUSE) => {}
            }
        }
    }

    async fn periodic(&self, epoch: Epoch, work: &Work, ends: Ends) {
        let mirror = work.mirror.clone();
        match work.kind {
            Kind::Survey => survey::run(epoch, mirror, ends, &self.status, &self.context.board).await,
            Kind::Checkpoint(shard) => checkpoint::run(shard, mirror, ends, &self.status).await,
            Kind::Heartbeat => heartbeat::run(mirror, ends, &self.status).await,
            Kind::Replicate(_) => unreachable!("replicate tasks run as lanes"),
        }
    }

    fn forget(&self, work: &Work) {
        if work.kind == Kind::Survey {
            self.context.board.forget_inventory(&work.mirror.id);
        }
    }

    async fn replicate(
        &self,
        epoch: Epoch,
        work: Work,
        range: lane::Range,
        ends: Ends,
        mut updates: watch::Receiver<Assigned>,
    ) {
        let spec = LaneSpec {
            task: self.name.clone(),
            epoch,
            worker: self.context.worker.clone(),
            mirror: work.mirror,
            range,
            source: ends.source,
            target: ends.target,
        };
        let mut lane = lane::start(spec, self.context.budget.clone());
        let mut status = lane.status();
        loop {
            self.show(&status.borrow_and_update());
            tokio::select! {
                biased;
                () = self.drain.cancelled() => break,
                Ok(()) = updates.changed() => update(&lane, &updates.borrow_and_update()),
                Ok(()) = status.changed() => {}
                () = lane.stopped() => return,
            }
        }
        lane.drain();
        loop {
            tokio::select! {
                biased;
                () = lane.stopped() => return,
                Ok(()) = status.changed() => self.show(&status.borrow_and_update()),
            }
        }
    }

    fn show(&self, lane: &LaneStatus) {
        self.status.set(TaskStatus {
            state: lane.state,
            cause: lane.cause.clone(),
            partitions: lane.partitions.clone(),
            groups: Vec::new(),
        });
    }
}

fn update(lane: &LaneHandle, assigned: &Assigned) {
    if let Ok(Work { kind: Kind::Replicate(range), mirror, .. }) = &assigned.work {
        lane.update(mirror.clone(), range.clone());
    }
}

/// What a failed call means for a task that tries again by itself.
pub(crate) fn state_of(error: &KafkaError) -> v1::State {
    if error.retriable { v1::State::Waiting } else { v1::State::Stopped }
}
