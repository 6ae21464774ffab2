//! One connection to one broker of the source, over which all ranges fetch the partitions that it leads. Each partition goes on by
//! itself as long as its range takes what comes; one whose range is behind is left out meanwhile.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::news::News;
use crate::budget::{Memory, Share};
use crate::kafka::{
    BatchHeader, FetchLink, From, KafkaClient, KafkaError, Part, Piece, Refusal, Spot, Terms,
};

/// A broker answers after this time where there is nothing new; a partition that joins waits no longer.
const MAX_WAIT: Duration = Duration::from_millis(100);
/// One answer, bytes.
const MAX_BYTES: usize = 8 << 20;
/// An answer that brought less, bytes, ...
const LITTLE: usize = 64 << 10;
/// ... is followed by the next no sooner than so long after it was asked for: what producers write meanwhile comes together, and costs once
/// what each answer costs. Where less is written nobody waits for this.
const GATHERED: Duration = Duration::from_millis(1);
/// A connection that nobody needs is closed after this time.
const LINGER: Duration = Duration::from_secs(30);
/// Pieces of one partition that wait for its range.
const PIECES: usize = 3;
/// What a range is told of one partition, at most, before it has taken some of it: pieces, and that there will be no more.
pub(super) const DELIVERIES: usize = PIECES + 1;

/// Who is fetched from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Peer {
    pub(super) broker: i32,
    /// It is told the reader's rack: where it leads a partition that has a replica there, it names that one instead of giving records.
    pub(super) near: bool,
}

impl Peer {
    fn rack(self, client: &KafkaClient) -> String {
        if self.near { client.rack().to_owned() } else { String::new() }
    }
}

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
    fn new(limit: usize, news: Arc<Notify>) -> Self {
        Self {
            queued: AtomicUsize::new(0),
            limit,
            waiting: AtomicUsize::new(0),
            paused: AtomicBool::new(false),
            throttled: AtomicU32::new(0),
            news,
        }
    }

    /// The range keeps so many bytes.
    pub(super) fn keeps(&self, bytes: usize) {
        self.queued.fetch_add(bytes, Ordering::SeqCst);
    }

    /// The range is done with so many bytes.
    pub(super) fn done(&self, bytes: usize) {
        self.queued.fetch_sub(bytes, Ordering::SeqCst);
        self.goes_on();
    }

    /// The range has taken a piece.
    pub(super) fn taken(&self) {
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        self.goes_on();
    }

    fn goes_on(&self) {
        if self.has_room() && self.paused.swap(false, Ordering::SeqCst) {
            self.news.notify_one();
        }
    }

    fn has_room(&self) -> bool {
        self.queued.load(Ordering::SeqCst) < self.limit && self.waiting.load(Ordering::SeqCst) < PIECES
    }

    /// The longest that a quota has held answers back since this was asked last.
    pub(super) fn take_throttled(&self) -> Option<Duration> {
        let ms = self.throttled.swap(0, Ordering::Relaxed);
        (ms > 0).then(|| Duration::from_millis(u64::from(ms)))
    }

    /// Whether one more answer may be asked for. If not, word comes when it may.
    fn is_open(&self) -> bool {
        if self.has_room() {
            return true;
        }
        self.paused.store(true, Ordering::SeqCst);
        // It may have been done with meanwhile.
        self.has_room()
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
    /// Dropped after what it tells of.
    news: News,
}

