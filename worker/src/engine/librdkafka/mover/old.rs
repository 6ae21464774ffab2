//! Messages in an old format come from the feeder: librdkafka doesn't tell v0's missing timestamp from v1's 0, and can't say where
//! something is damaged. A log that turns back to such a format is noticed by its first record without leader epoch or kind of timestamp; what
//! librdkafka reads of v1 before that is exact.

use std::time::Instant;

use twinlog_proto::id::SourceOffset;

use super::{Exit, Mover, Step, failed, translate};
use crate::engine::librdkafka::feeder::Fed;
use crate::engine::librdkafka::ffi::Error;
use crate::engine::librdkafka::ffi::delivery::Ticket;
use crate::engine::librdkafka::ffi::source::{MAX_BATCH, Record};
use crate::engine::librdkafka::ffi::target::Target;
use crate::kafka::{Damaged, LogFormat, OldMessage};
use crate::progress::LastCopied;

/// A record to be copied, from either reader.
pub(super) enum Incoming<'a> {
    Fetched(&'a Record<'a>),
    Old(i32, &'a OldMessage),
}

impl Incoming<'_> {
    pub(super) fn partition(&self) -> i32 {
        match self {
            Self::Fetched(record) => record.partition(),
            Self::Old(partition, _) => *partition,
        }
    }

    pub(super) fn offset(&self) -> i64 {
        match self {
            Self::Fetched(record) => record.offset(),
            Self::Old(_, message) => message.offset,
        }
    }

    pub(super) fn size(&self) -> usize {
        match self {
            Self::Fetched(record) => record.size(),
            Self::Old(_, message) => message.size(),
        }
    }

    pub(super) fn timestamp(&self) -> i64 {
        match self {
            Self::Fetched(record) => record.timestamp(),
            Self::Old(_, message) => message.timestamp,
        }
    }

    pub(super) fn leader_epoch(&self) -> i32 {
        match self {
            Self::Fetched(record) => record.leader_epoch(),
            Self::Old(..) => -1,
        }
    }

    pub(super) fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Fetched(record) => record.key(),
            Self::Old(_, message) => message.key.as_deref(),
        }
    }

    /// As `LastCopied` has it.
    pub(super) fn crc(&self) -> u32 {
        match self {
            Self::Fetched(record) => LastCopied::crc_of(record.key(), record.value()),
            Self::Old(_, message) => LastCopied::crc_of(message.key.as_deref(), message.value.as_deref()),
        }
    }

    pub(super) fn produce(
        &self,
        target: &Target,
        topic: usize,
        partition: i32,
        ticket: Ticket,
    ) -> Result<(), Error> {
        match self {
            Self::Fetched(record) => target.produce_record(topic, partition, record, ticket),
            Self::Old(_, message) => {
                let (key, value) = (message.key.as_deref(), message.value.as_deref());
                target.produce_bytes(topic, partition, key, value, message.timestamp, ticket)
            }
        }
    }

    /// Whether it may have an old format: every batch has had a leader epoch since 0.11, and its records a kind of timestamp.
    fn is_doubtful(&self) -> bool {
        match self {
            Self::Fetched(record) => record.leader_epoch() < 0 || !record.has_timestamp(),
            Self::Old(..) => false,
        }
    }
}

