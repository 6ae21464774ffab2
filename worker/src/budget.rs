//! The worker's memory for records in flight. A lane reserves its share before it starts and gives it back when it ends, so
//! the sum of all shares never exceeds the bound. Shares shrink as memory runs out: the first lanes of a worker run with deep
//! queues, and there is still room for the hundredth.

use std::sync::{Arc, Mutex, PoisonError};

/// A share is this fraction of what is free.
const SHARE_OF_FREE: u64 = 32;
/// More than this does not make one lane faster.
pub const MAX_SHARE_BYTES: u64 = 64 << 20;
/// Less than this does not carry records.
pub const MIN_SHARE_BYTES: u64 = 1 << 20;

/// Worker-wide bound, bytes.
pub struct Budget {
    bytes: u64,
    reserved: Mutex<u64>,
}

impl Budget {
    pub fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self { bytes, reserved: Mutex::new(0) })
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The sum of all shares, bytes.
    pub fn reserved(&self) -> u64 {
        *self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A share of what is free; `None` while less than the smallest useful share is free.
    pub fn reserve(self: &Arc<Self>) -> Option<Share> {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.bytes.saturating_sub(*reserved);
        let share = (free / SHARE_OF_FREE).clamp(MIN_SHARE_BYTES, MAX_SHARE_BYTES);
        (share <= free).then(|| {
            *reserved += share;
            Share { budget: self.clone(), bytes: share }
        })
    }
}

/// A reservation; dropping it gives the bytes back.
pub struct Share {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Share {
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        *self.budget.reserved.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_exceed_the_bound_and_come_back() {
        let budget = Budget::new(256 << 20);
        let mut shares = Vec::new();
        while let Some(share) = budget.reserve() {
            assert!(share.bytes() >= MIN_SHARE_BYTES && share.bytes() <= MAX_SHARE_BYTES);
            shares.push(share);
            assert!(budget.reserved() <= budget.bytes());
        }
        assert!(shares.len() > 50, "only {} lanes fit", shares.len());
        shares.pop();
        assert!(budget.reserve().is_some(), "a freed share can be had again");
        drop(shares);
        assert_eq!(budget.reserved(), 0);
    }

    #[test]
    fn too_small_a_budget_gives_nothing() {
        assert!(Budget::new(MIN_SHARE_BYTES - 1).reserve().is_none());
    }
}
