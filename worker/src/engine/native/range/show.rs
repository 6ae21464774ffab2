//! What a range shows of itself while it runs.

use std::time::{Duration, Instant};

use super::Range;
use super::slot::{Reading, Slot};
use crate::engine::native::outlet::Outlet;
use crate::engine::{Health, Seen, Sight};

/// The status is refreshed this often while records move ...
const MOVING: Duration = Duration::from_millis(250);
/// ... and while they don't.
const RESTING: Duration = Duration::from_secs(1);

/// When it was shown last, and what is to be shown next.
#[derive(Debug, Default)]
pub(super) struct Shown {
    at: Option<Instant>,
    moving: bool,
    throttle: Option<Duration>,
}

impl Shown {
    pub(super) fn due(&self) -> Instant {
        let interval = if self.moving { MOVING } else { RESTING };
        self.at.map_or_else(Instant::now, |at| at + interval)
    }

    /// A quota of the target has held an answer back.
    pub(super) fn throttled(&mut self, by: Duration) {
        if !by.is_zero() {
            self.throttle = self.throttle.max(Some(by));
        }
    }
}

impl Range {
    pub(super) fn show(&mut self) {
        let idle = self.is_idle();
        let moving = !idle;
        if moving && !self.shown.moving {
            self.shown.moving = true;
        } else if self.shown.due() > Instant::now() {
            return;
        }
        (self.shown.at, self.shown.moving) = (Some(Instant::now()), moving);
        self.shared.control.turn().set_idle(idle);
        let sight = self.sight();
        (self.observer)(&mut self.ledger, sight);
    }

    fn sight(&mut self) -> Sight {
        let seen = |slot: &Slot| Seen {
            partition: slot.spot.partition,
            stopped: slot.is_stopped(),
            end: slot.end,
            high_watermark: slot.high,
        };
        let throttled = |slot: &Slot| match &slot.reading {
            Reading::On(fetching) => fetching.flow.take_throttled(),
            Reading::Off | Reading::Stopped => None,
        };
        let throttle = self.slots.iter().filter_map(throttled).max();
        let (source, target) = (self.trouble.0.take(), self.trouble.1.take());
        Sight {
            partitions: self.slots.iter().map(seen).collect(),
            in_flight: self.outlets.iter().map(Outlet::bytes).sum::<usize>() as u64,
            oldest: self.outlets.iter().filter_map(Outlet::since).min(),
            source: Health { trouble: source, throttle },
            target: Health { trouble: target, throttle: self.shown.throttle.take() },
        }
    }

    /// Whether everything that there is has been copied, as far as is known.
    fn is_idle(&self) -> bool {
        !self.committer.is_open()
            && self.outlets.iter().all(Outlet::is_empty)
            && self.slots.iter().all(Slot::is_at_end)
    }
}
