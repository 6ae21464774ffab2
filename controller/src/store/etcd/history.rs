//! Noticing that etcd went back, or is another one, and going on above what was seen: before anything that etcd answers is used.
//!
//! Every transaction compares the base's key, so a replica that doesn't know yet can neither read nor write by an old base. A
//! task of its own watches that key: its stream breaks with every restart of etcd, and then it asks.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use etcd_client::{Compare, CompareOp, Txn, TxnOp, TxnOpResponse, TxnResponse, WatchOptions};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use super::base::{self, Base, Decision, Found};
use super::failure::failure;
use super::{EtcdStore, Guard, Kind, MAX_MESSAGE_BYTES, StoreError, revision_of};
use crate::keys;

/// How often a call is made again because the base changed meanwhile. It changes only when etcd does.
const ATTEMPTS: usize = 5;
/// Pause before etcd is asked again after an error.
const RETRY: Duration = Duration::from_millis(200);

/// What one process knows of etcd's past.
pub(super) struct History {
    base: watch::Sender<Option<Base>>,
    /// The greatest revision of ours that was seen or heard of.
    seen: AtomicI64,
    /// One asks at a time.
    settling: Mutex<()>,
    is_watched: AtomicBool,
    stop: CancellationToken,
}

impl History {
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self {
            base: watch::Sender::new(None),
            seen: AtomicI64::new(0),
            settling: Mutex::new(()),
            is_watched: AtomicBool::new(false),
            stop,
        }
    }

    pub(super) fn saw(&self, revision: i64) {
        self.seen.fetch_max(revision, Ordering::AcqRel);
    }

    fn seen(&self) -> i64 {
        self.seen.load(Ordering::Acquire)
    }

    fn base(&self) -> Option<Base> {
        *self.base.borrow()
    }

    /// Returns when another base holds than this one: where its history begins.
    pub(super) fn another(&self, than: Base) -> impl Future<Output = i64> + Send + 'static {
        let mut bases = self.base.subscribe();
        async move {
            let is_other = |base: &Option<Base>| base.is_some_and(|base| base.base != than.base);
            match bases.wait_for(is_other).await.map(|base| *base) {
                Ok(Some(base)) => base.oldest(),
                // The store is closed; its watches end by themselves.
                _ => std::future::pending().await,
            }
        }
    }
}

impl EtcdStore {
    /// Runs a transaction in the present history, and says by which base its answer is to be read. Not succeeded means that a
    /// guard did not hold.
    pub(super) async fn transact(
        &self,
        kind: Kind,
        guards: &[Guard],
        ops: Vec<TxnOp>,
    ) -> Result<(Base, TxnResponse), StoreError> {
        for _ in 0..ATTEMPTS {
            let base = match self.history.base() {
                Some(base) => base,
                None => self.settle().await?.0,
            };
            let seen = self.history.seen();
            let answer = self.ask(kind, &base, guards, ops.clone()).await?;
            let revision = revision_of(answer.header())?;
            let cluster = answer.header().map_or(0, |header| header.cluster_id());
            let same = cluster == base.cluster && base.ours(revision) >= seen;
            if same && (answer.succeeded() || holds(&answer, &base)) {
                self.history.saw(base.ours(revision));
                return Ok((base, answer));
            }
            let settled = self.settle().await;
            if kind == Kind::Write && answer.succeeded() {
                // It happened in a history that has only now got its base.
                let unknown = |error| StoreError::Unknown(format!("etcd went back meanwhile: {error}"));
                return Ok((settled.map_err(unknown)?.0, answer));
            }
            let (base, _) = settled?;
            if !guards.is_empty() {
                // They were made of what was there before.
                return Ok((base, answer));
            }
        }
        Err(StoreError::Unavailable("etcd is another one each time it is asked".to_owned()))
    }

    async fn ask(
        &self,
        kind: Kind,
        base: &Base,
        guards: &[Guard],
        ops: Vec<TxnOp>,
    ) -> Result<TxnResponse, StoreError> {
        let unchanged = |guard: &Guard| {
            Compare::mod_revision(self.key(&guard.key), CompareOp::Equal, base.etcds(guard.mod_revision))
        };
        let key = self.key(keys::BASE);
        let same = Compare::value(key.clone(), CompareOp::Equal, base::encode(base.base));
        let compares: Vec<Compare> = std::iter::once(same).chain(guards.iter().map(unchanged)).collect();
        let request = Txn::new().when(compares).and_then(ops).or_else(vec![TxnOp::get(key, None)]);
        let mut kv = self.client().kv_client().max_decoding_message_size(MAX_MESSAGE_BYTES);
        self.call(kind, kv.txn(request)).await
    }

