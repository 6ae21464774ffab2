//! What ranges ask a cluster when they begin, asked as one where many begin at the same time: a worker that takes over a thousand ranges
//! asks a few questions, and reads a partition of progress once for all of them.
//!
//! An answer is never older than the question. Where one range's question can't be answered at once, it is asked again by itself, and holds up
//! no other.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use twinlog_proto::model;
use twinlog_proto::reason::Reason;

use super::place::Place;
use super::recover;
use crate::cause::Cause;
use crate::cluster::ClusterHandle;
use crate::kafka::{Isolation, KafkaClient, KafkaError, ListedOffset, OffsetSpec, TopicMetadata};
use crate::progress::StorageTopics;
use crate::together::Together;

/// Questions that come within this time are asked together.
const TOGETHER: Duration = Duration::from_millis(2);
/// Topics, or partitions, in one question.
const MANY: usize = 500;
/// What isn't answered for all within this time, is asked for each.
const AT_ONCE: Duration = Duration::from_secs(1);

type Answer<T> = Result<T, KafkaError>;
type Partition = (String, i32);
/// A partition of one of the mirror's topics, and the key of a range.
type Key = (Partition, Vec<u8>);
type Newest = Result<Option<Vec<u8>>, Cause>;

pub(super) struct Questions {
    client: KafkaClient,
    topics: Together<String, Answer<TopicMetadata>>,
    earliest: Together<Partition, Answer<ListedOffset>>,
    latest: Together<Partition, Answer<ListedOffset>>,
    clusters: Together<(), Answer<Option<String>>>,
    storage: Together<Keeper, Answer<StorageTopics>>,
    newest: Together<Key, Newest>,
    this: Weak<Self>,
}

/// Kept beside a cluster's handle.
struct Beside(Arc<Questions>);

/// The mirror whose topics are asked for.
#[derive(Clone)]
struct Keeper(Arc<model::Mirror>);

impl PartialEq for Keeper {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for Keeper {}

impl Hash for Keeper {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl Questions {
    pub(super) fn of(cluster: &ClusterHandle) -> Arc<Self> {
        let client = cluster.client.clone();
        let make = || {
            Arc::new_cyclic(|this| Self {
                client,
                topics: Together::default(),
                earliest: Together::default(),
                latest: Together::default(),
                clusters: Together::default(),
                storage: Together::default(),
                newest: Together::default(),
                this: this.clone(),
            })
        };
        cluster.beside(|| Beside(make())).0.clone()
    }

    /// A topic, or why nothing can be said of it.
    pub(super) async fn topic(&self, name: &str) -> Answer<TopicMetadata> {
        let ask = |this: Arc<Self>| async move { this.ask_topics().await };
        let answer = self.topics.ask(name.to_owned(), TOGETHER, &self.this, ask);
        answer.await.unwrap_or_else(|_| Err(given_up()))
    }

    async fn ask_topics(&self) {
        let mut asked = self.topics.take();
        for some in asked.about().chunks(MANY) {
            let answered = self.client.topics(Some(some)).await;
            for name in some {
                let found = answered.as_ref().map(|found| found.iter().find(|topic| topic.name == *name));
                let answer = match found {
                    Ok(Some(topic)) => topic.error.clone().map_or_else(|| Ok(topic.clone()), Err),
                    Ok(None) => Err(missing(name)),
                    Err(error) => Err(error.clone()),
                };
                asked.tell(name, &answer);
            }
        }
    }

    /// Where partitions begin, or end for a reader of all.
    pub(super) async fn offsets(
        &self,
        topic: &str,
        partitions: &[i32],
        spec: OffsetSpec,
    ) -> Answer<HashMap<Partition, Answer<ListedOffset>>> {
        let together = match spec {
            OffsetSpec::Earliest => &self.earliest,
            OffsetSpec::Latest => &self.latest,
            OffsetSpec::Timestamp(_) => {
                return self.list(&self.client, wanted(topic, partitions, spec)).await;
            }
        };
        let mut waiting = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let about = (topic.to_owned(), *partition);
            let ask = move |this: Arc<Self>| async move { this.ask_offsets(spec).await };
            waiting.push((*partition, together.ask(about, TOGETHER, &self.this, ask)));
        }
        let (mut found, mut again) = (HashMap::new(), Vec::new());
        for (partition, answer) in waiting {
            match answer.await.unwrap_or_else(|_| Err(given_up())) {
                Err(error) if error.retriable => again.push(partition),
                answer => _ = found.insert((topic.to_owned(), partition), answer),
            }
        }
        if !again.is_empty() {
            found.extend(self.list(&self.client, wanted(topic, &again, spec)).await?);
        }
        Ok(found)
    }

