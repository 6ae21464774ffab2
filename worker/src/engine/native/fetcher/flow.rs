//! How far a range is with what it was given of one partition, and whether more of it may be asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// Pieces of one partition that wait for its range.
pub(super) const PIECES: usize = 3;

/// How far a range is with what it was given of one partition.
#[derive(Debug)]
pub(in crate::engine::native) struct Flow {
    queued: AtomicUsize,
    /// As much may be queued, bytes, or as much as one answer brings, where that is more; one answer goes beyond it.
    limit: AtomicUsize,
    /// Pieces that the range hasn't taken yet.
    waiting: AtomicUsize,
    /// Said before the numbers are looked at for the last time, and asked after they have changed: neither side may see these in another
    /// order, or the fetcher would wait for a word that nobody gives.
    paused: AtomicBool,
    /// The longest that the broker held answers back, milliseconds.
    throttled: AtomicU32,
    news: Arc<Notify>,
}

impl Flow {
    pub(super) fn new(limit: usize, news: Arc<Notify>) -> Self {
        Self {
            queued: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
            waiting: AtomicUsize::new(0),
            paused: AtomicBool::new(false),
            throttled: AtomicU32::new(0),
            news,
        }
    }

    /// The range keeps so many bytes.
    pub(in crate::engine::native) fn keeps(&self, bytes: usize) {
        self.queued.fetch_add(bytes, Ordering::SeqCst);
    }

    /// The range is given a piece of so many bytes.
    pub(super) fn given(&self, bytes: usize) {
        self.keeps(bytes);
        self.waiting.fetch_add(1, Ordering::SeqCst);
    }

    /// So many bytes may be queued from now on.
    pub(super) fn may_queue(&self, bytes: usize) {
        self.limit.store(bytes, Ordering::SeqCst);
    }

    /// The range is done with so many bytes.
    pub(in crate::engine::native) fn done(&self, bytes: usize) {
        self.queued.fetch_sub(bytes, Ordering::SeqCst);
        self.goes_on();
    }

    /// The range has taken a piece.
    pub(in crate::engine::native) fn taken(&self) {
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        self.goes_on();
    }

    fn goes_on(&self) {
        if self.has_room() && self.paused.swap(false, Ordering::SeqCst) {
            self.news.notify_one();
        }
    }

    fn has_room(&self) -> bool {
        self.queued.load(Ordering::SeqCst) < self.limit.load(Ordering::SeqCst)
            && self.waiting.load(Ordering::SeqCst) < PIECES
    }

    /// A quota has held an answer back.
    pub(super) fn throttled(&self, by: Duration) {
        let ms = u32::try_from(by.as_millis()).unwrap_or(u32::MAX);
        self.throttled.fetch_max(ms, Ordering::Relaxed);
    }

    /// The longest that a quota has held answers back since this was asked last.
    pub(in crate::engine::native) fn take_throttled(&self) -> Option<Duration> {
        let ms = self.throttled.swap(0, Ordering::Relaxed);
        (ms > 0).then(|| Duration::from_millis(u64::from(ms)))
    }

    /// Whether one more answer may be asked for. If not, word comes when it may.
    pub(super) fn is_open(&self) -> bool {
        if self.has_room() {
            return true;
        }
        self.paused.store(true, Ordering::SeqCst);
        // It may have been done with meanwhile.
        self.has_room()
    }
}
