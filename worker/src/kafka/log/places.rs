//! Where topics are: ids, leaders, epochs. One request for many topics.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use crate::kafka::wire::client::{KafkaClient, PerName};
use crate::kafka::wire::code::Ask;
use crate::kafka::wire::error::KafkaError;
use crate::kafka::wire::types::AclOperation;

/// One topic as its brokers have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicPlace {
    /// Nil where brokers have no topic ids.
    pub(crate) id: Uuid,
    pub(crate) partitions: BTreeMap<i32, Leadership>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leadership {
    /// `None` while it has no leader.
    pub(crate) leader: Option<i32>,
    /// -1 where the broker doesn't say.
    pub(crate) epoch: i32,
}

impl KafkaClient {
    /// As the cluster has these topics now. A topic that it has not is an error of its own.
    ///
    /// # Errors
    /// The cluster can't be asked.
    pub(crate) async fn places(&self, topics: &[String]) -> Result<PerName<TopicPlace>, KafkaError> {
        let deadline = self.until();
        let answer = self.router.retry(deadline, || self.metadata(Some(topics), false, deadline)).await?;
        let mut places = HashMap::with_capacity(answer.topics.len());
        for topic in answer.topics {
            let Some(name) = topic.name else { continue };
            let ask = Ask::topic("find the leaders of", AclOperation::Describe, &name);
            let place = ask.check(self.properties(), topic.error_code, None).map(|()| TopicPlace {
                id: topic.topic_id,
                partitions: topic
                    .partitions
                    .iter()
                    .map(|p| {
                        let leader = Some(p.leader_id.0).filter(|id| *id >= 0);
                        (p.partition_index, Leadership { leader, epoch: p.leader_epoch })
                    })
                    .collect(),
            });
            places.insert(name.to_string(), place);
        }
        Ok(places)
    }
}
