//! The store in etcd 3.4 or newer: any number of replicas, one of them leading.
//!
//! A leadership is one key, bound to a lease: created by whoever finds it absent, gone when it is given back or not renewed.
//! All reads are linearizable. A write that may or may not have happened is `Unknown`, whatever went wrong.

mod lead;

use std::time::Duration;

use bytes::Bytes;
use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, Error, EventType, GetOptions, KeyValue, TlsOptions, Txn,
    TxnOp, WatchOptions, WatchResponse,
};

use super::{
    Candidate, CommitOutcome, Entry, Event, LeaderInfo, Leadership, Snapshot, Store, StoreError, Transaction,
    Watch, WatchBatch, Write,
};
use crate::keys;
use crate::state::LeaderRecord;

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
    /// For https endpoints; none means the system's authorities.
    pub tls: Option<TlsOptions>,
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
    client: Client,
    namespace: String,
    request_timeout: Duration,
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
        let mut options = ConnectOptions::new()
            .with_require_leader(true)
            .with_auto_token_refresh(true)
            .with_keep_alive(PING, PING_TIMEOUT)
            .with_connect_timeout(CONNECT_TIMEOUT);
        if let Some((user, password)) = config.user {
            options = options.with_user(user, password);
        }
        if let Some(tls) = config.tls {
            options = options.with_tls(tls);
        }
        let connecting = Client::connect(&config.endpoints, Some(options));
        let client = limited(Kind::Read, config.request_timeout, connecting).await?;
        let namespace = config.namespace.trim_end_matches('/').to_owned();
        Ok(Self { client, namespace, request_timeout: config.request_timeout })
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.namespace)
    }

    fn entry(&self, kv: &KeyValue) -> Result<Entry, StoreError> {
        Ok(Entry {
            key: self.strip(kv)?,
            value: Bytes::copy_from_slice(kv.value()),
            create_revision: kv.create_revision(),
            mod_revision: kv.mod_revision(),
        })
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

    async fn get(&self, key: &str) -> Result<(i64, Option<Entry>), StoreError> {
        let mut kv = self.client.kv_client();
        let response = self.call(Kind::Read, kv.get(self.key(key), None)).await?;
        let entry = response.kvs().first().map(|kv| self.entry(kv)).transpose()?;
        Ok((response.header().map_or(0, |header| header.revision()), entry))
    }

    fn batch(&self, response: &WatchResponse) -> Result<Option<WatchBatch>, StoreError> {
        if response.canceled() {
            return Err(match response.compact_revision() {
                0 => {
                    StoreError::Unavailable(format!("etcd cancelled the watch: {}", response.cancel_reason()))
                }
                oldest => StoreError::Compacted { asked: 0, oldest },
            });
        }
        if response.created() {
            return Ok(None);
        }
        let mut batch = WatchBatch::default();
        for event in response.events() {
            let Some(kv) = event.kv() else { continue };
            batch.revision = batch.revision.max(kv.mod_revision());
            batch.events.push(match event.event_type() {
                EventType::Put => Event::Put(self.entry(kv)?),
                EventType::Delete => Event::Deleted { key: self.strip(kv)?, mod_revision: kv.mod_revision() },
            });
        }
        if batch.events.is_empty() {
            // Progress: only then does the header say what has been delivered.
            batch.revision = response.header().map_or(0, |header| header.revision());
        }
        Ok(Some(batch))
    }
}

#[async_trait::async_trait]
impl Store for EtcdStore {
    async fn list(&self, prefix: &str) -> Result<Snapshot, StoreError> {
        let mut kv = self.client.kv_client().max_decoding_message_size(MAX_MESSAGE_BYTES);
        let end = range_end(&self.key(prefix));
        let mut from = self.key(prefix).into_bytes();
        let mut snapshot = Snapshot::default();
        loop {
            let options =
                GetOptions::new().with_range(end.clone()).with_limit(PAGE).with_revision(snapshot.revision);
            let page = self.call(Kind::Read, kv.get(from, Some(options))).await?;
            if snapshot.revision == 0 {
                snapshot.revision = page.header().map_or(0, |header| header.revision());
            }
            for kv in page.kvs() {
                snapshot.entries.push(self.entry(kv)?);
            }
            match page.kvs().last() {
                // The next key there can be.
                Some(last) if page.more() => from = [last.key(), &[0]].concat(),
                _ => return Ok(snapshot),
            }
        }
    }

