//! What a fetch answer holds for a reader, in whatever formats: batches and old messages, one after another. Pure.

use bytes::Bytes;

use super::LogRecord;
use crate::kafka::log::aborted::Aborted;
use crate::kafka::log::batch::{self, FetchedBatch, MAGIC_AT};
use crate::kafka::log::records::Damaged;
use crate::kafka::log::records::legacy::{self, OldMessage};
use crate::kafka::log::types::AbortedTransaction;

/// A batch may become so large when it is unpacked, bytes. It was in one request of a producer: 1 MiB, unless someone raised that.
const MAX_UNPACKED: usize = 64 << 20;

/// A fetch answer while it is walked.
pub(super) struct Entries {
    rest: Bytes,
    aborted: Aborted,
}

/// A batch, or an old message or wrapper.
pub(super) enum Entry {
    /// Markers, aborted records, or nothing that compaction has left: up to here.
    Hidden {
        next: i64,
    },
    Batch(FetchedBatch),
    Old {
        next: i64,
        messages: Vec<OldMessage>,
    },
}

impl Entries {
    pub(super) fn new(records: Bytes, aborted: Vec<AbortedTransaction>) -> Self {
        Self { rest: records, aborted: Aborted::new(aborted) }
    }

    /// The next one; `None` at the end, where a cut-off last one may be left.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, Damaged> {
        match self.rest.get(MAGIC_AT) {
            None => Ok(None),
            Some(0 | 1) => {
                let taken = legacy::take(&mut self.rest, MAX_UNPACKED)?;
                Ok(taken.map(|(last, messages)| Entry::Old { next: last.saturating_add(1), messages }))
            }
            Some(magic) => {
                let (magic, offset) = (*magic, batch::offset_of(&self.rest));
                let taken = batch::take(&mut self.rest);
                let taken = taken.map_err(|error| Damaged {
                    offset,
                    magic,
                    what: format!("can't be read: {error}"),
                })?;
                let Some(batch) = taken else { return Ok(None) };
                let is_hidden = self.aborted.hides(&batch) || batch.header.count == 0;
                let next = batch.header.last_offset().saturating_add(1);
                Ok(Some(if is_hidden { Entry::Hidden { next } } else { Entry::Batch(batch) }))
            }
        }
    }
}

impl Entry {
    /// Whether nothing of it lies below `end`, as far as that is known without unpacking it.
    pub(super) fn begins_at(&self, end: i64) -> bool {
        matches!(self, Self::Batch(batch) if batch.header.base_offset >= end)
    }

    /// The offset behind all that it spans.
    pub(super) fn next_offset(&self) -> i64 {
        match self {
            Self::Hidden { next } | Self::Old { next, .. } => *next,
            Self::Batch(batch) => batch.header.last_offset().saturating_add(1),
        }
    }

    /// Gives its records to `wanted`, until that says that it wants no more.
    pub(super) fn each(
        &self,
        partition: i32,
        mut wanted: impl FnMut(LogRecord<'_>) -> bool,
    ) -> Result<(), Damaged> {
        match self {
            Self::Hidden { .. } => {}
            Self::Old { messages, .. } => {
                for message in messages {
                    let (is_log_append_time, record) = (message.is_log_append_time, message.record());
                    if !wanted(LogRecord { partition, is_log_append_time, record }) {
                        break;
                    }
                }
            }
            Self::Batch(batch) => {
                let is_log_append_time = batch.header.is_log_append_time();
                for record in batch.unpack(MAX_UNPACKED)?.records() {
                    if !wanted(LogRecord { partition, is_log_append_time, record: record? }) {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}
