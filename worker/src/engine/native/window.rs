//! What is on its way to one partition of the target: numbered by sequence, answered in order, sent again as it was. Pure.
//!
//! A broker compares the sequence of a batch with the last that it has of the producer, and recognises repeats among the last five. So
//! there are five at most, one until the producer is known there, and whatever may have been stored is sent again with the same bytes.

use std::collections::VecDeque;

use crate::kafka::code;

/// Batches of a producer that a broker remembers for each partition.
pub(super) const REMEMBERED: usize = 5;

/// A batch that was sent, or waits to be sent again.
#[derive(Debug)]
struct Sent<T> {
    sequence: i32,
    batch: T,
}

#[derive(Debug)]
pub(super) struct Window<T> {
    sent: VecDeque<Sent<T>>,
    /// Of `sent`, the first so many are with a broker: their answers will come.
    out: usize,
    /// The broker has stored something of the producer: it refuses what doesn't follow.
    known: bool,
    /// Something has failed: nothing new is sent until all answers have come, then all of it again.
    failing: bool,
    /// What was refused, and all that followed it, is not sent again: answers that are still to come mean nothing.
    abandoned: bool,
}

/// What an answer means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<T> {
    /// The oldest is stored, from this offset on.
    Stored(T, i64),
    /// Nothing to do now.
    Later,
    /// All answers have come, and not all is stored: to be sent again, in order, when the reason has passed.
    Again,
    /// The broker will not store the oldest: nor what follows it.
    Refused,
    /// An answer that can't be right.
    Astray(&'static str),
}

/// Errors of brokers, by what they mean for a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It may be stored already or not: sending the same again is right.
    Heals,
    /// Another owner writes there.
    Fenced,
    /// What the broker remembers of the producer is not what was acknowledged.
    OutOfOrder,
    /// It is stored, but not said where.
    Duplicate,
    /// Nothing of it is stored, nor will be.
    Refused,
}

pub(super) fn meaning(code: i16) -> Meaning {
    match code {
        code::OUT_OF_ORDER_SEQUENCE_NUMBER | code::UNKNOWN_PRODUCER_ID => Meaning::OutOfOrder,
        code::DUPLICATE_SEQUENCE_NUMBER => Meaning::Duplicate,
        code::INVALID_PRODUCER_EPOCH | code::PRODUCER_FENCED => Meaning::Fenced,
        code if code::is_retriable(code) => Meaning::Heals,
        _ => Meaning::Refused,
    }
}

impl<T> Verdict<T> {
    pub(super) fn map<U>(self, with: impl FnOnce(T) -> U) -> Verdict<U> {
        match self {
            Self::Stored(batch, offset) => Verdict::Stored(with(batch), offset),
            Self::Later => Verdict::Later,
            Self::Again => Verdict::Again,
            Self::Refused => Verdict::Refused,
            Self::Astray(what) => Verdict::Astray(what),
        }
    }
}

impl<T> Window<T> {
    /// `known`: the first batch has to begin at sequence 0 for the broker, which a marker of the same epoch ensures.
    pub(super) fn new(known: bool) -> Self {
        Self { sent: VecDeque::new(), out: 0, known, failing: false, abandoned: false }
    }

    /// Whether one more batch may be sent.
    pub(super) fn has_room(&self) -> bool {
        let limit = if self.known { REMEMBERED } else { 1 };
        !self.failing && !self.abandoned && self.sent.len() < limit
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Batches, of which so many are with a broker, and whether something has failed.
    pub(super) fn state(&self) -> (usize, usize, bool) {
        (self.sent.len(), self.out, self.failing)
    }

    /// What waits for answers, or to be sent again.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.sent.iter().map(|sent| &sent.batch)
    }

    pub(super) fn newest_mut(&mut self) -> Option<&mut T> {
        self.sent.back_mut().map(|sent| &mut sent.batch)
    }

    pub(super) fn send(&mut self, sequence: i32, batch: T) {
        self.sent.push_back(Sent { sequence, batch });
        self.out += 1;
    }

    pub(super) fn oldest(&self) -> Option<&T> {
        self.sent.front().map(|sent| &sent.batch)
    }

    /// The oldest was refused: neither it nor what follows it will be stored.
    pub(super) fn abandon(&mut self) {
        self.sent.clear();
        (self.out, self.failing, self.abandoned) = (0, false, true);
    }

    /// The batch with this sequence is stored from `offset` on.
    pub(super) fn stored(&mut self, sequence: i32, offset: i64) -> Verdict<T> {
        if self.abandoned {
            return Verdict::Later;
        }
        if self.out == 0 {
            return Verdict::Astray("an answer came that nothing waits for");
        }
        if self.failing && self.sent.iter().skip(1).any(|sent| sent.sequence == sequence) {
            // The one before was stored, too, and then its acknowledgement failed: when both are sent again, both are recognised.
            self.out -= 1;
            return self.when_answered();
        }
        if self.sent.front().is_none_or(|oldest| oldest.sequence != sequence) {
            return Verdict::Astray("a batch was stored before the one that precedes it");
        }
        let Some(oldest) = self.sent.pop_front() else { return Verdict::Later };
        self.out -= 1;
        self.known = true;
        Verdict::Stored(oldest.batch, offset)
    }

