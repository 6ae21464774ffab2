//! Campaigning and staying the leader.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use etcd_client::{LeaseClient, PutOptions, TxnOp};
use futures::StreamExt;
use prost::Message;
use tokio::time::Instant;
use tracing::warn;
use twinlog_proto::id::Term;

use super::{EtcdStore, Kind, limited, revision_of};
use crate::keys;
use crate::store::LeaderRecord;
use crate::store::{Candidate, Event, Guard, Hold, Leadership, Resign, Store, StoreError};

/// Renewals within one TTL.
const RENEWALS: u32 = 3;
/// Pause before a broken renewal or watch is tried again.
const RETRY: Duration = Duration::from_millis(100);

pub(super) async fn campaign(store: &EtcdStore, candidate: &Candidate) -> Result<Leadership, StoreError> {
    loop {
        let (revision, leader) = store.read_at(keys::LEADER).await?;
        if leader.is_some() {
            gone(store, revision).await?;
            continue;
        }
        if let Some(leadership) = attempt(store, candidate).await? {
            return Ok(leadership);
        }
    }
}

/// Returns when the leader key is deleted, or has been since `revision`.
async fn gone(store: &EtcdStore, revision: i64) -> Result<(), StoreError> {
    let mut watch = store.watch(keys::LEADER, revision).await?;
    while let Some(batch) = watch.next().await {
        let deleted = |event: &Event| matches!(event, Event::Deleted { .. });
        if batch?.events.iter().any(deleted) {
            return Ok(());
        }
    }
    Err(StoreError::Unavailable("the watch on the leader key ended".to_owned()))
}

/// Takes a lease and tries to create the leader key with it. `None`: somebody else was faster.
async fn attempt(store: &EtcdStore, candidate: &Candidate) -> Result<Option<Leadership>, StoreError> {
    let mut leases = store.client().lease_client();
    let seconds = i64::try_from(candidate.ttl.as_millis().div_ceil(1000)).unwrap_or(i64::MAX).max(1);
    let asked = Instant::now();
    let granted = store.call(Kind::Read, leases.grant(seconds, None)).await?;
    let lease = granted.id();
    let created = create(store, candidate, lease).await;
    match created {
        Ok(Some((term, since))) => {
            // etcd may give more than was asked for; we never count on it.
            let hold = Hold::new(asked + candidate.ttl);
            let keeper = Keeper { store: store.clone(), term, lease, ttl: candidate.ttl, hold: hold.clone() };
            tokio::spawn(keeper.keep());
            let resign = Box::new(EtcdResign { store: store.clone(), lease });
            let guard = Guard::unchanged(keys::LEADER, term.0);
            Ok(Some(Leadership::new(term, since, guard, hold, resign)))
        }
        other => {
            // Also after an unknown outcome: without its lease the key can't stay.
            let _ = store.call(Kind::Read, leases.revoke(lease)).await;
            other.map(|_| None)
        }
    }
}

/// The term, and where the history begins that it is in.
async fn create(
    store: &EtcdStore,
    candidate: &Candidate,
    lease: i64,
) -> Result<Option<(Term, i64)>, StoreError> {
    let record = LeaderRecord { id: candidate.id.clone(), address: candidate.address.clone() };
    let value = Bytes::from(record.encode_to_vec());
    let lease = PutOptions::new().with_lease(lease);
    let put = TxnOp::put(store.key(keys::LEADER), value.as_ref(), Some(lease));
    let (base, answer) = store.transact(Kind::Write, &[Guard::absent(keys::LEADER)], vec![put]).await?;
    let revision = revision_of(answer.header())?;
    Ok(answer.succeeded().then(|| (Term(base.ours(revision)), base.oldest())))
}

struct EtcdResign {
    store: EtcdStore,
    lease: i64,
}

#[async_trait::async_trait]
impl Resign for EtcdResign {
    async fn resign(&self) {
        let mut leases = self.store.client().lease_client();
        if let Err(error) = self.store.call(Kind::Read, leases.revoke(self.lease)).await {
            warn!(%error, "can't resign; the leadership runs out by itself");
        }
    }
}

/// Renews a leadership until it is given up, its key is gone, or its time is over by our own clock.
struct Keeper {
    store: EtcdStore,
    term: Term,
    lease: i64,
    ttl: Duration,
    hold: Arc<Hold>,
}

impl Keeper {
    async fn keep(self) {
        tokio::select! {
            biased;
            () = self.hold.lost().cancelled() => {}
            () = self.time_is_over() => warn!(term = %self.term, "the leadership could not be renewed in time"),
            () = self.key_is_gone() => warn!(term = %self.term, "the leader key is gone"),
            () = self.renew() => warn!(term = %self.term, "the leadership's lease is gone"),
        }
        self.hold.lost().cancel();
    }

    async fn time_is_over(&self) {
        while Instant::now() < self.hold.valid_until() {
            tokio::time::sleep_until(self.hold.valid_until()).await;
        }
    }

    async fn key_is_gone(&self) {
        loop {
            match self.store.watch(keys::LEADER, self.term.0).await {
                Ok(mut watch) => {
                    while let Some(Ok(batch)) = watch.next().await {
                        if !batch.events.is_empty() {
                            return;
                        }
                    }
                }
                // History is gone, but the key can't be both there and unseen: look.
                Err(error) => warn!(%error, "can't watch the leader key"),
            }
            if let Ok(entry) = self.store.get(keys::LEADER).await
                && entry.is_none_or(|entry| entry.mod_revision != self.term.0)
            {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Returns when etcd says that the lease is gone.
    async fn renew(&self) {
        let mut leases = self.store.client().lease_client();
        loop {
            match self.renew_until_error(&mut leases).await {
                Ok(()) => return,
                Err(error) => warn!(%error, term = %self.term, "can't renew the leadership"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn renew_until_error(&self, leases: &mut LeaseClient) -> Result<(), StoreError> {
        let mut asked = Instant::now();
        // A request that hangs must leave time for another one.
        let limit = self.ttl / RENEWALS;
        let opened = limited(Kind::Read, limit, leases.keep_alive(self.lease)).await;
        let (mut keeper, mut answers) = match opened {
            Err(StoreError::Unavailable(text)) if text.contains("lease not found") => return Ok(()),
            other => other?,
        };
        loop {
            self.hold.extend(asked + self.ttl);
            tokio::time::sleep_until(asked + limit).await;
            asked = Instant::now();
            limited(Kind::Read, limit, keeper.keep_alive()).await?;
            match limited(Kind::Read, limit, answers.message()).await? {
                Some(answer) if answer.ttl() > 0 => {}
                Some(_) => return Ok(()),
                None => return Err(StoreError::Unavailable("etcd closed the renewal".to_owned())),
            }
        }
    }
}
