//! One connection to one broker of the target, over which all ranges send what goes to the partitions that it leads. A request takes
//! one batch of each partition, the longest waiting first; several requests are on their way at a time.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use super::news::News;
use crate::kafka::{Answered, KafkaClient, KafkaError, Parcel, ProduceLink, Receipt, Refused, Spot};

/// Requests on their way: more hide no latency, as a broker serves one after the other.
const IN_FLIGHT: usize = 5;
/// A request is not filled further, bytes.
const MAX_BYTES: usize = 4 << 20;
/// A connection that nobody needs is closed after this time.
const LINGER: Duration = Duration::from_secs(30);

/// A batch on its way, and who wants to know.
pub(super) struct Letter {
    pub(super) parcel: Parcel,
    pub(super) sequence: i32,
    /// Where it belongs to a transaction.
    pub(super) transactional_id: Option<Arc<str>>,
    /// The partition's number within the range.
    pub(super) slot: u16,
    /// Has room for all that the range has on its way.
    pub(super) reply: mpsc::Sender<Reply>,
    /// It stays as long as an answer is to come.
    pub(super) by: Arc<Sender>,
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) slot: u16,
    pub(super) sequence: i32,
    pub(super) outcome: Outcome,
    pub(super) throttle: Duration,
}

#[derive(Debug)]
pub(super) enum Outcome {
    /// From this offset on.
    Stored(i64),
    Refused(Refused),
    /// The broker can't be used: it may have stored the batch, or not.
    Away(KafkaError),
}

#[derive(Default)]
struct Queue {
    waiting: HashMap<Spot, VecDeque<Letter>>,
    /// Partitions with something to send, the longest waiting first.
    ready: VecDeque<Spot>,
}

#[derive(Default)]
struct Outbox(Mutex<Queue>);

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What ranges hold of it. The connection lives as long as somebody holds this.
pub(super) struct Sender {
    outbox: Arc<Outbox>,
    /// Dropped after what it tells of.
    news: News,
}

impl Sender {
    pub(super) fn start(client: KafkaClient, broker: i32) -> Self {
        let (outbox, news) = (Arc::<Outbox>::default(), Arc::<Notify>::default());
        let life = Life { client, broker, outbox: Arc::downgrade(&outbox), news: news.clone() };
        tokio::spawn(life.live());
        Self { outbox, news: News(news) }
    }

    /// Letters for one partition are sent in the order in which they come.
    pub(super) fn send(&self, letter: Letter) {
        self.outbox.lock().push(letter);
        self.news.0.notify_one();
    }
}

impl Queue {
    fn push(&mut self, letter: Letter) {
        let spot = letter.parcel.spot.clone();
        let waiting = self.waiting.entry(spot.clone()).or_default();
        if waiting.is_empty() {
            self.ready.push_back(spot);
        }
        waiting.push_back(letter);
    }

    /// One batch of each partition that is ready, as far as they fit into a request. All belong to the same transaction, or none to any.
    fn take(&mut self) -> Vec<Letter> {
        let (mut taken, mut bytes, mut others) = (Vec::<Letter>::new(), 0, VecDeque::new());
        let mut again = VecDeque::new();
        while let Some(spot) = self.ready.pop_front() {
            let Some(waiting) = self.waiting.get_mut(&spot) else { continue };
            // What nobody waits for any more belongs to a run that has ended: behind that of the next one it would come too late.
            waiting.retain(|letter| !letter.reply.is_closed());
            let Some(next) = waiting.front() else {
                self.waiting.remove(&spot);
                continue;
            };
            let fits = taken.is_empty() || bytes + next.parcel.len() <= MAX_BYTES;
            let belongs = taken.first().is_none_or(|first| first.transactional_id == next.transactional_id);
            if !fits || !belongs {
                others.push_back(spot);
                if !fits {
                    break;
                }
                continue;
            }
            bytes += next.parcel.len();
            taken.extend(waiting.pop_front());
            if waiting.is_empty() {
                self.waiting.remove(&spot);
            } else {
                again.push_back(spot);
            }
        }
        // Who didn't fit is first next time, who has more goes behind all.
        while let Some(spot) = others.pop_back() {
            self.ready.push_front(spot);
        }
        self.ready.append(&mut again);
        taken
    }

