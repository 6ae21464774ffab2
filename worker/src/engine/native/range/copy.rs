//! Whether a copy that rests is as it was left: nobody else has written there, and nothing is missing.

use std::time::{Duration, Instant};

use futures::FutureExt;

use super::ways::Looked;
use super::{Range, Step};
use crate::engine::Exit;
use crate::engine::native::outlet::Outlet;
use crate::kafka::KafkaError;

/// A copy that was not written to for so long is looked at before the next record goes there.
const RESTED: Duration = Duration::from_secs(2);
/// Where nothing is written at all, copies are looked at whenever the range is shown at rest, if they were not seen for so long: what a
/// target has lost would else be said to be there for ever.
const LOOK_AT_REST: Duration = Duration::from_secs(5);

impl Range {
    /// Whether the next record may go there now. If it isn't known, that is asked.
    pub(super) fn is_as_left(&mut self, index: usize) -> bool {
        let rests = self.outlets[index].is_settled() && self.slots[index].seen.elapsed() >= RESTED;
        if !self.job.order.alone || !rests {
            return true;
        }
        self.ask_end(index);
        false
    }

    /// From time to time, while nothing moves.
    pub(super) fn look_at_rest(&mut self) {
        let due = |slot: &super::Slot| !slot.asking && slot.seen.elapsed() >= LOOK_AT_REST;
        let rests = self.shown.rests() && self.outlets.iter().all(Outlet::is_empty);
        if !self.job.order.alone || !rests || !self.slots.iter().any(due) {
            return;
        }
        for index in 0..self.slots.len() {
            self.ask_end(index);
        }
    }

    fn ask_end(&mut self, index: usize) {
        if std::mem::replace(&mut self.slots[index].asking, true) {
            return;
        }
        let (fabric, spot) = (self.shared.target.clone(), self.outlets[index].spot.clone());
        self.asked.push(async move { Looked::End(index, fabric.end(spot).await) }.boxed());
    }

    /// Where the target can't be asked, the acknowledgements tell.
    pub(super) fn copy_ends(&mut self, index: usize, end: Result<i64, KafkaError>) -> Step<()> {
        let (slot, account) = (&mut self.slots[index], &self.ledger.accounts[index]);
        (slot.asking, slot.seen) = (false, Instant::now());
        let (Ok(end), Some(known)) = (end, account.progress.target_known) else { return Ok(()) };
        if !self.outlets[index].is_settled() {
            return Ok(());
        }
        if end > known.0 || end < account.progress.chunk.target_end().0 {
            return Err(Exit::Moved { partition: slot.spot.partition, expected: known.0, end });
        }
        Ok(())
    }
}
