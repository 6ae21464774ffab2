//! What a MirrorMaker 2 in exactly-once mode leaves open on the target when it is killed. Until it ends (the coordinator waits a minute
//! by default) nobody sees what lies behind it. It is ended as Connect's own leader does it before it starts tasks anew: whoever asks for
//! a transactional id ends its transaction, and fences the process that still writes with it.

use std::time::Duration;

use twinlog_proto::model::TakeOver;
use twinlog_proto::reason::Reason;

use crate::cause::Cause;
use crate::cluster::ClusterHandle;
use crate::engine::TRANSACTION_TIMEOUT;
use crate::kafka::KafkaError;
use crate::mm2_offsets::DEFAULT_CONNECTOR;

/// Of a flow. They are named after their classes, in Strimzi's deployments with the flow before that.
const CONNECTORS: [&str; 3] = [DEFAULT_CONNECTOR, "MirrorCheckpointConnector", "MirrorHeartbeatConnector"];
/// For one transaction to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ends every open transaction of MM2's tasks. To be called only when Connect's group has no members.
///
/// # Errors
/// It could not be done, and what is open is to be waited for: the words for the mirror's status.
pub(crate) async fn end_open_transactions(target: &ClusterHandle, take_over: &TakeOver) -> Result<(), Cause> {
    let ended = end_all(target, take_over).await;
    ended.map_err(|error| {
        let message = format!(
            "MirrorMaker 2 has ended. Should it have left a transaction open on cluster {}, copying begins when that ends, a minute after its \
             last record by default (its producers' transaction.timeout.ms). It could not be ended from here: {}",
            target.id, error.message
        );
        Cause::new(Reason::MM2_RUNNING, message)
    })
}

async fn end_all(target: &ClusterHandle, take_over: &TakeOver) -> Result<(), KafkaError> {
    for id in target.client.open_transactions().await? {
        if is_of_mm2(&id, take_over) {
            target.client.end_open_transaction(&id, TRANSACTION_TIMEOUT, PATIENCE).await?;
            tracing::info!(id, cluster = %target.id, "ended a transaction that MirrorMaker 2 had left open");
        }
    }
    Ok(())
}

/// Connect's ids are `<group>-<connector>-<task>`.
fn is_of_mm2(id: &str, take_over: &TakeOver) -> bool {
    let of_group = id.strip_prefix(&take_over.group).and_then(|rest| rest.strip_prefix('-'));
    let Some((connector, task)) = of_group.and_then(|rest| rest.rsplit_once('-')) else { return false };
    let is_number = !task.is_empty() && task.bytes().all(|b| b.is_ascii_digit());
    let named = take_over.connector.as_deref() == Some(connector);
    is_number && (named || CONNECTORS.iter().any(|known| connector.ends_with(known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_mm2_left_open_is_ended() {
        let mut take_over = TakeOver { connector: None, offsets_topic: "o".into(), group: "a-mm2".into() };
        for id in [
            "a-mm2-MirrorSourceConnector-0",
            "a-mm2-MirrorHeartbeatConnector-17",
            "a-mm2-a->b.MirrorSourceConnector-3",
        ] {
            assert!(is_of_mm2(id, &take_over), "{id}");
        }
        for id in [
            "a-mm2-MirrorSourceConnector-",
            "a-mm2-MirrorSourceConnector-x1",
            "a-mm2-MirrorSourceConnector",
            "a-mm2-jdbc-0",
            "b-mm2-MirrorSourceConnector-0",
            "a-mm2MirrorSourceConnector-0",
            "connect-cluster-a-mm2",
            "twinlog-m-a.orders-0",
        ] {
            assert!(!is_of_mm2(id, &take_over), "{id}");
        }
        take_over.connector = Some("jdbc".into());
        assert!(is_of_mm2("a-mm2-jdbc-0", &take_over));
    }
}