    async fn ask_offsets(&self, spec: OffsetSpec) {
        let together = if spec == OffsetSpec::Earliest { &self.earliest } else { &self.latest };
        let mut asked = together.take();
        let client = self.client.within(AT_ONCE);
        for some in asked.about().chunks(MANY) {
            let of = |(topic, partition): &Partition| (topic.clone(), *partition, spec);
            let mut answered = self.list(&client, some.iter().map(of).collect()).await;
            for partition in some {
                let answer = match &mut answered {
                    Ok(found) => found.remove(partition).unwrap_or_else(|| Err(given_up())),
                    Err(error) => Err(error.clone()),
                };
                asked.tell(partition, &answer);
            }
        }
    }

    async fn list(
        &self,
        client: &KafkaClient,
        wanted: Vec<(String, i32, OffsetSpec)>,
    ) -> Answer<HashMap<Partition, Answer<ListedOffset>>> {
        client.list_offsets(&wanted, Isolation::Uncommitted).await
    }

    /// Kafka's id of the cluster, where it has one.
    pub(super) async fn cluster_id(&self) -> Answer<Option<String>> {
        let ask = |this: Arc<Self>| async move {
            let mut asked = this.clusters.take();
            let answer = this.client.describe_cluster().await.map(|info| info.cluster_id);
            asked.tell(&(), &answer);
        };
        let answer = self.clusters.ask((), TOGETHER, &self.this, ask);
        answer.await.unwrap_or_else(|_| Err(given_up()))
    }

    /// Makes sure of the topics that hold the mirror's progress.
    pub(super) async fn storage_topics(&self, mirror: &Arc<model::Mirror>) -> Answer<StorageTopics> {
        let ask = |this: Arc<Self>| async move { this.ask_storage().await };
        let answer = self.storage.ask(Keeper(mirror.clone()), TOGETHER, &self.this, ask);
        answer.await.unwrap_or_else(|_| Err(given_up()))
    }

    async fn ask_storage(&self) {
        let mut asked = self.storage.take();
        let ensure = |keeper: Keeper| async move {
            let answer = StorageTopics::ensure(&self.client, &keeper.0).await;
            (keeper, answer)
        };
        let mut all: FuturesUnordered<_> = asked.about().into_iter().map(ensure).collect();
        while let Some((keeper, answer)) = all.next().await {
            asked.tell(&keeper, &answer);
        }
    }

    /// Value of the newest committed record with the key, below the end that the partition has when it is asked for.
    pub(super) async fn newest(&self, place: Place<'_>, key: Vec<u8>) -> Newest {
        let ask = |this: Arc<Self>| async move { this.read_newest().await };
        let answer =
            self.newest.ask(((place.topic.to_owned(), place.partition), key), TOGETHER, &self.this, ask);
        answer.await.unwrap_or_else(|_| Err(given_up().into()))
    }

    async fn read_newest(&self) {
        let mut asked = self.newest.take();
        let mut keys: BTreeMap<Partition, HashSet<Vec<u8>>> = BTreeMap::new();
        for (partition, key) in asked.about() {
            keys.entry(partition).or_default().insert(key);
        }
        let read = |(partition, keys): (Partition, HashSet<Vec<u8>>)| async move {
            let place = Place { topic: &partition.0, partition: partition.1 };
            let found = recover::newest(&self.client, place, &keys).await;
            (partition, keys, found)
        };
        let mut all: FuturesUnordered<_> = keys.into_iter().map(read).collect();
        while let Some((partition, keys, found)) = all.next().await {
            for key in keys {
                let answer = found.as_ref().map(|found| found.get(&key).cloned()).map_err(Cause::clone);
                asked.tell(&(partition.clone(), key), &answer);
            }
        }
    }
}

fn wanted(topic: &str, partitions: &[i32], spec: OffsetSpec) -> Vec<(String, i32, OffsetSpec)> {
    partitions.iter().map(|partition| (topic.to_owned(), *partition, spec)).collect()
}

fn missing(topic: &str) -> KafkaError {
    KafkaError::new(Reason::TOPIC_NOT_FOUND, format!("topic {topic} does not exist"))
}

fn given_up() -> KafkaError {
    KafkaError::retriable(Reason::CLUSTER_UNREACHABLE, "the question was given up")
}
