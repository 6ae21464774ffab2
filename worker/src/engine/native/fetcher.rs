//! One connection to one broker of the source, over which all ranges fetch the partitions that it leads. Each partition goes on by
//! itself as long as its range takes what comes; one whose range is behind is left out meanwhile.

mod flow;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until};

pub(super) use self::flow::Flow;
use self::flow::PIECES;
use super::news::News;
use super::pace::{Answer, Pace};
use crate::budget::{Kept, Memory, Share, Taker};
use crate::kafka::{
    BatchHeader, Changes, FetchLink, Fetched, From, KafkaClient, KafkaError, Part, Piece, Refusal, Spot,
    Terms,
};
use crate::source_ends::{EndsWatch, Pulse};

/// A broker answers after this time where there is nothing new; a partition that joins waits no longer.
const MAX_WAIT: Duration = Duration::from_millis(100);
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
    Piece(Piece, Arc<Kept>),
    /// The broker doesn't serve the partition: it is not fetched any more.
    Refused(Refusal),
    /// The broker can't be used: nothing is fetched from it any more.
    Away(KafkaError),
}

struct Subscription {
    slot: u16,
    from: From,
    flow: Arc<Flow>,
    /// What may be queued in any case, bytes.
    queue: usize,
    /// Who is to take what comes.
    taker: Arc<Taker>,
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

    /// Adds what the broker has to hear since this was asked last.
    fn changes(&self, memory: &Memory, changes: &mut Changes) -> Asking {
        let mut state = self.lock();
        let State { of, asked, touched } = &mut *state;
        let mut leave = |spot: &Spot, asked: &mut BTreeSet<Spot>| {
            if asked.remove(spot) {
                self.ends.untold(&spot.topic, spot.partition);
                changes.insert(spot.clone(), None);
            }
        };
        let (mut joined, mut held_back) = (Vec::new(), false);
        touched.retain(|spot| {
            let Some(subscription) = of.get_mut(spot).filter(|one| !one.deliver.is_closed()) else {
                of.remove(spot);
                leave(spot, asked);
                return false;
            };
            let again = std::mem::take(&mut subscription.fresh) && asked.contains(spot);
            let is_open = subscription.flow.is_open();
            let held = is_open && !memory.is_open_to(&subscription.taker, None);
            held_back |= held;
            if again || held || !is_open {
                leave(spot, asked);
                return true;
            }
            asked.insert(spot.clone());
            joined.push((spot.clone(), Some(subscription.from)));
            false
        });
        changes.extend(joined);
        Asking { something: !asked.is_empty(), held_back }
    }
}

