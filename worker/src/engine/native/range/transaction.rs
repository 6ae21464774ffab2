//! Transactions of a range: partitions join when the first record goes there, and all end together.

use futures::FutureExt;

use super::ways::Looked;
use super::{Range, Step};
use crate::engine::native::outlet::Outlet;
use crate::engine::{Exit, Trouble};
use crate::kafka::{KafkaError, Spot, Transactions, code};
use crate::ledger::Now;

/// The transactions of a run.
pub(super) struct Open {
    transactions: Transactions,
    /// The coordinator is being asked to add partitions.
    joining: bool,
    /// It is being asked to commit.
    pub(super) ending: bool,
}

impl Open {
    pub(super) fn new(transactions: Transactions) -> Self {
        Self { transactions, joining: false, ending: false }
    }
}

impl Range {
    /// A transaction begins with the first partition that joins it.
    pub(super) fn begin(&mut self) {
        let joined = self.transaction.is_none();
        self.outlets.iter_mut().for_each(|outlet| outlet.join(joined));
    }

    /// Asks for the partitions that have something to send and don't belong to the transaction; those of the source only while records
    /// may go on.
    pub(super) fn join(&mut self) {
        if self.transaction.is_none() {
            return;
        }
        let holds = self.committer.holds_records();
        if !holds
            && self.outlets.iter().any(Outlet::wants_to_join)
            && self.committer.before_record().is_some()
        {
            self.begin();
            self.committer.done(&mut self.ledger, Now::read().instant);
        }
        let copies = if holds { self.slots.len() } else { 0 };
        let Some(open) = self.transaction.as_mut().filter(|open| !open.joining && !open.ending) else {
            return;
        };
        let wanting =
            self.outlets.iter().enumerate().skip(copies).filter(|(_, outlet)| outlet.wants_to_join());
        let numbers: Vec<usize> = wanting.map(|(number, _)| number).collect();
        if numbers.is_empty() {
            return;
        }
        open.joining = true;
        let spots: Vec<Spot> = numbers.iter().map(|number| self.outlets[*number].spot.clone()).collect();
        let (transactions, patience) = (open.transactions.clone(), self.job.patience);
        let add = async move { Looked::Joined(numbers, transactions.add(&spots, patience).await) };
        self.asked.push(add.boxed());
    }

    /// Partitions are about to join the transaction, or have and sent nothing yet: it can't end before.
    pub(super) fn is_joining(&self) -> bool {
        let Some(open) = &self.transaction else { return false };
        open.joining || self.outlets.iter().any(Outlet::owes)
    }

    pub(super) fn joined(&mut self, outlets: Vec<usize>, joined: Result<(), KafkaError>) -> Step<()> {
        if let Some(open) = &mut self.transaction {
            open.joining = false;
        }
        joined.map_err(|error| failed("adding partitions to a transaction", &error))?;
        outlets.into_iter().for_each(|number| self.outlets[number].join(true));
        Ok(())
    }

    pub(super) fn commit(&mut self) {
        let Some(open) = &mut self.transaction else { return };
        open.ending = true;
        let (transactions, patience) = (open.transactions.clone(), self.job.patience * 2);
        let end = async move { Looked::Committed(transactions.end(true, patience).await) };
        self.asked.push(end.boxed());
    }

    pub(super) fn committed(&mut self, committed: Result<(), KafkaError>) -> Step<()> {
        if let Some(open) = &mut self.transaction {
            open.ending = false;
        }
        committed.map_err(|error| failed("committing a transaction", &error))?;
        self.outlets.iter_mut().for_each(|outlet| outlet.join(false));
        self.committer.done(&mut self.ledger, Now::read().instant);
        Ok(())
    }

    /// What an open transaction holds back is free again; whoever comes next aborts it otherwise.
    pub(super) async fn abort(&mut self) {
        let Some(open) = self.transaction.take().filter(|_| self.committer.is_open()) else { return };
        let aborted = open.transactions.end(false, super::ABORT_TIMEOUT).await;
        if let Err(error) = aborted {
            tracing::debug!(%error, "the transaction is left for its timeout to abort");
        }
    }
}

fn failed(what: &'static str, error: &KafkaError) -> Exit {
    let trouble = Trouble::from(error);
    match error.code {
        code::PRODUCER_FENCED | code::INVALID_PRODUCER_EPOCH => Exit::Fenced(trouble),
        _ => Exit::Failed { what, error: trouble },
    }
}
