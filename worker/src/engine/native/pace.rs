//! How much a fetch asks for: it follows what the line carries and how long it is, both as they are measured. Pure.
//!
//! A broker answers one request of a connection at a time, so between two answers the line rests for a round trip. Answers that take several
//! times as long to come as the first byte of them make that count little: on a short line they are small, on a long one large. Where
//! nothing waits at the source, an answer brings little, and no more than little is set aside for the next.

use std::time::Duration;

/// The largest batch of a topic as brokers make them; one that is larger comes whole all the same.
const LEAST: usize = 1 << 20;
/// More would hold too much of the worker's memory for one broker.
const MOST: usize = 32 << 20;
/// An answer is to take so many times as long to come as was waited for it ...
const FILLS: u32 = 4;
/// ... and one that takes so many times as long is larger than it needs to be.
const OVERFILLS: u32 = 16;

#[derive(Debug)]
pub(super) struct Pace {
    size: usize,
}

/// One answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    /// So many bytes were asked for, and so many came.
    pub(super) asked: usize,
    pub(super) came: usize,
    /// Until the first of them, and from then on.
    pub(super) waited: Duration,
    pub(super) took: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { size: LEAST }
    }
}

impl Pace {
    /// Bytes that the next fetch asks for.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn answered(&mut self, answer: Answer) {
        let Answer { asked, came, waited, took } = answer;
        if came < asked / 4 {
            self.size = (self.size / 2).max(LEAST);
        } else if came < asked / 4 * 3 {
            // As much as there was.
        } else if took < waited * FILLS {
            self.size = self.size.max(asked.saturating_mul(2).min(MOST));
        } else if took > waited * OVERFILLS {
            self.size = (self.size / 2).max(LEAST);
        }
    }

    /// What one of `busy` partitions may bring.
    pub(super) fn each(&self, busy: usize) -> usize {
        (self.size / busy.max(1)).max(LEAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers from a log that doesn't end, over a line of this length that carries so many bytes per millisecond; bytes per second.
    fn rate(pace: &mut Pace, line: Duration, bandwidth: usize) -> usize {
        let (mut bytes, mut time) = (0, Duration::ZERO);
        for round in 0..40 {
            let asked = pace.size();
            let took = Duration::from_micros((asked * 1000 / bandwidth) as u64);
            pace.answered(Answer { asked, came: asked, waited: line, took });
            if round >= 20 {
                (bytes, time) = (bytes + asked, time + line + took);
            }
        }
        bytes * 1000 / time.as_millis() as usize
    }

    #[test]
    fn it_follows_the_line() {
        let mut pace = Pace::default();
        assert!(rate(&mut pace, Duration::from_millis(100), 1_000_000) > 200_000_000);
        assert_eq!(pace.size(), MOST);
        let slow = rate(&mut pace, Duration::from_millis(100), 10_000);
        assert!((7_500_000..10_000_000).contains(&slow), "{slow} of 10 MB/s");
        assert!((4 << 20..16 << 20).contains(&pace.size()), "{}", pace.size());
        let near = rate(&mut pace, Duration::from_micros(500), 1_000_000);
        assert!(near > 600_000_000, "{near} of 1 GB/s");
        assert!(pace.size() <= 8 << 20, "{}", pace.size());
    }

    #[test]
    fn where_nothing_waits_little_is_set_aside() {
        let mut pace = Pace { size: MOST };
        let (waited, took) = (Duration::from_millis(100), Duration::ZERO);
        pace.answered(Answer { asked: MOST, came: MOST / 2, waited, took });
        assert_eq!(pace.size(), MOST, "what came needed the room");
        (0..10).for_each(|_| pace.answered(Answer { asked: pace.size(), came: 1000, waited, took }));
        assert_eq!(pace.size(), LEAST);
    }

    #[test]
    fn what_could_not_be_had_does_not_make_it_smaller() {
        let mut pace = Pace { size: 16 << 20 };
        let waited = Duration::from_millis(100);
        pace.answered(Answer { asked: 1 << 20, came: 1 << 20, waited, took: Duration::ZERO });
        assert_eq!(pace.size(), 16 << 20, "memory was short");
    }

    #[test]
    fn partitions_that_are_busy_share_it() {
        let pace = Pace { size: 16 << 20 };
        assert_eq!((pace.each(0), pace.each(1), pace.each(4)), (16 << 20, 16 << 20, 4 << 20));
        assert_eq!(pace.each(1000), LEAST);
    }
}
