//! The memory of all native ranges of a worker: what was fetched and isn't acknowledged yet. It is counted by answers of brokers, as the
//! batches of one answer share its buffer.
//!
//! What was fetched for a broker of the target lies here until that has taken it. A broker that is slow, or dead, holds no more than is left
//! for all others: the first comes to hold half of it all, the next half of what that leaves, or together two of them hold a third each. What
//! is left keeps moving.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::futures::Notified;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// What is counted together, bytes.
const UNIT: usize = 1024;
/// A fetch asks for no less, bytes: below that its costs outweigh what it brings.
const LEAST: usize = 64 << 10;

/// A bound that fetches wait for.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    free: Arc<Semaphore>,
    /// Word that something was given back.
    freed: Arc<Notify>,
    /// Of what isn't known yet who is to take it.
    nobody: Arc<Taker>,
}

/// Who is to take what was fetched: one broker of the target.
#[derive(Debug, Default)]
pub(crate) struct Taker {
    /// Bytes of the answers in which something lies that it hasn't taken.
    holds: AtomicUsize,
}

/// A part of the bound, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    permit: OwnedSemaphorePermit,
    /// Dropped after what it tells of.
    freed: Freed,
}

/// An answer in which something lies for a taker, until all of that is taken.
#[derive(Debug)]
pub(crate) struct Kept {
    taker: Arc<Taker>,
    bytes: usize,
    share: Arc<Share>,
}

#[derive(Debug, Clone)]
struct Freed(Arc<Notify>);

impl Drop for Freed {
    fn drop(&mut self) {
        self.0.notify_waiters();
    }
}

impl Memory {
    pub(super) fn new(bytes: u64) -> Self {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).clamp(LEAST, Semaphore::MAX_PERMITS / 2);
        let free = Arc::new(Semaphore::new(bytes / UNIT));
        Self { free, freed: Arc::default(), nobody: Arc::default() }
    }

    /// Up to `most` bytes: never more than half of what is left, so that no fetch holds up the others.
    pub(crate) async fn share(&self, most: usize) -> Share {
        let wanted = most.min(self.left() / 2).max(LEAST);
        let units = u32::try_from(wanted / UNIT).unwrap_or(u32::MAX);
        let permit = self.free.clone().acquire_many_owned(units).await;
        let permit = permit.expect("this semaphore is never closed");
        Share { permit, freed: Freed(self.freed.clone()) }
    }

    /// Of what isn't known yet who is to take it.
    pub(crate) fn nobody(&self) -> Arc<Taker> {
        self.nobody.clone()
    }

    /// Whether more may be fetched for a taker, or of an answer that lies in `share` be kept for it.
    pub(crate) fn is_open_to(&self, taker: &Taker, share: Option<&Share>) -> bool {
        taker.holds.load(Ordering::SeqCst) <= self.left() + share.map_or(0, Share::bytes)
    }

    /// Waits for the next time that something is given back. To be enabled before what it waits for is looked at.
    pub(crate) fn freed(&self) -> Notified<'_> {
        self.freed.notified()
    }

    /// Bytes that nobody holds.
    fn left(&self) -> usize {
        self.free.available_permits() * UNIT
    }
}

impl Share {
    pub(crate) fn bytes(&self) -> usize {
        self.permit.num_permits() * UNIT
    }

    /// Keeps what an answer of so many bytes takes. One that came larger, for a single batch that was, counts as what was asked for.
    pub(crate) fn keep(&mut self, bytes: usize) {
        let spare = self.permit.num_permits().saturating_sub(bytes.div_ceil(UNIT));
        drop(self.permit.split(spare));
    }
}

impl Kept {
    pub(crate) fn new(share: &Arc<Share>, taker: &Arc<Taker>) -> Self {
        let bytes = share.bytes();
        taker.holds.fetch_add(bytes, Ordering::SeqCst);
        Self { taker: taker.clone(), bytes, share: share.clone() }
    }

    pub(crate) fn is_for(&self, taker: &Arc<Taker>) -> bool {
        Arc::ptr_eq(&self.taker, taker)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.taker.holds.fetch_sub(self.bytes, Ordering::SeqCst);
        self.share.freed.0.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[tokio::test(start_paused = true)]
    async fn what_is_not_used_is_given_back_and_the_rest_when_it_is_dropped() {
        let memory = Memory::new(8 << 20);
        let mut share = memory.share(6 * MIB).await;
        assert_eq!(share.bytes(), 4 * MIB, "half of it all");
        share.keep(100_000);
        assert_eq!(memory.left(), 8 * MIB - 98 * UNIT);
        drop(share);
        assert_eq!(memory.left(), 8 * MIB);
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_when_little_is_left_gets_less_and_then_waits() {
        let memory = Memory::new(256 << 10);
        let mut held = Vec::new();
        for bytes in [128 << 10, LEAST, LEAST] {
            held.push(memory.share(MIB).await);
            assert_eq!(held[held.len() - 1].bytes(), bytes);
        }
        let waiting = memory.share(MIB);
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        held.pop();
        assert_eq!(waiting.await.bytes(), LEAST);
    }

    /// As fetches do, until nothing more may be fetched for it.
    async fn fill(memory: &Memory, taker: &Arc<Taker>) -> Vec<Kept> {
        let mut kept = Vec::new();
        while memory.is_open_to(taker, None) {
            let share = Arc::new(memory.share(2 * MIB).await);
            assert!(memory.is_open_to(taker, Some(&share)), "what may be asked for may be kept");
            kept.push(Kept::new(&share, taker));
        }
        kept
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_leaves_something_for_the_others() {
        let memory = Memory::new(64 << 20);
        let takers: Vec<Arc<Taker>> = (0..4).map(|_| Arc::default()).collect();
        let mut dead = fill(&memory, &takers[0]).await;
        assert!((24 * MIB..=32 * MIB).contains(&memory.left()), "{} are left", memory.left());
        dead.extend(fill(&memory, &takers[1]).await);
        dead.extend(fill(&memory, &takers[2]).await);
        assert!(memory.left() >= 5 * MIB, "{} are left", memory.left());
        assert!(memory.is_open_to(&takers[3], None), "what is quick goes on");
        drop(dead);
        assert_eq!(memory.left(), 64 * MIB);
        assert!(takers.iter().all(|taker| memory.is_open_to(taker, None)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_held_until_all_have_taken_what_is_theirs() {
        let memory = Memory::new(64 << 20);
        let (quick, slow) = (Arc::<Taker>::default(), Arc::<Taker>::default());
        let share = Arc::new(memory.share(MIB).await);
        let kept = [&quick, &slow].map(|taker| Kept::new(&share, taker));
        drop(share);
        let [of_quick, of_slow] = kept;
        assert!(of_quick.is_for(&quick) && !of_quick.is_for(&slow));
        let freed = memory.freed();
        tokio::pin!(freed);
        freed.as_mut().enable();
        drop(of_quick);
        freed.await;
        assert_eq!(quick.holds.load(Ordering::SeqCst), 0);
        assert_eq!((slow.holds.load(Ordering::SeqCst), memory.left()), (MIB, 63 * MIB));
        drop(of_slow);
        assert_eq!(memory.left(), 64 * MIB);
    }
}
