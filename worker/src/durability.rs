//! Durability: when what is acknowledged counts, and what is written for that. It is beside reading and writing: rules without a client
//! and without a clock, which say what an engine is to do next, and are told when it is done.
//!
//! - `transaction`: records, and the progress that speaks of them, in one transaction of the target;
//! - `acknowledged`: progress follows the acknowledgement of its records. Behind a fence that is exactly once, too: whoever takes over
//!   recognises what was acknowledged after the last progress.

mod acknowledged;
mod carried;
mod deadline;
mod transaction;

use std::time::{Duration, Instant};

use self::acknowledged::Acknowledged;
pub(crate) use self::carried::Carried;
use self::deadline::Deadline;
use self::transaction::Transaction;
use crate::ledger::{Entry, Ledger, Now};
use crate::progress::Mode;

/// What makes what is acknowledged durable, whatever the engine does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Who has this transactional id has fenced every earlier owner: it writes records and progress in transactions, or behind the fence.
    Transactions { id: String },
    /// Progress follows the acknowledgement of its records.
    Acknowledged,
}

/// What an engine does next. It says `done`, and nothing if it fails: then it ends, and nothing more is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Next {
    /// Begins a transaction.
    Begin,
    /// Hands these to the producer, in this order.
    Write(Vec<Write>),
    /// Waits until everything that it handed to the producer, records too, is acknowledged and entered into the ledger.
    Flush,
    /// Commits the transaction.
    Commit,
}

/// A record of the range's own.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Write {
    pub(crate) place: Place,
    pub(crate) entry: Entry,
}

/// Where a record of the range's own goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// The range's partition of the progress topic.
    Progress,
    /// The range's partition of the offsets topic.
    Offsets,
    /// Where an older version had its progress.
    Former { topic: String, partition: i32 },
}

/// How often is committed, and what a commit may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// Transactions are committed at this age.
    pub(crate) interval: Duration,
    /// What a transaction, or a request, may take.
    pub(crate) patience: Duration,
}

/// Makes durable, step by step, what the ledger says is acknowledged. It begins with the claim: progress is written before the first
/// record, so that an older owner of the range knows from then on that it is one.
#[derive(Debug)]
pub(crate) struct Committer {
    rule: Rule,
    deadline: Deadline,
}

#[derive(Debug)]
enum Rule {
    Transaction(Transaction),
    Acknowledged(Acknowledged),
}

impl Committer {
    /// `progress_key`: of the range's progress record.
    pub(crate) fn new(mode: Mode, times: Times, progress_key: Vec<u8>, carried: Option<Carried>) -> Self {
        let rule = match mode {
            Mode::Transactions => Rule::Transaction(Transaction::new(times.interval, progress_key, carried)),
            Mode::Acknowledged | Mode::Fenced => Rule::Acknowledged(Acknowledged::new(progress_key, carried)),
        };
        Self { rule, deadline: Deadline::new(times.patience) }
    }

    /// What is to be done now. `None`: nothing, or what was asked for last is not done.
    pub(crate) fn next(&mut self, ledger: &mut Ledger, now: Now) -> Option<Next> {
        let next = match &mut self.rule {
            Rule::Transaction(rule) => rule.next(ledger, now),
            Rule::Acknowledged(rule) => rule.next(ledger, now),
        };
        if next.is_some() {
            self.deadline.begin(now.instant);
        }
        next
    }

    /// What `next` or `before_record` asked for is done.
    pub(crate) fn done(&mut self, ledger: &mut Ledger, now: Instant) {
        match &mut self.rule {
            Rule::Transaction(rule) => rule.done(ledger, now),
            Rule::Acknowledged(rule) => rule.done(ledger, now),
        }
        if !self.holds_records() {
            self.deadline.met();
        }
    }

    /// So many records of the range's own were acknowledged.
    pub(crate) fn stored(&mut self, count: u64, ledger: &mut Ledger, now: Instant) {
        match &mut self.rule {
            // They count with the commit.
            Rule::Transaction(_) => {}
            Rule::Acknowledged(rule) => rule.stored(count, ledger, now),
        }
    }

    /// Whether records must wait: the claim, or a commit, is under way, or there will be none any more.
    pub(crate) fn holds_records(&self) -> bool {
        match &self.rule {
            Rule::Transaction(rule) => rule.holds_records(),
            Rule::Acknowledged(rule) => rule.holds_records(),
        }
    }

    /// What must be done before the next record is handed to the producer, where records needn't wait.
    pub(crate) fn before_record(&mut self) -> Option<Next> {
        match &mut self.rule {
            Rule::Transaction(rule) => rule.before_record(),
            Rule::Acknowledged(_) => None,
        }
    }

    /// When there is something to be done again, if nothing happens until then.
    pub(crate) fn due(&self, ledger: &Ledger) -> Option<Instant> {
        match &self.rule {
            Rule::Transaction(rule) => rule.due(ledger),
            Rule::Acknowledged(rule) => rule.due(ledger),
        }
    }

    /// No record comes any more: `next` says what makes durable what was acknowledged, and then nothing.
    pub(crate) fn end(&mut self, now: Instant) {
        match &mut self.rule {
            Rule::Transaction(rule) => rule.end(),
            Rule::Acknowledged(rule) => rule.end(),
        }
        self.deadline.end(now);
    }

    /// Whether the target may still take its time with what is being done.
    pub(crate) fn may_wait(&mut self, draining: bool, now: Instant) -> bool {
        if draining {
            self.deadline.end(now);
        }
        self.deadline.is_ahead(now)
    }

    /// A transaction is open: an engine that ends aborts it.
    pub(crate) fn is_open(&self) -> bool {
        match &self.rule {
            Rule::Transaction(rule) => rule.is_open(),
            Rule::Acknowledged(_) => false,
        }
    }

    /// Whether what is acknowledged counts, however the engine ends.
    pub(crate) fn keeps_acknowledged(&self) -> bool {
        matches!(self.rule, Rule::Acknowledged(_))
    }
}

/// Closed pieces of the offset map.
fn closing(ledger: &mut Ledger) -> Vec<Write> {
    let write = |entry| Write { place: Place::Offsets, entry };
    ledger.closing().into_iter().map(write).collect()
}

/// Progress as the ledger has it now.
fn sealed(ledger: &mut Ledger, key: &[u8], now: Now) -> Write {
    Write { place: Place::Progress, entry: Entry { key: key.to_vec(), value: ledger.seal(now) } }
}

#[cfg(test)]
mod tests;
