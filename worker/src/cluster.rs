//! One Kafka cluster as the tasks of a worker share it: resolved properties and one admin client.

use twinlog_proto::id::ClusterId;
use twinlog_proto::model;

use crate::kafka::{ClientProperties, KafkaClient, KafkaError};

/// Held behind an `Arc` by every task that works with the cluster.
pub struct ClusterHandle {
    pub id: ClusterId,
    pub properties: ClientProperties,
    pub client: KafkaClient,
}

impl ClusterHandle {
    /// Resolves the properties (`${env:..}`, `${file:..}`); connects lazily.
    ///
    /// # Errors
    /// SECRET_UNRESOLVED or INVALID_PROPERTY.
    pub fn open(cluster: &model::Cluster) -> Result<Self, KafkaError> {
        let properties = ClientProperties::resolve(cluster)?;
        let client = KafkaClient::new(properties.clone());
        Ok(Self { id: cluster.id.clone(), properties, client })
    }
}