impl Fetcher {
    pub(super) fn start(client: KafkaClient, peer: Peer, memory: Memory) -> Self {
        let (wanted, news) = (Arc::<Wanted>::default(), Arc::<Notify>::default());
        let life = Life { client, peer, memory, wanted: Arc::downgrade(&wanted), news: news.clone() };
        tokio::spawn(life.live());
        Self { wanted, news: News(news) }
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
        let flow = Arc::new(Flow::new(limit, self.news.0.clone()));
        let subscription =
            Subscription { slot, from, flow: flow.clone(), deliver: deliver.clone(), ends: (-1, -1) };
        wanted.insert(spot.clone(), subscription);
        drop(wanted);
        self.news.0.notify_one();
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

/// The task behind it.
struct Life {
    client: KafkaClient,
    peer: Peer,
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
        positions: Vec<(Spot, From)>,
    ) -> Result<(), KafkaError> {
        if link.as_ref().is_some_and(|link| !link.is_authenticated()) {
            *link = None;
        }
        let link = match link {
            Some(link) => link,
            None => link.insert(self.client.fetch_link(self.peer.broker).await?),
        };
        let mut share = self.memory.share(MAX_BYTES).await;
        let terms = Terms {
            max_wait_ms: MAX_WAIT.as_millis() as i32,
            min_bytes: 1,
            max_bytes: i32::try_from(share.bytes()).unwrap_or(i32::MAX),
            rack: self.peer.rack(&self.client),
        };
        let asked = Instant::now();
        let fetched = link.fetch(positions, &terms).await?;
        share.keep(fetched.bytes);
        if let Some(wanted) = self.wanted.upgrade() {
            let share = Arc::new(share);
            fetched.parts.into_iter().for_each(|part| deliver(&wanted, part, &share, fetched.throttle));
        }
        if !fetched.throttle.is_zero() {
            // The broker reads nothing until then anyway.
            sleep(fetched.throttle).await;
        } else if fetched.bytes < LITTLE {
            sleep_until(asked + GATHERED).await;
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
fn positions(wanted: &Wanted) -> Vec<(Spot, From)> {
    let mut wanted = wanted.lock();
    wanted.retain(|_, subscription| !subscription.deliver.is_closed());
    let open = wanted.iter().filter(|(_, subscription)| subscription.flow.is_open());
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
    fn tell(self, what: What) {
        // There is room for it, and whoever doesn't listen any more has no need of it.
        let _ = self.deliver.try_send(Delivery { slot: self.slot, flow: self.flow, what });
    }

    fn piece(&mut self, piece: Piece, share: &Arc<Share>) {
        let ends = (piece.high_watermark, piece.last_stable_offset);
        let (next, epoch) = follow(&piece.records, self.from);
        if piece.records.is_empty() && ends == self.ends {
            return;
        }
        let bytes = piece.records.len();
        let flow = self.flow.clone();
        flow.keeps(bytes);
        flow.waiting.fetch_add(1, Ordering::SeqCst);
        let delivery = Delivery { slot: self.slot, flow, what: What::Piece(piece, share.clone()) };
        // There is room for it, unless the range has ended.
        if self.deliver.try_send(delivery).is_err() {
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;
    use crate::budget::Budget;

    fn subscription(slot: u16, deliver: &mpsc::Sender<Delivery>, news: &Arc<Notify>) -> Subscription {
        let from = From { topic_id: Uuid::nil(), offset: 0, leader_epoch: -1, last_epoch: -1, max_bytes: 1 };
        let flow = Arc::new(Flow::new(1000, news.clone()));
        Subscription { slot, from, flow, deliver: deliver.clone(), ends: (-1, -1) }
    }

    fn piece(high_watermark: i64) -> Piece {
        Piece {
            records: Bytes::new(),
            aborted: Vec::new(),
            high_watermark,
            last_stable_offset: high_watermark,
        }
    }

    async fn share() -> Arc<Share> {
        Arc::new(Budget::new(64 << 20).shared().share(1000).await)
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_always_room_for_the_word_that_nothing_more_comes() {
        let (news, share) = (Arc::<Notify>::default(), share().await);
        let (deliver, mut deliveries) = mpsc::channel(2 * DELIVERIES);
        for slot in [0, 1] {
            let mut one = subscription(slot, &deliver, &news);
            let mut asked = 0;
            while one.flow.is_open() {
                asked += 1;
                one.piece(piece(asked), &share);
            }
            one.tell(What::Away(KafkaError::retriable(
                twinlog_proto::reason::Reason::CLUSTER_UNREACHABLE,
                String::new(),
            )));
        }
        let mut told = Vec::new();
        while let Ok(delivery) = deliveries.try_recv() {
            told.extend(matches!(delivery.what, What::Away(_)).then_some(delivery.slot));
        }
        assert_eq!(told, [0, 1], "though the range took nothing meanwhile");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_was_left_out_is_heard_of_when_its_range_has_taken_some() {
        let (news, share) = (Arc::<Notify>::default(), share().await);
        let (deliver, mut deliveries) = mpsc::channel(DELIVERIES);
        let mut one = subscription(0, &deliver, &news);
        (0..PIECES as i64).for_each(|at| one.piece(piece(at), &share));
        assert!(!one.flow.is_open());
        deliveries.recv().await.unwrap().flow.taken();
        timeout(Duration::from_secs(1), news.notified()).await.expect("it may go on");
        assert!(one.flow.is_open());
        // The same with bytes.
        one.flow.keeps(1000);
        assert!(!one.flow.is_open());
        one.flow.done(1);
        timeout(Duration::from_secs(1), news.notified()).await.expect("it may go on");
    }
}
