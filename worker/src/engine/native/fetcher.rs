//! One connection to one broker of the source, over which all ranges fetch the partitions that it leads. Each partition goes on by
//! itself as long as its range takes what comes; one whose range is behind is left out meanwhile.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

use crate::budget::{Memory, Share};
use crate::kafka::{
    BatchHeader, FetchLink, From, KafkaClient, KafkaError, Part, Piece, Refusal, Spot, Terms,
};

/// A broker answers after this time where there is nothing new; a partition that joins waits no longer.
const MAX_WAIT: Duration = Duration::from_millis(100);
/// One answer, bytes.
const MAX_BYTES: usize = 8 << 20;
/// A connection that nobody needs is closed after this time.
const LINGER: Duration = Duration::from_secs(30);

/// Something for a range.
#[derive(Debug)]
pub(super) struct Delivery {
    /// The partition's number within the range.
    pub(super) slot: u16,
    /// Of the subscription that it came over: what a former one brings late doesn't count.
    pub(super) flow: Arc<Flow>,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// A piece of the log, and the memory that it lies in.
    Piece(Piece, Arc<Share>),
    /// The broker doesn't serve the partition: it is not fetched any more.
    Refused(Refusal),
    /// The broker can't be used: nothing is fetched from it any more.
    Away(KafkaError),
}

/// How far a range is with what it was given of one partition.
#[derive(Debug)]
pub(super) struct Flow {
    queued: AtomicUsize,
    /// As much may be queued, bytes; one answer goes beyond it.
    limit: usize,
    paused: AtomicBool,
    /// The longest that the broker held answers back, milliseconds.
    throttled: AtomicU32,
    news: Arc<Notify>,
}

impl Flow {
    /// The range keeps so many bytes.
    pub(super) fn keeps(&self, bytes: usize) {
        self.queued.fetch_add(bytes, Ordering::AcqRel);
    }

    /// The range is done with so many bytes.
    pub(super) fn done(&self, bytes: usize) {
        let before = self.queued.fetch_sub(bytes, Ordering::AcqRel);
        if before - bytes < self.limit && self.paused.swap(false, Ordering::AcqRel) {
            self.news.notify_one();
        }
    }

    /// The longest that a quota has held answers back since this was asked last.
    pub(super) fn take_throttled(&self) -> Option<Duration> {
        let ms = self.throttled.swap(0, Ordering::Relaxed);
        (ms > 0).then(|| Duration::from_millis(u64::from(ms)))
    }

    /// Whether one more answer may be asked for.
    fn is_open(&self) -> bool {
        let open = self.queued.load(Ordering::Acquire) < self.limit;
        if open {
            return true;
        }
        self.paused.store(true, Ordering::Release);
        // It may have been done with meanwhile.
        self.queued.load(Ordering::Acquire) < self.limit
    }
}

struct Subscription {
    slot: u16,
    from: From,
    flow: Arc<Flow>,
    deliver: mpsc::Sender<Delivery>,
    /// High watermark and last stable offset as they were told last.
    ends: (i64, i64),
}

/// The partitions that are fetched over the connection.
#[derive(Default)]
struct Wanted(Mutex<BTreeMap<Spot, Subscription>>);

impl Wanted {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Spot, Subscription>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What ranges hold of it. The connection lives as long as somebody holds this.
pub(super) struct Fetcher {
    wanted: Arc<Wanted>,
    news: Arc<Notify>,
}

impl Fetcher {
    pub(super) fn start(client: KafkaClient, broker: i32, memory: Memory) -> Self {
        let (wanted, news) = (Arc::<Wanted>::default(), Arc::<Notify>::default());
        let life = Life { client, broker, memory, wanted: Arc::downgrade(&wanted), news: news.clone() };
        tokio::spawn(life.live());
        Self { wanted, news }
    }

    /// Fetches a partition for a range from here on. `None`: it is fetched over this connection already, for another range.
    pub(super) fn subscribe(
        &self,
        spot: &Spot,
        (slot, from): (u16, From),
        limit: usize,
        deliver: &mpsc::Sender<Delivery>,
    ) -> Option<Arc<Flow>> {
        let mut wanted = self.wanted.lock();
        if wanted.contains_key(spot) {
            return None;
        }
        let flow = Arc::new(Flow {
            queued: AtomicUsize::new(0),
            limit,
            paused: AtomicBool::new(false),
            throttled: AtomicU32::new(0),
            news: self.news.clone(),
        });
        let subscription =
            Subscription { slot, from, flow: flow.clone(), deliver: deliver.clone(), ends: (-1, -1) };
        wanted.insert(spot.clone(), subscription);
        drop(wanted);
        self.news.notify_one();
        Some(flow)
    }

