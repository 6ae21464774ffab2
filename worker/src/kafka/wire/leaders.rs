//! Who leads a partition, and what a leader says of the ends of its log.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, MetadataRequest, MetadataResponse, TopicName};
use tokio::time::Instant;
use twinlog_proto::reason::Reason;

use super::client::KafkaClient;
use super::code::{Ask, LEADER_NOT_AVAILABLE, UNKNOWN_TOPIC_OR_PARTITION};
use super::error::KafkaError;
use super::metadata::{self, Leader};
use super::pool::Use;
use super::retry::{Answers, Routes};
use super::route::To;
use super::types::{AclOperation, Isolation, ListedOffset, OffsetSpec, text};

/// From this version on the broker heeds the isolation level.
const LIST_OFFSETS_WITH_ISOLATION: i16 = 2;
/// A request from a client, not from a replica.
const CONSUMER: BrokerId = BrokerId(-1);
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const NO_EPOCH: i32 = -1;

/// A partition with what is asked about it.
pub(in crate::kafka) type Wanted<T> = (String, i32, T);

impl KafkaClient {
    /// One look at the metadata, remembered for routing; with `authorized` also at what this client may do.
    pub(in crate::kafka) async fn metadata(
        &self,
        names: Option<&[String]>,
        authorized: bool,
        deadline: Instant,
    ) -> Result<MetadataResponse, KafkaError> {
        let build = |version| Ok::<MetadataRequest, _>(metadata::request(version, names, authorized));
        let response = self.router.send(To::Any, Use::Control, deadline, &build).await?.body;
        if response.brokers.is_empty() {
            let text = format!("cluster {}: no broker has registered yet", self.properties().cluster_id());
            return Err(KafkaError::retriable(Reason::CLUSTER_UNREACHABLE, text));
        }
        self.router.learn(&response);
        Ok(response)
    }

    /// The leader of each partition.
    pub(in crate::kafka) async fn to_leaders<T>(
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

    pub(in crate::kafka) async fn list_some(
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
}

impl Isolation {
    pub(in crate::kafka) fn to_wire(self) -> i8 {
        match self {
            Self::Uncommitted => 0,
            Self::Committed => 1,
        }
    }
}

impl OffsetSpec {
    pub(in crate::kafka) fn to_wire(self) -> i64 {
        match self {
            Self::Earliest => EARLIEST,
            Self::Latest => LATEST,
            Self::Timestamp(ms) => ms.max(0),
        }
    }
}

pub(in crate::kafka) fn by_partition<T>(items: &[Wanted<T>]) -> HashMap<(&str, i32), &Wanted<T>> {
    items.iter().map(|item| ((item.0.as_str(), item.1), item)).collect()
}

/// Entries of a request, grouped by topic as the protocol wants them.
pub(in crate::kafka) fn by_topic<T, P>(
    items: &[Wanted<T>],
    entry: impl Fn(i32, &T) -> P,
) -> BTreeMap<&str, Vec<P>> {
    let mut topics: BTreeMap<&str, Vec<P>> = BTreeMap::new();
    for (topic, partition, value) in items {
        topics.entry(topic).or_default().push(entry(*partition, value));
    }
    topics
}
