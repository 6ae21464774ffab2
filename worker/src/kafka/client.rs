//! The client: one handle per cluster.

use std::collections::{BTreeMap, HashMap};

use super::*;

type PerPartition<T> = HashMap<(String, i32), Result<T, KafkaError>>;
type PerName<T> = HashMap<String, Result<T, KafkaError>>;

/// Admin, group, offset and raw fetch calls to one cluster. Clones share connections and metadata.
#[derive(Clone)]
pub struct KafkaClient {}

impl KafkaClient {
    pub fn new(_properties: ClientProperties) -> Self {
        todo!()
    }
    pub fn properties(&self) -> &ClientProperties {
        todo!()
    }
    pub async fn describe_cluster(&self) -> Result<ClusterInfo, KafkaError> {
        todo!()
    }
    pub async fn topics(&self, _names: Option<&[String]>) -> Result<Vec<TopicMetadata>, KafkaError> {
        todo!()
    }
    pub async fn list_offsets(
        &self,
        _wanted: &[(String, i32, OffsetSpec)],
        _isolation: Isolation,
    ) -> Result<PerPartition<ListedOffset>, KafkaError> {
        todo!()
    }
    pub async fn offset_for_leader_epoch(
        &self,
        _wanted: &[(String, i32, i32)],
    ) -> Result<PerPartition<EpochEnd>, KafkaError> {
        todo!()
    }
    pub async fn create_topics(
        &self,
        _topics: &[NewTopic],
        _validate_only: bool,
    ) -> Result<Vec<(String, Result<(), KafkaError>)>, KafkaError> {
        todo!()
    }
    pub async fn ensure_topic(&self, _topic: &NewTopic) -> Result<TopicMetadata, KafkaError> {
        todo!()
    }
    pub async fn create_partitions(
        &self,
        _wanted: &[(String, i32)],
    ) -> Result<Vec<(String, Result<(), KafkaError>)>, KafkaError> {
        todo!()
    }
    pub async fn delete_topics(
        &self,
        _names: &[String],
    ) -> Result<Vec<(String, Result<(), KafkaError>)>, KafkaError> {
        todo!()
    }
    pub async fn describe_configs(
        &self,
        _topics: &[String],
    ) -> Result<PerName<Vec<ConfigEntry>>, KafkaError> {
        todo!()
    }
    pub async fn incremental_alter_configs(
        &self,
        _topic: &str,
        _set: &BTreeMap<String, String>,
        _delete: &[String],
    ) -> Result<(), KafkaError> {
        todo!()
    }
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, KafkaError> {
        todo!()
    }
    pub async fn describe_groups(&self, _groups: &[String]) -> Result<PerName<GroupDescription>, KafkaError> {
        todo!()
    }
    pub async fn fetch_offsets(
        &self,
        _groups: &[String],
    ) -> Result<PerName<Vec<CommittedOffset>>, KafkaError> {
        todo!()
    }
    pub async fn commit_offsets(
        &self,
        _group: &str,
        _offsets: &[CommittedOffset],
    ) -> Result<Vec<((String, i32), Result<(), KafkaError>)>, KafkaError> {
        todo!()
    }
    pub async fn delete_groups(
        &self,
        _groups: &[String],
    ) -> Result<Vec<(String, Result<(), KafkaError>)>, KafkaError> {
        todo!()
    }
    pub async fn describe_acls(&self, _filter: &AclFilter) -> Result<Vec<Acl>, KafkaError> {
        todo!()
    }
    pub async fn create_acls(&self, _acls: &[Acl]) -> Result<Vec<(Acl, Result<(), KafkaError>)>, KafkaError> {
        todo!()
    }
    pub async fn delete_acls(
        &self,
        _filters: &[AclFilter],
    ) -> Result<Vec<Result<Vec<Acl>, KafkaError>>, KafkaError> {
        todo!()
    }
    pub async fn fetch_batches(
        &self,
        _topic: &str,
        _partition: i32,
        _offset: i64,
        _max_bytes: i32,
        _isolation: Isolation,
    ) -> Result<FetchedBatches, KafkaError> {
        todo!()
    }
}
