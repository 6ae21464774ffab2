//! What fetchers bring: batches that go on as they are, batches that are written anew, and what holds no record for a reader.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use twinlog_proto::id::SourceOffset;

use super::slot::Reading;
use super::{Range, Step};
use crate::budget::Kept;
use crate::engine::native::fetcher::{Delivery, Flow, What};
use crate::engine::native::forward::{Needs, needs};
use crate::engine::native::load::{Content, Held, Load, Mirrored, Part, Run, Runs};
use crate::engine::native::rebuild::{Failure, rebuild};
use crate::engine::{Exit, Fetching, Refusal, Refused, Trouble};
use crate::kafka::{self, Aborted, BatchHeader, Damaged, FetchedBatch, Piece, code, take};

/// No answer is larger, bytes.
const MAX_BATCH: usize = 100 << 20;

/// Memory of one piece, and the flow that it belongs to.
struct Came<'a> {
    kept: &'a Arc<Kept>,
    flow: &'a Arc<Flow>,
    at: Instant,
}

impl Range {
    pub(super) fn take_in(&mut self, Delivery { slot, flow, what }: Delivery) -> Step<()> {
        let index = usize::from(slot);
        if matches!(what, What::Piece(..)) {
            flow.taken();
        }
        if !matches!(&self.slots[index].reading, Reading::On(fetching) if Arc::ptr_eq(&fetching.flow, &flow))
        {
            return Ok(());
        }
        match what {
            What::Piece(piece, kept) => self.piece(index, &piece, &kept, &flow),
            What::Refused(refusal) => self.not_fetched(index, refusal),
            What::Away(error) => {
                self.trouble.0 = Some(Trouble::from(&error));
                self.leaves_replica(index);
                // Whoever answers next may be another than before.
                self.begin_anew(index);
                self.seek_source();
                Ok(())
            }
        }
    }

    fn piece(&mut self, index: usize, piece: &Piece, kept: &Arc<Kept>, flow: &Arc<Flow>) -> Step<()> {
        // The batches hold their own parts from here on.
        let _taken = Held::instead(kept.clone(), flow.clone(), piece.records.len());
        self.trouble.0 = None;
        let partition = self.slots[index].spot.partition;
        self.found_source();
        let came = Came { kept, flow, at: Instant::now() };
        let mut aborted = Aborted::new(piece.aborted.clone());
        let mut rest = piece.records.clone();
        while let Some(batch) = self.next_batch(index, &mut rest)? {
            let hidden = aborted.hides(&batch);
            self.recognise(index, &batch)?;
            let slot = &self.slots[index];
            let is_new = batch.header.last_offset() >= slot.next;
            if is_new && batch.header.leader_epoch >= 0 && batch.header.leader_epoch < slot.epoch {
                // Epochs only grow in one log: this is another one under the same name.
                return Err(lost(partition, "the leader epoch fell"));
            }
            self.batch(index, batch, hidden, &came)?;
            if self.slots[index].is_stopped() {
                return Ok(());
            }
        }
        self.ends(index, piece);
        Ok(())
    }

    /// The next whole batch. What can't be one ends the run when all that stands before it has been taken.
    fn next_batch(&mut self, index: usize, rest: &mut Bytes) -> Step<Option<FetchedBatch>> {
        let batch = match take(rest) {
            Ok(Some(batch)) => batch,
            // Larger than any answer can be: it will never come whole.
            Ok(None) => {
                match rest.get(8..12).and_then(|length| length.try_into().ok()).map(i32::from_be_bytes) {
                    Some(length) if usize::try_from(length).is_ok_and(|length| length > MAX_BATCH) => {
                        return Err(self.damaged(index, format!("claims to be {length} bytes long")));
                    }
                    _ => return Ok(None),
                }
            }
            Err(error) => return Err(self.unsplit(index, &error)),
        };
        match implausible(&batch.header) {
            Some(what) => Err(self.damaged(index, what)),
            None => Ok(Some(batch)),
        }
    }

    fn batch(&mut self, index: usize, batch: FetchedBatch, hidden: bool, came: &Came<'_>) -> Step<()> {
        let slot = &mut self.slots[index];
        let (from, before, header) = (slot.next, slot.before, batch.header);
        let next = header.last_offset().saturating_add(1);
        if next <= from {
            return Ok(());
        }
        if !hidden && header.count > 0 {
            self.is_of_age(index, &header)?;
        }
        let slot = &mut self.slots[index];
        slot.epoch = slot.epoch.max(header.leader_epoch);
        slot.next = next.min(before.max(from));
        let needs = match hidden {
            true => Needs::Dropping,
            false => needs(&header, batch.bytes.len(), (from, before), self.job.max_batch),
        };
        match needs {
            Needs::Dropping => self.passed(index),
            Needs::Nothing => {
                let count = u32::try_from(header.count).expect("it was checked to be positive");
                let runs = Runs::One(Run { source: header.base_offset, count });
                let load = (batch.bytes.clone(), header.count, runs);
                self.push(index, batch, load, came);
            }
            Needs::Rebuilding => self.rebuilt(index, &batch, (from, before), came)?,
        }
        if next >= before {
            self.slots[index].reading = Reading::Stopped;
        }
        Ok(())
    }

