//! What a range shows of itself while it runs.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::Range;
use super::slot::{Reading, Slot};
use crate::engine::native::outlet::Outlet;
use crate::engine::{Health, Seen, Sight};

/// The status is refreshed this often while records move, and so soon after something has happened ...
const MOVING: Duration = Duration::from_millis(500);
/// ... while what it shows is still on its way to rest ...
const RESTING: Duration = Duration::from_secs(1);
/// ... and where it rests: all ranges at the same time, so that what they ask then is asked together.
const AT_REST: Duration = Duration::from_secs(30);

/// Where the times of `AT_REST` are counted from.
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// When the status is to be shown next, and with what.
#[derive(Debug, Default)]
pub(super) struct Shown {
    due: Option<Instant>,
    /// What was shown last stays so.
    rests: bool,
    throttle: Option<Duration>,
}

impl Shown {
    pub(super) fn due(&self) -> Instant {
        self.due.unwrap_or_else(Instant::now)
    }

    /// It is at once, where nothing was shown yet.
    fn is_due(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| due <= now)
    }

    pub(super) fn rests(&self) -> bool {
        self.rests
    }

    /// Something has happened.
    pub(super) fn stir(&mut self) {
        let soon = Instant::now() + MOVING;
        self.due = self.due.map(|due| due.min(soon));
    }

    /// A quota of the target has held an answer back.
    pub(super) fn throttled(&mut self, by: Duration) {
        if !by.is_zero() {
            self.throttle = self.throttle.max(Some(by));
        }
    }
}

/// When ranges that rest are next looked at.
fn next_rest(now: Instant) -> Instant {
    let since = now.saturating_duration_since(*BEGAN).as_millis() as u64;
    let periods = since / AT_REST.as_millis() as u64 + 1;
    *BEGAN + AT_REST * u32::try_from(periods).unwrap_or(u32::MAX)
}

impl Range {
    pub(super) fn show(&mut self) {
        let idle = self.is_idle();
        self.shared.control.turn().set_idle(idle);
        let now = Instant::now();
        if !self.shown.is_due(now) {
            return;
        }
        let sight = self.sight();
        let stays = (self.observer)(&mut self.ledger, sight);
        self.shown.rests = idle && stays;
        self.shown.due = Some(match (idle, stays) {
            (false, _) => now + MOVING,
            (true, false) => now + RESTING,
            (true, true) => next_rest(now),
        });
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
    pub(super) fn is_idle(&self) -> bool {
        !self.committer.is_open()
            && self.outlets.iter().all(Outlet::is_empty)
            && self.slots.iter().all(Slot::is_at_end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rests_is_shown_with_all_others_and_what_stirs_soon() {
        let (now, later) = (*BEGAN, *BEGAN + AT_REST - RESTING);
        assert_eq!(next_rest(now), *BEGAN + AT_REST);
        assert_eq!(next_rest(later), next_rest(now));
        assert_eq!(next_rest(now + AT_REST), *BEGAN + AT_REST * 2);
        let mut shown = Shown { due: Some(Instant::now() + AT_REST), ..Shown::default() };
        shown.stir();
        assert!(shown.due() <= Instant::now() + MOVING);
        let soon = shown.due();
        shown.stir();
        assert_eq!(shown.due(), soon, "not later for what happens meanwhile");
        let mut first = Shown::default();
        first.stir();
        assert!(first.is_due(Instant::now()) && !shown.is_due(Instant::now()));
    }
}