    /// The batch with this sequence failed.
    pub(super) fn failed(&mut self, sequence: i32, meaning: Meaning) -> Verdict<T> {
        if self.abandoned {
            return Verdict::Later;
        }
        if self.out == 0 {
            return Verdict::Astray("an answer came that nothing waits for");
        }
        self.out -= 1;
        let is_oldest = self.sent.front().is_some_and(|oldest| oldest.sequence == sequence);
        // What follows a batch that failed is out of order until that one is stored.
        let follows = self.failing || !is_oldest;
        self.failing = true;
        match meaning {
            Meaning::Heals => {}
            Meaning::OutOfOrder if follows => {}
            Meaning::Refused if is_oldest => return Verdict::Refused,
            Meaning::Refused => {}
            Meaning::Duplicate => {
                return Verdict::Astray("a batch was stored earlier, and the broker doesn't say where");
            }
            Meaning::OutOfOrder => {
                return Verdict::Astray("the broker has another number of records of this producer");
            }
            Meaning::Fenced => return Verdict::Refused,
        }
        self.when_answered()
    }

    fn when_answered(&self) -> Verdict<T> {
        if self.out == 0 { Verdict::Again } else { Verdict::Later }
    }

    /// After all answers have come: whether something is to be sent again.
    pub(super) fn is_to_repeat(&self) -> bool {
        self.failing && self.out == 0
    }

    /// Everything once more, in order.
    pub(super) fn again(&mut self) -> impl Iterator<Item = (i32, &T)> {
        (self.failing, self.out) = (false, self.sent.len());
        self.sent.iter().map(|sent| (sent.sequence, &sent.batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(sequences: &[i32]) -> Window<i32> {
        let mut window = Window::new(true);
        sequences.iter().for_each(|sequence| window.send(*sequence, *sequence));
        window
    }

    #[test]
    fn one_until_the_broker_knows_the_producer_then_five() {
        let mut window = Window::new(false);
        assert!(window.has_room());
        window.send(0, "a");
        assert!(!window.has_room());
        assert_eq!(window.stored(0, 100), Verdict::Stored("a", 100));
        for sequence in 1..=5 {
            assert!(window.has_room());
            window.send(sequence, "b");
        }
        assert!(!window.has_room());
    }

    #[test]
    fn a_failure_stops_what_follows_until_all_answers_have_come() {
        let mut window = window(&[0, 10, 20]);
        assert_eq!(window.failed(0, Meaning::Heals), Verdict::Later);
        assert!(!window.has_room(), "nothing new meanwhile");
        assert_eq!(window.failed(10, Meaning::OutOfOrder), Verdict::Later);
        assert_eq!(window.failed(20, Meaning::OutOfOrder), Verdict::Again);
        assert!(window.is_to_repeat());
        let again: Vec<i32> = window.again().map(|(sequence, _)| sequence).collect();
        assert_eq!(again, [0, 10, 20]);
        assert_eq!(window.stored(0, 5), Verdict::Stored(0, 5), "the broker recognised it");
        assert!(window.has_room());
    }

    #[test]
    fn what_was_stored_before_a_failure_is_not_sent_again() {
        let mut window = window(&[0, 10]);
        assert_eq!(window.stored(0, 5), Verdict::Stored(0, 5));
        assert_eq!(window.failed(10, Meaning::Heals), Verdict::Again);
        assert_eq!(window.again().count(), 1);
    }

    #[test]
    fn what_is_stored_behind_a_failed_acknowledgement_waits_for_that_one() {
        let mut window = window(&[0, 10, 20]);
        assert_eq!(window.failed(0, Meaning::Heals), Verdict::Later, "NOT_ENOUGH_REPLICAS_AFTER_APPEND");
        assert_eq!(window.stored(10, 105), Verdict::Later);
        assert_eq!(window.stored(20, 110), Verdict::Again);
        assert_eq!(window.again().count(), 3);
        for (sequence, offset) in [(0, 100), (10, 105), (20, 110)] {
            assert_eq!(window.stored(sequence, offset), Verdict::Stored(sequence, offset), "recognised");
        }
        assert!(window.is_empty() && window.has_room());
    }

    #[test]
    fn what_was_refused_is_waited_for_no_longer() {
        let mut window = window(&[0, 10, 20]);
        assert_eq!(window.failed(0, Meaning::Refused), Verdict::Refused);
        window.abandon();
        assert!(window.is_empty() && !window.has_room() && !window.is_to_repeat());
        assert_eq!(window.failed(10, Meaning::OutOfOrder), Verdict::Later);
        assert_eq!(window.stored(20, 5), Verdict::Later, "whatever it says");
    }

    #[test]
    fn answers_that_can_not_be_right_are_told() {
        assert!(matches!(window(&[0, 10]).stored(10, 5), Verdict::Astray(_)), "one is missing before it");
        assert!(
            matches!(window(&[0]).failed(0, Meaning::OutOfOrder), Verdict::Astray(_)),
            "records are missing"
        );
        assert!(matches!(window(&[0]).failed(0, Meaning::Duplicate), Verdict::Astray(_)));
        assert!(matches!(window(&[]).stored(0, 5), Verdict::Astray(_)));
        assert_eq!(window(&[0]).failed(0, Meaning::Fenced), Verdict::Refused);
        assert_eq!(window(&[0, 10]).failed(0, Meaning::Refused), Verdict::Refused);
    }

    #[test]
    fn codes_mean_what_the_protocol_says() {
        assert_eq!(meaning(code::NOT_LEADER_OR_FOLLOWER), Meaning::Heals);
        assert_eq!(meaning(20), Meaning::Heals, "NOT_ENOUGH_REPLICAS_AFTER_APPEND");
        assert_eq!(meaning(45), Meaning::OutOfOrder);
        assert_eq!(meaning(46), Meaning::Duplicate);
        assert_eq!((meaning(47), meaning(90)), (Meaning::Fenced, Meaning::Fenced));
        assert_eq!(
            (meaning(10), meaning(87), meaning(2)),
            (Meaning::Refused, Meaning::Refused, Meaning::Heals)
        );
    }
}
