//! Records between the source client and their acknowledgement: one queue per partition of the range, as runs, not records.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use twinlog_proto::id::{SourceOffset, TargetOffset};

use super::ffi::delivery::Ticket;
use crate::ledger::{Copied, Ledger, Misplaced, Now};
use crate::progress::LastCopied;

/// Bits of a number that a ticket carries.
const NUMBER_MASK: u64 = (1 << 48) - 1;

/// What waits, oldest first.
#[derive(Debug)]
enum Waiting {
    /// Records consecutive at the source, fetched together.
    Run {
        source: i64,
        count: u64,
        bytes: u64,
        cost: u64,
        fetched: Instant,
        timestamp: i64,
        crc: u32,
        epoch: i32,
    },
    /// When everything before is acknowledged, the position is here.
    Passed { next: i64 },
}

/// One partition's records in flight.
#[derive(Debug)]
pub(crate) struct Flight {
    slot: u16,
    waiting: VecDeque<Waiting>,
    /// Number of the next message, and of the next one to be acknowledged.
    next: u64,
    acknowledged: u64,
    /// Messages acknowledged before older ones were: first number and count. Only where one source partition goes to several
    /// partitions of the target.
    early: BTreeMap<u64, u64>,
}

/// A record that was handed to the producer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    /// At the source.
    pub(crate) offset: i64,
    /// Key and value, bytes.
    pub(crate) size: u64,
    /// What it holds of the lane's memory, bytes.
    pub(crate) cost: u64,
    pub(crate) timestamp: i64,
    /// As `LastCopied` has it.
    pub(crate) crc: u32,
    pub(crate) epoch: i32,
}

/// An acknowledgement that can't be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadAck {
    #[error("message {got} was acknowledged, {expected} was next")]
    OutOfTurn { got: u64, expected: u64 },
    #[error("the broker acknowledged a record without an offset")]
    NoOffset,
    #[error(transparent)]
    Misplaced(#[from] Misplaced),
}

impl Flight {
    pub(crate) fn new(slot: u16) -> Self {
        Self { slot, waiting: VecDeque::new(), next: 0, acknowledged: 0, early: BTreeMap::new() }
    }

    pub(crate) fn ticket(&self) -> Ticket {
        Ticket { slot: self.slot, number: self.next & NUMBER_MASK }
    }

    /// A record was handed to the producer under `ticket()`.
    pub(crate) fn sent(&mut self, sent: Sent, now: Instant) {
        let Sent { offset: at, size, cost, timestamp: stamp, crc: sum, epoch } = sent;
        self.next += 1;
        if let Some(Waiting::Run { source, count, bytes, cost: held, fetched, timestamp, crc, epoch: old }) =
            self.waiting.back_mut()
            && *source + (*count as i64) == at
            && *fetched == now
            && *old == epoch
        {
            *count += 1;
            *bytes += size;
            *held += cost;
            (*timestamp, *crc) = (stamp, sum);
            return;
        }
        let run = Waiting::Run {
            source: at,
            count: 1,
            bytes: size,
            cost,
            fetched: now,
            timestamp: stamp,
            crc: sum,
            epoch,
        };
        self.waiting.push_back(run);
    }

    /// There is nothing for a reader between the last record and `next`.
    pub(crate) fn passed(&mut self, next: i64, ledger: &mut Ledger) {
        match self.waiting.back_mut() {
            None => ledger.passed(usize::from(self.slot), SourceOffset(next)),
            Some(Waiting::Passed { next: last }) => *last = next,
            Some(_) => self.waiting.push_back(Waiting::Passed { next }),
        }
    }

    /// Source offset of a message in flight, by its number.
    pub(crate) fn source_of(&self, number: u64) -> Option<SourceOffset> {
        let mut ahead = number.wrapping_sub(self.acknowledged) & NUMBER_MASK;
        for waiting in &self.waiting {
            let Waiting::Run { source, count, .. } = waiting else { continue };
            if ahead < *count {
                return Some(SourceOffset(source + ahead as i64));
            }
            ahead -= count;
        }
        None
    }

    /// Nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When the oldest record in flight was fetched.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.waiting.iter().find_map(|w| match w {
            Waiting::Run { fetched, .. } => Some(*fetched),
            Waiting::Passed { .. } => None,
        })
    }

    /// `count` messages from `first` on are stored from `offset` on: enters them into the ledger; returns the memory freed.
    pub(crate) fn acknowledged(
        &mut self,
        first: u64,
        count: u64,
        offset: i64,
        ledger: &mut Ledger,
        now: Now,
    ) -> Result<u64, BadAck> {
        let expected = self.acknowledged & NUMBER_MASK;
        if first != expected {
            return Err(BadAck::OutOfTurn { got: first, expected });
        }
        if offset < 0 {
            return Err(BadAck::NoOffset);
        }
        self.settle(count, Some(offset), ledger, now)
    }

    /// As `acknowledged`, where the messages go to several partitions of the target: each of these answers in order, but not
    /// all together. What is acknowledged early holds its memory until everything before it is, too.
    pub(crate) fn scattered(
        &mut self,
        first: u64,
        count: u64,
        ledger: &mut Ledger,
        now: Now,
    ) -> Result<u64, BadAck> {
        self.early.insert(first, count);
        let mut freed = 0;
        while let Some(count) = self.early.remove(&(self.acknowledged & NUMBER_MASK)) {
            freed += self.settle(count, None, ledger, now)?;
        }
        Ok(freed)
    }

    /// The next `count` messages are stored, from `target` on where that is one run.
    fn settle(
        &mut self,
        mut count: u64,
        mut target: Option<i64>,
        ledger: &mut Ledger,
        now: Now,
    ) -> Result<u64, BadAck> {
        let first = self.acknowledged & NUMBER_MASK;
        self.acknowledged += count;
        let (slot, mut freed) = (usize::from(self.slot), 0);
        while count > 0 {
            let Some(Waiting::Run { source, count: left, bytes, cost, fetched, timestamp, crc, epoch }) =
                self.waiting.front_mut()
            else {
                return Err(BadAck::OutOfTurn { got: first, expected: self.next & NUMBER_MASK });
            };
            let taken = count.min(*left);
            // Of a run that is acknowledged in parts, each part gets its share of the bytes.
            let (part, held) = (*bytes * taken / *left, *cost * taken / *left);
            let last = SourceOffset(*source + taken as i64 - 1);
            let last = LastCopied { offset: last, timestamp: *timestamp, crc: *crc };
            ledger.copied(
                slot,
                &Copied {
                    source: SourceOffset(*source),
                    target: target.map(TargetOffset),
                    count: taken,
                    bytes: part,
                    fetched: *fetched,
                    timestamp: *timestamp,
                    leader_epoch: *epoch,
                    last: (taken == *left).then_some(last),
                },
                now,
            )?;
            *source += taken as i64;
            (*left, *bytes, *cost) = (*left - taken, *bytes - part, *cost - held);
            target = target.map(|target| target + taken as i64);
            count -= taken;
            freed += held;
            self.drop_done(ledger);
        }
        Ok(freed)
    }

    fn drop_done(&mut self, ledger: &mut Ledger) {
        while let Some(front) = self.waiting.front() {
            match front {
                Waiting::Run { count, .. } if *count > 0 => return,
                Waiting::Run { .. } => {}
                Waiting::Passed { next } => ledger.passed(usize::from(self.slot), SourceOffset(*next)),
            }
            self.waiting.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
