//! Why a cluster has no transaction coordinator: it keeps transactions in a topic of its own, which it may not be able to make
//! or to write.

use kafka_protocol::messages::DescribeConfigsRequest;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use twinlog_proto::reason::Reason;

use super::configs::entry;
use super::types::{ConfigEntry, TopicMetadata};
use crate::kafka::wire::client::KafkaClient;
use crate::kafka::wire::code::Ask;
use crate::kafka::wire::error::KafkaError;
use crate::kafka::wire::pool::Use;
use crate::kafka::wire::route::To;
use crate::kafka::wire::types::AclOperation;
use crate::kafka::wire::types::text;

const TOPIC: &str = "__transaction_state";
const REPLICATION: &str = "transaction.state.log.replication.factor";
const MIN_ISR: &str = "transaction.state.log.min.isr";
/// Config resource type of a broker.
const BROKER: i8 = 4;
/// Who can't change the brokers can do without transactions.
const OR_ELSE: &str = "or make the mirror anew with --guarantee at-least-once, which needs no transactions";

/// What is known of the topic and of the brokers' settings for it.
struct Found<'a> {
    cluster: &'a str,
    brokers: usize,
    /// `None`: it doesn't exist.
    topic: Option<&'a TopicMetadata>,
    /// `None`: they could not be read.
    replication: Option<usize>,
    min_isr: Option<usize>,
}

impl KafkaClient {
    /// What keeps the cluster from having a transaction coordinator, and what to do; `None` where nothing is wrong with it.
    ///
    /// # Errors
    /// The cluster can't be asked.
    pub(crate) async fn transactions_trouble(&self) -> Result<Option<String>, KafkaError> {
        let cluster = self.describe_cluster().await?;
        let topic = self.topics(Some(&[TOPIC.to_owned()])).await?.into_iter().next();
        let topic = topic
            .filter(|topic| topic.error.as_ref().is_none_or(|error| error.reason != Reason::TOPIC_NOT_FOUND));
        let configs = match cluster.brokers.first() {
            Some(broker) => self.broker_configs(broker.id, &[REPLICATION, MIN_ISR]).await.unwrap_or_default(),
            None => Vec::new(),
        };
        let number = |name: &str| {
            configs.iter().find(|config| config.name == name)?.value.as_deref()?.parse::<usize>().ok()
        };
        let found = Found {
            cluster: self.properties().cluster_id(),
            brokers: cluster.brokers.len(),
            topic: topic.as_ref(),
            replication: number(REPLICATION),
            min_isr: number(MIN_ISR),
        };
        Ok(found.trouble())
    }

    /// Some configs of a broker, as it has them itself.
    async fn broker_configs(&self, broker: i32, names: &[&str]) -> Result<Vec<ConfigEntry>, KafkaError> {
        let deadline = self.until();
        let build = |_| {
            let resource = DescribeConfigsResource::default()
                .with_resource_type(BROKER)
                .with_resource_name(text(&broker.to_string()))
                .with_configuration_keys(Some(names.iter().map(|name| text(name)).collect()));
            Ok(DescribeConfigsRequest::default().with_resources(vec![resource]))
        };
        let answer = self.router.send(To::Broker(broker), Use::Control, deadline, &build).await?.body;
        let ask = Ask::cluster("read the configs of brokers", AclOperation::DescribeConfigs);
        let Some(result) = answer.results.first() else { return Ok(Vec::new()) };
        ask.check(self.properties(), result.error_code, result.error_message.as_deref())?;
        Ok(result.configs.iter().map(entry).collect())
    }
}

impl Found<'_> {
    fn trouble(&self) -> Option<String> {
        match self.topic {
            None => Some(self.cannot_be_made()),
            Some(topic) => self.cannot_be_written(topic),
        }
    }

    fn cannot_be_made(&self) -> String {
        let Self { cluster, brokers, .. } = self;
        let there_are = if *brokers == 1 { "there is 1".to_owned() } else { format!("there are {brokers}") };
        match self.replication {
            Some(needed) if needed > *brokers => format!(
                "cluster {cluster} can't make its topic {TOPIC}, so it has no transactions: that needs {needed} brokers \
                 ({REPLICATION}={needed}), {there_are}. Set {REPLICATION}={brokers} and {MIN_ISR}=1 in the settings of its brokers \
                 and restart them, or add brokers, {OR_ELSE}"
            ),
            Some(_) => format!(
                "cluster {cluster} has no topic {TOPIC} yet, so it has no transactions: it is made at the first use; where that \
                 doesn't come, the log of its controller says why, {OR_ELSE}"
            ),
            None => format!(
                "cluster {cluster} has no topic {TOPIC}, so it has no transactions: that needs as many brokers as \
                 {REPLICATION} in the settings of its brokers says (3 unless set), {there_are}. Set {REPLICATION}={brokers} and \
                 {MIN_ISR}=1 there and restart them, or add brokers, {OR_ELSE}"
            ),
        }
    }

    fn cannot_be_written(&self, topic: &TopicMetadata) -> Option<String> {
        let cluster = self.cluster;
        let all = topic.partitions.len();
        let leaderless = topic.partitions.iter().filter(|p| p.leader.is_none()).count();
        if leaderless > 0 {
            return Some(format!(
                "cluster {cluster}: {leaderless} of {all} partitions of its topic {TOPIC} have no leader, so it has no transactions \
                 for some producers: start the brokers that hold them, {OR_ELSE}"
            ));
        }
        let needed = self.min_isr?;
        let short = topic.partitions.iter().filter(|p| p.in_sync.len() < needed);
        let fewest = short.clone().map(|p| p.in_sync.len()).min()?;
        let short = short.count();
        let replicas = topic.partitions.iter().map(|p| p.replicas.len()).max().unwrap_or(0);
        let remedy = match replicas < needed {
            true => format!(
                "it has {replicas} replicas only: give it more (kafka-reassign-partitions.sh), or set {MIN_ISR}={replicas} in the \
                 settings of its brokers and min.insync.replicas={replicas} on the topic, and restart them"
            ),
            false => "start the brokers that hold the other replicas".to_owned(),
        };
        Some(format!(
            "cluster {cluster}: {short} of {all} partitions of its topic {TOPIC} have {fewest} in-sync replicas, {needed} are needed \
             ({MIN_ISR}), so it has no transactions: {remedy}, {OR_ELSE}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_numbers_and_a_remedy() {
        let found = Found { cluster: "b", brokers: 1, topic: None, replication: Some(3), min_isr: Some(2) };
        let text = found.trouble().expect("a trouble");
        for part in ["cluster b", "needs 3 brokers", "there is 1", "factor=1", "min.isr=1", "at-least-once"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let unread = Found { replication: None, min_isr: None, ..found };
        assert!(unread.trouble().is_some_and(|text| text.contains("3 unless set")));
    }
}
