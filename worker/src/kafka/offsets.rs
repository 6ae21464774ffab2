//! Positions in partitions: by log end, log start, timestamp or leader epoch.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::FutureExt;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, OffsetForLeaderEpochRequest, TopicName};
use tokio::time::Instant;

use super::client::PerPartition;
use super::code::{Ask, LEADER_NOT_AVAILABLE, UNKNOWN_TOPIC_OR_PARTITION};
use super::metadata::Leader;
use super::pool::Use;
use super::retry::{Answers, Routes};
use super::route::To;
use super::topics::text;
use super::types::{AclOperation, EpochEnd, Isolation, ListedOffset, OffsetSpec};
use super::{KafkaClient, KafkaError};

/// From this version on the broker heeds the isolation level.
const LIST_OFFSETS_WITH_ISOLATION: i16 = 2;
/// A request from a client, not from a replica.
const CONSUMER: BrokerId = BrokerId(-1);
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const NO_EPOCH: i32 = -1;

/// A partition with what is asked about it.
type Wanted<T> = (String, i32, T);

impl KafkaClient {
    /// Looks up positions; one answer per topic and partition. A partition may be asked for only once in a call.
    pub async fn list_offsets(
        &self,
        wanted: &[(String, i32, OffsetSpec)],
        isolation: Isolation,
    ) -> Result<PerPartition<ListedOffset>, KafkaError> {
        let deadline = self.until();
        let items = wanted.iter().map(|(t, p, spec)| (t.clone(), *p, spec.to_wire())).collect();
        let route = |items, again| self.to_leaders(items, again, deadline).boxed();
        let ask = |to, items| self.list_some(to, items, isolation, deadline).boxed();
        let found = self.router.scatter(items, deadline, route, ask).await?;
        Ok(found.into_iter().map(|((t, p, _), result)| ((t, p), result)).collect())
    }

    /// Looks up where leader epochs ended; one answer per topic and partition.
    pub async fn offset_for_leader_epoch(
        &self,
        wanted: &[(String, i32, i32)],
    ) -> Result<PerPartition<EpochEnd>, KafkaError> {
        let deadline = self.until();
        let route = |items, again| self.to_leaders(items, again, deadline).boxed();
        let ask = |to, items| self.epochs_of_some(to, items, deadline).boxed();
        let found = self.router.scatter(wanted.to_vec(), deadline, route, ask).await?;
        Ok(found.into_iter().map(|((t, p, _), result)| ((t, p), result)).collect())
    }

    /// The leader of each partition.
    pub(super) async fn to_leaders<T>(
        &self,
        items: Vec<Wanted<T>>,
        again: bool,
        deadline: Instant,
    ) -> Routes<Wanted<T>> {
        let partitions = || items.iter().map(|(t, p, _)| (t.as_str(), *p));
        let stale: Vec<String> = if again {
            partitions().map(|(t, _)| t.to_owned()).collect::<BTreeSet<_>>().into_iter().collect()
        } else {
            let metadata = self.router.known();
            metadata.unknown(partitions(), Instant::now()).into_iter().collect()
        };
        let mut refused = HashMap::new();
        if !stale.is_empty() {
            let response = self.metadata(Some(&stale), false, deadline).await?;
            let topics = response.topics.into_iter().filter(|t| t.error_code != 0);
            refused.extend(topics.filter_map(|t| Some((t.name?.to_string(), t.error_code))));
        }
        let metadata = self.router.known();
        let route = |item: Wanted<T>| {
            let result = match refused.get(&item.0) {
                Some(code) => Err(self.cannot_lead(&item.0, *code)),
                None => self.leader(&item.0, item.1, metadata.leader(&item.0, item.1)),
            };
            (item, result)
        };
        Ok(items.into_iter().map(route).collect())
    }

    fn leader(&self, topic: &str, partition: i32, leader: Leader) -> Result<To, KafkaError> {
        let name = format!("{topic}-{partition}");
        match leader {
            Leader::Broker(id) => Ok(To::Broker(id)),
            Leader::None => Err(self.cannot_lead(&name, LEADER_NOT_AVAILABLE)),
            Leader::Missing => Err(self.cannot_lead(&name, UNKNOWN_TOPIC_OR_PARTITION)),
        }
    }

    fn cannot_lead(&self, name: &str, code: i16) -> KafkaError {
        let ask = Ask::topic("find the leader of", AclOperation::Describe, name);
        ask.refused(self.properties(), code, None)
    }