    /// Nothing of the partition is fetched for this range any more. What has come already may still be delivered.
    pub(super) fn unsubscribe(&self, spot: &Spot, flow: &Arc<Flow>) {
        let mut wanted = self.wanted.lock();
        if wanted.get(spot).is_some_and(|subscription| Arc::ptr_eq(&subscription.flow, flow)) {
            wanted.remove(spot);
        }
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.news.notify_one();
    }
}

/// The task behind it.
struct Life {
    client: KafkaClient,
    broker: i32,
    memory: Memory,
    wanted: std::sync::Weak<Wanted>,
    news: Arc<Notify>,
}

impl Life {
    async fn live(self) {
        let mut link: Option<FetchLink> = None;
        while let Some(wanted) = self.wanted.upgrade() {
            let positions = positions(&wanted);
            drop(wanted);
            if positions.is_empty() {
                if timeout(LINGER, self.news.notified()).await.is_err() {
                    link = None;
                    self.news.notified().await;
                }
                continue;
            }
            if let Err(error) = self.round(&mut link, positions).await {
                link = None;
                self.away(&error);
            }
        }
    }

    /// One request and its answer.
    async fn round(
        &self,
        link: &mut Option<FetchLink>,
        positions: BTreeMap<Spot, From>,
    ) -> Result<(), KafkaError> {
        if link.as_ref().is_some_and(|link| !link.is_authenticated()) {
            *link = None;
        }
        let link = match link {
            Some(link) => link,
            None => link.insert(self.client.fetch_link(self.broker).await?),
        };
        let mut share = self.memory.share(MAX_BYTES).await;
        let terms = Terms {
            max_wait_ms: MAX_WAIT.as_millis() as i32,
            min_bytes: 1,
            max_bytes: i32::try_from(share.bytes()).unwrap_or(i32::MAX),
            rack: String::new(),
        };
        let fetched = link.fetch(positions, &terms).await?;
        share.keep(fetched.bytes);
        if let Some(wanted) = self.wanted.upgrade() {
            let share = Arc::new(share);
            fetched.parts.into_iter().for_each(|part| deliver(&wanted, part, &share, fetched.throttle));
        }
        if !fetched.throttle.is_zero() {
            // The broker reads nothing until then anyway.
            sleep(fetched.throttle).await;
        }
        Ok(())
    }

    fn away(&self, error: &KafkaError) {
        let Some(wanted) = self.wanted.upgrade() else { return };
        for (_, subscription) in std::mem::take(&mut *wanted.lock()) {
            subscription.tell(What::Away(error.clone()));
        }
    }
}

/// Where each partition goes on whose range takes more.
fn positions(wanted: &Wanted) -> BTreeMap<Spot, From> {
    let mut wanted = wanted.lock();
    wanted.retain(|_, subscription| !subscription.deliver.is_closed());
    let open = wanted.iter().filter(|(_, subscription)| subscription.takes_more());
    open.map(|(spot, subscription)| (spot.clone(), subscription.from)).collect()
}

fn deliver(wanted: &Wanted, part: Part, share: &Arc<Share>, throttle: Duration) {
    let mut wanted = wanted.lock();
    let Some(subscription) = wanted.get_mut(&part.spot) else { return };
    let throttle = u32::try_from(throttle.as_millis()).unwrap_or(u32::MAX);
    subscription.flow.throttled.fetch_max(throttle, Ordering::Relaxed);
    match part.outcome {
        Ok(piece) => subscription.piece(piece, share),
        Err(refusal) => {
            if let Some(subscription) = wanted.remove(&part.spot) {
                subscription.tell(What::Refused(refusal));
            }
        }
    }
}

impl Subscription {
    /// Room for another answer, and for the word that the partition can't be fetched.
    fn takes_more(&self) -> bool {
        let room = self.deliver.capacity() > 1;
        if !room {
            self.flow.paused.store(true, Ordering::Release);
        }
        self.flow.is_open() && room
    }

    fn tell(self, what: What) {
        // Whoever doesn't listen any more has no need of it.
        let _ = self.deliver.try_send(Delivery { slot: self.slot, flow: self.flow, what });
    }

    fn piece(&mut self, piece: Piece, share: &Arc<Share>) {
        let ends = (piece.high_watermark, piece.last_stable_offset);
        let (next, epoch) = follow(&piece.records, self.from);
        if piece.records.is_empty() && ends == self.ends {
            return;
        }
        let bytes = piece.records.len();
        let delivery =
            Delivery { slot: self.slot, flow: self.flow.clone(), what: What::Piece(piece, share.clone()) };
        self.flow.queued.fetch_add(bytes, Ordering::AcqRel);
        // Where the range is behind, the same is fetched again.
        if self.deliver.try_send(delivery).is_err() {
            self.flow.queued.fetch_sub(bytes, Ordering::AcqRel);
            self.flow.paused.store(true, Ordering::Release);
            return;
        }
        (self.ends, self.from.offset, self.from.last_epoch) = (ends, next, epoch);
    }
}

/// Where the log goes on behind these whole batches, and the epoch of the last. Old message formats are the range's business.
fn follow(records: &[u8], from: From) -> (i64, i32) {
    let (mut at, mut next, mut epoch) = (0, from.offset, from.last_epoch);
    while let Some(header) = records.get(at..).and_then(BatchHeader::parse) {
        let Some(size) = header.size().filter(|size| at + size <= records.len()) else { break };
        (next, epoch) = (next.max(header.last_offset().saturating_add(1)), header.leader_epoch);
        at += size;
    }
    (next, epoch)
}
