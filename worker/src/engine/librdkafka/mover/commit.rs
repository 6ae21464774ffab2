//! How the mover makes things durable: it does what the committer says, and waits for the target no longer than that allows.

use std::time::{Duration, Instant, SystemTime};

use super::{Exit, Mover, OWN, Step, Trouble};
use crate::durability::{Next, Place, Write};
use crate::engine::librdkafka::ffi::delivery::{Ack, Ticket};
use crate::ledger::Now;

/// One wait for acknowledgements or for the coordinator; between waits the lane looks whether to end.
const WAIT_STEP: Duration = Duration::from_millis(250);
/// What is on its way when a record is refused is answered within milliseconds; this is for a target that is away.
const COLLECT_TIMEOUT: Duration = Duration::from_secs(1);

impl Mover<'_> {
    /// Does what is to be done now.
    pub(super) fn commit(&mut self) -> Step<()> {
        while let Some(next) = self.committer.next(self.ledger, Now::read()) {
            self.carry_out(&next)?;
        }
        Ok(())
    }

    pub(super) fn before_record(&mut self) -> Step<()> {
        debug_assert!(!self.committer.holds_records(), "a commit is done before the next record is taken");
        match self.committer.before_record() {
            Some(next) => self.carry_out(&next),
            None => Ok(()),
        }
    }

    fn carry_out(&mut self, next: &Next) -> Step<()> {
        match next {
            Next::Begin => {
                self.target.begin().map_err(|error| self.failure("beginning a transaction", error))?;
            }
            Next::Write(writes) => writes.iter().try_for_each(|write| self.write(write))?,
            Next::Flush => self.flush()?,
            Next::Commit => self.commit_transaction()?,
        }
        self.committer.done(self.ledger, Instant::now());
        Ok(())
    }

    fn write(&mut self, Write { place, entry }: &Write) -> Step<()> {
        let storage = &self.job.order.storage;
        let (topic, partition) = match place {
            Place::Progress => (self.progress_topic, storage.progress_partition),
            Place::Offsets => (self.offsets_topic, storage.offsets_partition),
            Place::Former { topic, partition } => {
                let what = "opening the topic of an older version";
                (self.target.topic(topic).map_err(|error| self.failure(what, error))?, *partition)
            }
        };
        let ticket = Ticket { slot: OWN, number: self.own_number };
        self.own_number += 1;
        let now = crate::progress::millis(SystemTime::now());
        self.own_since.get_or_insert_with(Instant::now);
        let made =
            self.target.produce_bytes(topic, partition, Some(&entry.key), Some(&entry.value), now, ticket);
        made.map_err(|error| self.failure("writing progress", error))
    }

    /// Waits until nothing is in flight.
    fn flush(&mut self) -> Step<()> {
        loop {
            let mut reports = Vec::new();
            let done = self.target.flush(WAIT_STEP, |ack| reports.push(ack));
            self.settle_reports(reports)?;
            if done {
                return Ok(());
            }
            self.observe();
            self.missing_topics()?;
            if !self.may_wait() {
                let error = Trouble::new("the target did not acknowledge records in time");
                return Err(Exit::Failed { what: "waiting for acknowledgements", error });
            }
        }
    }

    fn commit_transaction(&mut self) -> Step<()> {
        loop {
            match self.target.commit(WAIT_STEP) {
                Ok(()) => break,
                Err(error) if error.retriable && self.may_wait() => {
                    self.observe();
                    self.missing_topics()?;
                }
                Err(error) => return Err(self.failure("committing a transaction", error)),
            }
        }
        self.settle()?;
        self.own_since = None;
        Ok(())
    }

    fn may_wait(&mut self) -> bool {
        self.committer.may_wait(self.control.is_draining(), Instant::now())
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
        if exit.is_orderly() {
            self.committer.end(Instant::now());
            if let Err(failed) = self.commit() {
                tracing::warn!(?failed, "the last commit was not made: its records will be copied again");
            }
        }
        if matches!(exit, Exit::Refused { .. }) && self.committer.keeps_acknowledged() {
            self.collect();
        }
        if self.committer.is_open() && !matches!(exit, Exit::Fenced(_)) {
            // The next owner's first call would end it too; this is only sooner.
            if let Err(error) = self.target.abort(WAIT_STEP * 4) {
                tracing::debug!(%error, "the open transaction was left to the coordinator");
            }
        }
        self.target.purge();
        exit
    }
}
