//! What brokers answer: stored batches go into the ledger, others are sent again, or end the run.

use std::time::{Duration, Instant};

use twinlog_proto::id::{SourceOffset, TargetOffset};

use super::recognise::last_of;
use super::{Range, Step};
use crate::engine::native::load::{Content, Load, Mirrored};
use crate::engine::native::outbox::{Outcome, Reply};
use crate::engine::native::rebuild::MAX_UNPACKED;
use crate::engine::native::window::{Meaning, Verdict, meaning};
use crate::engine::{Exit, Refusal, Refused as Record, Trouble};
use crate::kafka::{self, Damaged, Spot, code};
use crate::ledger::{Copied, Misplaced, Now};
use crate::progress::LastCopied;

/// While batches follow each other it is noted this often which record was the last: it takes unpacking one.
const NOTED: Duration = Duration::from_secs(1);

impl Range {
    /// What was stored counts, whatever was said of another batch before.
    pub(super) fn all_answered(&mut self, replies: Vec<Reply>) -> Step<()> {
        let first_failure = |so_far: Step<()>, reply| {
            let answered = self.answered(reply);
            so_far.and(answered)
        };
        replies.into_iter().fold(Ok(()), first_failure)
    }

    fn answered(&mut self, reply: Reply) -> Step<()> {
        let number = usize::from(reply.slot);
        self.shown.throttled(reply.throttle);
        match reply.outcome {
            Outcome::Stored(offset) => {
                self.trouble.1 = None;
                self.found_way(number);
                let verdict = self.outlets[number].stored(reply.sequence, offset);
                self.judge(number, verdict, None)
            }
            Outcome::Away(error) => {
                self.trouble.1 = Some(Trouble::from(&error));
                self.loses_way(number);
                let verdict = self.outlets[number].failed(reply.sequence, Meaning::Heals);
                self.judge(number, verdict, None)
            }
            Outcome::Refused(refused) => self.refused(number, reply.sequence, refused),
        }
    }

    fn refused(&mut self, number: usize, sequence: i32, refused: kafka::Refused) -> Step<()> {
        let meaning = match meaning(refused.code) {
            // A batch that came damaged will be refused whenever it is sent; one that was damaged on its way there won't.
            Meaning::Heals if refused.code == code::CORRUPT_MESSAGE && self.outlets[number].is_damaged() => {
                Meaning::Refused
            }
            meaning => meaning,
        };
        let error = trouble(&refused);
        match meaning {
            Meaning::Fenced => return Err(Exit::Fenced(error)),
            Meaning::Heals => {
                self.loses_way(number);
                self.trouble.1 = Some(error);
            }
            Meaning::OutOfOrder | Meaning::Duplicate | Meaning::Refused => {}
        }
        let Spot { topic, partition } = &self.outlets[number].spot;
        tracing::debug!(%topic, partition, sequence, code = refused.code, ?meaning, "a batch is not stored");
        let verdict = self.outlets[number].failed(sequence, meaning);
        self.judge(number, verdict, Some(&refused))
    }

    fn judge(&mut self, number: usize, verdict: Verdict<Load>, refused: Option<&kafka::Refused>) -> Step<()> {
        match verdict {
            Verdict::Stored(load, offset) => self.stored(number, load, offset),
            Verdict::Later | Verdict::Again => Ok(()),
            Verdict::Refused => {
                let exit = self.refusal(number, refused);
                self.outlets[number].abandon();
                Err(exit)
            }
            Verdict::Astray(error) => Err(self.misaligned(number, None, error.to_owned())),
        }
    }

    fn stored(&mut self, number: usize, load: Load, offset: i64) -> Step<()> {
        let now = Now::read();
        let mirrored = match load.content {
            Content::Own => {
                self.committer.stored(1, &mut self.ledger, now.instant);
                return Ok(());
            }
            Content::Mirrored(mirrored) => mirrored,
        };
        let header = mirrored.last().map(|batch| batch.header);
        let (timestamp, leader_epoch) = header.map_or((-1, -1), |h| (h.max_timestamp, h.leader_epoch));
        let last = self.note(number, &mirrored, now.instant);
        let (mut target, mut left, mut bytes) = (offset, load.count, load.bytes.len() as u64);
        for run in mirrored.runs.all() {
            let part = bytes * u64::from(run.count) / u64::try_from(left.max(1)).unwrap_or(1);
            let copied = Copied {
                source: SourceOffset(run.source),
                target: Some(TargetOffset(target)),
                count: u64::from(run.count),
                bytes: part,
                fetched: load.since,
                timestamp,
                leader_epoch,
                last: last.filter(|last| last.offset.0 == run.source + i64::from(run.count) - 1),
            };
            let entered = self.ledger.copied(number, &copied, now);
            entered.map_err(|misplaced| {
                let lost_from = match misplaced {
                    Misplaced::Elsewhere { expected, got } if got < expected => Some(got),
                    _ => None,
                };
                self.misaligned(number, lost_from, misplaced.to_string())
            })?;
            target += i64::from(run.count);
            (left, bytes) = (left - run.count as i32, bytes - part);
        }
        self.ledger.passed(number, SourceOffset(mirrored.next));
        self.slots[number].seen = now.instant;
        Ok(())
    }

