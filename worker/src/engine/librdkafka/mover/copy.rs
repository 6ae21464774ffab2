//! What the mover looks at besides acknowledgements: that a copy which rested is as it was left, and that the topics it writes to exist.

use std::time::{Duration, Instant};

use super::{Exit, Mover, Step};

/// A copy that was not written to for so long is looked at before the next record goes there.
const RESTED: Duration = Duration::from_secs(2);
/// Where nothing is written at all, copies are looked at this often: what a target has lost would else be said to be there for ever.
const LOOK_AT_REST: Duration = Duration::from_secs(30);
/// What waits so long for an acknowledgement may wait for a topic that was deleted ...
const WAITED: Duration = Duration::from_secs(3);
/// ... which is looked for this often.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

impl Mover<'_> {
    /// Before a record is written to a copy that rested: nobody else has written there, and nothing is missing. All that rest are
    /// looked at together. Where the target can't be asked, the acknowledgements tell.
    pub(super) fn as_left(&mut self, index: usize) -> Step<()> {
        let now = Instant::now();
        let rests = |slot: &super::Slot| slot.flight.is_empty() && now.duration_since(slot.seen) >= RESTED;
        if !self.job.order.alone || self.partitioner.is_by_key() || !rests(&self.slots[index]) {
            return Ok(());
        }
        let resting: Vec<i32> = self.slots.iter().filter(|slot| rests(slot)).map(|s| s.partition).collect();
        let ends = self.ends.of(&resting);
        for (slot, account) in self.slots.iter_mut().zip(&self.ledger.accounts) {
            let (Some(end), Some(known)) = (ends.get(&slot.partition), account.progress.target_known) else {
                continue;
            };
            // The last marker may be a moment late.
            if *end > known.0 || *end < account.progress.chunk.target_end().0 {
                return Err(Exit::Moved { partition: slot.partition, expected: known.0, end: *end });
            }
            slot.seen = now;
        }
        // Not asked again with every record while the target is away.
        self.slots[index].seen = now;
        Ok(())
    }

    /// As `as_left`, from time to time while nothing moves.
    pub(super) fn rests_as_left(&mut self) -> Step<()> {
        let moves = self.slots.iter().any(|slot| !slot.flight.is_empty());
        match self.slots.iter().position(|slot| slot.seen.elapsed() >= LOOK_AT_REST) {
            Some(index) if !moves => self.as_left(index),
            _ => Ok(()),
        }
    }

    /// Where acknowledgements don't come, whether that is because a topic is gone.
    pub(super) fn missing_topics(&mut self) -> Step<()> {
        let oldest = self.slots.iter().filter_map(|slot| slot.flight.oldest()).chain(self.own_since).min();
        let waits = oldest.is_some_and(|since| since.elapsed() >= WAITED);
        if !waits || self.looked.elapsed() < LOOK_AGAIN {
            return Ok(());
        }
        self.looked = Instant::now();
        let storage = &self.job.order.storage;
        let topics = [&*storage.progress_topic, &*storage.offsets_topic, &*self.job.target_topic];
        match self.ends.missing(&topics) {
            Some(topic) => Err(Exit::Gone { topic }),
            None => Ok(()),
        }
    }
}
