//! How much may be in flight: all that memory allows, and much less where the target holds requests back because of a quota.
//! What is sent beyond a quota waits at the broker, longer than a transaction or a request lives; then it is sent again, and uses
//! the quota up. Pure: every call says what time it is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Where a lane begins, bytes: a quota is met before much is on its way. It doubles with every round.
const BEGIN: u64 = 256 << 10;
/// At least so much, bytes; a record that is larger goes alone.
const LEAST: u64 = 16 << 10;
/// Brokers look at a client's rate over about so long.
const WINDOW: Duration = Duration::from_secs(10);
/// Throttled, so much time's worth of bytes is in flight.
const AHEAD: f64 = 2.0;

#[derive(Debug)]
pub(crate) struct Pace {
    /// What memory allows.
    most: u64,
    room: u64,
    /// Acknowledged since the room was last changed, and whether it was full since.
    since: u64,
    was_full: bool,
    /// Acknowledged lately: when, bytes.
    lately: VecDeque<(Instant, u64)>,
    throttled: Option<Instant>,
}

impl Pace {
    /// `carefully`: the cluster is known to throttle.
    pub(crate) fn new(most: u64, carefully: bool, now: Instant) -> Self {
        let room = most.min(if carefully { LEAST } else { BEGIN });
        Self {
            most,
            room,
            since: 0,
            was_full: false,
            lately: VecDeque::new(),
            throttled: carefully.then_some(now),
        }
    }

    /// Bytes that may be in flight.
    pub(crate) fn room(&self) -> u64 {
        self.room
    }

    /// There is more to send than there is room.
    pub(crate) fn full(&mut self) {
        self.was_full = true;
    }

    pub(crate) fn acknowledged(&mut self, bytes: u64, now: Instant) {
        match self.lately.back_mut() {
            Some((at, sum)) if now.duration_since(*at) < WINDOW / 20 => *sum += bytes,
            _ => self.lately.push_back((now, bytes)),
        }
        self.forget(now);
        self.since += bytes;
        let free = self.throttled.is_none_or(|at| now.duration_since(at) >= WINDOW);
        if self.room < self.most && self.was_full && free && self.since >= self.room {
            self.change(self.room * 2);
        }
    }

    /// The target holds requests back by so long.
    pub(crate) fn throttled(&mut self, now: Instant) {
        self.forget(now);
        self.throttled = Some(now);
        let sum: u64 = self.lately.iter().map(|(_, bytes)| bytes).sum();
        let rate = sum as f64 / WINDOW.as_secs_f64();
        self.change(self.room.min((rate * AHEAD) as u64).max(LEAST));
    }

    fn change(&mut self, room: u64) {
        (self.room, self.since, self.was_full) = (room.min(self.most), 0, false);
    }

    fn forget(&mut self, now: Instant) {
        while self.lately.front().is_some_and(|(at, _)| now.duration_since(*at) > WINDOW) {
            self.lately.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A broker as Kafka's are: it takes what comes, and then nothing until the rate over ten seconds is the quota again.
    fn copy(quota: f64, seconds: u64, record: u64) -> (Duration, u64, Vec<u64>) {
        let begin = Instant::now();
        let (mut now, mut pace) = (begin, Pace::new(8 * MIB, false, begin));
        let (mut longest, mut sent, mut rooms) = (Duration::ZERO, 0, Vec::new());
        let mut log: VecDeque<(Instant, u64)> = VecDeque::new();
        while now.duration_since(begin) < Duration::from_secs(seconds) {
            let burst = pace.room().max(record) / record * record;
            pace.full();
            now += Duration::from_millis(5);
            log.push_back((now, burst));
            log.retain(|(at, _)| now.duration_since(*at) <= WINDOW);
            sent += burst;
            pace.acknowledged(burst, now);
            let rate = log.iter().map(|(_, bytes)| *bytes as f64).sum::<f64>() / 10.0;
            if rate > quota {
                let held = Duration::from_secs_f64((rate - quota) / quota * 10.0);
                pace.throttled(now);
                longest = longest.max(held);
                now += held;
            }
            rooms.push(pace.room());
        }
        (longest, sent, rooms)
    }

    #[test]
    fn without_a_quota_all_of_memory_is_used_soon() {
        let (_, _, rooms) = copy(1e12, 1, 1000);
        assert!(
            rooms.iter().position(|room| *room == 8 * MIB).is_some_and(|rounds| rounds < 10),
            "{rooms:?}"
        );
    }

    #[test]
    fn a_quota_is_used_and_no_request_is_held_back_for_long() {
        for quota in [20_000.0, 200_000.0, 2e6] {
            let (longest, sent, rooms) = copy(quota, 120, 20_000);
            let rate = sent as f64 / 120.0;
            assert!(rate > quota * 0.7 && rate < quota * 1.5, "{quota}: {rate}, {rooms:?}");
            assert!(longest < Duration::from_secs(25), "{quota}: {longest:?}");
        }
    }

    #[test]
    fn room_grows_only_where_it_is_used() {
        let begin = Instant::now();
        let mut pace = Pace::new(8 * MIB, true, begin);
        let later = begin + 2 * WINDOW;
        pace.acknowledged(MIB, later);
        assert_eq!(pace.room(), LEAST, "a trickle says nothing about a flood");
        pace.full();
        pace.acknowledged(MIB, later);
        assert_eq!(pace.room(), 2 * LEAST);
    }
}
