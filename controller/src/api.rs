//! The public gRPC API: checks requests, writes through the catalog, reads from the cache, and asks workers and the leader
//! through the controller. Generated types stop here.

mod aliases;
mod cluster;
mod fleet;
mod gaps;
mod last_plan;
mod mirror;
mod offset;
mod parse;
mod refused;
mod status;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::error;
use twinlog_proto::id::ClusterId;
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;

use crate::catalog::{Catalog, LiteralSecrets, cluster_not_found};
use crate::controller::Controller;
use crate::fleet::{Answered, Question};
use crate::refusal::Refusal;
use crate::state::State;

pub(crate) use watch::serve::MirrorServer;

/// How long a worker may take for an answer about one cluster.
const QUERY_DEADLINE: Duration = Duration::from_secs(20);
/// How long a worker may take for a plan or a translation: it reads from both clusters.
const LONG_QUERY_DEADLINE: Duration = Duration::from_secs(45);
/// How long an answer to a write waits for this replica's own view to have it, so that a read right after sees it.
const READ_YOUR_WRITE: Duration = Duration::from_secs(1);

/// Every service of the public API. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    controller: Arc<Controller>,
    catalog: Catalog,
    watches: Arc<watch::places::Places>,
    changes: Arc<watch::encoded::Changes>,
    /// What waits for clients that read slowly, bytes.
    watch_bytes: Arc<Semaphore>,
    /// Ends streams, so that the server can.
    stop: CancellationToken,
}

impl Api {
    pub fn new(
        controller: Arc<Controller>,
        literal_secrets: LiteralSecrets,
        stop: CancellationToken,
    ) -> Self {
        let catalog = Catalog::new(controller.store().clone(), literal_secrets);
        Self {
            controller,
            catalog,
            watches: Arc::default(),
            changes: Arc::default(),
            watch_bytes: Arc::new(Semaphore::new(watch::drain::MAX_BYTES_IN_ALL)),
            stop,
        }
    }

    fn state(&self) -> Arc<State> {
        self.controller.cache().snapshot()
    }

    /// Waits, for a moment, until reads from this replica see a write.
    async fn seen(&self, revision: Option<i64>) {
        if let Some(revision) = revision {
            // Not an error: the write is done, and the cache follows.
            let _ = tokio::time::timeout(READ_YOUR_WRITE, self.controller.cache().at_least(revision)).await;
        }
    }

    async fn ask(&self, question: Question) -> Result<Answered, Status> {
        Ok(self.controller.informed()?.ask(question).await?)
    }

    /// The clusters as workers get them, secrets included.
    fn clusters(&self, ids: &[&ClusterId]) -> Result<Vec<v1::Cluster>, Refusal> {
        let state = self.state();
        let find = |id: &&ClusterId| match state.clusters.get(*id) {
            Some(cluster) => Ok(cluster.wire.clone()),
            None => Err(cluster_not_found(id)),
        };
        ids.iter().map(find).collect()
    }
}

/// A worker gave another kind of answer than it was asked for.
fn wrong_answer(answered: &Answered) -> Refusal {
    error!(worker = %answered.worker, "answer of the wrong kind");
    let message = format!(
        "worker {} gave an answer that fits another question; is it of another version?",
        answered.worker
    );
    Refusal::new(Reason::INTERNAL, message, &[("worker", answered.worker.as_str())])
}