/// What the broker is asked for now.
#[derive(Debug, PartialEq, Eq)]
struct Asking {
    something: bool,
    /// There are partitions that it isn't asked for, because who takes them has had too much.
    held_back: bool,
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
        (taker, limit): (&Arc<Taker>, usize),
        deliver: &mpsc::Sender<Delivery>,
    ) -> Option<Arc<Flow>> {
        let mut wanted = self.wanted.lock();
        if wanted.of.contains_key(spot) {
            return None;
        }
        let flow = Arc::new(Flow::new(limit, self.news.0.clone()));
        let (flow_of, taker, deliver) = (flow.clone(), taker.clone(), deliver.clone());
        let (queue, ends, fresh) = (limit, (-1, -1), true);
        let subscription = Subscription { slot, from, flow: flow_of, queue, taker, deliver, ends, fresh };
        wanted.of.insert(spot.clone(), subscription);
        wanted.touched.insert(spot.clone());
        drop(wanted);
        self.news.0.notify_one();
        Some(flow)
    }

    /// Somebody else is to take what comes of the partition from now on.
    pub(super) fn is_taken_by(&self, spot: &Spot, flow: &Arc<Flow>, taker: &Arc<Taker>) {
        let mut wanted = self.wanted.lock();
        let Some(one) = wanted.of.get_mut(spot).filter(|one| Arc::ptr_eq(&one.flow, flow)) else { return };
        one.taker = taker.clone();
        drop(wanted);
        self.news.0.notify_one();
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
        let (mut link, mut pace, mut changes) = (None::<FetchLink>, Pace::default(), Changes::new());
        while let Some(wanted) = self.wanted.upgrade() {
            let freed = self.memory.freed();
            tokio::pin!(freed);
            // What is given back after the look is heard of.
            freed.as_mut().enable();
            link = link.filter(FetchLink::is_authenticated);
            if link.is_none() {
                changes.clear();
                wanted.begin_anew();
            }
            let asking = wanted.changes(&self.memory, &mut changes);
            drop(wanted);
            if !asking.something {
                tokio::select! {
                    () = self.news.notified() => {}
                    () = freed, if asking.held_back => {}
                    () = sleep(LINGER), if link.is_some() => link = None,
                }
                continue;
            }
            if let Err(error) = self.round(&mut link, &mut pace, std::mem::take(&mut changes)).await {
                link = None;
                self.away(&error);
            }
        }
    }

    /// One request and its answer.
    async fn round(
        &self,
        link: &mut Option<FetchLink>,
        pace: &mut Pace,
        changes: Changes,
    ) -> Result<(), KafkaError> {
        let link = match link {
            Some(link) => link,
            None => link.insert(self.client.fetch_link(self.peer.broker).await?),
        };
        let mut share = self.memory.share(pace.size()).await;
        let asked = share.bytes();
        let terms = Terms {
            max_wait_ms: MAX_WAIT.as_millis() as i32,
            min_bytes: 1,
            max_bytes: i32::try_from(asked).unwrap_or(i32::MAX),
            rack: self.peer.rack(&self.client),
        };
        let began = Instant::now();
        let fetched = link.fetch(changes, &terms).await?;
        let &Fetched { bytes: came, waited, took, throttle, .. } = &fetched;
        pace.answered(Answer { asked, came, waited, took });
        share.keep(came);
        if let Some(wanted) = self.wanted.upgrade() {
            wanted.pulse.beat();
            deliver(&wanted, fetched, (&self.memory, &Arc::new(share)), pace);
        }
        if !throttle.is_zero() {
            // The broker reads nothing until then anyway.
            sleep(throttle).await;
        } else if came < LITTLE {
            sleep_until(began + GATHERED).await;
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

fn deliver(all: &Wanted, fetched: Fetched, (memory, share): (&Memory, &Arc<Share>), pace: &Pace) {
    let brings = |part: &&Part| part.outcome.as_ref().is_ok_and(|piece| !piece.records.is_empty());
    let each = pace.each(fetched.parts.iter().filter(brings).count());
    let mut kept: Vec<Arc<Kept>> = Vec::new();
    let mut wanted = all.lock();
    for part in fetched.parts {
        let Some(subscription) = wanted.of.get_mut(&part.spot) else { continue };
        subscription.flow.throttled(fetched.throttle);
        match part.outcome {
            Ok(piece) => {
                let Spot { topic, partition } = &part.spot;
                let ends = (piece.high_watermark, piece.last_stable_offset);
                all.ends.told((topic, *partition), ends, &all.pulse);
                if let Some(lies) = kept_for(&subscription.taker, &mut kept, (memory, share)) {
                    subscription.piece(piece, lies, each);
                }
                wanted.touched.insert(part.spot);
            }
            Err(refusal) => {
                if let Some(subscription) = wanted.remove(&part.spot) {
                    subscription.tell(What::Refused(refusal));
                }
            }
        }
    }
}

/// Where an answer lies for who is to take a part of it. `None`: other fetches have brought too much for it meanwhile, and it is fetched
/// once more when there is room.
fn kept_for(
    taker: &Arc<Taker>,
    kept: &mut Vec<Arc<Kept>>,
    (memory, share): (&Memory, &Arc<Share>),
) -> Option<Arc<Kept>> {
    if let Some(lies) = kept.iter().find(|kept| kept.is_for(taker)) {
        return Some(lies.clone());
    }
    if !memory.is_open_to(taker, Some(share)) {
        return None;
    }
    let lies = Arc::new(Kept::new(share, taker));
    kept.push(lies.clone());
    Some(lies)
}

impl Subscription {
    fn tell(self, what: What) {
        // There is room for it, and whoever doesn't listen any more has no need of it.
        let _ = self.deliver.try_send(Delivery { slot: self.slot, flow: self.flow, what });
    }

    /// `each`: what the next answer may bring of the partition, bytes.
    fn piece(&mut self, piece: Piece, kept: Arc<Kept>, each: usize) {
        let ends = (piece.high_watermark, piece.last_stable_offset);
        let (next, epoch) = follow(&piece.records, self.from);
        if piece.records.is_empty() && ends == self.ends {
            return;
        }
        let bytes = piece.records.len();
        let flow = self.flow.clone();
        flow.given(bytes);
        let delivery = Delivery { slot: self.slot, flow, what: What::Piece(piece, kept) };
        // There is room for it, unless the range has ended.
        if self.deliver.try_send(delivery).is_err() {
            return;
        }
        (self.ends, self.from.offset, self.from.last_epoch) = (ends, next, epoch);
        if bytes > 0 {
            self.from.max_bytes = i32::try_from(each).unwrap_or(i32::MAX);
            self.flow.may_queue(self.queue.max(each));
        }
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
mod tests;
