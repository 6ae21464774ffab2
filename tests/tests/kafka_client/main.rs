//! The worker's Kafka client against real brokers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use twinlog_proto::id::ClusterId;
use twinlog_proto::model::Cluster;
use twinlog_proto::secret::{Access, Rule};
use twinlog_worker::kafka::{ClientProperties, CommittedOffset, KafkaClient, NewTopic, Role};

mod admin;
mod failover;
mod groups;
mod positions;
mod reading;
mod security;

const TRY: Duration = Duration::from_secs(20);

fn properties(bootstrap: &str, properties: &[(&str, &str)]) -> Result<ClientProperties> {
    let cluster = Cluster {
        id: ClusterId::new("eu")?,
        bootstrap_servers: bootstrap.split(',').map(str::to_owned).collect(),
        properties: properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
    };
    // Tests keep their tokens and certificates in the sandbox's folder.
    let folder = std::env::temp_dir().join("twinlog-sandbox");
    let access = Access::with(vec![Rule::dir(&folder.display().to_string()).map_err(anyhow::Error::msg)?]);
    Ok(ClientProperties::resolve_for(&cluster, &Arc::new(access))?)
}

fn client(bootstrap: &str) -> Result<KafkaClient> {
    Ok(KafkaClient::new(properties(bootstrap, &[])?))
}

fn topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic { name: name.to_owned(), partitions, replication_factor: -1, configs: BTreeMap::new() }
}

fn commit(topic: &str, partition: i32, offset: i64) -> CommittedOffset {
    CommittedOffset { topic: topic.to_owned(), partition, offset, leader_epoch: -1, metadata: "m".to_owned() }
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|n| (*n).to_owned()).collect()
}

/// `count` records with timestamps 1000, 1001, ... in one batch of one partition.
fn produce(client: &KafkaClient, topic: &str, partition: i32, count: i64) -> Result<()> {
    let producer: BaseProducer =
        client.properties().rdkafka(Role::Producer).set("linger.ms", "200").create()?;
    for i in 0..count {
        let value = format!("value {i}");
        let record =
            BaseRecord::to(topic).partition(partition).key("key").payload(&value).timestamp(1000 + i);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    Ok(producer.flush(TRY)?)
}
