//! One connection to one broker of the source, over which all ranges fetch the partitions that it leads. Each partition goes on by
//! itself as long as its range takes what comes; one whose range is behind is left out meanwhile.

mod flow;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until, timeout};

pub(super) use self::flow::Flow;
use self::flow::PIECES;
use super::news::News;
use crate::budget::{Memory, Share};
use crate::kafka::{
    BatchHeader, Changes, FetchLink, From, KafkaClient, KafkaError, Part, Piece, Refusal, Spot, Terms,
};
use crate::source_ends::{EndsWatch, Pulse};

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

struct Subscription {
    slot: u16,
    from: From,
    flow: Arc<Flow>,
    deliver: mpsc::Sender<Delivery>,
    /// High watermark and last stable offset as they were told last.
    ends: (i64, i64),
    /// Nothing was asked for it yet. A broker that was asked for the same partition before says only what is new since.
    fresh: bool,
}

/// The partitions that are fetched over the connection.
#[derive(Default)]
struct Wanted {
    state: Mutex<State>,
    /// What is told of how partitions end.
    ends: EndsWatch,
    pulse: Arc<Pulse>,
}

#[derive(Default)]
struct State {
    of: BTreeMap<Spot, Subscription>,
    /// What the broker is asked for.
    asked: BTreeSet<Spot>,
    /// Of which the broker may have to hear something. Of the others nothing has changed, however many they are.
    touched: BTreeSet<Spot>,
}

impl Wanted {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The broker knows nothing of what was asked.
    fn begin_anew(&self) {
        let mut state = self.lock();
        let State { of, asked, touched } = &mut *state;
        std::mem::take(asked).iter().for_each(|spot| self.ends.untold(&spot.topic, spot.partition));
        touched.extend(of.keys().cloned());
    }

    /// Adds what the broker has to hear since this was asked last. False where nothing is wanted of it.
    fn changes(&self, changes: &mut Changes) -> bool {
        let mut state = self.lock();
        let State { of, asked, touched } = &mut *state;
        let mut leave = |spot: &Spot, asked: &mut BTreeSet<Spot>| {
            if asked.remove(spot) {
                self.ends.untold(&spot.topic, spot.partition);
                changes.insert(spot.clone(), None);
            }
        };
        let mut joined = Vec::new();
        touched.retain(|spot| {
            let Some(subscription) = of.get_mut(spot).filter(|one| !one.deliver.is_closed()) else {
                of.remove(spot);
                leave(spot, asked);
                return false;
            };
            let again = std::mem::take(&mut subscription.fresh) && asked.contains(spot);
            if again || !subscription.flow.is_open() {
                leave(spot, asked);
                return true;
            }
            asked.insert(spot.clone());
            joined.push((spot.clone(), Some(subscription.from)));
            false
        });
        changes.extend(joined);
        !asked.is_empty()
    }
}

impl State {
    fn remove(&mut self, spot: &Spot) -> Option<Subscription> {
        let removed = self.of.remove(spot);
        if removed.is_some() {
            self.touched.insert(spot.clone());
        }
        removed
    }
}

/// What ranges hold of it. The connection lives as long as somebody holds this.
pub(super) struct Fetcher {
    wanted: Arc<Wanted>,
    /// Dropped after what it tells of.
    news: News,
}

impl Fetcher {
    /// `ends`: whom it tells how partitions end.
    pub(super) fn start(client: KafkaClient, peer: Peer, memory: Memory, ends: EndsWatch) -> Self {
        let wanted = Arc::new(Wanted { ends, ..Wanted::default() });
        let news = Arc::<Notify>::default();
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
        if wanted.of.contains_key(spot) {
            return None;
        }
        let flow = Arc::new(Flow::new(limit, self.news.0.clone()));
        let (deliver, ends, fresh) = (deliver.clone(), (-1, -1), true);
        let subscription = Subscription { slot, from, flow: flow.clone(), deliver, ends, fresh };
        wanted.of.insert(spot.clone(), subscription);
        wanted.touched.insert(spot.clone());
        drop(wanted);
        self.news.0.notify_one();
        Some(flow)
    }

