//! Takes what the store says as it comes, whether the client reads or not: all watches of a replica share its connection to
//! the store, and one that isn't read would hold back the others, and the lease of the leader. A client that is slower than
//! what its buffer holds is told so; it resumes where it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use twinlog_proto::reason::Reason;

use crate::catalog::store_failed;
use crate::refusal::Refusal;
use crate::store::{Event, StoreError, Watch, WatchBatch};

/// Batches that wait for one client at most, and bytes.
const MAX_BATCHES: usize = 1_024;
const MAX_BYTES: usize = 4 << 20;
/// Bytes that wait for all clients of a replica together.
pub(in crate::api) const MAX_BYTES_IN_ALL: usize = 64 << 20;

/// The client's end.
pub(super) struct Drained {
    batches: mpsc::Receiver<(Result<WatchBatch, StoreError>, OwnedSemaphorePermit)>,
    waiting: Arc<AtomicUsize>,
    too_slow: Arc<AtomicBool>,
}

/// Reads the watch to its end, or until the client is gone or too slow.
/// `room`: bytes that all clients' batches may take.
pub(super) fn drain(mut changes: Watch, room: Arc<Semaphore>) -> Drained {
    let (sender, batches) = mpsc::channel(MAX_BATCHES);
    let waiting = Arc::new(AtomicUsize::new(0));
    let too_slow = Arc::new(AtomicBool::new(false));
    let (bytes_waiting, slow) = (waiting.clone(), too_slow.clone());
    tokio::spawn(async move {
        loop {
            let next = tokio::select! {
                biased;
                () = sender.closed() => return,
                next = changes.next() => next,
            };
            let Some(next) = next else { return };
            let bytes = next.as_ref().map_or(0, bytes_of);
            let fits = bytes_waiting.fetch_add(bytes, Ordering::AcqRel) + bytes <= MAX_BYTES;
            let units = u32::try_from(bytes).unwrap_or(u32::MAX);
            let permit = room.clone().try_acquire_many_owned(units).ok().filter(|_| fits);
            let Some(permit) = permit else { return slow.store(true, Ordering::Release) };
            if sender.try_send((next, permit)).is_err() {
                return slow.store(true, Ordering::Release);
            }
        }
    });
    Drained { batches, waiting, too_slow }
}

impl Drained {
    /// The next batch. WATCH_TOO_SLOW, STORE_UNAVAILABLE and what else the store says.
    pub(super) async fn next(&mut self) -> Result<WatchBatch, Refusal> {
        match self.batches.recv().await {
            Some((Ok(batch), _)) => {
                self.waiting.fetch_sub(bytes_of(&batch), Ordering::AcqRel);
                Ok(batch)
            }
            Some((Err(error), _)) => Err(store_failed(error)),
            None if self.too_slow.load(Ordering::Acquire) => {
                let message = "changes came faster than this watch was read, and what waits for one client has a bound: \
                               resume it from the last revision that you saw";
                Err(Refusal::new(Reason::WATCH_TOO_SLOW, message, &[]))
            }
            None => Err(Refusal::new(Reason::STORE_UNAVAILABLE, "the watch ended: resume it", &[])),
        }
    }
}

fn bytes_of(batch: &WatchBatch) -> usize {
    let bytes = |event: &Event| match event {
        Event::Put(entry) => entry.key.len() + entry.value.len(),
        Event::Deleted { key, .. } => key.len(),
    };
    batch.events.iter().map(bytes).sum()
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;
    use crate::store::Entry;

    fn batch(revision: i64, bytes: usize) -> Result<WatchBatch, StoreError> {
        let value = vec![0; bytes].into();
        let entry = Entry { key: String::new(), value, create_revision: revision, mod_revision: revision };
        Ok(WatchBatch { revision, events: vec![Event::Put(entry)] })
    }

    fn watch(count: i64, bytes: usize) -> (Watch, Arc<AtomicUsize>) {
        let taken = Arc::new(AtomicUsize::new(0));
        let count_taken = taken.clone();
        let batches = stream::iter(1..=count).map(move |revision| {
            count_taken.fetch_add(1, Ordering::SeqCst);
            batch(revision, bytes)
        });
        (batches.chain(stream::pending()).boxed(), taken)
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_holds_nothing_back_and_is_told() {
        let (changes, taken) = watch(10_000, 60_000);
        let room = Arc::new(Semaphore::new(MAX_BYTES_IN_ALL));
        let mut drained = drain(changes, room.clone());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert!(taken.load(Ordering::SeqCst) <= 71, "what waits is bounded by bytes");
        assert_eq!(room.available_permits(), MAX_BYTES_IN_ALL - 69 * 60_000);
        for revision in 1..=69 {
            assert_eq!(
                drained.next().await.unwrap().revision,
                revision,
                "what waited is still there, in order"
            );
        }
        let end = drained.next().await.unwrap_err();
        assert_eq!(end.reason.as_str(), "WATCH_TOO_SLOW");
    }

    #[tokio::test]
    async fn a_client_that_reads_gets_everything_however_large() {
        let room = Arc::new(Semaphore::new(3_000_000));
        for _ in 0..10 {
            let (changes, _) = watch(10, 300_000);
            let mut drained = drain(changes, room.clone());
            for revision in 1..=10 {
                assert_eq!(drained.next().await.unwrap().revision, revision);
            }
        }
    }
}
