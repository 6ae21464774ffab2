//! Where Twinlog keeps what must survive: a small ordered key-value store with revisions.
//!
//! A store lists a prefix, reads one key, commits a compare-and-write transaction, watches from a revision, and holds one leadership.
//! `etcd` and `embedded` implement it, and one conformance suite (`tests/store.rs`) holds for both. The promises:
//! - every commit gets a revision greater than every earlier one, and is seen whole or not at all; that holds even when what
//!   lies below is lost, restored from an older copy, or replaced: whoever noticed that, or was told of a greater revision
//!   (`advance`), goes on above it;
//! - a watch delivers every event after its revision in order, or fails: it never skips;
//! - `StoreError::Unknown` from `commit` means that nobody knows whether it happened: look again, never guess.

pub mod embedded;
pub mod etcd;
mod leader;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use twinlog_proto::id::Term;

pub use leader::{LeaderInfo, LeaderRecord};

/// Writes in one transaction, at most, and one more than the guards: etcd's `--max-txn-ops` is 128 by default.
pub const MAX_TXN_OPS: usize = 128;
/// Bytes of keys and values in one transaction, at most: etcd's `--max-request-bytes` is 1.5 MiB by default.
pub const MAX_TXN_BYTES: usize = 1_400_000;
/// How long a leadership lasts without renewal, unless configured.
pub const DEFAULT_LEADER_TTL: Duration = Duration::from_secs(3);

/// One key as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub value: Bytes,
    /// Revision that created the key (again, after a deletion).
    pub create_revision: i64,
    /// Revision of the last write.
    pub mod_revision: i64,
}

/// Everything under a prefix at one revision, ordered by key.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub revision: i64,
    pub entries: Vec<Entry>,
}

/// A condition on a key: it was last written at `mod_revision`; 0 means that it does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    pub key: String,
    pub mod_revision: i64,
}

impl Guard {
    pub fn absent(key: impl Into<String>) -> Self {
        Self { key: key.into(), mod_revision: 0 }
    }
    pub fn unchanged(key: impl Into<String>, mod_revision: i64) -> Self {
        Self { key: key.into(), mod_revision }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    Put { key: String, value: Bytes },
    Delete { key: String },
}

impl Write {
    pub fn put(key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self::Put { key: key.into(), value: value.into() }
    }
    pub fn delete(key: impl Into<String>) -> Self {
        Self::Delete { key: key.into() }
    }
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
    /// Size of key and value.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Put { key, value } => key.len() + value.len(),
            Self::Delete { key } => key.len(),
        }
    }
}

/// Writes that happen together if every guard holds. A key is written at most once.
#[derive(Debug, Clone, Default)]
pub struct Transaction {
    pub guards: Vec<Guard>,
    pub writes: Vec<Write>,
}

