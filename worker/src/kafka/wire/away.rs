//! A broker that doesn't answer, as an error says it.

use std::io;
use std::time::Duration;

use twinlog_proto::descriptors;
use twinlog_proto::reason::Reason;

use super::error::KafkaError;
use super::properties::ClientProperties;

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
