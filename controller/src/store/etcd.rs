//! The store in etcd 3.4 or newer: any number of replicas, one of them leading.
//!
//! A leadership is one key, bound to a lease: created by whoever finds it absent, gone when it is given back or not renewed.
//! All reads are linearizable. A write that may or may not have happened is `Unknown`, whatever went wrong.
//!
//! Revisions are etcd's own and a base (see `base`), so that they grow even when etcd is wiped, restored or replaced under us.

mod base;
mod clients;
mod failure;
mod history;
mod lead;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use etcd_client::{
    Client, Error, EventType, GetOptions, GetResponse, KeyValue, TxnOp, TxnOpResponse, WatchOptions,
    WatchResponse,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use twinlog_proto::tls::ClientTls;

use super::{
    Candidate, CommitOutcome, Entry, Event, Guard, LeaderInfo, Leadership, Snapshot, Store, StoreError,
    Transaction, Watch, WatchBatch, Write,
};
use crate::keys;
use crate::store::LeaderRecord;
use base::Base;
use clients::Clients;
use failure::failure;
use history::History;

/// Keys in one page of a list.
const PAGE: i64 = 500;
/// Several thousand keys in one watch response are possible after a reconnect.
const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// etcd closes connections that are pinged more often than every 5 s.
const PING: Duration = Duration::from_secs(6);
const PING_TIMEOUT: Duration = Duration::from_secs(3);
pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub struct EtcdConfig {
    /// http(s)://host:port, at least one.
    pub endpoints: Vec<String>,
    /// Put before every key; empty for none. Several installations can share one etcd.
    pub namespace: String,
    /// User and password.
    pub user: Option<(String, String)>,
    /// For https endpoints. Read again when the files change.
    pub tls: Option<ClientTls>,
    /// After this long a request has failed; a write then has an unknown outcome.
    pub request_timeout: Duration,
}

impl EtcdConfig {
    pub fn new(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            namespace: String::new(),
            user: None,
            tls: None,
            request_timeout: DEFAULT_REQUEST_TIMEOUT,
        }
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct EtcdStore {
    clients: Arc<Clients>,
    namespace: String,
    request_timeout: Duration,
    history: Arc<History>,
    /// Ends what runs beside, with the last clone.
    _alive: Option<Arc<DropGuard>>,
}

/// Whether a failed request may have changed something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
}

impl EtcdStore {
    /// Prepares the connections. With a user it signs in, so that wrong credentials show here; else nothing is sent yet.
    pub async fn connect(config: EtcdConfig) -> Result<Self, StoreError> {
        let namespace = config.namespace.trim_end_matches('/').to_owned();
        let request_timeout = config.request_timeout;
        let stop = CancellationToken::new();
        let clients = Clients::open(config, stop.clone()).await?;
        let history = Arc::new(History::new(stop.clone()));
        let alive = Some(Arc::new(stop.drop_guard()));
        Ok(Self { clients, namespace, request_timeout, history, _alive: alive })
    }

    fn client(&self) -> Client {
        self.clients.get()
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.namespace)
    }

    fn entry(&self, base: &Base, kv: &KeyValue) -> Result<Entry, StoreError> {
        Ok(Entry {
            key: self.strip(kv)?,
            value: Bytes::copy_from_slice(kv.value()),
            create_revision: base.ours(kv.create_revision()),
            mod_revision: base.ours(kv.mod_revision()),
        })
    }

    /// Entries of an answer, without the base's own.
    fn entries(&self, base: &Base, answer: &GetResponse) -> Result<Vec<Entry>, StoreError> {
        let own = self.key(keys::BASE);
        let kvs = answer.kvs().iter().filter(|kv| kv.key() != own.as_bytes());
        kvs.map(|kv| self.entry(base, kv)).collect()
    }

    fn strip(&self, kv: &KeyValue) -> Result<String, StoreError> {
        let key =
            std::str::from_utf8(kv.key()).ok().and_then(|key| key.strip_prefix(self.namespace.as_str()));
        key.map(ToOwned::to_owned).ok_or_else(|| {
            StoreError::Unusable(format!("unexpected key {:?}", String::from_utf8_lossy(kv.key())))
        })
    }