impl Mover<'_> {
    pub(super) fn start_fetching(&mut self) -> Step<()> {
        for slot in &self.slots {
            if slot.old {
                self.feeder.start(slot.partition, slot.next);
                continue;
            }
            let started = self.source.start(slot.partition, slot.begin());
            started.map_err(failed("starting to fetch"))?;
        }
        Ok(())
    }

    pub(super) fn stop_fetching(&mut self, slot: usize) {
        let slot = &mut self.slots[slot];
        slot.stopped = true;
        match slot.old {
            true => self.feeder.stop(slot.partition),
            false => self.source.stop(slot.partition),
        }
    }

    /// Takes what the feeder has, and leaves half of the room in flight to the other partitions; returns how many it gave.
    pub(super) fn pump_old(&mut self) -> Step<usize> {
        let room = self.pace.room().saturating_sub(self.in_flight);
        let (now, limit) = (Instant::now(), self.in_flight + room.div_ceil(2));
        for taken in 0..MAX_BATCH {
            if self.in_flight >= limit {
                return Ok(taken);
            }
            let Some(fed) = self.feeder.take() else { return Ok(taken) };
            self.enter_fed(fed, now)?;
        }
        Ok(MAX_BATCH)
    }

    fn enter_fed(&mut self, fed: Fed, now: Instant) -> Step<()> {
        match fed {
            Fed::Message { partition, message, high_watermark } => {
                if let Some(slot) = self.slot_of(partition) {
                    self.slots[slot].fed_high = Some(high_watermark);
                }
                self.send(&Incoming::Old(partition, &message), now)?;
            }
            Fed::End { partition, next, high_watermark } => {
                if let Some(slot) = self.slot_of(partition) {
                    self.slots[slot].fed_high = Some(high_watermark);
                }
                self.reached_end(partition, next, high_watermark)?;
            }
            Fed::Turned { partition, at } => self.turned(partition, at)?,
            Fed::Failed { partition, error } => {
                return Err(translate::look_failed(partition, &error));
            }
            Fed::Damaged { partition, damaged } => self.damaged(partition, damaged)?,
        }
        Ok(())
    }

    /// From `at` on librdkafka reads the partition.
    fn turned(&mut self, partition: i32, at: i64) -> Step<()> {
        let Some(slot) = self.slot_of(partition).map(|slot| &mut self.slots[slot]) else { return Ok(()) };
        if slot.stopped {
            return Ok(());
        }
        slot.unrecognised = None;
        tracing::info!(partition, offset = at, "the log has the present message format from here on");
        (slot.old, slot.fed_high) = (false, None);
        if at > slot.next {
            slot.next = at;
            slot.flight.passed(at, self.ledger);
        }
        let started = self.source.start(partition, slot.next);
        started.map_err(failed("starting to fetch"))
    }

    fn damaged(&mut self, partition: i32, damaged: Damaged) -> Step<()> {
        let Some(slot) = self.slot_of(partition) else { return Ok(()) };
        if self.slots[slot].stop_before == Some(damaged.offset) {
            self.stop_fetching(slot);
            return Ok(());
        }
        Err(Exit::Unreadable { partition, damaged })
    }

    /// librdkafka can't make records of what comes next, and would say so for ever: the partition stops there, and the others
    /// of the range go on.
    pub(super) fn unreadable(&mut self, partition: i32, error: &Error) -> Step<()> {
        let Some(slot) = self.slot_of(partition).map(|slot| &self.slots[slot]) else { return Ok(()) };
        if slot.stopped {
            return Ok(());
        }
        let offset = slot.next;
        let text = &error.text;
        let what = match self.feeder.look(partition, offset) {
            Ok(LogFormat::Batch { below }) => {
                format!(
                    "lies in a batch that the librdkafka engine can't read ({text}) and that ends at offset {}",
                    below - 1
                )
            }
            _ => format!("can't be read by the librdkafka engine ({text})"),
        };
        self.damaged(partition, Damaged { offset, magic: 2, what })
    }

    /// Makes sure that what librdkafka gave is not for the feeder.
    pub(super) fn confirm(&mut self, index: usize, record: &Incoming<'_>) -> Step<()> {
        let slot = &mut self.slots[index];
        let (partition, offset) = (slot.partition, record.offset());
        if !record.is_doubtful() || offset < slot.sure_below {
            return Ok(());
        }
        tracing::debug!(partition, offset, "a doubtful record is looked at in the log");
        match self.feeder.look(partition, offset) {
            Ok(LogFormat::Batch { below }) => {
                slot.sure_below = below;
                Ok(())
            }
            Ok(LogFormat::Old) => Err(Exit::OldFormat { partition, offset: SourceOffset(offset) }),
            Ok(LogFormat::End) => Err(translate::gone(partition, offset)),
            Err(error) => Err(translate::look_failed(partition, &error)),
        }
    }
}
