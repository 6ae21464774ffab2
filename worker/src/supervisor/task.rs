//! One task, from its start to its end, whatever its kind.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use twinlog_proto::id::{Epoch, TaskName};

use super::Context;
use crate::assignments::{Assigned, Kind, Work};
use crate::board::StatusCell;
use crate::cause::Cause;
use crate::flow::Ends;
use crate::lane::lag::LagView;
use crate::lane::{self, LaneHandle, LaneSpec};
use crate::{checkpoint, heartbeat, survey};

/// Properties that can't be resolved (a secret's file may appear later) are tried again after this.
const RESOLVE_PAUSE: Duration = Duration::from_secs(5);

/// A call of a survey, checkpoint or heartbeat that doesn't get through is given up, and its cause said, after this.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

pub(super) struct Task {
    pub(super) name: TaskName,
    pub(super) context: Arc<Context>,
    pub(super) status: StatusCell,
    pub(super) drain: CancellationToken,
}

/// What comes after a run.
enum Next {
    /// With what is assigned now, or with new clients.
    Again,
    End,
}

impl Task {
    /// Returns when it has been drained and will never write again.
    pub(super) async fn run(self, mut updates: watch::Receiver<Assigned>) {
        let mut clusters = self.context.clusters.changed();
        loop {
            let Assigned { epoch, work } = updates.borrow_and_update().clone();
            let work = match work {
                Ok(work) => work,
                Err(cause) => return self.blocked(cause).await,
            };
            let Some(ends) = self.ends(&work).await else { return };
            let next = if let Kind::Replicate(range) = &work.kind {
                self.replicate(epoch, &work, range.clone(), &ends, &mut updates, &mut clusters).await
            } else {
                self.periodic(epoch, &work, &ends, &mut updates, &mut clusters).await
            };
            match next {
                Next::Again if !self.drain.is_cancelled() => {}
                Next::Again | Next::End => return self.forget(&work),
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

    /// Surveys, checkpoints and heartbeats hold nothing that is worth carrying over: a change starts them anew.
    async fn periodic(
        &self,
        epoch: Epoch,
        work: &Work,
        ends: &Ends,
        updates: &mut watch::Receiver<Assigned>,
        clusters: &mut watch::Receiver<()>,
    ) -> Next {
        let mut running = std::pin::pin!(self.run_periodic(epoch, work, ends.with_deadline(CALL_DEADLINE)));
        loop {
            tokio::select! {
                biased;
                () = self.drain.cancelled() => return Next::End,
                changed = updates.changed() => return if changed.is_ok() { Next::Again } else { Next::End },
                Ok(()) = clusters.changed() => if self.is_outdated(work, ends) { return Next::Again },
                () = &mut running => return Next::End,
            }
        }
    }

    async fn run_periodic(&self, epoch: Epoch, work: &Work, ends: Ends) {
        let mirror = work.mirror.clone();
        // Boxed: unoptimised, the frames of what they call fill a thread's stack.
        match work.kind {
            Kind::Survey => {
                Box::pin(survey::run(epoch, mirror, ends, &self.status, &self.context.board)).await
            }
            Kind::Checkpoint(shard) => Box::pin(checkpoint::run(shard, mirror, ends, &self.status)).await,
            Kind::Heartbeat => Box::pin(heartbeat::run(mirror, ends, &self.status)).await,
            Kind::Replicate(_) => unreachable!("replicate tasks run as lanes"),
        }
    }

    fn is_outdated(&self, work: &Work, ends: &Ends) -> bool {
        let clusters = &self.context.clusters;
        !clusters.is_current(&work.source, &ends.source) || !clusters.is_current(&work.target, &ends.target)
    }

    fn forget(&self, work: &Work) {
        if work.kind == Kind::Survey && self.drain.is_cancelled() {
            self.context.board.forget_inventory(&work.mirror.id);
        }
    }

    async fn replicate(
        &self,
        epoch: Epoch,
        work: &Work,
        range: lane::Range,
        ends: &Ends,
        updates: &mut watch::Receiver<Assigned>,
        clusters: &mut watch::Receiver<()>,
    ) -> Next {
        let spec = LaneSpec {
            task: self.name.clone(),
            epoch,
            worker: self.context.worker.clone(),
            mirror: work.mirror.clone(),
            range,
            source: ends.source.clone(),
            target: ends.target.clone(),
        };
        let mut view = LagView::new(&spec);
        let mut lane = lane::start(spec, &self.context.budget);
        let (mut status, mut identifying) = (lane.status(), None);
        let next = loop {
            self.status.set(view.show(&status.borrow_and_update()));
            identifying = identifying.or_else(|| view.identify());
            if let Some(later) = lane.later_epoch() {
                self.context.board.found_later(&self.name, later);
            }
            tokio::select! {
                biased;
                () = self.drain.cancelled() => break Next::End,
                Ok(()) = updates.changed() => update(&lane, &mut view, &updates.borrow_and_update()),
                Ok(()) = clusters.changed() => if self.is_outdated(work, ends) { break Next::Again },
                Ok(()) = status.changed() => {}
                found = answer(&mut identifying) => {
                    identifying = None;
                    view.identified(found);
                }
                () = view.changed() => {}
                () = lane.stopped() => return Next::End,
            }
        };
        lane.drain();
        loop {
            tokio::select! {
                biased;
                () = lane.stopped() => return next,
                Ok(()) = status.changed() => self.status.set(view.show(&status.borrow_and_update())),
            }
        }
    }
}

/// Of a question that was asked; never, where none was.
async fn answer<T>(asked: &mut Option<BoxFuture<'static, T>>) -> T {
    match asked {
        Some(asked) => asked.await,
        None => std::future::pending().await,
    }
}

fn update(lane: &LaneHandle, view: &mut LagView, assigned: &Assigned) {
    if let Ok(Work { kind: Kind::Replicate(range), mirror, .. }) = &assigned.work {
        lane.update(mirror.clone(), range.clone());
        view.set_range(range);
    }
}
