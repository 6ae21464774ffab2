//! The memory of all native ranges of a worker: what was fetched and isn't acknowledged yet. It is counted by answers of brokers, as the
//! batches of one answer share its buffer.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is counted together, bytes.
const UNIT: usize = 1024;
/// A fetch asks for no less, bytes: below that its costs outweigh what it brings.
const LEAST: usize = 64 << 10;

/// A bound that fetches wait for.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    free: Arc<Semaphore>,
    bytes: usize,
}

/// A part of the bound, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share(OwnedSemaphorePermit);

impl Memory {
    pub(super) fn new(bytes: u64) -> Self {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).clamp(LEAST, Semaphore::MAX_PERMITS / 2);
        Self { free: Arc::new(Semaphore::new(bytes / UNIT)), bytes }
    }

    /// Up to `most` bytes: less where little is left, and never more than a quarter of it all, so that no fetch holds up the others.
    pub(crate) async fn share(&self, most: usize) -> Share {
        let left = self.free.available_permits() * UNIT;
        let wanted = most.min(left / 2).min(self.bytes / 4).max(LEAST);
        let units = u32::try_from(wanted / UNIT).unwrap_or(u32::MAX);
        let permit = self.free.clone().acquire_many_owned(units).await;
        Share(permit.expect("this semaphore is never closed"))
    }

    /// Bytes that are held now.
    #[cfg(test)]
    fn held(&self) -> usize {
        self.bytes.saturating_sub(self.free.available_permits() * UNIT)
    }
}

impl Share {
    pub(crate) fn bytes(&self) -> usize {
        self.0.num_permits() * UNIT
    }

    /// Keeps what an answer of so many bytes takes. One that came larger, for a single batch that was, counts as what was asked for.
    pub(crate) fn keep(&mut self, bytes: usize) {
        let spare = self.0.num_permits().saturating_sub(bytes.div_ceil(UNIT));
        drop(self.0.split(spare));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_not_used_is_given_back_and_the_rest_when_it_is_dropped() {
        let memory = Memory::new(8 << 20);
        let mut share = memory.share(4 << 20).await;
        assert_eq!(share.bytes(), 2 << 20, "a quarter of it all");
        share.keep(100_000);
        assert_eq!(memory.held(), 98 * UNIT);
        drop(share);
        assert_eq!(memory.held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_when_little_is_left_gets_less_and_then_waits() {
        let memory = Memory::new(256 << 10);
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(memory.share(1 << 20).await);
        }
        let waiting = memory.share(1 << 20);
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        held.pop();
        assert_eq!(waiting.await.bytes(), LEAST);
    }
}
