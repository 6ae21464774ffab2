//! What acknowledgements, and records that were refused, mean for the mover.

use std::time::Instant;

use rdkafka_sys::types::RDKafkaErrorCode as Code;
use twinlog_proto::id::SourceOffset;

use super::{Exit, Mover, OWN, Refused as Record, Step, translate};
use crate::engine::librdkafka::ffi::Error;
use crate::engine::librdkafka::ffi::delivery::{Ack, Refused, Ticket};
use crate::ledger::Now;

impl Mover<'_> {
    /// Enters acknowledgements that wait into the ledger; returns how many reports there were.
    pub(super) fn settle(&mut self) -> Step<usize> {
        let mut reports = Vec::new();
        self.target.poll(|ack| reports.push(ack));
        self.settle_reports(reports)
    }

    pub(super) fn settle_reports(&mut self, reports: Vec<Ack>) -> Step<usize> {
        let count = reports.len();
        let mut refused: Option<Refused> = None;
        for report in reports {
            match report {
                Ack::Stored { first, count, .. } if first.slot == OWN => {
                    self.own_since = None;
                    self.committer.stored(count, self.ledger, Instant::now());
                }
                Ack::Stored { first, count, offset } => self.stored(first, count, offset)?,
                Ack::Refused(refusal) => {
                    if refused.as_ref().is_none_or(|known| weight(&refusal) > weight(known)) {
                        refused = Some(refusal);
                    }
                }
            }
        }
        if let Some(by) = self.target.take_throttle() {
            self.throttle = self.throttle.max(Some(by));
            self.pace.throttled(Instant::now());
        }
        match refused {
            Some(refusal) => Err(self.refusal(refusal)),
            None => Ok(count),
        }
    }

    pub(super) fn stored(&mut self, first: Ticket, count: u64, offset: i64) -> Step<()> {
        let now = Now::read();
        let slot = &mut self.slots[usize::from(first.slot)];
        let freed = if self.partitioner.is_by_key() {
            slot.flight.scattered(first.number, count, self.ledger, now)
        } else {
            slot.flight.acknowledged(first.number, count, offset, self.ledger, now)
        };
        let freed = freed.map_err(|error| translate::misaligned(slot.partition, &error))?;
        slot.seen = now.instant;
        self.in_flight = self.in_flight.saturating_sub(freed);
        self.pace.acknowledged(freed, now.instant);
        Ok(())
    }

    pub(super) fn refusal(&self, Refused { ticket, size, has_key, timestamp, error, .. }: Refused) -> Exit {
        if ticket.slot == OWN {
            return self.failure("writing progress", error);
        }
        let slot = &self.slots[usize::from(ticket.slot)];
        match translate::refusal(&error) {
            Some(refusal) => {
                let offset = slot.flight.source_of(ticket.number).unwrap_or(SourceOffset(slot.next));
                let record = Record { partition: slot.partition, offset, size, has_key, timestamp };
                Exit::Refused { record, refusal, error: error.into() }
            }
            None => self.failure("writing records", error),
        }
    }

    /// What a producer's error means for the lane. The client's own fatal error says more than what follows from it.
    pub(super) fn failure(&self, what: &'static str, error: Error) -> Exit {
        let error = match self.target.fatal() {
            Some(fatal) if error.code != Code::Fenced && error.code != Code::ProducerFenced => fatal,
            _ => error,
        };
        match error.code {
            Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => Exit::Fenced(error.into()),
            _ => Exit::Failed { what, error: error.into() },
        }
    }
}

/// Of a batch that was refused, the record that caused it counts, not those that fell with it.
fn weight(refusal: &Refused) -> u8 {
    match refusal.error.code {
        Code::InvalidDifferentRecord
        | Code::PurgeInflight
        | Code::PurgeQueue
        | Code::Fatal
        | Code::GaplessGuarantee => 0,
        // Where the broker blames one record, librdkafka gives that error to all of the batch, and the words to this one.
        _ if refusal.named => 2,
        _ => 1,
    }
}