    async fn call<T>(
        &self,
        kind: Kind,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, StoreError> {
        limited(kind, self.request_timeout, request).await
    }

    /// One key, and the revision at which it was so.
    async fn read_at(&self, key: &str) -> Result<(i64, Option<Entry>), StoreError> {
        let (base, answer) = self.transact(Kind::Read, &[], vec![TxnOp::get(self.key(key), None)]).await?;
        let found = first_get(answer.op_responses())?;
        Ok((base.ours(revision_of(answer.header())?), self.entries(&base, &found)?.pop()))
    }

    fn batch(&self, base: &Base, response: &WatchResponse) -> Result<Option<WatchBatch>, StoreError> {
        if response.canceled() {
            return Err(match response.compact_revision() {
                0 => {
                    StoreError::Unavailable(format!("etcd cancelled the watch: {}", response.cancel_reason()))
                }
                oldest => StoreError::Compacted { asked: 0, oldest: base.ours(oldest) },
            });
        }
        if response.created() {
            return Ok(None);
        }
        let mut batch = WatchBatch::default();
        let own = self.key(keys::BASE);
        for event in response.events() {
            let Some(kv) = event.kv() else { continue };
            batch.revision = batch.revision.max(base.ours(kv.mod_revision()));
            if kv.key() == own.as_bytes() {
                continue;
            }
            batch.events.push(match event.event_type() {
                EventType::Put => Event::Put(self.entry(base, kv)?),
                EventType::Delete => {
                    Event::Deleted { key: self.strip(kv)?, mod_revision: base.ours(kv.mod_revision()) }
                }
            });
        }
        if response.events().is_empty() {
            // Progress: only then does the header say what has been delivered.
            batch.revision = base.ours(revision_of(response.header())?);
        }
        Ok(Some(batch))
    }
}

/// etcd's revision of an answer.
fn revision_of(header: Option<&etcd_client::ResponseHeader>) -> Result<i64, StoreError> {
    let revision = header.map(etcd_client::ResponseHeader::revision);
    revision.ok_or_else(|| StoreError::Unavailable("etcd's answer has no header".to_owned()))
}

fn first_get(answers: Vec<TxnOpResponse>) -> Result<GetResponse, StoreError> {
    match answers.into_iter().next() {
        Some(TxnOpResponse::Get(found)) => Ok(found),
        _ => Err(StoreError::Unavailable("etcd's answer is not one to the question".to_owned())),
    }
}

#[async_trait::async_trait]
impl Store for EtcdStore {
    async fn list(&self, prefix: &str) -> Result<Snapshot, StoreError> {
        let end = range_end(&self.key(prefix));
        let options =
            |revision| GetOptions::new().with_range(end.clone()).with_limit(PAGE).with_revision(revision);
        let first = TxnOp::get(self.key(prefix), Some(options(0)));
        let (base, answer) = self.transact(Kind::Read, &[], vec![first]).await?;
        let revision = revision_of(answer.header())?;
        let mut page = first_get(answer.op_responses())?;
        let mut snapshot = Snapshot { revision: base.ours(revision), entries: Vec::new() };
        let mut kv = self.client().kv_client().max_decoding_message_size(MAX_MESSAGE_BYTES);
        loop {
            snapshot.entries.extend(self.entries(&base, &page)?);
            match page.kvs().last() {
                // The next key there can be.
                Some(last) if page.more() => {
                    let from = [last.key(), &[0]].concat();
                    page = self.call(Kind::Read, kv.get(from, Some(options(revision)))).await?;
                }
                _ => return Ok(snapshot),
            }
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.read_at(key).await.map(|(_, entry)| entry)
    }

    async fn commit(&self, txn: Transaction) -> Result<CommitOutcome, StoreError> {
        txn.check()?;
        let writes = txn.writes.iter().map(|write| match write {
            Write::Put { key, value } => TxnOp::put(self.key(key), value.as_ref(), None),
            Write::Delete { key } => TxnOp::delete(self.key(key), None),
        });
        let (base, answer) = self.transact(Kind::Write, &txn.guards, writes.collect()).await?;
        Ok(match answer.succeeded() {
            true => CommitOutcome::Committed { revision: base.ours(revision_of(answer.header())?) },
            false => CommitOutcome::Conflict,
        })
    }

    async fn watch(&self, prefix: &str, after_revision: i64) -> Result<Watch, StoreError> {
        // Asks etcd: what was known may be of another history.
        let (base, newest) = self.settle().await?;
        let asked = after_revision;
        if asked < base.oldest() {
            return Err(StoreError::Compacted { asked, oldest: base.oldest() });
        }
        if asked > newest {
            return Err(StoreError::Future { asked, newest });
        }
        let options = WatchOptions::new()
            .with_range(range_end(&self.key(prefix)))
            .with_start_revision(base.etcds(after_revision) + 1)
            .with_progress_notify();
        let mut client = self.client().watch_client().max_decoding_message_size(MAX_MESSAGE_BYTES);
        let mut stream = self.call(Kind::Read, client.watch(self.key(prefix), Some(options))).await?;
        let store = self.clone();
        let ended = self.history.another(base);
        Ok(Box::pin(async_stream::try_stream! {
            tokio::pin!(ended);
            loop {
                let message = tokio::select! {
                    biased;
                    oldest = &mut ended => Err(StoreError::Compacted { asked, oldest }),
                    message = stream.message() => message.map_err(|error| failure(Kind::Read, &error)),
                }?;
                let response = message
                    .ok_or_else(|| StoreError::Unavailable("etcd closed the watch".to_owned()))?;
                let batch = store.batch(&base, &response).map_err(|error| match error {
                    StoreError::Compacted { oldest, .. } => StoreError::Compacted { asked, oldest },
                    other => other,
                })?;
                if let Some(batch) = batch {
                    store.history.saw(batch.revision);
                    yield batch;
                }
            }
        }))
    }

    async fn advance(&self, beyond: i64) -> Result<(), StoreError> {
        self.history.saw(beyond);
        self.settle().await.map(|_| ())
    }

    async fn campaign(&self, candidate: &Candidate) -> Result<Leadership, StoreError> {
        lead::campaign(self, candidate).await
    }

    async fn leader(&self) -> Result<Option<LeaderInfo>, StoreError> {
        self.get(keys::LEADER)
            .await?
            .map(|entry| LeaderRecord::info(&entry))
            .transpose()
            .map_err(|error| StoreError::Unusable(format!("the leader key can't be read: {error}")))
    }
}

/// The end of the range of keys that start with a prefix.
fn range_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

async fn limited<T>(
    kind: Kind,
    limit: Duration,
    request: impl Future<Output = Result<T, Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(limit, request).await {
        Ok(answer) => answer.map_err(|error| failure(kind, &error)),
        Err(_) if kind == Kind::Write => {
            Err(StoreError::Unknown(format!("etcd did not answer within {limit:?}")))
        }
        Err(_) => Err(StoreError::Unavailable(format!("etcd did not answer within {limit:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_the_next_one_begins() {
        assert_eq!(range_end("/a/"), b"/a0");
        assert_eq!(range_end(""), vec![0]);
    }
}