    fn all(&mut self) -> Vec<Letter> {
        self.ready.clear();
        std::mem::take(&mut self.waiting).into_values().flatten().collect()
    }
}

/// Who waits for the answer to one batch.
struct Waits {
    spot: Spot,
    sequence: i32,
    slot: u16,
    reply: mpsc::Sender<Reply>,
    _by: Arc<Sender>,
}

impl Waits {
    fn tell(self, outcome: Outcome, throttle: Duration) {
        let reply = Reply { slot: self.slot, sequence: self.sequence, outcome, throttle };
        // Whoever doesn't listen any more has ended.
        let _ = self.reply.try_send(reply);
    }
}

/// The task behind it.
struct Life {
    client: KafkaClient,
    broker: i32,
    outbox: Weak<Outbox>,
    news: Arc<Notify>,
}

impl Life {
    async fn live(self) {
        let (mut link, mut sent) = (None, VecDeque::new());
        while self.outbox.strong_count() > 0 {
            if let Err(error) = self.work(&mut link, &mut sent).await {
                link = None;
                self.away(&error, &mut sent);
            }
        }
    }

    /// Until the connection breaks, or is closed because nobody needs it.
    async fn work(
        &self,
        link: &mut Option<ProduceLink>,
        sent: &mut VecDeque<Vec<Waits>>,
    ) -> Result<(), KafkaError> {
        let mut held_back = None::<Instant>;
        loop {
            let room = sent.len() < IN_FLIGHT && held_back.is_none_or(|until| until <= Instant::now());
            let letters = if room { self.take() } else { Some(Vec::new()) };
            let Some(letters) = letters else { return Ok(()) };
            if !letters.is_empty() {
                self.send(link, sent, letters).await?;
                continue;
            }
            let Some(open) = link.as_mut().filter(|_| !sent.is_empty()) else {
                match held_back.filter(|until| *until > Instant::now()) {
                    Some(until) => sleep_until(until).await,
                    None if timeout(LINGER, self.news.notified()).await.is_err() => {
                        *link = None;
                        self.news.notified().await;
                    }
                    None => {}
                }
                continue;
            };
            let until = held_back.unwrap_or_else(|| Instant::now() + LINGER);
            tokio::select! {
                answered = open.next() => held_back = settle(sent, answered?).or(held_back),
                () = self.news.notified(), if sent.len() < IN_FLIGHT && held_back.is_none() => {}
                () = sleep_until(until), if held_back.is_some() => held_back = None,
            }
        }
    }

    /// `None`: nobody needs the connection any more.
    fn take(&self) -> Option<Vec<Letter>> {
        let outbox = self.outbox.upgrade()?;
        let letters = outbox.lock().take();
        Some(letters)
    }

    async fn send(
        &self,
        link: &mut Option<ProduceLink>,
        sent: &mut VecDeque<Vec<Waits>>,
        letters: Vec<Letter>,
    ) -> Result<(), KafkaError> {
        let id = letters.first().and_then(|letter| letter.transactional_id.clone());
        let (mut parcels, mut waits) = (Vec::with_capacity(letters.len()), Vec::with_capacity(letters.len()));
        for Letter { parcel, sequence, slot, reply, by, .. } in letters {
            waits.push(Waits { spot: parcel.spot.clone(), sequence, slot, reply, _by: by });
            parcels.push(parcel);
        }
        // First: whatever happens from here on, they hear of it.
        sent.push_back(waits);
        if sent.len() == 1 && link.as_ref().is_some_and(|link| !link.is_authenticated()) {
            *link = None;
        }
        let link = match link {
            Some(link) => link,
            None => link.insert(self.client.produce_link(self.broker).await?),
        };
        link.send(id.as_deref(), parcels).await
    }

    fn away(&self, error: &KafkaError, sent: &mut VecDeque<Vec<Waits>>) {
        let left = self.outbox.upgrade().map(|outbox| outbox.lock().all()).unwrap_or_default();
        let left = left.into_iter().map(|Letter { parcel, sequence, slot, reply, by, .. }| Waits {
            spot: parcel.spot,
            sequence,
            slot,
            reply,
            _by: by,
        });
        let all: Vec<Waits> = sent.drain(..).flatten().chain(left).collect();
        tracing::debug!(broker = self.broker, batches = all.len(), %error, "the connection to produce is gone");
        all.into_iter().for_each(|waits| waits.tell(Outcome::Away(error.clone()), Duration::ZERO));
    }
}

