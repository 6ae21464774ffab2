//! What a lane is told from outside: its present mirror and range, and whether to end.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use twinlog_proto::id::Epoch;
use twinlog_proto::model;

use crate::budget::Turn;
use crate::range::Range;

/// Shared by the handle and the lane's thread. Everything wakes the thread, wherever it waits.
pub(crate) struct Control {
    state: Mutex<State>,
    stop: CancellationToken,
    /// An epoch in progress on the target that is later than the lane's; 0: none.
    later_epoch: AtomicI64,
    /// Whether others wait for what this lane holds.
    turn: Arc<Turn>,
}

struct State {
    wanted: Wanted,
    thread: Option<Thread>,
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
            state: Mutex::new(State { wanted, thread: None }),
            stop: CancellationToken::new(),
            later_epoch: AtomicI64::new(0),
            turn: Arc::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The calling thread is the one to wake.
    pub(crate) fn attach(&self) {
        self.state().thread = Some(std::thread::current());
    }

    fn wake(&self) {
        if let Some(thread) = &self.state().thread {
            thread.unpark();
        }
    }

    pub(crate) fn wanted(&self) -> Wanted {
        self.state().wanted.clone()
    }

    pub(crate) fn version(&self) -> u64 {
        self.state().wanted.version
    }

    /// Whether this says anything new.
    pub(crate) fn update(&self, mirror: Arc<model::Mirror>, mut range: Range) -> bool {
        let mut state = self.state();
        // That a survey has now seen what it created is nothing new; another id than before is another topic.
        let known = &mut state.wanted.range.target_topic_id;
        match range.target_topic_id {
            Some(id) => {
                known.get_or_insert(id);
            }
            None => range.target_topic_id = *known,
        }
        let changed = state.wanted.range != range || shapes(&state.wanted.mirror) != shapes(&mirror);
        state.wanted.mirror = mirror;
        state.wanted.range = range;
        state.wanted.version += u64::from(changed);
        drop(state);
        if changed {
            self.wake();
        }
        changed
    }

    pub(crate) fn drain(&self) {
        self.stop.cancel();
        self.wake();
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

    /// Waits on the lane's thread, less when drained or changed meanwhile.
    pub(crate) fn pause(&self, duration: Duration) {
        self.pause_unless(duration, || false);
    }

    /// `pause`, which ends also when the thread was unparked and something `came`.
    pub(crate) fn pause_unless(&self, duration: Duration, came: impl Fn() -> bool) {
        let (until, version) = (Instant::now() + duration, self.version());
        while !self.is_draining() && self.version() == version && !came() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::park_timeout(left);
        }
    }
}

/// The settings of a mirror that shape a running lane: a change of any other does not touch it.
fn shapes(mirror: &model::Mirror) -> impl PartialEq {
    (
        mirror.compression,
        mirror.target_latency,
        mirror.gap_policy,
        (mirror.offset_syncs, mirror.offset_lag_max),
        mirror.guarantee,
        (mirror.take_over.clone(), mirror.start_group.clone()),
        (mirror.onto_existing, mirror.allow_foreign_writes),
    )
}