    /// Which record was the last, where it is time to know that or nothing comes after it.
    fn note(&mut self, number: usize, mirrored: &Mirrored, now: Instant) -> Option<LastCopied> {
        let slot = &mut self.slots[number];
        let due = slot.noted.is_none_or(|at| now.duration_since(at) >= NOTED);
        if !due && !self.outlets[number].is_empty() {
            return None;
        }
        slot.noted = Some(now);
        let end = mirrored.runs.all().last().map(|run| run.source + i64::from(run.count))?;
        slot.last = mirrored.last().and_then(|batch| last_of(batch, end)).or(slot.last);
        slot.last
    }

    fn misaligned(&self, number: usize, lost_from: Option<i64>, error: String) -> Exit {
        match self.slots.get(number) {
            Some(slot) => Exit::Misaligned { partition: slot.spot.partition, lost_from, error },
            None => Exit::Failed { what: "writing progress", error: Trouble::new(error) },
        }
    }

    /// What the refusal of the oldest batch means.
    fn refusal(&self, number: usize, refused: Option<&kafka::Refused>) -> Exit {
        let error = refused.map_or_else(|| Trouble::new("the broker refused a batch"), trouble);
        let oldest = self.outlets[number].oldest().map(|load| &load.content);
        let refusal = refused.and_then(|refused| match (refused.code, oldest) {
            // A broker that can't read a batch says only that it has failed.
            (code::UNKNOWN_SERVER_ERROR, Some(Content::Mirrored(mirrored))) if !is_readable(mirrored) => {
                Some(Refusal::Other)
            }
            (code, _) => refusal_of(code),
        });
        let (Some(refusal), Some(Content::Mirrored(mirrored)), Some(slot)) =
            (refusal, oldest, self.slots.get(number))
        else {
            return Exit::Failed { what: "writing records", error };
        };
        let partition = slot.spot.partition;
        let blamed = refused.and_then(|refused| refused.record).and_then(|n| usize::try_from(n).ok());
        match blame(mirrored, refusal, blamed) {
            Ok(record) => Exit::Refused { record: Record { partition, ..record }, refusal, error },
            Err(damaged) => Exit::Unreadable { partition, damaged },
        }
    }
}

/// Whether every record can be read, as far as a batch may be unpacked.
fn is_readable(mirrored: &Mirrored) -> bool {
    let mut origins = mirrored.parts.iter().map(|part| part.origin.unpack(MAX_UNPACKED));
    origins.all(|unpacked| unpacked.is_ok_and(|batch| batch.records().all(|record| record.is_ok())))
}

/// The record that the target has something against: the one that it names, else the largest where it is about sizes, else the first.
fn blame(mirrored: &Mirrored, refusal: Refusal, blamed: Option<usize>) -> Result<Record, Damaged> {
    let first = mirrored.runs.all().first().map_or(0, |run| run.source);
    let unpacked = mirrored.parts.iter().map(|part| part.origin.unpack(MAX_UNPACKED));
    let unpacked = unpacked.collect::<Result<Vec<_>, _>>()?;
    // One that can't be read is what is wrong, whatever the target says.
    for batch in &unpacked {
        batch.records().find_map(Result::err).map_or(Ok(()), Err)?;
    }
    let sent = |offset: i64| {
        let within =
            |run: &super::super::load::Run| (run.source..run.source + i64::from(run.count)).contains(&offset);
        mirrored.runs.all().iter().any(within)
    };
    let all = || unpacked.iter().flat_map(|batch| batch.records().filter_map(Result::ok));
    let records = || all().filter(|record| sent(record.offset));
    let found = match (blamed, refusal) {
        (Some(number), _) => records().nth(number),
        (None, Refusal::TooLarge) => records().max_by_key(|record| record.size()),
        _ => None,
    };
    let found = found.or_else(|| records().next());
    Ok(Record {
        partition: 0,
        offset: SourceOffset(found.map_or(first, |record| record.offset)),
        size: found.map_or(0, |record| record.size()),
        has_key: found.is_some_and(|record| record.key.is_some()),
        timestamp: found.map_or(-1, |record| record.timestamp),
    })
}

/// What the target has against a record; `None` where the error is not about one.
fn refusal_of(error: i16) -> Option<Refusal> {
    match error {
        code::MESSAGE_TOO_LARGE | code::RECORD_LIST_TOO_LARGE => Some(Refusal::TooLarge),
        code::INVALID_TIMESTAMP | code::INVALID_RECORD => Some(Refusal::Invalid),
        code::CORRUPT_MESSAGE | code::UNSUPPORTED_COMPRESSION_TYPE => Some(Refusal::Other),
        _ => None,
    }
}

fn trouble(refused: &kafka::Refused) -> Trouble {
    let name = code::code_name(refused.code);
    let text = refused.text.clone().unwrap_or_else(|| "the broker refused a batch".to_owned());
    Trouble::named(&text, &name)
}
