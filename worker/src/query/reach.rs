//! Nothing here waits long for a cluster that is gone: it is asked for a sign of life first.

use std::time::Duration;

use crate::cause::Cause;
use crate::cluster::ClusterHandle;

/// How long a cluster has for an answer that can be given without it, from what is known here.
pub(super) const SOON: Duration = Duration::from_millis(400);
/// How long a cluster has for a sign of life where there is no answer without it. Then it may take its time for the answer.
pub(super) const ALIVE: Duration = Duration::from_secs(3);

/// Asks for a sign of life.
///
/// # Errors
/// CLUSTER_UNREACHABLE, or why the cluster refuses; it names the cluster.
pub(super) async fn alive(cluster: &ClusterHandle, within: Duration) -> Result<(), Cause> {
    cluster.client.within(within).topics(Some(&[])).await?;
    Ok(())
}
