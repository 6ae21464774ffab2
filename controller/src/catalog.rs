//! Clusters and mirrors as desired: validated writes on the store.
//!
//! Every write is one transaction on the mod revision that was read, so two callers never overwrite each other unseen. A
//! `request_id` makes a retry safe: the answer is what the first call made. Nothing here talks to a worker.

pub mod change;
mod check;
mod cluster;
pub(crate) mod conflict;
mod deletions;
pub mod loops;
mod mask;
mod mirror;
pub mod overlap;
pub mod places;
mod remembered;
mod request;
mod sample;
mod stored;
pub mod warning;

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::Semaphore;
use tracing::error;
use twinlog_proto::filter::Filter;
use twinlog_proto::reason::Reason;

use crate::refusal::Refusal;
use crate::store::{CommitOutcome, Entry, Store, StoreError, Transaction};

pub(crate) use cluster::{cluster_id, cluster_not_found};
pub(crate) use mirror::{mirror_id, mirror_not_found};

pub use check::{MAX_RESOURCE_BYTES, hide_secrets};

/// Attempts at a write whose base changed meanwhile, before the caller is told.
const MAX_ATTEMPTS: usize = 5;
/// Calls whose patterns are compiled at the same time: each may take a second of a processor.
const MAX_CHECKS: usize = 2;

/// Whether client properties may hold secrets in clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiteralSecrets {
    /// Only `${...}` references.
    Refused,
    /// The operator says that the store encrypts at rest.
    Accepted,
}

/// What a write made, and the revision from which on readers see it. Validation alone has no revision.
#[derive(Debug)]
pub struct Written<T> {
    pub resource: T,
    pub revision: Option<i64>,
}

#[derive(Clone)]
pub struct Catalog {
    store: Arc<dyn Store>,
    literal_secrets: LiteralSecrets,
    checks: Arc<Semaphore>,
}

impl Catalog {
    pub fn new(store: Arc<dyn Store>, literal_secrets: LiteralSecrets) -> Self {
        Self { store, literal_secrets, checks: Arc::new(Semaphore::new(MAX_CHECKS)) }
    }

    /// Patterns are compiled apart from the threads that keep leases and streams alive, and not for a caller that is gone.
    async fn apart<T: Send + 'static>(&self, check: impl FnOnce() -> T + Send + 'static) -> T {
        let permit = self.checks.clone().acquire_owned().await.expect("it is never closed");
        let check = move || {
            let checked = check();
            drop(permit);
            checked
        };
        tokio::task::spawn_blocking(check).await.expect("a check doesn't panic")
    }

    /// INVALID_PATTERN. The patterns come back as they were given.
    pub(crate) async fn check_patterns(&self, patterns: Vec<String>) -> Result<Vec<String>, Refusal> {
        self.apart(move || match Filter::new(&patterns, &[] as &[&str]) {
            Ok(_) => Ok(patterns),
            Err(e) => {
                let violation = (format!("patterns[{}]", e.index), e.to_string());
                Err(Refusal::of_fields(Reason::INVALID_PATTERN, vec![violation]))
            }
        })
        .await
    }

    /// One key, read from the store itself: a write is decided on what is there, not on what a cache last saw.
    async fn read(&self, key: &str) -> Result<Option<Entry>, Refusal> {
        self.store.get(key).await.map_err(store_failed)
    }

    /// The revision of the commit; `None` where a guard did not hold.
    async fn commit(&self, txn: Transaction) -> Result<Option<i64>, Refusal> {
        match self.store.commit(txn).await.map_err(store_failed)? {
            CommitOutcome::Committed { revision } => Ok(Some(revision)),
            CommitOutcome::Conflict => Ok(None),
        }
    }
}

/// What a caller is told when the store fails.
pub fn store_failed(failure: StoreError) -> Refusal {
    match failure {
        StoreError::Unavailable(what) => {
            let message =
                format!("the controller's store can't be used now ({what}); nothing was changed, try again");
            Refusal::new(Reason::STORE_UNAVAILABLE, message, &[])
        }
        StoreError::Unknown(what) => {
            let message = format!(
                "the store did not confirm the change ({what}): it may or may not have happened; look, or repeat the call with the same request_id"
            );
            Refusal::new(Reason::STORE_UNAVAILABLE, message, &[])
        }
        StoreError::Compacted { asked, oldest } => {
            let message = format!(
                "revision {asked} is gone, history begins at {oldest}: list again and watch from the revision of that answer"
            );
            Refusal::new(Reason::REVISION_COMPACTED, message, &[])
        }
        StoreError::Future { asked, newest } => {
            let message = format!(
                "revision {asked} has not happened here, the newest is {newest}: list again and watch from the revision of that answer"
            );
            Refusal::new(Reason::REVISION_UNKNOWN, message, &[])
        }
        StoreError::TooLarge { bytes, .. } => {
            let message = format!("{bytes} bytes are more than the store takes in one write");
            Refusal::new(Reason::TOO_MANY, message, &[])
        }
        other @ (StoreError::Invalid(_) | StoreError::Denied(_) | StoreError::Unusable(_)) => {
            error!(error = %other, "the store refuses to work");
            let message = "the controller's store refuses to work; the controller's log says why";
            Refusal::new(Reason::INTERNAL, message, &[])
        }
    }
}

fn write_conflict(name: &str) -> Refusal {
    let message =
        format!("{name} was changed by others {MAX_ATTEMPTS} times while it was being written; try again");
    Refusal::new(Reason::WRITE_CONFLICT, message, &[("resource", name)])
}

fn already_exists(name: &str) -> Refusal {
    let message = format!("{name} exists already: update it, or choose another id");
    Refusal::new(Reason::ALREADY_EXISTS, message, &[("resource", name)])
}

/// An empty `given` means that the caller doesn't mind.
fn check_etag(name: &str, given: &str, stored: &str) -> Result<(), Refusal> {
    if given.is_empty() || given == stored {
        return Ok(());
    }
    let message = format!(
        "{name} has changed since you read it (etag {given:?}, now {stored:?}): read it again and repeat your change"
    );
    Err(Refusal::new(Reason::ETAG_MISMATCH, message, &[("resource", name), ("etag", stored)]))
}

fn now() -> prost_types::Timestamp {
    SystemTime::now().into()
}

#[cfg(test)]
mod tests;
