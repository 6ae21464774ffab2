//! Topic configs: reading all, changing some.

use std::collections::BTreeMap;

use futures::FutureExt;
use futures::future::BoxFuture;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};
use tokio::time::Instant;

use super::types::{ConfigChange, ConfigEntry, ConfigSource};
use crate::kafka::wire::client::KafkaClient;
use crate::kafka::wire::client::PerName;
use crate::kafka::wire::code::Ask;
use crate::kafka::wire::error::KafkaError;
use crate::kafka::wire::pool::Use;
use crate::kafka::wire::retry::{Answers, Routes};
use crate::kafka::wire::route::To;
use crate::kafka::wire::types::AclOperation;
use crate::kafka::wire::types::text;

/// Config resource type of a topic.
const TOPIC: i8 = 2;
const SET: i8 = 0;
const DELETE: i8 = 1;
/// Topics in one request: an answer holds some 35 entries for each.
const TOPICS_PER_REQUEST: usize = 200;
/// Topics changed by one request: each is a record in the cluster's metadata.
const TOPICS_PER_CHANGE: usize = 100;

impl KafkaClient {
    /// Every config of each topic, with where it was set.
    pub async fn describe_configs(&self, topics: &[String]) -> Result<PerName<Vec<ConfigEntry>>, KafkaError> {
        let deadline = self.until();
        let mut all = PerName::new();
        for chunk in topics.chunks(TOPICS_PER_REQUEST) {
            let ask = |_, names| self.describe_some(names, deadline).boxed();
            all.extend(self.router.scatter(chunk.to_vec(), deadline, to_any, ask).await?);
        }
        Ok(all)
    }

    /// Sets some configs of a topic and returns others to their defaults; the rest stays as it is.
    pub async fn incremental_alter_configs(
        &self,
        topic: &str,
        set: &BTreeMap<String, String>,
        delete: &[String],
    ) -> Result<(), KafkaError> {
        let change = ConfigChange { set: set.clone(), delete: delete.to_vec() };
        let changes = BTreeMap::from([(topic.to_owned(), change)]);
        self.alter_configs(&changes).await?.into_values().collect()
    }

    /// Changes configs of many topics. A topic's changes are made together or, if one of them is refused, not at all.
    pub async fn alter_configs(
        &self,
        changes: &BTreeMap<String, ConfigChange>,
    ) -> Result<PerName<()>, KafkaError> {
        let deadline = self.until();
        let topics: Vec<String> =
            changes.iter().filter(|(_, change)| !change.is_empty()).map(|(topic, _)| topic.clone()).collect();
        let mut all = PerName::new();
        for chunk in topics.chunks(TOPICS_PER_CHANGE) {
            let ask = |_, names| self.alter_some(changes, names, deadline).boxed();
            all.extend(self.router.scatter(chunk.to_vec(), deadline, to_any, ask).await?);
        }
        Ok(all)
    }

    async fn alter_some(
        &self,
        changes: &BTreeMap<String, ConfigChange>,
        topics: Vec<String>,
        deadline: Instant,
    ) -> Answers<String, ()> {
        let build = |_| {
            let resources = topics.iter().map(|topic| alteration(topic, &changes[topic])).collect();
            Ok(IncrementalAlterConfigsRequest::default().with_resources(resources))
        };
        let answer = self.router.send(To::Any, Use::Control, deadline, &build).await?.body;
        let result = |r: &AlterConfigsResourceResponse| {
            let topic = r.resource_name.to_string();
            let ask = Ask::topic("change the configs of", AclOperation::AlterConfigs, &topic);
            let result = ask.check(self.properties(), r.error_code, r.error_message.as_deref());
            (topic, result)
        };
        Ok(answer.responses.iter().map(result).collect())
    }

    async fn describe_some(
        &self,
        names: Vec<String>,
        deadline: Instant,
    ) -> Answers<String, Vec<ConfigEntry>> {
        let build = |_| {
            let resource = |name: &String| {
                DescribeConfigsResource::default()
                    .with_resource_type(TOPIC)
                    .with_resource_name(text(name))
                    .with_configuration_keys(None)
            };
            Ok(DescribeConfigsRequest::default().with_resources(names.iter().map(resource).collect()))
        };
        let answer = self.router.send(To::Any, Use::Control, deadline, &build).await?.body;
        Ok(answer.results.iter().map(|r| (r.resource_name.to_string(), self.entries(r))).collect())
    }

    fn entries(&self, result: &DescribeConfigsResult) -> Result<Vec<ConfigEntry>, KafkaError> {
        Ask::topic("read the configs of", AclOperation::DescribeConfigs, &result.resource_name).check(
            self.properties(),
            result.error_code,
            result.error_message.as_deref(),
        )?;
        Ok(result.configs.iter().map(entry).collect())
    }
}

fn to_any<'a>(topics: Vec<String>, _: bool) -> BoxFuture<'a, Routes<String>> {
    async move { Ok(topics.into_iter().map(|topic| (topic, Ok(To::Any))).collect()) }.boxed()
}

fn alteration(topic: &str, change: &ConfigChange) -> AlterConfigsResource {
    let entry = |name: &str, operation| {
        AlterableConfig::default().with_name(text(name)).with_config_operation(operation)
    };
    let sets = change.set.iter().map(|(name, value)| entry(name, SET).with_value(Some(text(value))));
    let deletes = change.delete.iter().map(|name| entry(name, DELETE).with_value(None));
    AlterConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(topic))
        .with_configs(sets.chain(deletes).collect())
}

pub(super) fn entry(config: &DescribeConfigsResourceResult) -> ConfigEntry {
    ConfigEntry {
        name: config.name.to_string(),
        value: config.value.as_ref().map(ToString::to_string),
        source: match config.config_source {
            1 => ConfigSource::DynamicTopic,
            2 => ConfigSource::DynamicBroker,
            3 => ConfigSource::DynamicDefaultBroker,
            4 => ConfigSource::StaticBroker,
            5 => ConfigSource::Default,
            6 => ConfigSource::DynamicBrokerLogger,
            7 => ConfigSource::ClientMetrics,
            8 => ConfigSource::Group,
            _ => ConfigSource::Unknown,
        },
        read_only: config.read_only,
        sensitive: config.is_sensitive,
    }
}
