//! One range's place among those of its worker.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use twinlog_proto::descriptors;
use twinlog_proto::reason::Reason;

use super::{Budget, Sitting, State, Waiter, divide};

/// Ranges that rest ask for something new together so often in a second, at most.
const LOOKS_PER_SECOND: u64 = 200;
/// One that rests asks so often, where there are few.
const LOOK: Duration = Duration::from_millis(500);

/// What a range and the budget tell each other without a lock.
#[derive(Debug)]
pub struct Turn {
    over: AtomicBool,
    /// The range got its share.
    granted: AtomicBool,
    /// Milliseconds since `began`; 0: there is something to copy.
    idle_since: AtomicU64,
    began: Instant,
    news: Notify,
}

impl Default for Turn {
    fn default() -> Self {
        Self {
            over: AtomicBool::new(false),
            granted: AtomicBool::new(false),
            idle_since: AtomicU64::new(0),
            began: Instant::now(),
            news: Notify::new(),
        }
    }
}

impl Turn {
    /// Whether the range is to give way now.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// The range says whether it has nothing to copy.
    pub fn set_idle(&self, idle: bool) {
        if !idle {
            self.idle_since.store(0, Ordering::Relaxed);
        } else if self.idle_since.load(Ordering::Relaxed) == 0 {
            self.idle_since.store(self.millis(Instant::now()), Ordering::Relaxed);
        }
    }

    /// Whether the range has got the share that it waited for.
    pub fn is_granted(&self) -> bool {
        self.granted.load(Ordering::Relaxed)
    }

    /// Whoever waits for the range to be told something goes on, now or when he begins to wait.
    pub(crate) fn wake(&self) {
        self.news.notify_one();
    }

    pub(crate) async fn woken(&self) {
        self.news.notified().await;
    }

    pub(super) fn begins(&self) {
        self.over.store(false, Ordering::Relaxed);
        self.set_idle(false);
        self.granted.store(true, Ordering::Relaxed);
    }

    pub(super) fn given_back(&self) {
        self.granted.store(false, Ordering::Relaxed);
    }

    pub(super) fn ends(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub(super) fn idle_for(&self, now: Instant) -> Option<Duration> {
        match self.idle_since.load(Ordering::Relaxed) {
            0 => None,
            since => Some(Duration::from_millis(self.millis(now).saturating_sub(since))),
        }
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

/// What there is too little of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    Memory,
    Descriptors,
}

/// Why a range has to wait for its turn. Shown, it says what is needed, what is allowed, and what helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowd {
    pub limit: Limit,
    /// Ranges that hold a share now, of all that the worker has.
    pub running: usize,
    pub ranges: usize,
    /// Bytes or descriptors that all ranges of the worker may hold together, and what one needs.
    pub allowed: u64,
    pub each: u64,
}

impl Crowd {
    pub fn reason(&self) -> Reason {
        match self.limit {
            Limit::Memory => Reason::MEMORY_LIMIT,
            Limit::Descriptors => Reason::DESCRIPTORS_LIMIT,
        }
    }

    /// What all of them need together.
    fn needed(&self) -> u64 {
        self.each.saturating_mul(u64::try_from(self.ranges).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { running, ranges, allowed, each, .. } = self;
        let needed = self.needed();
        // With room for ranges that come later.
        let enough = |needed: u64| (needed + needed / 4).checked_next_power_of_two().unwrap_or(needed);
        write!(f, "the ranges of this worker take turns, {running} of {ranges} run now: ")?;
        match self.limit {
            Limit::Memory => {
                let raised = enough(needed >> 20);
                write!(
                    f,
                    "{ranges} need {} MiB of memory together ({} MiB each at least) and may hold {} MiB: raise the worker's memory \
                 (--memory {raised}MiB) or add workers",
                    needed >> 20,
                    each >> 20,
                    allowed >> 20,
                )
            }
            Limit::Descriptors => {
                // What is not the ranges' is other connections and files.
                let limit = descriptors::allowed();
                let raised = enough(limit.saturating_sub(*allowed).saturating_add(needed));
                write!(
                    f,
                    "{ranges} need {needed} file descriptors together ({each} each) and may open {allowed}, as the limit of the \
                     process is {limit}: raise it to {raised} (`ulimit -n {raised}` before the start, LimitNOFILE={raised} in a \
                     systemd unit) or add workers"
                )
            }
        }
    }
}

/// A range's place: registered as long as it lives, with or without a share.
pub struct Seat {
    budget: Arc<Budget>,
    id: u64,
}

impl Budget {
    /// A range joins.
    pub fn join(self: &Arc<Self>, turn: Arc<Turn>) -> Seat {
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        let sitting = Sitting { turn, held: None };
        state.seats.insert(id, sitting);
        drop(state);
        Seat { budget: self.clone(), id }
    }

