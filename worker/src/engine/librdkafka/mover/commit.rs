//! How the mover makes things durable: transactions, progress, and what is done before it ends.

use std::time::{Duration, Instant, SystemTime};

use super::{Exit, Mover, OWN, Progress, Step, Trouble};
use crate::engine::librdkafka::ffi::target::{Ack, Ticket};
use crate::ledger::{Entry, Now};

/// At least once: progress is written this often while records flow.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Pieces of an older version's map that are on their way at a time: far fewer than the producer's queue takes.
const CARRIED_AT_ONCE: usize = 500;
/// One wait for acknowledgements or for the coordinator; between waits the lane looks whether to end.
const WAIT_STEP: Duration = Duration::from_millis(250);
/// What ending may take: then what is in flight is given up (and copied again by whoever comes next).
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// What is on its way when a record is refused is answered within milliseconds; this is for a target that is away.
const COLLECT_TIMEOUT: Duration = Duration::from_secs(1);

impl Mover<'_> {
    pub(super) fn begin(&mut self) -> Step<()> {
        self.target.begin().map_err(|error| self.failure("beginning a transaction", error))?;
        self.transaction = Some(Instant::now());
        Ok(())
    }

    /// Writes progress before the first record: from then on an older owner of the range knows that it is one.
    pub(super) fn claim(&mut self) -> Step<()> {
        let (deadline, carried) = (self.commit_deadline(), self.job.order.carried.clone());
        let (pieces, mark) = carried.map_or((Vec::new(), None), |carried| (carried.pieces, carried.mark));
        if self.job.exactly_once {
            self.begin()?;
            self.carry_over(&pieces, deadline)?;
            self.mark_carried_over(mark)?;
            return self.commit(deadline);
        }
        self.carry_over(&pieces, deadline)?;
        self.write_progress_and_wait(deadline)?;
        self.mark_carried_over(mark)?;
        self.flush(deadline)
    }

    fn carry_over(&mut self, pieces: &[Entry], deadline: Instant) -> Step<()> {
        let partition = self.job.order.storage.offsets_partition;
        for some in pieces.chunks(CARRIED_AT_ONCE) {
            for entry in some {
                self.produce_own(self.offsets_topic, partition, entry)?;
            }
            self.flush(deadline)?;
        }
        Ok(())
    }

    fn mark_carried_over(&mut self, mark: Option<(String, i32, Entry)>) -> Step<()> {
        let Some((topic, partition, entry)) = mark else { return Ok(()) };
        let what = "opening the topic of an older version";
        let topic = self.target.topic(&topic).map_err(|error| self.failure(what, error))?;
        self.produce_own(topic, partition, &entry)
    }

    pub(super) fn commit_if_due(&mut self) -> Step<()> {
        if self.job.exactly_once {
            return self.commit_transaction_if_due();
        }
        self.advance_progress()
    }

    fn commit_transaction_if_due(&mut self) -> Step<()> {
        let due = match self.transaction {
            Some(began) => began.elapsed() >= self.commit_after,
            // Only the position moved, over markers or aborted records.
            None => self.ledger.is_dirty() && self.last_progress.elapsed() >= self.job.commit_interval,
        };
        if due { self.commit(self.commit_deadline()) } else { Ok(()) }
    }

    /// One commit: all records acknowledged, then progress and closed chunks, then the transaction's end.
    fn commit(&mut self, deadline: Instant) -> Step<()> {
        if self.transaction.is_none() {
            self.begin()?;
        }
        self.flush(deadline)?;
        let closing = self.ledger.closing();
        let value = self.ledger.seal(Now::read());
        for entry in &closing {
            self.produce_own(self.offsets_topic, self.job.order.storage.offsets_partition, entry)?;
        }
        let entry = Entry { key: self.job.order.storage.progress_key.clone(), value };
        self.produce_own(self.progress_topic, self.job.order.storage.progress_partition, &entry)?;
        loop {
            match self.target.commit(WAIT_STEP) {
                Ok(()) => break,
                Err(error) if error.retriable && self.may_wait(deadline) => {
                    self.observe();
                    self.missing_topics()?;
                }
                Err(error) => return Err(self.failure("committing a transaction", error)),
            }
        }
        self.settle()?;
        self.own_since = None;
        self.transaction = None;
        self.commit_after = self.job.commit_interval;
        self.last_progress = Instant::now();
        self.ledger.closed();
        self.ledger.committed(Instant::now());
        Ok(())
    }

    /// A commit that takes longer is given up; the coordinator has ended the transaction by then.
    fn commit_deadline(&self) -> Instant {
        Instant::now() + self.job.patience * 2
    }

    /// A drain does not wait for a target that is away as long as a running lane does.
    fn may_wait(&mut self, deadline: Instant) -> bool {
        let now = Instant::now();
        if self.control.is_draining() {
            self.drain_deadline.get_or_insert(now + DRAIN_TIMEOUT);
        }
        now < self.drain_deadline.map_or(deadline, |drain| drain.min(deadline))
    }

    /// Waits until nothing is in flight.
    fn flush(&mut self, deadline: Instant) -> Step<()> {
        loop {
            let mut reports = Vec::new();
            let done = self.target.flush(WAIT_STEP, |ack| reports.push(ack));
            self.settle_reports(reports)?;
            if done {
                return Ok(());
            }
            self.observe();
            self.missing_topics()?;
            if !self.may_wait(deadline) {
                let error = Trouble::new("the target did not acknowledge records in time");
                return Err(Exit::Failed { what: "waiting for acknowledgements", error });
            }
        }
    }

    fn produce_own(&mut self, topic: usize, partition: i32, entry: &Entry) -> Step<()> {
        let ticket = Ticket { slot: OWN, number: self.own_number };
        self.own_number += 1;
        let now = crate::progress::millis(SystemTime::now());
        self.own_since.get_or_insert_with(Instant::now);
        let made =
            self.target.produce_bytes(topic, partition, Some(&entry.key), Some(&entry.value), now, ticket);
        made.map_err(|error| self.failure("writing progress", error))
    }

    /// At least once: closed chunks first; when they are acknowledged, the progress that no longer holds them.
    fn advance_progress(&mut self) -> Step<()> {
        let due = self.ledger.is_dirty() && self.last_progress.elapsed() >= PROGRESS_INTERVAL;
        if !matches!(self.progress, Progress::Idle) || !due {
            return Ok(());
        }
        self.start_progress()
    }

    fn start_progress(&mut self) -> Step<()> {
        let closing = self.ledger.closing();
        if closing.is_empty() {
            return self.write_record();
        }
        for entry in &closing {
            self.produce_own(self.offsets_topic, self.job.order.storage.offsets_partition, entry)?;
        }
        self.progress = Progress::Chunks(closing.len());
        Ok(())
    }

    fn write_record(&mut self) -> Step<()> {
        let entry =
            Entry { key: self.job.order.storage.progress_key.clone(), value: self.ledger.seal(Now::read()) };
        self.produce_own(self.progress_topic, self.job.order.storage.progress_partition, &entry)?;
        self.progress = Progress::Record(1);
        self.last_progress = Instant::now();
        Ok(())
    }

    pub(super) fn own_stored(&mut self, count: u64) {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.own_since = None;
        self.progress = match std::mem::replace(&mut self.progress, Progress::Idle) {
            Progress::Chunks(left) if left > count => Progress::Chunks(left - count),
            Progress::Chunks(_) => {
                self.ledger.closed();
                Progress::Idle
            }
            Progress::Record(left) if left > count => Progress::Record(left - count),
            Progress::Record(_) => {
                self.ledger.committed(Instant::now());
                Progress::Idle
            }
            Progress::Idle => Progress::Idle,
        };
    }

    /// At least once: everything that is acknowledged becomes progress, now.
    fn write_progress_and_wait(&mut self, deadline: Instant) -> Step<()> {
        self.flush(deadline)?;
        while self.ledger.is_dirty() {
            self.start_progress()?;
            self.flush(deadline)?;
        }
        Ok(())
    }

    /// Takes in what is still acknowledged of the records that were on their way when another one was refused.
    fn collect(&mut self) {
        let deadline = Instant::now() + COLLECT_TIMEOUT;
        let mut done = false;
        while !done && Instant::now() < deadline {
            let mut reports = Vec::new();
            done = self.target.flush(WAIT_STEP, |ack| reports.push(ack));
            for report in reports {
                if let Ack::Stored { first, count, offset } = report
                    && first.slot != OWN
                    && let Err(failed) = self.stored(first, count, offset)
                {
                    tracing::debug!(?failed, "an acknowledgement behind a refused record");
                }
            }
        }
    }

    /// Makes durable what can be made durable, and closes the producer in a defined state.
    pub(super) fn finish(&mut self, exit: Exit) -> Exit {
        let orderly = exit.is_orderly();
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        if orderly && !self.job.exactly_once {
            if let Err(failed) = self.write_progress_and_wait(deadline) {
                tracing::warn!(
                    ?failed,
                    "the last progress was not written: its records will be copied again"
                );
            }
        } else if orderly
            && (self.transaction.is_some() || self.ledger.is_dirty())
            && let Err(failed) = self.commit(deadline)
        {
            tracing::warn!(?failed, "the last transaction was not committed: it will be copied again");
        }
        if matches!(exit, Exit::Refused { .. }) && !self.job.exactly_once {
            self.collect();
        }
        if self.transaction.is_some() && !matches!(exit, Exit::Fenced(_)) {
            // The next owner's first call would end it too; this is only sooner.
            if let Err(error) = self.target.abort(WAIT_STEP * 4) {
                tracing::debug!(%error, "the open transaction was left to the coordinator");
            }
        }
        self.target.purge();
        exit
    }
}
