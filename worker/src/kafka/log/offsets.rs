//! Positions in partitions: by log end, log start, timestamp or leader epoch.

use futures::FutureExt;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, TopicName};
use tokio::time::Instant;

use super::types::EpochEnd;
use crate::kafka::wire::client::KafkaClient;
use crate::kafka::wire::client::PerPartition;
use crate::kafka::wire::code::Ask;
use crate::kafka::wire::error::KafkaError;
use crate::kafka::wire::leaders::{Wanted, by_partition, by_topic};
use crate::kafka::wire::pool::Use;
use crate::kafka::wire::retry::Answers;
use crate::kafka::wire::route::To;
use crate::kafka::wire::types::text;
use crate::kafka::wire::types::{AclOperation, Isolation, ListedOffset, OffsetSpec};

const NO_EPOCH: i32 = -1;

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
