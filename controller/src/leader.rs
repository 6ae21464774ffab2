//! What the parts of one replica share, and what it answers itself because it leads.

mod config;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;
use twinlog_proto::id::{MirrorId, Term, WorkerId};
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::reason::{Reason, bad_request, status};
use twinlog_proto::v1;

use crate::fleet::{Answered, Fleet, Question};
use crate::keys;
use crate::relay::Relay;
use crate::state::Cache;
use crate::store::{CommitOutcome, Store, Transaction, Write};

pub use config::ControllerConfig;

/// How long this replica may take to see its own write.
const OWN_WRITE: Duration = Duration::from_secs(2);
/// Questions may not ask for more time than this.
pub(crate) const MAX_QUERY_DEADLINE: Duration = Duration::from_secs(120);

/// What the parts of one replica share.
pub(crate) struct Replica {
    pub(crate) config: ControllerConfig,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) relay: Relay,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// The term, while this replica leads.
    pub(crate) leading: watch::Sender<Option<Term>>,
}

/// What the leader itself answers.
impl Replica {
    pub(crate) fn is_leader(&self) -> bool {
        self.leading.borrow().is_some()
    }

    /// Whether this replica knows the fleet: it leads, or it did and nobody does so instead, as when the store is away. In the first
    /// moments of a term it doesn't even know whom it waits for.
    pub(crate) fn knows_the_fleet(&self) -> bool {
        let elsewhere = || self.cache.snapshot().leader.as_ref().is_some_and(|l| l.id != self.config.id);
        (self.is_leader() && self.fleet.has_begun()) || (!self.fleet.is_empty() && !elsewhere())
    }

    pub(crate) fn welcome(&self) -> internal::Welcome {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        internal::Welcome {
            controller: self.config.id.clone(),
            term: self.leading.borrow().unwrap_or_default().0,
            report_interval_ms: millis(self.config.report_interval),
            lease_ms: millis(self.config.worker_lease),
        }
    }

    pub(crate) fn workers(&self) -> internal::PeerWorkersResponse {
        self.fleet.workers(&self.cache.snapshot())
    }

    pub(crate) fn mirror_status(&self, id: &MirrorId) -> Result<v1::MirrorStatus, Status> {
        let status = self.fleet.mirror_status(id, &self.cache.snapshot());
        let mut status = status.ok_or_else(|| mirror_not_found(id))?;
        status.causes.extend(self.cache.away().map(|away| away.cause()));
        Ok(status)
    }

    pub(crate) fn ranges(&self, id: &MirrorId) -> Result<Vec<v1::RangeStatus>, Status> {
        self.fleet.ranges(id, &self.cache.snapshot()).ok_or_else(|| mirror_not_found(id))
    }

    pub(crate) async fn ask(&self, mut question: Question) -> Result<Answered, Status> {
        self.refuse_unless_paused(&question)?;
        question.deadline = question.deadline.min(MAX_QUERY_DEADLINE);
        Ok(self.fleet.ask(question, &self.cache.snapshot()).await?)
    }

    /// MIRROR_NOT_PAUSED for what must not be written while ranges run: they would move on from it. Asked of what the store and
    /// the fleet say, not of what the caller brought.
    fn refuse_unless_paused(&self, question: &Question) -> Result<(), Status> {
        let internal::query::Question::GiveBack(give_back) = &question.question else { return Ok(()) };
        if give_back.validate_only {
            return Ok(());
        }
        let name = question.mirror.as_ref().map(|mirror| mirror.name.clone()).unwrap_or_default();
        let id = MirrorId::from_name(&name).map_err(|e| {
            bad_request(Reason::INVALID_FIELD, &[("query.mirror.name".to_owned(), e.to_string())])
        })?;
        let state = self.cache.snapshot();
        let mirror = state.mirrors.get(&id).ok_or_else(|| mirror_not_found(&id))?;
        let running = !self.ranges(&id)?.iter().all(|range| range.worker.is_empty());
        if running || mirror.model.running {
            let message = format!(
                "{name} copies: pause it first (twinlog mirror pause {id}) and wait until its state is PAUSED"
            );
            return Err(status(Reason::MIRROR_NOT_PAUSED, message, &[("mirror", id.as_str())]));
        }
        Ok(())
    }

    /// A drain is a key in the store: it outlives this leader.
    pub(crate) async fn drain(&self, id: &WorkerId, cancel: bool) -> Result<v1::Worker, Status> {
        let find = || {
            let name = id.name();
            self.workers()
                .workers
                .into_iter()
                .find(|worker| worker.name == name)
                .ok_or_else(|| worker_not_found(id))
        };
        find()?;
        let key = keys::drain(id);
        let write = if cancel { Write::delete(key) } else { Write::put(key, bytes::Bytes::new()) };
        let txn = Transaction { guards: Vec::new(), writes: vec![write] };
        let committed = self.store.commit(txn).await.map_err(|error| {
            status(
                Reason::STORE_UNAVAILABLE,
                format!("can't record the drain: {error}"),
                &[("worker", id.as_str())],
            )
        })?;
        if let CommitOutcome::Committed { revision } = committed {
            // Cancelling what was not there leaves no event to wait for.
            let _ = tokio::time::timeout(OWN_WRITE, self.cache.at_least(revision)).await;
        }
        find()
    }
}

fn mirror_not_found(id: &MirrorId) -> Status {
    status(Reason::MIRROR_NOT_FOUND, format!("mirror {id} does not exist"), &[("mirror", id.as_str())])
}

pub(crate) fn worker_not_found(id: &WorkerId) -> Status {
    let message = format!("worker {id} is not connected");
    status(Reason::WORKER_NOT_FOUND, message, &[("worker", id.as_str())])
}
