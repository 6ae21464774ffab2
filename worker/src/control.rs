//! What a lane is told from outside: its present mirror and range, and whether to end.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use twinlog_proto::id::Epoch;
use twinlog_proto::model;

use crate::budget::Turn;
use crate::range::Range;

/// Shared by the handle, the lane and its engine. Everything wakes the lane, wherever it waits.
pub(crate) struct Control {
    wanted: Mutex<Wanted>,
    stop: CancellationToken,
    /// An epoch in progress on the target that is later than the lane's; 0: none.
    later_epoch: AtomicI64,
    /// Whether others wait for what this lane holds.
    turn: Arc<Turn>,
}

/// What the lane should run; `version` grows with every change that the lane has to act on.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) mirror: Arc<model::Mirror>,
    pub(crate) range: Range,
    pub(crate) version: u64,
}

impl Control {
    pub(crate) fn new(mirror: Arc<model::Mirror>, range: Range) -> Self {
        let wanted = Wanted { mirror, range, version: 0 };
        Self {
            wanted: Mutex::new(wanted),
            stop: CancellationToken::new(),
            later_epoch: AtomicI64::new(0),
            turn: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when the lane was told something since this was last awaited. There is one who awaits it: the lane, or its engine
    /// while that runs.
    pub(crate) async fn woken(&self) {
        self.turn.woken().await;
    }

    pub(crate) fn wanted(&self) -> Wanted {
        self.lock().clone()
    }

    pub(crate) fn version(&self) -> u64 {
        self.lock().version
    }

    /// Whether this says anything new.
    pub(crate) fn update(&self, mirror: Arc<model::Mirror>, mut range: Range) -> bool {
        let mut wanted = self.lock();
        // That a survey has now seen what it created is nothing new; another id than before is another topic.
        let known = &mut wanted.range.target_topic_id;
        match range.target_topic_id {
            Some(id) => {
                known.get_or_insert(id);
            }
            None => range.target_topic_id = *known,
        }
        let changed = wanted.range != range || shapes(&wanted.mirror) != shapes(&mirror);
        wanted.mirror = mirror;
        wanted.range = range;
        wanted.version += u64::from(changed);
        drop(wanted);
        if changed {
            self.turn.wake();
        }
        changed
    }

    pub(crate) fn drain(&self) {
        self.stop.cancel();
        self.turn.wake();
    }

    /// The lane found out that it is superseded.
    pub(crate) fn found_later(&self, epoch: i64) {
        self.later_epoch.store(epoch, Ordering::Release);
    }

    pub(crate) fn later_epoch(&self) -> Option<Epoch> {
        Some(self.later_epoch.load(Ordering::Acquire)).filter(|epoch| *epoch > 0).map(Epoch)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.stop.is_cancelled()
    }

    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    pub(crate) fn turn(&self) -> &Arc<Turn> {
        &self.turn
    }

    /// Waits, less when drained or changed meanwhile.
    pub(crate) async fn pause(&self, duration: Duration) {
        self.pause_unless(duration, || false).await;
    }

    /// `pause`, which ends also when something `came` that wakes the lane.
    pub(crate) async fn pause_unless(&self, duration: Duration, came: impl Fn() -> bool) {
        let (until, version) = (Instant::now() + duration, self.version());
        while !self.is_draining() && self.version() == version && !came() {
            if timeout_at(until, self.woken()).await.is_err() {
                return;
            }
        }
    }
}

/// The settings of a mirror that shape a running lane: a change of any other does not touch it.
fn shapes(mirror: &model::Mirror) -> impl PartialEq {
    (
        (mirror.compression, mirror.engine),
        mirror.target_latency,
        mirror.gap_policy,
        (mirror.offset_syncs, mirror.offset_lag_max),
        (mirror.guarantee, mirror.always_transactions),
        (mirror.take_over.clone(), mirror.start_group.clone()),
        (mirror.onto_existing, mirror.allow_foreign_writes),
    )
}