    fn rebuilt(
        &mut self,
        index: usize,
        batch: &FetchedBatch,
        within: (i64, i64),
        came: &Came<'_>,
    ) -> Step<()> {
        let partition = self.slots[index].spot.partition;
        let parts = rebuild(batch, within, self.job.max_batch).map_err(|failure| match failure {
            Failure::Damaged(damaged) => Exit::Unreadable { partition, damaged },
            Failure::TooLarge { offset, size, has_key, timestamp } => {
                let record = Refused { partition, offset: SourceOffset(offset), size, has_key, timestamp };
                let error = Trouble::new("the record is larger than the topic takes");
                Exit::Refused { record, refusal: Refusal::TooLarge, error }
            }
        })?;
        let last = parts.len().saturating_sub(1);
        for (number, part) in parts.into_iter().enumerate() {
            let end = part.runs.all().last().map_or(0, |run| run.source + i64::from(run.count));
            self.push(index, batch.clone(), (part.bytes, part.count, part.runs), came);
            if number < last {
                self.reaches(index, end);
            }
        }
        // Behind the last record of the batch there may be holes.
        self.passed(index);
        Ok(())
    }

    fn push(
        &mut self,
        index: usize,
        origin: FetchedBatch,
        (bytes, count, runs): (Bytes, i32, Runs),
        came: &Came<'_>,
    ) {
        let held = Held::new(came.kept.clone(), came.flow.clone(), bytes.len());
        let parts = vec![Part { origin, _held: held }];
        let mirrored = Mirrored { runs, next: self.slots[index].next, parts };
        let load = Load { bytes, count, since: came.at, content: Content::Mirrored(mirrored) };
        self.outlets[index].push(load);
    }

    /// There is nothing for a reader between the last record and the next offset.
    fn passed(&mut self, index: usize) {
        let next = self.slots[index].next;
        if self.outlets[index].last_mut().is_none() {
            self.ledger.passed(index, SourceOffset(next));
        } else {
            self.reaches(index, next);
        }
    }

    /// When the newest batch is stored there is nothing more to copy below `next`.
    fn reaches(&mut self, index: usize, next: i64) {
        if let Some(Load { content: Content::Mirrored(mirrored), .. }) = self.outlets[index].last_mut() {
            mirrored.next = next;
        }
    }

    fn ends(&mut self, index: usize, piece: &Piece) {
        let slot = &mut self.slots[index];
        slot.high = Some(piece.high_watermark);
        let stable =
            if piece.last_stable_offset >= 0 { piece.last_stable_offset } else { piece.high_watermark };
        if slot.next >= stable {
            slot.end = Some((slot.next, piece.high_watermark));
        }
    }

    fn unsplit(&self, index: usize, error: &kafka::KafkaError) -> Exit {
        let (partition, offset) = (self.slots[index].spot.partition, SourceOffset(self.slots[index].next));
        if error.reason == twinlog_proto::reason::Reason::UNSUPPORTED_VERSION {
            return Exit::OldFormat { partition, offset };
        }
        self.damaged(index, format!("is no batch: {}", error.message))
    }

    /// Where the partition is now, there is something that can't be right. What the batch says of its place may be wrong, too.
    fn damaged(&self, index: usize, what: String) -> Exit {
        let slot = &self.slots[index];
        Exit::Unreadable {
            partition: slot.spot.partition,
            damaged: Damaged { offset: slot.next, magic: 2, what },
        }
    }

    /// The broker doesn't serve the partition.
    fn not_fetched(&mut self, index: usize, refusal: kafka::Refusal) -> Step<()> {
        let partition = self.slots[index].spot.partition;
        if self.leaves_replica(index) {
            // It may be behind, or know less than the leader: that one is asked before anything is believed.
            self.slots[index].reading = Reading::Off;
            self.seek_source();
            return Ok(());
        }
        let error = match refusal {
            kafka::Refusal::Elsewhere(replica) => {
                self.goes_near(index, replica);
                return Ok(());
            }
            kafka::Refusal::Diverging(epoch, end) => {
                let text = format!("leader epoch {epoch} ended at offset {end}");
                return Err(lost(partition, &text));
            }
            kafka::Refusal::Code(error, _) => error,
        };
        match error {
            code::OFFSET_OUT_OF_RANGE | code::UNKNOWN_TOPIC_ID | code::INCONSISTENT_TOPIC_ID => {
                Err(lost(partition, &code::code_name(error)))
            }
            code::TOPIC_AUTHORIZATION_FAILED => {
                let error = Trouble::named("the topic may not be read", &code::code_name(error));
                Err(Exit::Reconsider { partition, fetching: Fetching::Forbidden, error })
            }
            error if code::is_retriable(error) => {
                // A broker that shuts down says so before its connections end: who answers next may have another log.
                self.begin_anew(index);
                self.seek_source();
                Ok(())
            }
            error => {
                let error = Trouble::named("the broker refuses to be fetched from", &code::code_name(error));
                Err(Exit::Reconsider { partition, fetching: Fetching::Failed, error })
            }
        }
    }
}

/// What a header says that no broker writes; `None` if nothing.
fn implausible(header: &BatchHeader) -> Option<String> {
    let BatchHeader { base_offset, last_offset_delta, count, .. } = *header;
    let spans = i64::from(last_offset_delta) + 1;
    let is_right = base_offset >= 0
        && spans > 0
        && (0..=spans).contains(&i64::from(count))
        && base_offset.checked_add(spans).is_some();
    (!is_right).then(|| {
        format!("lies in a batch that claims {count} records on {spans} offsets from {base_offset} on")
    })
}

fn lost(partition: i32, text: &str) -> Exit {
    Exit::Reconsider { partition, fetching: Fetching::Lost, error: Trouble::new(text) }
}
