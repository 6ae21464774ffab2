//! Whether the log that is read is still the one that was copied. Where a run begins, and where a broker was connected to anew, the
//! last record is read again before anything that follows it is copied: in a log that was restored from a backup and has grown since,
//! another one is there.

use std::time::{Duration, Instant};

use super::old::Incoming;
use super::{Exit, Fetching, Mover, Slot, Step, Trouble, failed, translate};
use crate::kafka::code;
use crate::progress::LastCopied;

/// Nobody deletes a topic and makes it anew in less time.
const QUIET: Duration = Duration::from_millis(250);

impl Slot {
    /// Where fetching begins: the last record is read again, where one is known.
    pub(super) fn begin(&self) -> i64 {
        self.unrecognised.map_or(self.next, |last| last.offset.0)
    }
}

impl Mover<'_> {
    /// Before a record is copied that came after a quiet time: librdkafka goes on by name, also in a topic that was deleted and made anew
    /// meanwhile and has grown past the position.
    pub(super) fn same_topic(&mut self, index: usize, now: Instant) -> Step<()> {
        let quiet = now.saturating_duration_since(std::mem::replace(&mut self.came, now)) >= QUIET;
        let known = &self.ledger.accounts[index].progress.source_topic_id;
        if !quiet || known.is_empty() {
            return Ok(());
        }
        match self.feeder.topic_id() {
            Ok(id) if !id.is_empty() && id != *known => {
                let error = Trouble::new(format!("the topic was made anew: its id is {id}, it was {known}"));
                let partition = self.slots[index].partition;
                Err(Exit::Reconsider { partition, fetching: Fetching::Lost, error })
            }
            // Who can not be asked has just sent a record: the next quiet time asks again.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// `true`: the record is not to be copied: it was already, or it comes again.
    pub(super) fn recognise(&mut self, index: usize, record: &Incoming<'_>) -> Step<bool> {
        let slot = &mut self.slots[index];
        if let Some(last) = slot.unrecognised.take_if(|last| record.offset() >= last.offset.0) {
            if record.offset() > last.offset.0 {
                self.missed(index, last)?;
            } else if !last.is(record.timestamp(), record.crc()) {
                return Err(Exit::Another { partition: record.partition(), offset: last.offset });
            }
        }
        let Incoming::Fetched(fetched) = record else { return Ok(false) };
        let slot = &self.slots[index];
        if slot.old || !self.source.is_new_since(fetched.broker(), slot.reconnects) {
            return Ok(false);
        }
        self.rewind(index)
    }

    /// There is nothing for a reader between the last record and `next`.
    pub(super) fn recognise_end(&mut self, index: usize, next: i64) -> Step<()> {
        match self.slots[index].unrecognised.take_if(|last| next > last.offset.0) {
            Some(last) => self.missed(index, last),
            None => Ok(()),
        }
    }

    /// Fetches the partition from its last record on. `false`: none is known.
    fn rewind(&mut self, index: usize) -> Step<bool> {
        let slot = &mut self.slots[index];
        // Noted first: should the broker be connected to once more meanwhile, this is done again.
        slot.reconnects = self.source.reconnects();
        let Some(last) = slot.last else { return Ok(false) };
        tracing::debug!(partition = slot.partition, offset = %last.offset, "the source was connected to anew: its last record is looked at");
        slot.unrecognised = Some(last);
        slot.rewound_in = self.batch;
        self.source.stop(slot.partition);
        let started = self.source.start(slot.partition, last.offset.0);
        started.map_err(failed("starting to fetch"))?;
        Ok(true)
    }

    /// The last record did not come again. Compaction may have removed it, which says nothing; where the log holds its offset and compaction
    /// has removed nothing, something else is there that readers don't see.
    fn missed(&self, index: usize, last: LastCopied) -> Step<()> {
        let partition = self.slots[index].partition;
        match self.feeder.is_whole_at(partition, last.offset.0) {
            Ok(true) => Err(Exit::Another { partition, offset: last.offset }),
            Ok(false) => Ok(()),
            // It was deleted this moment.
            Err(error) if error.code == code::OFFSET_OUT_OF_RANGE => {
                Err(translate::gone(partition, last.offset.0))
            }
            Err(error) => Err(translate::look_failed(partition, &error)),
        }
    }
}
