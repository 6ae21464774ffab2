//! In transactions: records and the progress that speaks of them become visible together, or not at all.
//!
//! A commit waits until every record of the transaction is acknowledged, writes closed pieces of the offset map and progress, and ends the
//! transaction. No record joins it meanwhile. Where that fails nothing of it counts: the ledger doesn't hear of a commit, and what was
//! closed is written again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Carried, Next, Write, carried, closing, sealed};
use crate::ledger::{Ledger, Now};

/// A range's first transaction is committed at this age: readers have waited since the range stopped elsewhere.
pub(super) const FIRST_COMMIT: Duration = Duration::from_millis(30);

/// A step of the claim or of a commit.
#[derive(Debug)]
enum Step {
    Begin,
    Write(Vec<Write>),
    Flush,
    /// Writes what the ledger has to say by then.
    Seal,
    Commit,
}

/// Whether this is the end.
#[derive(Debug, PartialEq, Eq)]
enum Ending {
    No,
    /// One more commit is to come, if it would say anything.
    Last,
    Done,
}

#[derive(Debug)]
pub(super) struct Transaction {
    /// Age at which a transaction is committed.
    interval: Duration,
    progress_key: Vec<u8>,
    plan: VecDeque<Step>,
    /// What the engine was asked to do, until it is done.
    doing: Option<Step>,
    /// When the open transaction began.
    open: Option<Instant>,
    /// The age at which it is committed.
    commit_after: Duration,
    /// When the last commit was done; before the claim: none.
    committed: Option<Instant>,
    ending: Ending,
}

impl Transaction {
    pub(super) fn new(interval: Duration, progress_key: Vec<u8>, carried: Option<Carried>) -> Self {
        let (pieces, mark) = carried::writes(carried);
        let mut plan = VecDeque::from([Step::Begin]);
        plan.extend(pieces.into_iter().flat_map(|some| [Step::Write(some), Step::Flush]));
        plan.extend(mark.map(|mark| Step::Write(vec![mark])));
        plan.extend([Step::Flush, Step::Seal, Step::Commit]);
        Self {
            interval,
            progress_key,
            plan,
            doing: None,
            open: None,
            commit_after: interval,
            committed: None,
            ending: Ending::No,
        }
    }

    pub(super) fn next(&mut self, ledger: &mut Ledger, now: Now) -> Option<Next> {
        if self.doing.is_some() {
            return None;
        }
        if self.plan.is_empty() && self.is_commit_wanted(ledger, now.instant) {
            self.commit();
        }
        let mut step = self.plan.pop_front()?;
        let next = match &mut step {
            Step::Begin => Next::Begin,
            Step::Write(writes) => Next::Write(std::mem::take(writes)),
            Step::Flush => Next::Flush,
            Step::Seal => {
                let mut writes = closing(ledger);
                writes.push(sealed(ledger, &self.progress_key, now));
                Next::Write(writes)
            }
            Step::Commit => Next::Commit,
        };
        self.doing = Some(step);
        Some(next)
    }

    pub(super) fn done(&mut self, ledger: &mut Ledger, now: Instant) {
        match self.doing.take() {
            Some(Step::Begin) => self.open = Some(now),
            Some(Step::Commit) => {
                self.open = None;
                let is_claim = self.committed.replace(now).is_none();
                self.commit_after = if is_claim { self.interval.min(FIRST_COMMIT) } else { self.interval };
                ledger.closed();
                ledger.committed(now);
            }
            Some(Step::Write(_) | Step::Flush | Step::Seal) | None => {}
        }
    }

    fn is_commit_wanted(&mut self, ledger: &Ledger, now: Instant) -> bool {
        if self.ending == Ending::Last {
            self.ending = Ending::Done;
            return self.open.is_some() || ledger.is_dirty();
        }
        self.due(ledger).is_some_and(|due| due <= now)
    }

    fn commit(&mut self) {
        if self.open.is_none() {
            self.plan.push_back(Step::Begin);
        }
        self.plan.extend([Step::Flush, Step::Seal, Step::Commit]);
    }

    pub(super) fn holds_records(&self) -> bool {
        self.doing.is_some() || !self.plan.is_empty() || self.ending != Ending::No
    }

    pub(super) fn before_record(&mut self) -> Option<Next> {
        if self.open.is_some() || self.holds_records() {
            return None;
        }
        self.doing = Some(Step::Begin);
        Some(Next::Begin)
    }

    /// When a commit is due; none while one is under way.
    pub(super) fn due(&self, ledger: &Ledger) -> Option<Instant> {
        if self.holds_records() {
            return None;
        }
        match self.open {
            Some(began) => Some(began + self.commit_after),
            // Only the position moved, over markers or aborted records.
            None if ledger.is_dirty() => self.committed.map(|at| at + self.interval),
            None => None,
        }
    }

    pub(super) fn end(&mut self) {
        self.ending = Ending::Last;
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }
}