    /// Nothing of the partition is fetched for this range any more. What has come already may still be delivered.
    pub(super) fn unsubscribe(&self, spot: &Spot, flow: &Arc<Flow>) {
        let mut wanted = self.wanted.lock();
        if wanted.of.get(spot).is_some_and(|subscription| Arc::ptr_eq(&subscription.flow, flow)) {
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
        let (mut link, mut changes): (Option<FetchLink>, _) = (None, Changes::new());
        while let Some(wanted) = self.wanted.upgrade() {
            link = link.filter(FetchLink::is_authenticated);
            if link.is_none() {
                changes.clear();
                wanted.begin_anew();
            }
            let any = wanted.changes(&mut changes);
            drop(wanted);
            if !any {
                if timeout(LINGER, self.news.notified()).await.is_err() {
                    link = None;
                    self.news.notified().await;
                }
                continue;
            }
            if let Err(error) = self.round(&mut link, std::mem::take(&mut changes)).await {
                link = None;
                self.away(&error);
            }
        }
    }

    /// One request and its answer.
    async fn round(&self, link: &mut Option<FetchLink>, changes: Changes) -> Result<(), KafkaError> {
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
        let fetched = link.fetch(changes, &terms).await?;
        share.keep(fetched.bytes);
        if let Some(wanted) = self.wanted.upgrade() {
            let share = Arc::new(share);
            wanted.pulse.beat();
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
        let all = std::mem::take(&mut wanted.lock().of);
        for (_, subscription) in all {
            subscription.tell(What::Away(error.clone()));
        }
    }
}

fn deliver(all: &Wanted, part: Part, share: &Arc<Share>, throttle: Duration) {
    let mut wanted = all.lock();
    let Some(subscription) = wanted.of.get_mut(&part.spot) else { return };
    subscription.flow.throttled(throttle);
    match part.outcome {
        Ok(piece) => {
            let Spot { topic, partition } = &part.spot;
            let ends = (piece.high_watermark, piece.last_stable_offset);
            all.ends.told((topic, *partition), ends, &all.pulse);
            subscription.piece(piece, share);
            wanted.touched.insert(part.spot);
        }
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
        flow.given(bytes);
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
        Subscription { slot, from, flow, deliver: deliver.clone(), ends: (-1, -1), fresh: true }
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
    async fn the_broker_hears_only_of_what_has_changed() {
        let (news, share) = (Arc::<Notify>::default(), share().await);
        let (deliver, mut deliveries) = mpsc::channel(4 * DELIVERIES);
        let spot = |partition| Spot { topic: Arc::from("t"), partition };
        let fetcher = Fetcher { wanted: Arc::default(), news: News(news) };
        let subscribe = |partition, offset| {
            let from = subscription(0, &deliver, &Arc::default()).from;
            let start = (0, From { offset, ..from });
            fetcher.subscribe(&spot(partition), start, 1000, &deliver).expect("nobody else has it")
        };
        let said = || {
            let mut changes = Changes::new();
            let any = fetcher.wanted.changes(&mut changes);
            let offset = |from: Option<From>| from.map(|from| from.offset);
            let said = changes.into_iter().map(|(spot, from)| (spot.partition, offset(from)));
            (any, said.collect::<Vec<_>>())
        };
        let flows = [subscribe(0, 5), subscribe(1, 7)];
        assert_eq!(said(), (true, vec![(0, Some(5)), (1, Some(7))]));
        assert_eq!(said(), (true, vec![]));
        // One that its range takes no more of is left out until it does.
        let part = |high| Part { spot: spot(0), outcome: Ok(piece(high)) };
        (1..=PIECES as i64)
            .for_each(|high| super::deliver(&fetcher.wanted, part(high), &share, Duration::ZERO));
        assert_eq!(said(), (true, vec![(0, None)]));
        assert_eq!(said(), (true, vec![]));
        deliveries.recv().await.unwrap().flow.taken();
        assert_eq!(said(), (true, vec![(0, Some(5))]));
        // Who comes anew for the same partition shall hear of its ends, though the broker has said them.
        fetcher.unsubscribe(&spot(1), &flows[1]);
        let _again = subscribe(1, 7);
        assert_eq!(said(), (true, vec![(1, None)]));
        assert_eq!(said(), (true, vec![(1, Some(7))]));
        fetcher.unsubscribe(&spot(0), &flows[0]);
        fetcher.wanted.begin_anew();
        assert_eq!(said(), (true, vec![(1, Some(7))]));
        drop((deliver, deliveries));
        fetcher.wanted.begin_anew();
        assert_eq!(said(), (false, vec![]));
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