    /// Of what there is less left.
    fn scarcer(&self, state: &State) -> Limit {
        let used = |part: u64, all: u64| part as f64 / all.max(1) as f64;
        match used(state.descriptors, self.descriptors) > used(state.reserved, self.bytes) {
            true => Limit::Descriptors,
            false => Limit::Memory,
        }
    }
}

impl Seat {
    /// The share, bytes. Where there is none now the range has its place in the queue from here on, and keeps it until it gets
    /// a share or calls `release`: ask again when woken (`Turn::woken`), and every second or so.
    pub fn ask(&self, descriptors: u64) -> Result<u64, Crowd> {
        self.ask_at(descriptors, Instant::now())
    }

    /// `ask`, at a time that tests choose.
    pub(super) fn ask_at(&self, descriptors: u64, now: Instant) -> Result<u64, Crowd> {
        let budget = &self.budget;
        let mut state = budget.state();
        if state.seats.get(&self.id).is_some_and(|seat| seat.held.is_none())
            && state.queue.iter().all(|waiter| waiter.id != self.id)
        {
            state.queue.push_back(Waiter { id: self.id, descriptors });
        }
        budget.serve(&mut state, now);
        if let Some(held) = state.seats.get(&self.id).and_then(|seat| seat.held.as_ref()) {
            return Ok(held.bytes);
        }
        let first = state.queue.front().map_or(descriptors, |first| first.descriptors);
        let limit = budget.room(&state, first).err().unwrap_or_else(|| budget.scarcer(&state));
        let equal = divide::share(budget.bytes, budget.bytes, state.seats.len());
        Budget::make_room(&mut state, (limit == Limit::Memory).then_some(equal * 2), now);
        let crowd = self.crowd(&state, limit, descriptors);
        let news = state.note_crowd(now);
        drop(state);
        if news {
            tracing::warn!("{crowd}");
        }
        Err(crowd)
    }

    fn crowd(&self, state: &State, limit: Limit, descriptors: u64) -> Crowd {
        let (allowed, each) = match limit {
            Limit::Memory => (self.budget.bytes, divide::MIN_SHARE_BYTES),
            Limit::Descriptors => (self.budget.descriptors, descriptors),
        };
        Crowd { limit, running: state.running, ranges: state.seats.len(), allowed, each }
    }

    /// Gives the share back, and the place in the queue.
    pub fn release(&self) {
        self.release_at(Instant::now());
    }

    pub(super) fn release_at(&self, now: Instant) {
        let mut state = self.budget.state();
        state.queue.retain(|waiter| waiter.id != self.id);
        state.give_back(self.id);
        self.budget.serve(&mut state, now);
    }

    /// Takes a share where nobody waits and there is room: a range that rests may as well run. True where it has one now.
    pub fn take_if_free(&self, descriptors: u64) -> bool {
        let (mut state, now) = (self.budget.state(), Instant::now());
        let over = state.note_calm(now);
        let room = self.budget.room(&state, descriptors);
        let taken = match room {
            Ok(share) if state.queue.is_empty() => {
                state.grant(self.id, share, descriptors, now);
                true
            }
            _ => false,
        };
        drop(state);
        if over {
            tracing::info!("the ranges of this worker don't take turns any more");
        }
        taken
    }

    /// How long a range that rests waits before it looks whether there is something to copy.
    pub fn look_interval(&self) -> Duration {
        let state = self.budget.state();
        let resting = state.seats.len().saturating_sub(state.running + state.queue.len());
        let resting = u64::try_from(resting).unwrap_or(u64::MAX);
        LOOK.max(Duration::from_millis(resting.saturating_mul(1000) / LOOKS_PER_SECOND))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.release();
        self.budget.state().seats.remove(&self.id);
    }
}
