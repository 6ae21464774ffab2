//! The one error of the client: a stable reason, a sentence that names the thing, the value and the remedy, and whether
//! waiting may help.

use twinlog_proto::reason::Reason;
use twinlog_proto::text;

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
