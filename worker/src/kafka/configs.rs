//! Topic configs: reading all, changing some.

use std::collections::BTreeMap;

use futures::FutureExt;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};
use tokio::time::Instant;

use super::client::PerName;
use super::code::Ask;
use super::pool::Use;
use super::retry::Answers;
use super::route::To;
use super::topics::text;
use super::types::{AclOperation, ConfigEntry, ConfigSource};
use super::{KafkaClient, KafkaError};

/// Config resource type of a topic.
const TOPIC: i8 = 2;
const SET: i8 = 0;
const DELETE: i8 = 1;
/// Topics in one request: an answer holds some 35 entries for each.
const TOPICS_PER_REQUEST: usize = 200;

impl KafkaClient {
    /// Every config of each topic, with where it was set.
    pub async fn describe_configs(&self, topics: &[String]) -> Result<PerName<Vec<ConfigEntry>>, KafkaError> {
        let deadline = self.until();
        let mut all = PerName::new();
        for chunk in topics.chunks(TOPICS_PER_REQUEST) {
            let route = |names: Vec<String>, _| {
                async move { Ok(names.into_iter().map(|n| (n, Ok(To::Any))).collect()) }.boxed()
            };
            let ask = |_, names| self.describe_some(names, deadline).boxed();
            all.extend(self.router.scatter(chunk.to_vec(), deadline, route, ask).await?);
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
        let deadline = self.until();
        if set.is_empty() && delete.is_empty() {
            return Ok(());
        }
        self.router.retry(deadline, || self.alter_once(topic, set, delete, deadline)).await
    }

    async fn alter_once(
        &self,
        topic: &str,
        set: &BTreeMap<String, String>,
        delete: &[String],
        deadline: Instant,
    ) -> Result<(), KafkaError> {
        let build = |_| {
            let entry = |name: &str, operation| {
                AlterableConfig::default().with_name(text(name)).with_config_operation(operation)
            };
            let sets = set.iter().map(|(name, value)| entry(name, SET).with_value(Some(text(value))));
            let deletes = delete.iter().map(|name| entry(name, DELETE).with_value(None));
            let resource = AlterConfigsResource::default()
                .with_resource_type(TOPIC)
                .with_resource_name(text(topic))
                .with_configs(sets.chain(deletes).collect());
            Ok(IncrementalAlterConfigsRequest::default().with_resources(vec![resource]))
        };
        let answer = self.router.send(To::Any, Use::Control, deadline, &build).await?;
        let ask = Ask::topic("change the configs of", AclOperation::AlterConfigs, topic);
        answer
            .body
            .responses
            .iter()
            .try_for_each(|r| ask.check(self.properties(), r.error_code, r.error_message.as_deref()))
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

fn entry(config: &DescribeConfigsResourceResult) -> ConfigEntry {
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
