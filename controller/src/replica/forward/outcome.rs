//! What comes of a call to the leader, where it can't answer.

use std::time::Duration;

use tonic::{Code, Status};
use twinlog_proto::reason::{self, Reason};

use crate::refusal::no_leader;

/// A call to the leader, with an end.
pub(super) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer.map_err(unreachable),
        Err(_) => Err(no_leader(&format!("the leader did not answer within {limit:?}")).into()),
    }
}

/// A broken connection to the leader is NO_LEADER to the caller; what the leader itself says passes through.
pub(super) fn unreachable(status: Status) -> Status {
    match reason::reason_of(&status).as_deref() {
        // A new leader's secret is on its way through the store.
        Some(text) if text == Reason::NOT_A_REPLICA.as_str() => {
            return no_leader("the leader doesn't know this replica yet").into();
        }
        Some(_) => return status,
        None => {}
    }
    match status.code() {
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal => {
            no_leader(&format!("the leader can't be reached: {}", status.message())).into()
        }
        _ => status,
    }
}
