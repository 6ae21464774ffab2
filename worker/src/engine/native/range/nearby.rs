//! Replicas in the reader's rack (KIP-392): a leader that is told the rack names one of them, which is read from for a while instead. Whatever is
//! wrong there is asked of the leader, which alone knows what the log is.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::Range;
use super::slot::{Nearby, Reading};
use crate::engine::native::fetcher::Peer;
use crate::kafka::Leadership;

/// After this time the leader is asked again: another replica may be nearer by then.
const NEARBY_FOR: Duration = Duration::from_secs(300);
/// So long the leader itself gives the records where a replica failed: it goes on naming one that it doesn't miss yet.
const AT_LEADER_FOR: Duration = Duration::from_secs(30);

impl Range {
    /// Fetches a partition from here on.
    pub(super) fn read_from(&mut self, index: usize, peer: Peer, led: (Uuid, Leadership)) {
        let slot = &self.slots[index];
        let start = (index as u16, slot.from(led.0, led.1));
        let taker = self.outlets[index].taker().cloned().unwrap_or_else(|| self.shared.memory.nobody());
        let room = (&self.shared.memory, &taker, self.job.queue);
        let fetching = self.shared.source.fetch((peer, &slot.spot), start, room, &self.deliver);
        let slot = &mut self.slots[index];
        (slot.reading, slot.led) = (Reading::On(fetching), Some(led));
    }

    /// The leader names a replica in the reader's rack.
    pub(super) fn goes_near(&mut self, index: usize, replica: i32) {
        let Some(led) = self.slots[index].led else {
            self.slots[index].reading = Reading::Off;
            return self.seek_source();
        };
        tracing::debug!(spot = ?self.slots[index].spot, replica, "a replica in the same rack is read from");
        self.read_from(index, Peer { broker: replica, near: true }, led);
        let until = Instant::now() + NEARBY_FOR;
        self.slots[index].nearby = Nearby::Replica { until };
        self.looks_again_at(until);
    }

    /// `false`: the partition isn't read from a replica. Otherwise its leader will be.
    pub(super) fn leaves_replica(&mut self, index: usize) -> bool {
        if !matches!(self.slots[index].nearby, Nearby::Replica { .. }) {
            return false;
        }
        let until = Instant::now() + AT_LEADER_FOR;
        self.slots[index].nearby = Nearby::Leader { until };
        self.looks_again_at(until);
        true
    }

    fn looks_again_at(&mut self, until: Instant) {
        self.nearby_until = Some(self.nearby_until.map_or(until, |at| at.min(until)));
    }

    /// What was said of a replica holds for a while only.
    pub(super) fn return_to_leaders(&mut self) {
        let now = Instant::now();
        if self.nearby_until.is_none_or(|until| until > now) {
            return;
        }
        for slot in self.slots.iter_mut().filter(|slot| slot.nearby.until().is_some_and(|at| at <= now)) {
            slot.nearby = Nearby::Asked;
            if !slot.is_stopped() {
                slot.reading = Reading::Off;
            }
        }
        self.nearby_until = self.slots.iter().filter_map(|slot| slot.nearby.until()).min();
        self.seek_source();
    }
}