impl Transaction {
    /// Refuses what etcd would refuse, so that both stores have the same limits.
    fn check(&self) -> Result<(), StoreError> {
        let ops = (self.guards.len() + 1).max(self.writes.len());
        let bytes = self.writes.iter().map(Write::bytes).sum::<usize>();
        if ops > MAX_TXN_OPS || bytes > MAX_TXN_BYTES {
            return Err(StoreError::TooLarge { ops, bytes });
        }
        let mut keys: Vec<&str> = self.writes.iter().map(Write::key).collect();
        keys.sort_unstable();
        match keys.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(StoreError::Invalid(format!("key {} is written twice", pair[0]))),
            None => Ok(()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitOutcome {
    /// All writes happened, at this revision. (Without writes: the revision at which the guards held.)
    Committed { revision: i64 },
    /// A guard did not hold; nothing was written.
    Conflict,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Put(Entry),
    Deleted { key: String, mod_revision: i64 },
}

/// Events in order. Every event up to `revision` has been delivered; `events` may be empty (progress).
#[derive(Debug, Clone, Default)]
pub struct WatchBatch {
    pub revision: i64,
    pub events: Vec<Event>,
}

/// Ends with an error (after which it must be opened again), never silently.
pub type Watch = BoxStream<'static, Result<WatchBatch, StoreError>>;

/// Who wants to lead.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The replica, different for every process.
    pub id: String,
    /// Where other replicas reach its gRPC port: http(s)://host:port.
    pub address: String,
    /// A leadership that is not renewed for this long is over.
    pub ttl: Duration,
}

/// A leadership that is held. It renews itself until it is dropped (then it runs out) or resigned (then it ends at once).
pub struct Leadership {
    pub term: Term,
    /// Where the store's present history begins, at the latest: what is not newer may have come from a copy, and tell less than
    /// what was known when the store was lost.
    pub since: i64,
    /// Put this into every transaction that only the leader may make.
    pub guard: Guard,
    hold: Arc<Hold>,
    resign: Arc<dyn Resign>,
}

/// How an implementation gives a leadership back.
#[async_trait::async_trait]
pub(crate) trait Resign: Send + Sync {
    async fn resign(&self);
}

/// What the renewing task and the holder share.
#[derive(Debug)]
pub(crate) struct Hold {
    lost: CancellationToken,
    valid_until: std::sync::Mutex<Instant>,
}

impl Hold {
    pub(crate) fn new(valid_until: Instant) -> Arc<Self> {
        Arc::new(Self { lost: CancellationToken::new(), valid_until: std::sync::Mutex::new(valid_until) })
    }
    pub(crate) fn lost(&self) -> &CancellationToken {
        &self.lost
    }
    pub(crate) fn valid_until(&self) -> Instant {
        *self.valid_until.lock().expect("nobody panics while holding it")
    }
    /// A renewal that was *asked for* at `valid_until - ttl` succeeded.
    pub(crate) fn extend(&self, valid_until: Instant) {
        *self.valid_until.lock().expect("nobody panics while holding it") = valid_until;
    }
    fn is_valid(&self) -> bool {
        !self.lost.is_cancelled() && Instant::now() < self.valid_until()
    }
}

impl Leadership {
    pub(crate) fn new(
        term: Term,
        since: i64,
        guard: Guard,
        hold: Arc<Hold>,
        resign: Box<dyn Resign>,
    ) -> Self {
        Self { term, since, guard, hold, resign: resign.into() }
    }

    /// Cancelled when the leadership is over: the store says so, or it could not be renewed in time.
    pub fn lost(&self) -> CancellationToken {
        self.hold.lost.clone()
    }

    /// Whether the leadership certainly still holds, by this process's own clock too.
    pub fn is_valid(&self) -> bool {
        self.hold.is_valid()
    }

    /// Gives the leadership back at once, as far as the store can be reached.
    pub async fn resign(self) {
        self.end().await;
    }

    /// The leadership is over from now on; what is returned gives it back.
    pub(crate) fn end(&self) -> impl Future<Output = ()> + Send + 'static {
        self.hold.lost.cancel();
        let resign = self.resign.clone();
        async move { resign.resign().await }
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        self.hold.lost.cancel();
    }
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leadership").field("term", &self.term).field("valid", &self.is_valid()).finish()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The request certainly had no effect. Try again later.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The request may or may not have had its effect.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// The history that a watch asked for is gone: list again and watch from there.
    #[error("the history after revision {asked} is compacted; it begins at {oldest}")]
    Compacted { asked: i64, oldest: i64 },
    /// A watch asked for what has not happened: the revision is of another store, or of this one before it went back.
    #[error("revision {asked} has not happened here; the newest is {newest}")]
    Future { asked: i64, newest: i64 },
    #[error(
        "a transaction of {ops} operations and {bytes} bytes is over the limit of {MAX_TXN_OPS} operations and {MAX_TXN_BYTES} bytes"
    )]
    TooLarge { ops: usize, bytes: usize },
    #[error("the request is not valid: {0}")]
    Invalid(String),
    /// Credentials were refused.
    #[error("the store refused access: {0}")]
    Denied(String),
    /// The data can't be used: a damaged file, another process has it open, ...
    #[error("{0}")]
    Unusable(String),
}

impl StoreError {
    /// Whether trying again without any change may help.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Unknown(_))
    }
}

#[async_trait::async_trait]
pub trait Store: Send + Sync + 'static {
    /// Everything whose key starts with `prefix`, at one revision.
    async fn list(&self, prefix: &str) -> Result<Snapshot, StoreError>;

    /// One key as it is now: every commit that was answered before is in it.
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// Commits all writes if all guards hold.
    async fn commit(&self, txn: Transaction) -> Result<CommitOutcome, StoreError>;

    /// Events under `prefix` with a revision greater than `after_revision`, from the past and the future.
    /// A compacted past is `StoreError::Compacted`, from this call or as the stream's first item; so is, at any time, a
    /// history that ended because the store went back or was moved on. A revision that has not happened yet is `Future`.
    async fn watch(&self, prefix: &str, after_revision: i64) -> Result<Watch, StoreError>;

    /// Everything in the store, and everything that will be, gets revisions greater than `beyond`, if the newest isn't: because
    /// somebody has seen that revision, so this store must be an older copy. Watches then end with `Compacted`, and leaderships.
    async fn advance(&self, beyond: i64) -> Result<(), StoreError>;

    /// Waits until this candidate leads. Dropping the future withdraws it.
    async fn campaign(&self, candidate: &Candidate) -> Result<Leadership, StoreError>;

    /// Who leads now. (Changes are seen by watching `keys::LEADER`.)
    async fn leader(&self) -> Result<Option<LeaderInfo>, StoreError>;
}