    /// Asks etcd, and raises the base where it must be. Returns it with the newest revision.
    pub(super) async fn settle(&self) -> Result<(Base, i64), StoreError> {
        let _one = self.history.settling.lock().await;
        for _ in 0..ATTEMPTS {
            let (known, seen) = (self.history.base(), self.history.seen());
            let found = self.look().await?;
            match base::decide(known, seen, found, now()) {
                Decision::Go(base) => {
                    let newest = base.ours(found.revision);
                    self.history.saw(newest);
                    self.history.base.send_if_modified(|before| before.replace(base) != Some(base));
                    self.watch_over();
                    return Ok((base, newest));
                }
                Decision::Raise(base) => {
                    tell(seen, &found, base);
                    self.raise(found.stored.map_or(0, |(_, since)| since), base).await?;
                }
            }
        }
        Err(StoreError::Unavailable("others change the base of etcd's revisions all the time".to_owned()))
    }

    async fn look(&self) -> Result<Found, StoreError> {
        let mut kv = self.client().kv_client();
        let answer = self.call(Kind::Read, kv.get(self.key(keys::BASE), None)).await?;
        let stored = answer.kvs().first().map(|kv| {
            let base = base::decode(kv.value()).map_err(|problem| {
                let key = self.key(keys::BASE);
                StoreError::Unusable(format!("etcd's key {key} can't be read ({problem}): delete it"))
            })?;
            Ok((base, kv.mod_revision()))
        });
        Ok(Found {
            revision: revision_of(answer.header())?,
            cluster: answer.header().map_or(0, |header| header.cluster_id()),
            stored: stored.transpose()?,
        })
    }

    /// Somebody else may be faster: look again, whatever came of it.
    async fn raise(&self, since: i64, base: i64) -> Result<(), StoreError> {
        let key = self.key(keys::BASE);
        let same = Compare::mod_revision(key.clone(), CompareOp::Equal, since);
        let put = TxnOp::put(key, base::encode(base).as_ref(), None);
        let mut kv = self.client().kv_client();
        self.call(Kind::Read, kv.txn(Txn::new().when(vec![same]).and_then(vec![put]))).await?;
        Ok(())
    }

    /// Starts the task that watches the base, once.
    fn watch_over(&self) {
        if self.history.is_watched.swap(true, Ordering::AcqRel) {
            return;
        }
        let store = Self { _alive: None, ..self.clone() };
        tokio::spawn(async move {
            let stop = store.history.stop.clone();
            stop.run_until_cancelled(store.keep_watch()).await;
        });
    }

    async fn keep_watch(&self) {
        loop {
            if let Err(error) = self.watch_base().await {
                debug!(%error, "can't watch the base of etcd's revisions");
            }
            tokio::time::sleep(RETRY).await;
            // What happened in between shows here.
            let _ = self.settle().await;
        }
    }

    /// Returns when there is reason to ask.
    async fn watch_base(&self) -> Result<(), StoreError> {
        let (base, newest) = self.settle().await?;
        let options = WatchOptions::new().with_start_revision(base.etcds(newest) + 1).with_progress_notify();
        let mut client = self.client().watch_client();
        let key = self.key(keys::BASE);
        let mut stream = self.call(Kind::Read, client.watch(key, Some(options))).await?;
        loop {
            let message = stream.message().await.map_err(|error| failure(Kind::Read, &error))?;
            let Some(answer) = message else { return Ok(()) };
            let cluster = answer.header().map_or(0, |header| header.cluster_id());
            let fell = base.ours(revision_of(answer.header())?) < newest;
            if answer.canceled() || !answer.events().is_empty() || cluster != base.cluster || fell {
                return Ok(());
            }
        }
    }
}

/// Whether a transaction that did not succeed found this base all the same.
fn holds(answer: &TxnResponse, base: &Base) -> bool {
    answer.op_responses().into_iter().any(|response| match response {
        TxnOpResponse::Get(found) => {
            found.kvs().first().is_some_and(|kv| base::decode(kv.value()) == Ok(base.base))
        }
        _ => false,
    })
}

fn tell(seen: i64, found: &Found, base: i64) {
    if seen == 0 {
        info!(base, "etcd has no state of Twinlog's: beginning");
        return;
    }
    error!(
        seen,
        etcd_revision = found.revision,
        etcd_cluster = format!("{:x}", found.cluster),
        base,
        "etcd went back: it was wiped, restored from an older copy, or replaced by another one. Everything is loaded again, and terms and \
         epochs go on above what was seen. What was changed since that copy must be applied again"
    );
}

/// Milliseconds since 1970; 0 with a clock before that.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(0)
}
