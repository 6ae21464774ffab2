//! Becoming the only one who writes to a range.
//!
//! A new epoch of the range's transactional id fences every earlier owner at the coordinator; the fence does it in the partitions.

use super::coordinator::{STEP, away, persist, wanted};
use super::fence::{self, Fence};
use crate::engine::{NotOpened, Opening};
use crate::kafka::Transactions;

/// A producer id has no more than 32,767 epochs. From the first of these on the others are passed through, the last ones with a fence.
const WORN_OUT: std::ops::Range<i16> = 32_000..i16::MAX - 4;

/// Who has a range now.
pub(super) struct Owned {
    pub(super) transactions: Transactions,
    /// Whether the fence was seen in every partition.
    pub(super) fence: Fence,
}

/// Fences every earlier owner of the transactional id, in every partition of the range; what they left open is ended.
pub(super) async fn own(opening: &Opening, id: &str) -> Result<Owned, NotOpened> {
    let (client, timeout) = (opening.target.client.as_producer(), opening.limits.patience);
    // A new epoch makes the coordinator forget it.
    let last = wanted(opening, client.within(STEP).last_transaction(id)).await?;
    let last = last.inspect_err(|error| tracing::debug!(id, %error, "the last transaction isn't known"));
    let last = last.ok().flatten();
    loop {
        let identity = persist(opening, || client.end_open_transaction(id, timeout, STEP)).await?;
        let transactions = Transactions::new(client.clone(), id.into(), identity);
        if !WORN_OUT.contains(&identity.1) {
            let fence = fence::raise(opening, &transactions, last.as_ref()).await?;
            if identity.1 < WORN_OUT.start {
                return Ok(Owned { transactions, fence });
            }
        }
        // The next producer id fences nobody who has this one: so its last epochs are taken here, and fence everybody.
    }
}

/// A producer that belongs to nobody's transactions.
pub(super) async fn producer(opening: &Opening) -> Result<(i64, i16), NotOpened> {
    let identity = wanted(opening, opening.target.client.as_producer().new_producer_id()).await?;
    identity.map_err(|error| NotOpened::Target(away(&error)))
}
