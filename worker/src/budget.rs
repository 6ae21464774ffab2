//! Which ranges of a worker may hold Kafka clients now. What they need is limited: memory for records in flight, and file
//! descriptors. A range takes a share before it opens its clients and gives it back when it closes them.
//!
//! While everything fits, every range keeps its share. While it doesn't, shares shrink, and below the smallest one ranges
//! take turns: whoever waits is served in the order of coming; a range with nothing to copy gives way first and rests until
//! there is something, one that copies gives way after a turn. So no range waits for ever, however many there are.

mod divide;
mod memory;
mod seat;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

pub use divide::{MAX_SHARE_BYTES, MIN_SHARE_BYTES};
pub(crate) use memory::{Kept, Memory, Share, Taker};
pub use seat::{Crowd, Limit, Seat, Turn};

/// A range that copies keeps its share so long, also while others wait.
const TURN: Duration = Duration::from_secs(5);
/// One that has nothing to copy keeps it so long.
const IDLE_TURN: Duration = Duration::from_millis(400);
/// Who was told to give way and hasn't by then may be stuck: somebody else is told, too.
const PROMPT: Duration = Duration::from_secs(3);
/// After nobody had to wait for so long, taking turns is over.
const CALM: Duration = Duration::from_secs(60);

/// What ranges that share their connections hold together, at most: more makes nothing faster.
const MAX_SHARED: u64 = 64 << 20;

/// Worker-wide bounds.
pub struct Budget {
    bytes: u64,
    /// Of `bytes`, what ranges hold together that share their connections.
    shared: Memory,
    descriptors: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    /// Every range that this worker has.
    seats: BTreeMap<u64, Sitting>,
    /// Those that wait for a share, in the order of coming.
    queue: VecDeque<Waiter>,
    /// Held together by so many ranges.
    reserved: u64,
    descriptors: u64,
    running: usize,
    /// While ranges take turns: when somebody waited last.
    crowded: Option<Instant>,
}

struct Waiter {
    id: u64,
    descriptors: u64,
}

struct Sitting {
    turn: Arc<Turn>,
    held: Option<Held>,
}

struct Held {
    bytes: u64,
    descriptors: u64,
    since: Instant,
    /// When it was told to give way.
    told: Option<Instant>,
}

impl Budget {
    /// A bound of `bytes` for records in flight, and none of descriptors.
    pub fn new(bytes: u64) -> Arc<Self> {
        Self::with_descriptors(bytes, u64::MAX)
    }

    /// Ranges may open so many `descriptors` together.
    pub fn with_descriptors(bytes: u64, descriptors: u64) -> Arc<Self> {
        let shared = Memory::new(MAX_SHARED.min(bytes / 2));
        Arc::new(Self { bytes, shared, descriptors, state: Mutex::default() })
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// For ranges that share their connections.
    pub(crate) fn shared(&self) -> &Memory {
        &self.shared
    }

    /// The sum of all shares, bytes.
    pub fn reserved(&self) -> u64 {
        self.state().reserved
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next share, or what there is too little of for it. One range runs however little there is.
    fn room(&self, state: &State, descriptors: u64) -> Result<u64, Limit> {
        let free = self.bytes.saturating_sub(state.reserved);
        let share = divide::share(self.bytes, free, state.seats.len());
        if state.running == 0 {
            return Ok(share);
        }
        if share > free {
            return Err(Limit::Memory);
        }
        let short = state.descriptors.saturating_add(descriptors) > self.descriptors;
        if short { Err(Limit::Descriptors) } else { Ok(share) }
    }

    /// Gives what is free to those who wait, in their order.
    fn serve(&self, state: &mut State, now: Instant) {
        while let Some(first) = state.queue.front() {
            let (id, descriptors) = (first.id, first.descriptors);
            let Ok(share) = self.room(state, descriptors) else { return };
            state.queue.pop_front();
            state.grant(id, share, descriptors, now);
        }
    }

    /// Tells ranges to give way: as many as wait, less those that were told just now and are about to; few at a time, as each has
    /// to close and open clients.
    fn make_room(state: &mut State, too_large: Option<u64>, now: Instant) {
        let just = |at: Instant| now.saturating_duration_since(at) < PROMPT;
        let told = state.holders().filter(|(_, _, held)| held.told.is_some_and(just)).count();
        let at_once = (state.running / 4).max(1);
        let wanted = state.queue.len().min(at_once).saturating_sub(told);
        let candidate = |(id, seat, held): (u64, &Sitting, &Held)| {
            let held = divide::Candidate {
                bytes: held.bytes,
                held: now.duration_since(held.since),
                idle: seat.turn.idle_for(now),
            };
            (id, held)
        };
        let candidates = state.holders().filter(|(_, _, held)| held.told.is_none()).map(candidate);
        for id in divide::who_gives_way(candidates, wanted, too_large, TURN, IDLE_TURN) {
            let Some(seat) = state.seats.get_mut(&id) else { continue };
            if let Some(held) = &mut seat.held {
                held.told = Some(now);
                seat.turn.ends();
                seat.turn.wake();
            }
        }
    }
}

impl State {
    fn holders(&self) -> impl Iterator<Item = (u64, &Sitting, &Held)> {
        self.seats.iter().filter_map(|(id, seat)| Some((*id, seat, seat.held.as_ref()?)))
    }

    fn grant(&mut self, id: u64, bytes: u64, descriptors: u64, now: Instant) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.turn.begins();
        seat.held = Some(Held { bytes, descriptors, since: now, told: None });
        seat.turn.wake();
        self.reserved += bytes;
        self.descriptors += descriptors;
        self.running += 1;
    }

    fn give_back(&mut self, id: u64) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let Some(held) = seat.held.take() else { return };
        seat.turn.given_back();
        self.reserved -= held.bytes;
        self.descriptors -= held.descriptors;
        self.running -= 1;
    }

    /// Notes that somebody waits; true where that is new.
    fn note_crowd(&mut self, now: Instant) -> bool {
        self.crowded.replace(now).is_none()
    }

    /// True where taking turns is over.
    fn note_calm(&mut self, now: Instant) -> bool {
        let over = self.queue.is_empty() && self.crowded.is_some_and(|at| now.duration_since(at) >= CALM);
        if over {
            self.crowded = None;
        }
        over
    }
}

#[cfg(test)]
mod tests;
