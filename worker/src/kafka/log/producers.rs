//! What brokers remember of producers: of each partition's, and of a transactional id's.

use std::collections::HashSet;

use futures::FutureExt;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::{
    DescribeProducersRequest, DescribeTransactionsRequest, TopicName, TransactionalId,
};
use tokio::time::Instant;

use super::fetch_session::Spot;
use crate::kafka::wire::client::{KafkaClient, PerPartition};
use crate::kafka::wire::code::Ask;
use crate::kafka::wire::error::KafkaError;
use crate::kafka::wire::leaders::{Wanted, by_partition, by_topic};
use crate::kafka::wire::pool::Use;
use crate::kafka::wire::retry::Answers;
use crate::kafka::wire::route::To;
use crate::kafka::wire::types::{AclOperation, AclResource, text};

/// A producer that a partition's leader remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ActiveProducer {
    pub(crate) id: i64,
    /// Of its last batch or marker there.
    pub(crate) epoch: i32,
    /// Where its transaction begins, if one is open there.
    pub(crate) open_from: Option<i64>,
}

/// How far a coordinator is with the last transaction of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Ongoing,
    /// It is to be committed, or is: also where markers are missing.
    Committed,
    /// It is being aborted.
    Aborting,
    /// It was aborted, or the producer has got a new epoch since: what became of earlier ones isn't said.
    Ended,
}

/// The last transaction of a transactional id, as its coordinator has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastTransaction {
    pub(crate) stage: Stage,
    /// Partitions that it has; none once it has ended.
    pub(crate) partitions: HashSet<(String, i32)>,
}

impl KafkaClient {
    /// The producers that the leaders of these partitions remember.
    ///
    /// # Errors
    /// Of all: UNSUPPORTED_VERSION, brokers before 2.8 can't tell. Of a partition: it takes READ on the topic.
    pub(crate) async fn producers(
        &self,
        spots: &[Spot],
    ) -> Result<PerPartition<Vec<ActiveProducer>>, KafkaError> {
        let deadline = self.until();
        let items = spots.iter().map(|spot| (spot.topic.to_string(), spot.partition, ())).collect();
        let route = |items, again| self.to_leaders(items, again, deadline).boxed();
        let ask = |to, items| self.producers_of_some(to, items, deadline).boxed();
        let found = self.router.scatter(items, deadline, route, ask).await?;
        Ok(found.into_iter().map(|((topic, partition, ()), result)| ((topic, partition), result)).collect())
    }

    async fn producers_of_some(
        &self,
        to: To,
        items: Vec<Wanted<()>>,
        deadline: Instant,
    ) -> Answers<Wanted<()>, Vec<ActiveProducer>> {
        let build = |_| {
            let topics = by_topic(&items, |partition, ()| partition).into_iter().map(|(name, partitions)| {
                TopicRequest::default().with_name(TopicName(text(name))).with_partition_indexes(partitions)
            });
            Ok(DescribeProducersRequest::default().with_topics(topics.collect()))
        };
        let answer = self.router.send(to, Use::Control, deadline, &build).await?.body;
        let asked = by_partition(&items);
        let mut answers = Vec::with_capacity(items.len());
        for topic in &answer.topics {
            for p in &topic.partitions {
                let Some(item) = asked.get(&(&*topic.name, p.partition_index)) else { continue };
                let ask = Ask::topic("look up the producers of", AclOperation::Read, &topic.name);
                let producers = p.active_producers.iter().map(|producer| ActiveProducer {
                    id: producer.producer_id.0,
                    epoch: producer.producer_epoch,
                    open_from: Some(producer.current_txn_start_offset).filter(|offset| *offset >= 0),
                });
                let detail = p.error_message.as_deref();
                let result = ask.check(self.properties(), p.error_code, detail);
                answers.push(((*item).clone(), result.map(|()| producers.collect())));
            }
        }
        Ok(answers)
    }

    /// The last transaction of a transactional id; `None` where there was none.
    ///
    /// # Errors
    /// UNSUPPORTED_VERSION: a broker before 3.0 can't tell. Or the coordinator can't be asked now.
    pub(crate) async fn last_transaction(&self, id: &str) -> Result<Option<LastTransaction>, KafkaError> {
        let deadline = self.until();
        let (operation, resource) = (AclOperation::Describe, AclResource::TransactionalId);
        let ask = Ask { doing: "describe the last transaction of", operation, resource, name: id };
        let coordinator = self.transaction_coordinator(&ask, deadline).await?;
        let build = |_| {
            Ok(DescribeTransactionsRequest::default().with_transactional_ids(vec![TransactionalId(text(id))]))
        };
        let answer = self.router.send(To::Broker(coordinator), Use::Control, deadline, &build).await?.body;
        let Some(state) = answer.transaction_states.into_iter().next() else { return Ok(None) };
        if state.error_code == crate::kafka::wire::code::TRANSACTIONAL_ID_NOT_FOUND {
            return Ok(None);
        }
        ask.check(self.properties(), state.error_code, None)?;
        let partitions = state
            .topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.topic.to_string(), *partition)));
        Ok(Some(LastTransaction { stage: stage(&state.transaction_state), partitions: partitions.collect() }))
    }
}

fn stage(name: &str) -> Stage {
    match name {
        "Ongoing" => Stage::Ongoing,
        "PrepareCommit" | "CompleteCommit" => Stage::Committed,
        "PrepareAbort" | "PrepareEpochFence" => Stage::Aborting,
        _ => Stage::Ended,
    }
}
