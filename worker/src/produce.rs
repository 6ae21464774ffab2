//! Writes a few records (checkpoints, heartbeats) and waits for their acknowledgement. Lanes have their own writer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::try_join_all;
use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use twinlog_proto::id::ClusterId;
use twinlog_proto::reason::Reason;

use crate::cluster::ClusterHandle;
use crate::kafka::{KafkaClient, KafkaError, Role};
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

type Client = FutureProducer<TokenContext>;

/// An idempotent producer with acks=all. It connects when first used and begins anew after a failure: some are final for an
/// idempotent producer.
pub(crate) struct Producer {
    cluster: ClusterId,
    kafka: KafkaClient,
    client: Option<Client>,
}

impl Producer {
    pub(crate) fn new(cluster: &ClusterHandle) -> Self {
        Self { cluster: cluster.id.clone(), kafka: cluster.client.clone(), client: None }
    }

    /// Returns once all are acknowledged, or with the first failure.
    pub(crate) async fn send_all(
        &mut self,
        topic: &str,
        partition: i32,
        records: &[Record],
    ) -> Result<(), KafkaError> {
        let client = match self.client.take() {
            Some(client) => client,
            None => self.create()?,
        };
        for chunk in records.chunks(CHUNK) {
            let sending = chunk.iter().map(|record| send_one(&client, topic, partition, record));
            if let Err(error) = try_join_all(sending).await {
                retire(client);
                return Err(self.failed(topic, &error));
            }
        }
        self.client = Some(client);
        Ok(())
    }

    fn create(&self) -> Result<Client, KafkaError> {
        let mut config = self.kafka.rdkafka(Role::Producer);
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "none")
            .set("linger.ms", "5")
            .set("message.timeout.ms", DELIVERY_TIMEOUT.as_millis().to_string());
        config.create_with_context(TokenContext(self.kafka.properties().clone())).map_err(|error| {
            let message = format!("{}: the client properties can't be used: {error}", self.cluster.name());
            KafkaError::new(Reason::INVALID_PROPERTY, message)
        })
    }

    fn failed(&self, topic: &str, error: &RdError) -> KafkaError {
        let cluster = self.cluster.name();
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

impl Drop for Producer {
    fn drop(&mut self) {
        self.client.take().into_iter().for_each(retire);
    }
}

/// Closing takes librdkafka up to a second, which nobody waits for.
fn retire(client: Client) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        drop(runtime.spawn_blocking(move || drop(client)));
    }
}

async fn send_one(client: &Client, topic: &str, partition: i32, record: &Record) -> Result<(), RdError> {
    let message = FutureRecord::to(topic)
        .partition(partition)
        .key(&record.key)
        .payload(&record.value)
        .timestamp(record.timestamp_ms);
    client.send(message, Timeout::After(DELIVERY_TIMEOUT)).await.map(drop).map_err(|(error, _)| error)
}

/// Milliseconds since 1970, as Kafka writes times.
pub(crate) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
