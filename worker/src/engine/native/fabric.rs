//! What all native ranges of a worker share of one cluster: who leads which partition, how copies end, and one connection to fetch and
//! one to send for each broker.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use twinlog_proto::reason::Reason;

use super::fetcher::{Delivery, Fetcher, Flow, Peer};
use super::outbox::Outbox;
use super::sender;
use crate::budget::{Memory, Taker};
use crate::cluster::ClusterHandle;
use crate::kafka::{From, Isolation, KafkaClient, KafkaError, OffsetSpec, Spot, TopicPlace};
use crate::source_ends::EndsWatch;
use crate::together::Together;

/// Questions that come within this time are asked together.
const TOGETHER: Duration = Duration::from_millis(5);
/// Topics in one question.
const MAX_TOPICS: usize = 500;
/// What was answered so lately is good for who asks for the first time.
const FRESH: Duration = Duration::from_secs(1);
/// How copies end is asked within this time: the acknowledgements tell it, too.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

type Answer<T> = Result<T, KafkaError>;

pub(super) struct Fabric {
    client: KafkaClient,
    places: Together<String, Answer<TopicPlace>>,
    ends: Together<Spot, Answer<i64>>,
    state: Mutex<State>,
    /// How partitions end, which those hear of who fetch.
    watch: EndsWatch,
    this: Weak<Self>,
}

#[derive(Default)]
struct State {
    places: HashMap<String, (TopicPlace, Instant)>,
    /// One more where two ranges fetch the same partition.
    fetchers: HashMap<(Peer, usize), Weak<Fetcher>>,
    senders: HashMap<i32, Weak<Outbox>>,
    /// They stay: what was fetched for a broker may be held for longer than anybody sends to it.
    takers: HashMap<i32, Arc<Taker>>,
}

/// A partition that is being fetched, until this is dropped.
pub(super) struct Fetching {
    fetcher: Arc<Fetcher>,
    spot: Spot,
    pub(super) flow: Arc<Flow>,
}

impl Fetching {
    /// Somebody else is to take what comes from now on.
    pub(super) fn is_taken_by(&self, taker: &Arc<Taker>) {
        self.fetcher.is_taken_by(&self.spot, &self.flow, taker);
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.fetcher.unsubscribe(&self.spot, &self.flow);
    }
}

/// Kept beside a cluster's handle.
struct Beside(Arc<Fabric>);

impl Fabric {
    pub(super) fn of(cluster: &ClusterHandle) -> Arc<Self> {
        let (client, watch) = (cluster.client.clone(), cluster.ends.clone());
        let make = || {
            Arc::new_cyclic(|this| Self {
                client,
                places: Together::default(),
                ends: Together::default(),
                state: Mutex::default(),
                watch,
                this: this.clone(),
            })
        };
        cluster.beside(|| Beside(make())).0.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a topic is; with `again` as of now, as what is known was wrong.
    ///
    /// # Errors
    /// The cluster has no such topic, or can't be asked.
    pub(super) async fn place(&self, topic: &str, again: bool) -> Answer<TopicPlace> {
        if !again
            && let Some((place, at)) = self.state().places.get(topic)
            && at.elapsed() < FRESH
        {
            return Ok(place.clone());
        }
        let ask = |this: Arc<Self>| async move { this.ask_places().await };
        let answer = self.places.ask(topic.to_owned(), TOGETHER, &self.this, ask);
        answer.await.unwrap_or_else(|_| Err(given_up()))
    }

    /// Where the next record of a partition will go, as its leader says.
    ///
    /// # Errors
    /// The leader can't be asked.
    pub(super) async fn end(&self, spot: Spot) -> Answer<i64> {
        let ask = |this: Arc<Self>| async move { this.ask_ends().await };
        let answer = self.ends.ask(spot, TOGETHER, &self.this, ask);
        answer.await.unwrap_or_else(|_| Err(given_up()))
    }

    async fn ask_places(&self) {
        let mut asked = self.places.take();
        for some in asked.about().chunks(MAX_TOPICS) {
            let answered = self.client.places(some).await;
            let mut state = self.state();
            for topic in some {
                let answer = match &answered {
                    Ok(places) => places.get(topic).cloned().unwrap_or_else(|| Err(unanswered(topic))),
                    Err(error) => Err(error.clone()),
                };
                match &answer {
                    Ok(place) => state.places.insert(topic.clone(), (place.clone(), Instant::now())),
                    Err(_) => state.places.remove(topic),
                };
                asked.tell(topic, &answer);
            }
        }
    }

    async fn ask_ends(&self) {
        let mut asked = self.ends.take();
        let spots = asked.about();
        let of = |spot: &Spot| (spot.topic.to_string(), spot.partition, OffsetSpec::Latest);
        let wanted: Vec<_> = spots.iter().map(of).collect();
        let client = self.client.within(ENDS_WITHIN);
        let answered = client.list_offsets(&wanted, Isolation::Uncommitted).await;
        for spot in &spots {
            let answer = match &answered {
                Ok(ends) => match ends.get(&(spot.topic.to_string(), spot.partition)) {
                    Some(end) => end.clone().map(|end| end.offset),
                    None => Err(unanswered(&spot.topic)),
                },
                Err(error) => Err(error.clone()),
            };
            asked.tell(spot, &answer);
        }
    }

    /// Fetches a partition for a range, from the broker that leads it or a replica that is nearer.
    pub(super) fn fetch(
        &self,
        (peer, spot): (Peer, &Spot),
        start: (u16, From),
        (memory, taker, limit): (&Memory, &Arc<Taker>, usize),
        deliver: &mpsc::Sender<Delivery>,
    ) -> Fetching {
        let mut state = self.state();
        state.fetchers.retain(|_, fetcher| fetcher.strong_count() > 0);
        let mut ordinal = 0;
        loop {
            let known = state.fetchers.get(&(peer, ordinal)).and_then(Weak::upgrade);
            let fetcher = known.unwrap_or_else(|| {
                let fetcher =
                    Arc::new(Fetcher::start(self.client.clone(), peer, memory.clone(), self.watch.clone()));
                state.fetchers.insert((peer, ordinal), Arc::downgrade(&fetcher));
                fetcher
            });
            if let Some(flow) = fetcher.subscribe(spot, start, (taker, limit), deliver) {
                return Fetching { fetcher, spot: spot.clone(), flow };
            }
            ordinal += 1;
        }
    }

    /// Who sends to a broker.
    pub(super) fn sender(&self, broker: i32) -> Arc<Outbox> {
        let mut state = self.state();
        state.senders.retain(|_, sender| sender.strong_count() > 0);
        if let Some(sender) = state.senders.get(&broker).and_then(Weak::upgrade) {
            return sender;
        }
        let taker = state.takers.entry(broker).or_default().clone();
        let sender = sender::start(&self.client, broker, taker);
        state.senders.insert(broker, Arc::downgrade(&sender));
        sender
    }
}

fn unanswered(topic: &str) -> KafkaError {
    KafkaError::retriable(Reason::KAFKA_ERROR, format!("the broker said nothing of topic {topic}"))
}

fn given_up() -> KafkaError {
    KafkaError::retriable(Reason::CLUSTER_UNREACHABLE, "the question was given up")
}
