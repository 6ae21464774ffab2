//! Writes a few records (checkpoints, heartbeats) and waits for their acknowledgement. Lanes have their own writer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::try_join_all;
use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use twinlog_proto::reason::Reason;

use crate::cluster::ClusterHandle;
use crate::kafka::{KafkaError, Role};
use crate::token::TokenContext;

/// A record that isn't acknowledged within this has failed.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Records handed over at once; librdkafka's queue holds more.
const CHUNK: usize = 1000;

pub(crate) struct Record {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) timestamp_ms: i64,
}

/// An idempotent producer with acks=all. Connects when first used.
pub(crate) struct Producer {
    producer: FutureProducer<TokenContext>,
    cluster: String,
}

impl Producer {
    pub(crate) fn open(cluster: &ClusterHandle) -> Result<Self, KafkaError> {
        let mut config = cluster.properties.rdkafka(Role::Producer);
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "none")
            .set("linger.ms", "5")
            .set("message.timeout.ms", DELIVERY_TIMEOUT.as_millis().to_string());
        let producer =
            config.create_with_context(TokenContext(cluster.properties.clone())).map_err(|error| {
                let message = format!("{}: the client properties can't be used: {error}", cluster.id.name());
                KafkaError::new(Reason::INVALID_PROPERTY, message)
            })?;
        Ok(Self { producer, cluster: cluster.id.name() })
    }

    /// Returns once all are acknowledged, or with the first failure.
    pub(crate) async fn send_all(
        &self,
        topic: &str,
        partition: i32,
        records: &[Record],
    ) -> Result<(), KafkaError> {
        for chunk in records.chunks(CHUNK) {
            try_join_all(chunk.iter().map(|record| self.send(topic, partition, record))).await?;
        }
        Ok(())
    }

    pub(crate) async fn send(&self, topic: &str, partition: i32, record: &Record) -> Result<(), KafkaError> {
        let message = FutureRecord::to(topic)
            .partition(partition)
            .key(&record.key)
            .payload(&record.value)
            .timestamp(record.timestamp_ms);
        match self.producer.send(message, Timeout::After(DELIVERY_TIMEOUT)).await {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(self.failed(topic, &error)),
        }
    }

    fn failed(&self, topic: &str, error: &RdError) -> KafkaError {
        let cluster = &self.cluster;
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => KafkaError::new(
                Reason::MISSING_PERMISSION,
                format!(
                    "WRITE on topic {topic} is not granted on {cluster}: grant it to the principal of the client properties"
                ),
            ),
            Some(RDKafkaErrorCode::MessageTimedOut) => KafkaError::retriable(
                Reason::CLUSTER_UNREACHABLE,
                format!("{topic} on {cluster} did not acknowledge a record within {DELIVERY_TIMEOUT:?}"),
            ),
            _ => KafkaError::retriable(
                Reason::KAFKA_ERROR,
                format!("cannot write to {topic} on {cluster}: {error}"),
            ),
        }
    }
}

/// Milliseconds since 1970, as Kafka writes times.
pub(crate) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
