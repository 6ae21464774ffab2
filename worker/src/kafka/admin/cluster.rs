//! The cluster itself, and its topics as metadata shows them.

use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use kafka_protocol::messages::{ApiKey, DescribeClusterRequest, DescribeClusterResponse, MetadataResponse};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::types::{ClusterInfo, PartitionMetadata, TopicMetadata};
use crate::kafka::wire::client::KafkaClient;
use crate::kafka::wire::code::Ask;
use crate::kafka::wire::connection::BrokerApis;
use crate::kafka::wire::error::KafkaError;
use crate::kafka::wire::metadata;
use crate::kafka::wire::pool::Use;
use crate::kafka::wire::route::To;
use crate::kafka::wire::types::{AclOperation, Broker};

impl KafkaClient {
    /// Which cluster this is, who is in it, and what this client may do with it.
    pub async fn describe_cluster(&self) -> Result<ClusterInfo, KafkaError> {
        let deadline = self.until();
        let mut info = self.router.retry(deadline, || self.cluster_info(deadline)).await?;
        info.brokers.sort_by_key(|b| b.id);
        Ok(info)
    }

    async fn cluster_info(&self, deadline: Instant) -> Result<ClusterInfo, KafkaError> {
        let look = |c: &crate::kafka::wire::connection::Connection| {
            (version_of(c.apis()), c.apis().range(ApiKey::DescribeCluster).is_some())
        };
        let (broker_version, has_describe_cluster) = self.router.probe(deadline, look).await?;
        if !has_describe_cluster {
            let response = self.metadata(Some(&[]), true, deadline).await?;
            return Ok(from_metadata(&response, broker_version));
        }
        let build =
            |_| Ok(DescribeClusterRequest::default().with_include_cluster_authorized_operations(true));
        let answer = self.router.send(To::Any, Use::Control, deadline, &build).await?.body;
        let ask = Ask::cluster("describe the cluster", AclOperation::Describe);
        ask.check(self.properties(), answer.error_code, answer.error_message.as_deref())?;
        Ok(from_describe_cluster(&answer, broker_version))
    }

    /// Topics with their partitions, in the order of their names; `None` means all that this client may see. A topic that
    /// was asked for by name and can't be described has an entry with `error`. Never creates a topic.
    pub async fn topics(&self, names: Option<&[String]>) -> Result<Vec<TopicMetadata>, KafkaError> {
        self.topics_until(names, self.until()).await
    }

    pub(super) async fn topics_until(
        &self,
        names: Option<&[String]>,
        deadline: Instant,
    ) -> Result<Vec<TopicMetadata>, KafkaError> {
        let response = self.router.retry(deadline, || self.metadata(names, true, deadline)).await?;
        let mut topics: Vec<_> = response.topics.iter().filter_map(|t| self.topic(t)).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    pub(super) fn topic(&self, topic: &MetadataResponseTopic) -> Option<TopicMetadata> {
        let name = topic.name.as_ref()?.to_string();
        let ask = Ask::topic("describe", AclOperation::Describe, &name);
        let error = ask.check(self.properties(), topic.error_code, None).err();
        let mut partitions: Vec<_> = topic.partitions.iter().map(partition).collect();
        partitions.sort_by_key(|p| p.partition);
        Some(TopicMetadata {
            topic_id: Some(topic.topic_id).filter(|id| !id.is_nil()),
            internal: topic.is_internal,
            partitions,
            authorized_operations: AclOperation::from_bits(topic.topic_authorized_operations),
            error,
            name,
        })
    }
}

fn partition(p: &MetadataResponsePartition) -> PartitionMetadata {
    let ids = |nodes: &[kafka_protocol::messages::BrokerId]| nodes.iter().map(|n| n.0).collect();
    PartitionMetadata {
        partition: p.partition_index,
        leader: Some(p.leader_id.0).filter(|id| *id >= 0),
        leader_epoch: p.leader_epoch,
        replicas: ids(&p.replica_nodes),
        in_sync: ids(&p.isr_nodes),
        offline: ids(&p.offline_replicas),
    }
}

fn from_metadata(m: &MetadataResponse, broker_version: String) -> ClusterInfo {
    ClusterInfo {
        cluster_id: m.cluster_id.as_ref().map(ToString::to_string),
        controller_id: Some(m.controller_id.0).filter(|id| *id >= 0),
        brokers: m.brokers.iter().map(metadata::broker).collect(),
        broker_version,
        authorized_operations: AclOperation::from_bits(m.cluster_authorized_operations),
    }
}

fn from_describe_cluster(d: &DescribeClusterResponse, broker_version: String) -> ClusterInfo {
    let text = |s: &StrBytes| s.to_string();
    let broker = |b: &kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker| Broker {
        id: b.broker_id.0,
        host: text(&b.host),
        port: u16::try_from(b.port).unwrap_or(0),
        rack: b.rack.as_ref().map(text),
    };
    ClusterInfo {
        cluster_id: Some(text(&d.cluster_id)).filter(|id| !id.is_empty()),
        controller_id: Some(d.controller_id.0).filter(|id| *id >= 0),
        brokers: d.brokers.iter().map(broker).collect(),
        broker_version,
        authorized_operations: AclOperation::from_bits(d.cluster_authorized_operations),
    }
}

/// The broker's release as its API versions tell.
fn version_of(apis: &BrokerApis) -> String {
    let max = |key: ApiKey| apis.range(key).map_or(-1, |(_, max)| max);
    let min = |key: ApiKey| apis.range(key).map_or(-1, |(min, _)| min);
    let text = match (apis.metadata_level, min(ApiKey::Fetch), max(ApiKey::Fetch)) {
        // Level of metadata.version, which 3.3 introduced: KRaft brokers only.
        (21, ..) => "3.9",
        (20, ..) => "3.8",
        (15..=19, ..) => "3.7",
        (25, ..) => "4.0",
        // 4.0 dropped the versions from before 2.1.
        (_, 4.., _) => "4.x",
        (_, _, 13..) => "3.x",
        (_, _, 11..) => "2.3-3.0",
        (_, _, 10) => "2.1-2.2",
        _ => "before 2.1",
    };
    text.to_owned()
}