    async fn commit(&self, txn: Transaction) -> Result<CommitOutcome, StoreError> {
        txn.check()?;
        let guards = txn
            .guards
            .iter()
            .map(|guard| Compare::mod_revision(self.key(&guard.key), CompareOp::Equal, guard.mod_revision));
        let writes = txn.writes.iter().map(|write| match write {
            Write::Put { key, value } => TxnOp::put(self.key(key), value.as_ref(), None),
            Write::Delete { key } => TxnOp::delete(self.key(key), None),
        });
        let request = Txn::new().when(guards.collect::<Vec<_>>()).and_then(writes.collect::<Vec<_>>());
        let mut kv = self.client.kv_client();
        let response = self.call(Kind::Write, kv.txn(request)).await?;
        Ok(match response.succeeded() {
            true => {
                CommitOutcome::Committed { revision: response.header().map_or(0, |header| header.revision()) }
            }
            false => CommitOutcome::Conflict,
        })
    }

    async fn watch(&self, prefix: &str, after_revision: i64) -> Result<Watch, StoreError> {
        let options = WatchOptions::new()
            .with_range(range_end(&self.key(prefix)))
            .with_start_revision(after_revision + 1)
            .with_progress_notify();
        let mut client = self.client.watch_client().max_decoding_message_size(MAX_MESSAGE_BYTES);
        let mut stream = self.call(Kind::Read, client.watch(self.key(prefix), Some(options))).await?;
        let store = self.clone();
        Ok(Box::pin(async_stream::try_stream! {
            loop {
                let message = stream.message().await.map_err(|error| failure(Kind::Read, &error))?;
                let response = message
                    .ok_or_else(|| StoreError::Unavailable("etcd closed the watch".to_owned()))?;
                let batch = store.batch(&response).map_err(|error| match error {
                    StoreError::Compacted { oldest, .. } => {
                        StoreError::Compacted { asked: after_revision, oldest }
                    }
                    other => other,
                })?;
                if let Some(batch) = batch {
                    yield batch;
                }
            }
        }))
    }

    async fn campaign(&self, candidate: &Candidate) -> Result<Leadership, StoreError> {
        lead::campaign(self, candidate).await
    }

    async fn leader(&self) -> Result<Option<LeaderInfo>, StoreError> {
        let (_, entry) = self.get(keys::LEADER).await?;
        entry
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

/// What an error means for the caller. For a write only what certainly never began counts as `Unavailable`.
fn failure(kind: Kind, error: &Error) -> StoreError {
    use tonic::Code;
    let text = explain(error);
    let Error::GRpcStatus(status) = error else {
        return match error {
            Error::InvalidArgs(_) | Error::InvalidUri(_) => StoreError::Invalid(text),
            _ if kind == Kind::Write => StoreError::Unknown(text),
            _ => StoreError::Unavailable(text),
        };
    };
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => StoreError::Denied(text),
        Code::InvalidArgument if text.contains("authentication") || text.contains("user name") => {
            StoreError::Denied(text)
        }
        Code::InvalidArgument => StoreError::Invalid(text),
        Code::OutOfRange if text.contains("compacted") => StoreError::Compacted { asked: 0, oldest: 0 },
        Code::ResourceExhausted => StoreError::Unavailable(text),
        _ if kind == Kind::Read || never_sent(&text) => StoreError::Unavailable(text),
        _ => StoreError::Unknown(text),
    }
}

fn never_sent(text: &str) -> bool {
    ["tcp connect error", "dns error", "etcdserver: no leader", "etcdserver: not capable"]
        .iter()
        .any(|sign| text.contains(sign))
}

/// The error with its sources: a transport error says little by itself.
fn explain(error: &Error) -> String {
    let mut text = match error {
        Error::GRpcStatus(status) => status.message().to_owned(),
        other => other.to_string(),
    };
    let mut source = match error {
        Error::GRpcStatus(status) => std::error::Error::source(status),
        other => std::error::Error::source(other),
    };
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_the_next_one_begins() {
        assert_eq!(range_end("/a/"), b"/a0");
        assert_eq!(range_end(""), vec![0]);
    }

    #[test]
    fn only_what_was_never_sent_is_certain() {
        let status = |code, text: &str| Error::GRpcStatus(tonic::Status::new(code, text));
        let unavailable = tonic::Code::Unavailable;
        assert!(matches!(failure(Kind::Write, &status(unavailable, "broken pipe")), StoreError::Unknown(_)));
        assert!(matches!(
            failure(Kind::Read, &status(unavailable, "broken pipe")),
            StoreError::Unavailable(_)
        ));
        let refused = status(unavailable, "tcp connect error: refused");
        assert!(matches!(failure(Kind::Write, &refused), StoreError::Unavailable(_)));
        let denied = status(tonic::Code::PermissionDenied, "etcdserver: permission denied");
        assert!(matches!(failure(Kind::Write, &denied), StoreError::Denied(_)));
    }
}
