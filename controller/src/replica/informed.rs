//! What is answered from here: by a replica that knows the fleet.

use std::sync::Arc;
use std::time::Duration;

use twinlog_proto::id::{MirrorId, WorkerId};
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;

use super::shared::Shared;
use crate::fleet::{Answered, Question, Workers};
use crate::keys;
use crate::refusal::{Refusal, invalid, no_leader};
use crate::store::{CommitOutcome, Transaction, Write};

/// How long this replica may take to see its own write.
const OWN_WRITE: Duration = Duration::from_secs(2);
/// Questions may not ask for more time than this.
const MAX_QUERY_DEADLINE: Duration = Duration::from_secs(120);

/// Shows that this replica knows the fleet: it leads, or it did and nobody does so instead, as when the store is away.
pub struct Informed(Arc<Shared>);

impl Shared {
    /// NO_LEADER where this replica doesn't know the fleet. In the first moments of a term it doesn't even know whom it waits for.
    pub(crate) fn informed(self: &Arc<Self>) -> Result<Informed, Refusal> {
        let leads = self.is_leader() && self.fleet.has_begun();
        if leads || (!self.fleet.is_empty() && !self.follows()) {
            return Ok(Informed(self.clone()));
        }
        Err(no_leader(match &self.cache.snapshot().leader {
            None => "no controller leads at the moment",
            Some(_) if self.follows() => "this replica does not lead",
            Some(_) => "this replica is about to lead",
        }))
    }
}

impl Informed {
    pub(crate) fn shared(&self) -> &Shared {
        &self.0
    }

    /// Every worker, by id.
    pub fn workers(&self) -> Vec<v1::Worker> {
        self.fleet().workers
    }

    /// Every worker, and whether a new leader still waits for some to come back.
    pub(crate) fn fleet(&self) -> Workers {
        self.0.fleet.workers(&self.0.cache.snapshot())
    }

    /// WORKER_NOT_FOUND.
    pub fn worker(&self, id: &WorkerId) -> Result<v1::Worker, Refusal> {
        let name = id.name();
        let found = self.workers().into_iter().find(|worker| worker.name == name);
        found.ok_or_else(|| worker_not_found(id))
    }

    /// State with causes, per topic and per range. MIRROR_NOT_FOUND.
    pub fn mirror_status(&self, id: &MirrorId) -> Result<v1::MirrorStatus, Refusal> {
        let status = self.0.fleet.mirror_status(id, &self.0.cache.snapshot());
        let mut status = status.ok_or_else(|| mirror_not_found(id))?;
        status.causes.extend(self.0.cache.away().map(|away| away.cause()));
        Ok(status)
    }

    /// Every range of a mirror, by target topic and block. MIRROR_NOT_FOUND.
    pub fn ranges(&self, id: &MirrorId) -> Result<Vec<v1::RangeStatus>, Refusal> {
        self.0.fleet.ranges(id, &self.0.cache.snapshot()).ok_or_else(|| mirror_not_found(id))
    }

    /// Asks a worker. NO_WORKER, NO_ELIGIBLE_WORKER, TOO_MANY, QUERY_TIMEOUT, MIRROR_NOT_PAUSED, or the reason the worker gave.
    pub async fn ask(&self, mut question: Question) -> Result<Answered, Refusal> {
        self.refuse_unless_paused(&question)?;
        question.deadline = question.deadline.min(MAX_QUERY_DEADLINE);
        self.0.fleet.ask(question, &self.0.cache.snapshot()).await
    }

    /// MIRROR_NOT_PAUSED for what must not be written while ranges run: they would move on from it. Asked of what the store and
    /// the fleet say, not of what the caller brought.
    fn refuse_unless_paused(&self, question: &Question) -> Result<(), Refusal> {
        let internal::query::Question::GiveBack(give_back) = &question.question else { return Ok(()) };
        if give_back.validate_only {
            return Ok(());
        }
        let name = question.mirror.as_ref().map(|mirror| mirror.name.clone()).unwrap_or_default();
        let id = MirrorId::from_name(&name).map_err(|e| invalid("query.mirror.name", e.to_string()))?;
        let state = self.0.cache.snapshot();
        let mirror = state.mirrors.get(&id).ok_or_else(|| mirror_not_found(&id))?;
        let running = !self.ranges(&id)?.iter().all(|range| range.worker.is_empty());
        if running || mirror.model.running {
            let message = format!(
                "{name} copies: pause it first (twinlog mirror pause {id}) and wait until its state is PAUSED"
            );
            return Err(Refusal::new(Reason::MIRROR_NOT_PAUSED, message, &[("mirror", id.as_str())]));
        }
        Ok(())
    }

    /// Starts a drain or (`cancel`) takes it back: a key in the store, which outlives this leader. WORKER_NOT_FOUND,
    /// STORE_UNAVAILABLE.
    pub async fn drain(&self, id: &WorkerId, cancel: bool) -> Result<v1::Worker, Refusal> {
        self.worker(id)?;
        let key = keys::drain(id);
        let write = if cancel { Write::delete(key) } else { Write::put(key, bytes::Bytes::new()) };
        let txn = Transaction { guards: Vec::new(), writes: vec![write] };
        let committed = self.0.store.commit(txn).await.map_err(|error| {
            Refusal::new(
                Reason::STORE_UNAVAILABLE,
                format!("can't record the drain: {error}"),
                &[("worker", id.as_str())],
            )
        })?;
        if let CommitOutcome::Committed { revision } = committed {
            // Cancelling what was not there leaves no event to wait for.
            let _ = tokio::time::timeout(OWN_WRITE, self.0.cache.at_least(revision)).await;
        }
        self.worker(id)
    }
}

fn mirror_not_found(id: &MirrorId) -> Refusal {
    Refusal::new(Reason::MIRROR_NOT_FOUND, format!("mirror {id} does not exist"), &[("mirror", id.as_str())])
}

fn worker_not_found(id: &WorkerId) -> Refusal {
    let message = format!("worker {id} is not connected");
    Refusal::new(Reason::WORKER_NOT_FOUND, message, &[("worker", id.as_str())])
}
