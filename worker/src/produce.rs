//! Writes a few records (checkpoints, heartbeats) and waits for their acknowledgement. Lanes have their own writer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use twinlog_proto::id::ClusterId;
use twinlog_proto::reason::Reason;

use crate::cluster::ClusterHandle;
pub(crate) use crate::kafka::NewRecord as Record;
use crate::kafka::{KafkaError, RecordWriter, code};

/// A record that isn't acknowledged within this has failed.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// It connects when first used.
pub(crate) struct Producer {
    cluster: ClusterId,
    writer: RecordWriter,
}

impl Producer {
    pub(crate) fn new(cluster: &ClusterHandle) -> Self {
        Self { cluster: cluster.id.clone(), writer: RecordWriter::new(&cluster.client, DELIVERY_TIMEOUT) }
    }

    /// Returns once all are acknowledged, or with the first failure.
    pub(crate) async fn send_all(
        &mut self,
        topic: &str,
        partition: i32,
        records: &[Record],
    ) -> Result<(), KafkaError> {
        let written = self.writer.write(topic, partition, records).await;
        written.map_err(|error| named(&self.cluster, topic, error))
    }
}

/// The failure in terms of what was to be written. What concerns the client as a whole has its own words.
fn named(cluster: &ClusterId, topic: &str, error: KafkaError) -> KafkaError {
    let cluster = cluster.name();
    match (error.reason, error.code) {
        (_, code::TOPIC_AUTHORIZATION_FAILED) => KafkaError::new(
            Reason::MISSING_PERMISSION,
            format!(
                "WRITE on topic {topic} is not granted on {cluster}: grant it to the principal of the client properties"
            ),
        ),
        (Reason::CLUSTER_UNREACHABLE, _) => {
            let why = error.message;
            let message = format!(
                "{topic} on {cluster} did not acknowledge a record within {DELIVERY_TIMEOUT:?}: {why}"
            );
            KafkaError::retriable(Reason::CLUSTER_UNREACHABLE, message)
        }
        (_, 0) => error,
        // Of the cluster as it is now, not of what was to be written.
        (_, code::LEADER_NOT_AVAILABLE | code::NOT_LEADER_OR_FOLLOWER | code::REQUEST_TIMED_OUT) => {
            KafkaError { reason: Reason::WAITING_FOR_CLUSTER, retriable: true, ..error }
        }
        (_, _) => KafkaError { reason: Reason::KAFKA_ERROR, retriable: true, ..error },
    }
}

/// Milliseconds since 1970, as Kafka writes times.
pub(crate) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(reason: Reason, code: i16) -> KafkaError {
        let cluster = ClusterId::new("eu").unwrap();
        named(&cluster, "heartbeats", KafkaError { code, ..KafkaError::new(reason, "cluster eu: so it is") })
    }

    #[test]
    fn causes_are_named_by_what_was_to_be_written() {
        let denied = cause(Reason::MISSING_PERMISSION, code::TOPIC_AUTHORIZATION_FAILED);
        let text = "WRITE on topic heartbeats is not granted on clusters/eu: grant it to the principal of the client properties";
        assert_eq!(denied, KafkaError::new(Reason::MISSING_PERMISSION, text));

        let silent = cause(Reason::CLUSTER_UNREACHABLE, 0);
        let text = "heartbeats on clusters/eu did not acknowledge a record within 10s: cluster eu: so it is";
        assert_eq!(silent, KafkaError::retriable(Reason::CLUSTER_UNREACHABLE, text));

        let refused = cause(Reason::TOPIC_NOT_FOUND, code::UNKNOWN_TOPIC_OR_PARTITION);
        assert_eq!((refused.reason, refused.retriable), (Reason::KAFKA_ERROR, true));

        let leaderless = cause(Reason::KAFKA_ERROR, code::LEADER_NOT_AVAILABLE);
        assert_eq!((leaderless.reason, leaderless.retriable), (Reason::WAITING_FOR_CLUSTER, true));

        let login = cause(Reason::AUTHENTICATION_FAILED, 0);
        assert_eq!((login.reason, login.retriable), (Reason::AUTHENTICATION_FAILED, false));
    }
}
