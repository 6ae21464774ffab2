//! Creating, growing and deleting topics.

use std::time::Duration;

use crate::kafka::wire::types::text;
use futures::FutureExt;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, TopicName,
};
use tokio::time::Instant;
use twinlog_proto::reason::Reason;

use super::types::{NewTopic, TopicMetadata};
use crate::kafka::wire::client::KafkaClient;
use crate::kafka::wire::code::{Ask, TOPIC_ALREADY_EXISTS};
use crate::kafka::wire::error::KafkaError;
use crate::kafka::wire::pool::Use;
use crate::kafka::wire::retry::Answers;
use crate::kafka::wire::route::To;
use crate::kafka::wire::types::AclOperation;

/// From this version on a broker fills in its own default replication factor and partition count.
const CREATE_TOPICS_WITH_DEFAULTS: i16 = 4;
/// How long a broker may wait for a change to be done before it answers, milliseconds.
const CHANGE_TIMEOUT_MS: i32 = 8_000;
/// Topics in one request: managed services refuse very large ones.
const TOPICS_PER_REQUEST: usize = 50;
/// Between two looks at a topic that is being created.
const LEADER_POLL: Duration = Duration::from_millis(25);

impl KafkaClient {
    /// Creates topics; one result per topic, in the order given (the first of equal names counts). With `validate_only` the cluster only checks.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
        validate_only: bool,
    ) -> Result<Vec<(String, Result<(), KafkaError>)>, KafkaError> {
        self.create_topics_until(topics, validate_only, self.until()).await
    }

    async fn create_topics_until(
        &self,
        topics: &[NewTopic],
        validate_only: bool,
        deadline: Instant,
    ) -> Result<Vec<(String, Result<(), KafkaError>)>, KafkaError> {
        let names = topics.iter().map(|t| t.name.clone()).collect();
        let change = |names| self.create_some(topics, names, validate_only, deadline).boxed();
        self.change_topics(names, deadline, change).await
    }

    /// Makes sure that a topic exists, and waits until every partition has a leader. An existing topic is left as it is,
    /// whatever its partitions and configs.
    pub async fn ensure_topic(&self, topic: &NewTopic) -> Result<TopicMetadata, KafkaError> {
        let deadline = self.until();
        let names = [topic.name.clone()];
        let mut created = false;
        loop {
            if let Some(found) = self.topics_until(Some(&names), deadline).await?.into_iter().next() {
                let led = !found.partitions.is_empty() && found.partitions.iter().all(|p| p.leader.is_some());
                match &found.error {
                    None if led => return Ok(found),
                    Some(error) if error.reason == Reason::TOPIC_NOT_FOUND && !created => {
                        self.create_unless_there(topic, deadline).await?;
                        created = true;
                        continue;
                    }
                    Some(error) if !error.retriable => return Err(error.clone()),
                    _ => {}
                }
            }
            if Instant::now() + LEADER_POLL >= deadline {
                return Err(self.leaderless(&topic.name));
            }
            tokio::time::sleep(LEADER_POLL).await;
        }
    }

    /// Raises topics to the given numbers of partitions; one result per topic.
    pub async fn create_partitions(
        &self,
        wanted: &[(String, i32)],
    ) -> Result<Vec<(String, Result<(), KafkaError>)>, KafkaError> {
        let deadline = self.until();
        let names = wanted.iter().map(|(name, _)| name.clone()).collect();
        self.change_topics(names, deadline, |names| self.grow_some(wanted, names, deadline).boxed()).await
    }

    /// Deletes topics; one result per topic.
    pub async fn delete_topics(
        &self,
        names: &[String],
    ) -> Result<Vec<(String, Result<(), KafkaError>)>, KafkaError> {
        let deadline = self.until();
        self.change_topics(names.to_vec(), deadline, |names| self.delete_some(names, deadline).boxed()).await
    }

    async fn create_unless_there(&self, topic: &NewTopic, deadline: Instant) -> Result<(), KafkaError> {
        let results = self.create_topics_until(std::slice::from_ref(topic), false, deadline).await?;
        match results.into_iter().next() {
            Some((_, Err(error))) if error.code != TOPIC_ALREADY_EXISTS => Err(error),
            _ => Ok(()),
        }
    }

    fn leaderless(&self, topic: &str) -> KafkaError {
        let cluster = self.properties().cluster_id();
        KafkaError::retriable(
            Reason::KAFKA_ERROR,
            format!(
                "cluster {cluster}: topic {topic} exists, but not all of its partitions have a leader yet"
            ),
        )
    }

    /// A change of topics, in requests of bounded size, by the controller.
    async fn change_topics<'a>(
        &'a self,
        names: Vec<String>,
        deadline: Instant,
        change: impl Fn(Vec<String>) -> futures::future::BoxFuture<'a, Answers<String, ()>> + Sync,
    ) -> Result<Vec<(String, Result<(), KafkaError>)>, KafkaError> {
        let mut results = Vec::with_capacity(names.len());
        for chunk in names.chunks(TOPICS_PER_REQUEST) {
            let route = |names: Vec<String>, again| self.to_controller(names, again, deadline).boxed();
            let ask = |_, names| change(names);
            results.extend(self.router.scatter(chunk.to_vec(), deadline, route, ask).await?);
        }
        let order = |name: &String| names.iter().position(|n| n == name);
        results.sort_by_cached_key(|(name, _)| order(name));
        Ok(results)
    }

    async fn to_controller(
        &self,
        names: Vec<String>,
        again: bool,
        deadline: Instant,
    ) -> Result<Vec<(String, Result<To, KafkaError>)>, KafkaError> {
        if again {
            self.router.refresh(&[], deadline).await?;
        }
        Ok(names.into_iter().map(|name| (name, Ok(To::Controller))).collect())
    }

    async fn create_some(
        &self,
        topics: &[NewTopic],
        names: Vec<String>,
        validate_only: bool,
        deadline: Instant,
    ) -> Answers<String, ()> {
        let chosen: Vec<&NewTopic> =
            names.iter().filter_map(|name| topics.iter().find(|t| t.name == *name)).collect();
        let build = |version: i16| {
            let topics = chosen.iter().map(|t| self.creatable(t, version)).collect::<Result<_, _>>()?;
            Ok(CreateTopicsRequest::default()
                .with_topics(topics)
                .with_timeout_ms(CHANGE_TIMEOUT_MS)
                .with_validate_only(validate_only))
        };
        let answer = self.router.send(To::Controller, Use::Control, deadline, &build).await?.body;
        let result = |t: &kafka_protocol::messages::create_topics_response::CreatableTopicResult| {
            let name = t.name.to_string();
            let ask = Ask::topic("create", AclOperation::Create, &name);
            let result = ask.check(self.properties(), t.error_code, t.error_message.as_deref());
            (name, result)
        };
        Ok(answer.topics.iter().map(result).collect())
    }

    fn creatable(&self, topic: &NewTopic, version: i16) -> Result<CreatableTopic, KafkaError> {
        if version < CREATE_TOPICS_WITH_DEFAULTS && (topic.replication_factor < 0 || topic.partitions < 0) {
            return Err(KafkaError::new(
                Reason::UNSUPPORTED_VERSION,
                format!(
                    "cluster {}: topic {}: brokers before Kafka 2.4 have no default for replication factor and partitions: give both",
                    self.properties().cluster_id(),
                    topic.name
                ),
            ));
        }
        let config = |(name, value): (&String, &String)| {
            CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
        };
        Ok(CreatableTopic::default()
            .with_name(TopicName(text(&topic.name)))
            .with_num_partitions(topic.partitions)
            .with_replication_factor(topic.replication_factor)
            .with_configs(topic.configs.iter().map(config).collect()))
    }

    async fn grow_some(
        &self,
        wanted: &[(String, i32)],
        names: Vec<String>,
        deadline: Instant,
    ) -> Answers<String, ()> {
        let build = |_| {
            let topic = |(name, count): &(String, i32)| {
                CreatePartitionsTopic::default()
                    .with_name(TopicName(text(name)))
                    .with_count(*count)
                    .with_assignments(None)
            };
            let chosen = names.iter().filter_map(|name| wanted.iter().find(|(n, _)| n == name));
            let topics = chosen.map(topic).collect();
            Ok(CreatePartitionsRequest::default().with_topics(topics).with_timeout_ms(CHANGE_TIMEOUT_MS))
        };
        let answer = self.router.send(To::Controller, Use::Control, deadline, &build).await?.body;
        let result =
            |t: &kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult| {
                let name = t.name.to_string();
                let ask = Ask::topic("add partitions to", AclOperation::Alter, &name);
                let result = ask.check(self.properties(), t.error_code, t.error_message.as_deref());
                (name, result)
            };
        Ok(answer.results.iter().map(result).collect())
    }

    async fn delete_some(&self, names: Vec<String>, deadline: Instant) -> Answers<String, ()> {
        let build = |_| {
            let names = names.iter().map(|n| TopicName(text(n))).collect();
            Ok(DeleteTopicsRequest::default().with_topic_names(names).with_timeout_ms(CHANGE_TIMEOUT_MS))
        };
        let answer = self.router.send(To::Controller, Use::Control, deadline, &build).await?.body;
        let result = |t: &kafka_protocol::messages::delete_topics_response::DeletableTopicResult| {
            let name = t.name.as_ref().map(|n| n.to_string()).unwrap_or_default();
            let ask = Ask::topic("delete", AclOperation::Delete, &name);
            let result = ask.check(self.properties(), t.error_code, t.error_message.as_deref());
            (name, result)
        };
        Ok(answer.responses.iter().map(result).collect())
    }
}
