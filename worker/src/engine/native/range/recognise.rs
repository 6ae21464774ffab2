//! Whether the log that is read is still the one that was copied. Where a run begins, and where a broker was connected to anew, the
//! last record is read again before anything that follows it is copied: in a log that was restored from a backup and has grown since,
//! another one is there.

use super::slot::Reading;
use super::{Range, Step};
use crate::engine::Exit;
use crate::engine::native::load::Content;
use crate::engine::native::rebuild::MAX_UNPACKED;
use crate::kafka::FetchedBatch;
use crate::progress::LastCopied;

impl Range {
    /// Before the batch is copied. What compaction has removed says nothing; where it has removed nothing, the record must be there.
    pub(super) fn recognise(&mut self, index: usize, batch: &FetchedBatch) -> Step<()> {
        let reached = |last: &mut LastCopied| batch.header.last_offset() >= last.offset.0;
        let Some(last) = self.slots[index].unrecognised.take_if(reached) else { return Ok(()) };
        let partition = self.slots[index].spot.partition;
        let another = Exit::Another { partition, offset: last.offset };
        if batch.header.base_offset > last.offset.0 {
            return Ok(());
        }
        let unpacked = batch.unpack(MAX_UNPACKED);
        let unpacked = unpacked.map_err(|damaged| Exit::Unreadable { partition, damaged })?;
        let found = unpacked.records().filter_map(Result::ok).find(|record| record.offset == last.offset.0);
        match found.filter(|_| !batch.header.is_control()) {
            Some(record) if last.is(record.timestamp, LastCopied::crc_of(record.key, record.value)) => Ok(()),
            None if batch.header.has_holes() => Ok(()),
            _ => Err(another),
        }
    }

    /// Fetches the partition from its last record on, once its leader is found.
    pub(super) fn begin_anew(&mut self, index: usize) {
        let newest = self.outlets[index].last_mut().and_then(|load| match &load.content {
            Content::Mirrored(mirrored) => mirrored.last().and_then(|batch| last_of(batch, mirrored.next)),
            Content::Own => None,
        });
        let slot = &mut self.slots[index];
        if slot.is_stopped() {
            return;
        }
        slot.reading = Reading::Off;
        slot.unrecognised = newest.or(slot.last);
    }
}

/// The last record of a batch below `next`, to be recognised later.
pub(super) fn last_of(batch: &FetchedBatch, next: i64) -> Option<LastCopied> {
    let unpacked = batch.unpack(MAX_UNPACKED).ok()?;
    let last = unpacked.records().filter_map(Result::ok).take_while(|record| record.offset < next).last()?;
    let offset = twinlog_proto::id::SourceOffset(last.offset);
    Some(LastCopied { offset, timestamp: last.timestamp, crc: LastCopied::crc_of(last.key, last.value) })
}
