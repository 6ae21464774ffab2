//! The connections to one broker of the target, over which all ranges send what goes to the partitions that it leads: one for each lane. A
//! request takes one batch of each partition, the longest waiting first; several requests are on their way at a time.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use super::outbox::{Lane, Letter, Outbox, Outcome, Waits};
use crate::budget::Taker;
use crate::kafka::{Answered, KafkaClient, KafkaError, ProduceLink, Receipt, Refused, Spot, code};

/// Requests on their way: more hide no latency, as a broker serves one after the other.
const IN_FLIGHT: usize = 5;
/// A connection that nobody needs is closed after this time.
const LINGER: Duration = Duration::from_secs(30);
/// All replicas in sync have a batch by then, or the broker says of which partition they haven't: so long a slow one holds up the others,
/// once.
const QUICK: Duration = Duration::from_secs(1);
/// The same among the slow, well before the broker counts as away.
const PATIENCE: Duration = Duration::from_secs(10);
/// A slow partition that is replicated so soon is slow no longer.
const RECOVERED: Duration = Duration::from_millis(250);

/// The connections live as long as somebody holds what this returns.
pub(super) fn start(client: &KafkaClient, broker: i32, taker: Arc<Taker>) -> Arc<Outbox> {
    let outbox = Arc::new(Outbox::new(taker));
    for lane in Lane::ALL {
        let news = outbox.news(lane);
        let life = Life { client: client.clone(), broker, lane, outbox: Arc::downgrade(&outbox), news };
        tokio::spawn(life.live());
    }
    outbox
}

/// The task behind one lane.
struct Life {
    client: KafkaClient,
    broker: i32,
    lane: Lane,
    outbox: Weak<Outbox>,
    news: Arc<Notify>,
}

/// A request without an answer.
struct Sent {
    waits: Vec<Waits>,
    /// When it was sent, or the one before was answered: a broker takes up one after the other.
    since: Instant,
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
        sent: &mut VecDeque<Sent>,
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
                answered = open.next() => held_back = self.settle(sent, answered?).or(held_back),
                () = self.news.notified(), if sent.len() < IN_FLIGHT && held_back.is_none() => {}
                () = sleep_until(until), if held_back.is_some() => held_back = None,
            }
        }
    }

    /// `None`: nobody needs the connection any more.
    fn take(&self) -> Option<Vec<Letter>> {
        Some(self.outbox.upgrade()?.take(self.lane))
    }

    async fn send(
        &self,
        link: &mut Option<ProduceLink>,
        sent: &mut VecDeque<Sent>,
        letters: Vec<Letter>,
    ) -> Result<(), KafkaError> {
        let id = letters.first().and_then(|letter| letter.transactional_id.clone());
        let (parcels, waits) = letters.into_iter().map(|letter| (letter.parcel, letter.waits)).unzip();
        // First: whatever happens from here on, they hear of it.
        sent.push_back(Sent { waits, since: Instant::now() });
        if sent.len() == 1 && link.as_ref().is_some_and(|link| !link.is_authenticated()) {
            *link = None;
        }
        let link = match link {
            Some(link) => link,
            None => link.insert(self.client.produce_link(self.broker).await?),
        };
        let within = if self.lane == Lane::Quick { QUICK } else { PATIENCE };
        link.send(id.as_deref(), within, parcels).await
    }

    /// Tells everybody what became of the oldest request. Returns until when the broker wants no more.
    fn settle(&self, sent: &mut VecDeque<Sent>, answered: Answered) -> Option<Instant> {
        let now = Instant::now();
        let Sent { waits, since } = sent.pop_front()?;
        if let Some(next) = sent.front_mut() {
            next.since = now;
        }
        let mut receipts: HashMap<Spot, Receipt> =
            answered.receipts.into_iter().map(|receipt| (receipt.spot.clone(), receipt)).collect();
        for waits in waits {
            let outcome = match receipts.remove(&waits.spot).map(|receipt| receipt.outcome) {
                Some(Ok(offset)) => Outcome::Stored(offset),
                Some(Err(refused)) => Outcome::Refused(refused),
                None => Outcome::Refused(Refused::unanswered()),
            };
            let turns = turns(self.lane, &outcome, now - since);
            if let Some(lane) = turns.filter(|lane| *lane != self.lane) {
                let Spot { topic, partition } = &waits.spot;
                tracing::debug!(broker = self.broker, %topic, partition, ?lane, "a partition changes lanes");
            }
            waits.by.answered(&waits.spot, turns);
            waits.tell(outcome, answered.throttle);
        }
        (!answered.throttle.is_zero()).then(|| now + answered.throttle)
    }

    fn away(&self, error: &KafkaError, sent: &mut VecDeque<Sent>) {
        let sent: Vec<Waits> = sent.drain(..).flat_map(|sent| sent.waits).collect();
        let left = self.outbox.upgrade().map(|outbox| outbox.take_all(self.lane)).unwrap_or_default();
        tracing::debug!(
            broker = self.broker, lane = ?self.lane, batches = sent.len() + left.len(), %error,
            "the connection to produce is gone"
        );
        for waits in sent {
            waits.by.answered(&waits.spot, None);
            waits.tell(Outcome::Away(error.clone()), Duration::ZERO);
        }
        left.into_iter().for_each(|letter| letter.waits.tell(Outcome::Away(error.clone()), Duration::ZERO));
    }
}

/// The lane that a partition belongs to, where an answer says that.
fn turns(lane: Lane, outcome: &Outcome, took: Duration) -> Option<Lane> {
    match outcome {
        Outcome::Refused(refused) if refused.code == code::REQUEST_TIMED_OUT => Some(Lane::Slow),
        Outcome::Stored(_) if lane == Lane::Slow && took <= RECOVERED => Some(Lane::Quick),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_replicated_in_time_is_slow_until_it_is_quick() {
        let late = Refused { code: code::REQUEST_TIMED_OUT, ..Refused::unanswered() };
        assert_eq!(turns(Lane::Quick, &Outcome::Refused(late), QUICK), Some(Lane::Slow));
        assert_eq!(
            turns(Lane::Quick, &Outcome::Stored(1), QUICK),
            None,
            "another of the request is to blame"
        );
        assert_eq!(turns(Lane::Slow, &Outcome::Stored(1), QUICK), None);
        assert_eq!(turns(Lane::Slow, &Outcome::Stored(1), RECOVERED), Some(Lane::Quick));
        assert_eq!(turns(Lane::Quick, &Outcome::Refused(Refused::unanswered()), QUICK), None);
    }
}
