//! The one error of the client: a stable reason, a sentence that names the thing, the value and the remedy, and whether
//! waiting may help.

use std::io;
use std::time::Duration;

use twinlog_proto::descriptors;
use twinlog_proto::reason::Reason;
use twinlog_proto::text;

use super::properties::ClientProperties;

/// Why a call, or its part for one topic, partition or group, did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct KafkaError {
    pub reason: Reason,
    /// Names what failed, on what, and what to do; never holds a secret.
    pub message: String,
    /// Whether the same call may succeed later without anybody changing anything.
    pub retriable: bool,
    /// The broker's error code where it was a broker that refused, as in the Kafka protocol; 0 otherwise.
    pub code: i16,
}

impl KafkaError {
    /// An error that waiting does not heal. A broker's words in it are made fit for a status and a log.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: text::sentence(&message.into()), retriable: false, code: 0 }
    }

    /// An error that may heal by itself.
    pub fn retriable(reason: Reason, message: impl Into<String>) -> Self {
        Self { retriable: true, ..Self::new(reason, message) }
    }
}

/// No connection to `peer`: the operating system's answer.
pub(in crate::kafka) fn unreachable(client: &ClientProperties, peer: &str, error: &io::Error) -> KafkaError {
    let cluster = client.cluster_id();
    if descriptors::are_used_up(error) {
        let allowed = descriptors::allowed();
        let message = format!(
            "cluster {cluster}: no connection to {peer}: {error}. The process may have {allowed} file descriptors: \
             raise the limit (`ulimit -n` before the start, LimitNOFILE in a systemd unit), or add workers"
        );
        return KafkaError::retriable(Reason::DESCRIPTORS_LIMIT, message);
    }
    KafkaError::retriable(
        Reason::CLUSTER_UNREACHABLE,
        format!("cluster {cluster}: {peer} can't be reached: {error}"),
    )
}

/// Time ran out while `doing` something.
pub(in crate::kafka) fn timed_out(client: &ClientProperties, doing: &str, after: Duration) -> KafkaError {
    // A try that began when the time of its call was nearly over says nothing about the broker.
    let within = match after.as_secs() {
        0 => "in the time that was left".to_owned(),
        seconds => format!("within {seconds} s"),
    };
    KafkaError::retriable(
        Reason::CLUSTER_UNREACHABLE,
        format!("cluster {}: {doing}: no answer {within}", client.cluster_id()),
    )
}