/// Tells everybody what became of the oldest request. Returns until when the broker wants no more.
fn settle(sent: &mut VecDeque<Vec<Waits>>, answered: Answered) -> Option<Instant> {
    let waits = sent.pop_front().unwrap_or_default();
    let mut receipts: HashMap<Spot, Receipt> =
        answered.receipts.into_iter().map(|receipt| (receipt.spot.clone(), receipt)).collect();
    for waits in waits {
        let outcome = match receipts.remove(&waits.spot).map(|receipt| receipt.outcome) {
            Some(Ok(offset)) => Outcome::Stored(offset),
            Some(Err(refused)) => Outcome::Refused(refused),
            None => Outcome::Refused(Refused::unanswered()),
        };
        waits.tell(outcome, answered.throttle);
    }
    (!answered.throttle.is_zero()).then(|| Instant::now() + answered.throttle)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;

    /// Somebody waits for the answer as long as the test runs.
    fn listened_to() -> mpsc::Sender<Reply> {
        let (reply, replies) = mpsc::channel(1);
        Box::leak(Box::new(replies));
        reply
    }

    fn letter(partition: i32, sequence: i32, size: usize, id: Option<&str>) -> Letter {
        let parcel = Parcel {
            spot: Spot { topic: Arc::from("t"), partition },
            topic_id: Uuid::nil(),
            header: Bytes::new(),
            payload: Bytes::from(vec![0; size]),
        };
        let reply = listened_to();
        let by = Arc::new(Sender { outbox: Arc::default(), news: News(Arc::default()) });
        Letter { parcel, sequence, transactional_id: id.map(Arc::from), slot: 0, reply, by }
    }

    fn taken(queue: &mut Queue) -> Vec<(i32, i32)> {
        queue.take().into_iter().map(|letter| (letter.parcel.spot.partition, letter.sequence)).collect()
    }

    #[test]
    fn a_request_has_one_batch_of_each_partition() {
        let mut queue = Queue::default();
        for (partition, sequence) in [(0, 0), (0, 1), (1, 0), (0, 2)] {
            queue.push(letter(partition, sequence, 10, None));
        }
        assert_eq!(taken(&mut queue), [(0, 0), (1, 0)]);
        assert_eq!(taken(&mut queue), [(0, 1)]);
        assert_eq!(taken(&mut queue), [(0, 2)]);
        assert_eq!(taken(&mut queue), []);
    }

    #[test]
    fn who_does_not_fit_is_first_next_time() {
        let mut queue = Queue::default();
        for partition in 0..3 {
            queue.push(letter(partition, 0, MAX_BYTES / 2, None));
            queue.push(letter(partition, 1, MAX_BYTES / 2, None));
        }
        assert_eq!(taken(&mut queue), [(0, 0), (1, 0)]);
        assert_eq!(taken(&mut queue), [(2, 0), (0, 1)]);
        assert_eq!(taken(&mut queue), [(1, 1), (2, 1)]);
        queue.push(letter(7, 0, MAX_BYTES * 2, None));
        assert_eq!(taken(&mut queue), [(7, 0)], "however large it is");
    }

    #[test]
    fn transactions_are_not_mixed() {
        let mut queue = Queue::default();
        for (partition, id) in [(0, Some("a")), (1, None), (2, Some("a")), (3, Some("b"))] {
            queue.push(letter(partition, 0, 10, id));
        }
        assert_eq!(taken(&mut queue), [(0, 0), (2, 0)]);
        assert_eq!(taken(&mut queue), [(1, 0)]);
        assert_eq!(taken(&mut queue), [(3, 0)]);
    }

    #[test]
    fn what_a_run_that_has_ended_left_is_not_sent() {
        let mut queue = Queue::default();
        let ended = mpsc::channel(1).0;
        queue.push(Letter { reply: ended.clone(), ..letter(0, 7, 10, None) });
        queue.push(Letter { reply: ended, ..letter(1, 7, 10, None) });
        queue.push(letter(0, 0, 10, None));
        assert_eq!(taken(&mut queue), [(0, 0)], "what the next run has");
        assert!(queue.ready.is_empty() && queue.waiting.is_empty());
    }
}