    pub(super) async fn list_some(
        &self,
        to: To,
        items: Vec<Wanted<i64>>,
        isolation: Isolation,
        deadline: Instant,
    ) -> Answers<Wanted<i64>, ListedOffset> {
        let build = |version: i16| {
            let partition = |p, timestamp: &i64| {
                ListOffsetsPartition::default()
                    .with_partition_index(p)
                    .with_current_leader_epoch(NO_EPOCH)
                    .with_timestamp(*timestamp)
            };
            let topics = by_topic(&items, partition).into_iter().map(|(name, partitions)| {
                ListOffsetsTopic::default().with_name(TopicName(text(name))).with_partitions(partitions)
            });
            let level = if version >= LIST_OFFSETS_WITH_ISOLATION { isolation.to_wire() } else { 0 };
            Ok(ListOffsetsRequest::default()
                .with_replica_id(CONSUMER)
                .with_isolation_level(level)
                .with_topics(topics.collect()))
        };
        let answer = self.router.send(to, Use::Control, deadline, &build).await?.body;
        let asked = by_partition(&items);
        let mut answers = Vec::with_capacity(items.len());
        for topic in &answer.topics {
            for p in &topic.partitions {
                let Some(item) = asked.get(&(&*topic.name, p.partition_index)) else { continue };
                answers.push(((*item).clone(), self.listed(&topic.name, p)));
            }
        }
        Ok(answers)
    }

    fn listed(&self, topic: &str, p: &ListOffsetsPartitionResponse) -> Result<ListedOffset, KafkaError> {
        let ask = Ask::topic("list the offsets of", AclOperation::Describe, topic);
        ask.check(self.properties(), p.error_code, None)?;
        Ok(ListedOffset { offset: p.offset, timestamp: p.timestamp, leader_epoch: p.leader_epoch })
    }

    async fn epochs_of_some(
        &self,
        to: To,
        items: Vec<Wanted<i32>>,
        deadline: Instant,
    ) -> Answers<Wanted<i32>, EpochEnd> {
        let build = |_| {
            let partition = |p, epoch: &i32| {
                OffsetForLeaderPartition::default()
                    .with_partition(p)
                    .with_current_leader_epoch(NO_EPOCH)
                    .with_leader_epoch(*epoch)
            };
            let topics = by_topic(&items, partition).into_iter().map(|(name, partitions)| {
                OffsetForLeaderTopic::default().with_topic(TopicName(text(name))).with_partitions(partitions)
            });
            Ok(OffsetForLeaderEpochRequest::default().with_topics(topics.collect()))
        };
        let answer = self.router.send(to, Use::Control, deadline, &build).await?.body;
        let asked = by_partition(&items);
        let mut answers = Vec::with_capacity(items.len());
        for topic in &answer.topics {
            for p in &topic.partitions {
                let Some(item) = asked.get(&(&*topic.topic, p.partition)) else { continue };
                let ask = Ask::topic("look up leader epochs of", AclOperation::Describe, &topic.topic);
                let result = ask
                    .check(self.properties(), p.error_code, None)
                    .map(|()| EpochEnd { leader_epoch: p.leader_epoch, end_offset: p.end_offset });
                answers.push(((*item).clone(), result));
            }
        }
        Ok(answers)
    }
}

impl Isolation {
    pub(super) fn to_wire(self) -> i8 {
        match self {
            Self::Uncommitted => 0,
            Self::Committed => 1,
        }
    }
}

impl OffsetSpec {
    pub(super) fn to_wire(self) -> i64 {
        match self {
            Self::Earliest => EARLIEST,
            Self::Latest => LATEST,
            Self::Timestamp(ms) => ms.max(0),
        }
    }
}

fn by_partition<T>(items: &[Wanted<T>]) -> HashMap<(&str, i32), &Wanted<T>> {
    items.iter().map(|item| ((item.0.as_str(), item.1), item)).collect()
}

/// Entries of a request, grouped by topic as the protocol wants them.
fn by_topic<T, P>(items: &[Wanted<T>], entry: impl Fn(i32, &T) -> P) -> BTreeMap<&str, Vec<P>> {
    let mut topics: BTreeMap<&str, Vec<P>> = BTreeMap::new();
    for (topic, partition, value) in items {
        topics.entry(topic).or_default().push(entry(*partition, value));
    }
    topics
}
