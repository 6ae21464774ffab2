//! The native engine: batches are forwarded as they are, over connections that all ranges of a worker share.
//!
//! A batch of the source becomes one of the target by another header (`forward`); where the target would not take it, it is written anew
//! from its records (`rebuild`). For each cluster there is one `fabric`: a `fetcher` or a `sender` for each broker, of which a range uses
//! those that lead its partitions.

mod coalesce;
mod coordinator;
mod crc;
mod fabric;
mod fence;
mod fetcher;
mod forward;
#[cfg(test)]
mod fuzz;
mod load;
mod news;
mod outbox;
mod outlet;
mod pace;
mod range;
mod rebuild;
mod sender;
mod takeover;
mod window;

use std::sync::Arc;

use self::fabric::Fabric;
use self::fence::Fence;
use self::forward::Writer;
use self::range::{Job, Range, Shared};
use super::{Exit, NotOpened, Observer, Opening, Order, Owner, batch_bytes, largest_batch};
use crate::budget::Memory;
use crate::durability::{Committer, Durability, Times};
use crate::kafka::Transactions;
use crate::ledger::Ledger;
use crate::progress::Mode;

/// Of one partition's records so many bytes may wait, or as much as one answer over a long line brings: what comes beyond stays with the
/// source.
const QUEUE: usize = 4 << 20;

/// What all native ranges of a worker share.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    memory: Memory,
}

/// A range whose producer is there, and waits for its order.
pub(crate) struct Opened {
    opening: Opening,
    owner: Owner,
    transactions: Option<Transactions>,
    shared: Shared,
}

impl Engine {
    /// Ranges hold together at most so many bytes of records.
    pub(crate) fn new(memory: Memory) -> Self {
        Self { memory }
    }

    pub(super) async fn open(&self, opening: Opening) -> Result<Opened, NotOpened> {
        let (source, target) = (Fabric::of(&opening.source), Fabric::of(&opening.target));
        let owned = match &opening.durability {
            Durability::Transactions { id } => Some(takeover::own(&opening, id).await?),
            Durability::Acknowledged => None,
        };
        let fenced = owned.as_ref().is_some_and(|owned| owned.fence == Fence::Seen);
        let transactions = owned.map(|owned| owned.transactions);
        let (producer_id, epoch) = match &transactions {
            Some(owned) => (owned.producer_id, owned.epoch),
            None => takeover::producer(&opening).await?,
        };
        let owner = Owner { producer_id, epoch, fenced };
        let shared = Shared { source, target, memory: self.memory.clone(), control: opening.control.clone() };
        Ok(Opened { opening, owner, transactions, shared })
    }
}

/// Fences earlier owners in every partition, for an engine that does so only with its first record there.
///
/// # Errors
/// It can't be done now.
pub(super) async fn guard(opening: &Opening) -> Result<(), NotOpened> {
    match &opening.durability {
        Durability::Transactions { id } => takeover::own(opening, id).await.map(|_| ()),
        Durability::Acknowledged => Ok(()),
    }
}

impl Opened {
    pub(super) fn owner(&self) -> Owner {
        self.owner
    }

    pub(super) async fn run(self, order: Order, ledger: Ledger, observer: Observer) -> (Exit, Ledger) {
        let Opening { range, target_latency, limits, .. } = &self.opening;
        let times = Times { interval: *target_latency, patience: limits.patience };
        let key = order.storage.progress_key.clone();
        let committer = Committer::new(order.mode, times, key, order.carried.clone());
        let Owner { producer_id, epoch, .. } = self.owner;
        let in_transaction = order.mode == Mode::Transactions;
        let fenced = self.transactions.clone().filter(|_| order.mode == Mode::Fenced);
        // Nobody was fenced by the first one.
        let has_marker = fenced.is_some() && epoch > 0;
        let job = Job {
            source_topic: Arc::from(range.source_topic.as_str()),
            target_topic: Arc::from(range.target_topic.as_str()),
            writer: Writer { producer_id, epoch, in_transaction },
            transactions: self.transactions.filter(|_| in_transaction),
            fenced,
            has_marker,
            max_batch: max_batch(limits.batch, range.target_max_message_bytes),
            patience: limits.patience,
            queue: QUEUE,
            order,
        };
        Range::new(job, self.shared, (ledger, committer), observer).run().await
    }

    pub(super) fn close(self) {}
}

/// What the topic takes as one batch: less where it was seen that it takes less.
fn max_batch(limit: usize, topic: Option<i32>) -> usize {
    if limit < batch_bytes(topic) { limit } else { largest_batch(topic) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_may_be_what_the_topic_takes() {
        assert_eq!(max_batch(1_000_000, None), 1_048_588);
        assert_eq!(max_batch(1_000_000, Some(8 << 20)), 8 << 20, "other engines make no such batches");
        assert_eq!(max_batch(250_000, Some(8 << 20)), 250_000, "it was refused");
    }
}
