//! The store in one file, for one process: redb, with revisions, a bounded history and watches of our own.
//!
//! A commit is on disk before it is answered. The file's lock keeps a second process out, so a leadership needs no renewal;
//! it ends when its holder resigns or drops it. History lives in memory: after a restart old revisions are compacted.
//!
//! Revisions go on from the time of opening, in milliseconds since 1970. Epochs of assignments are made of them, and what is on a
//! target cluster was written under some: with a new file in place of a lost one they must not begin anew, or every range would be
//! taken for one that somebody else has taken over.

mod file;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use prost::Message;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::watch;
use tokio::time::Instant;
use twinlog_proto::id::Term;

use super::{
    Candidate, CommitOutcome, Entry, Event, Guard, Hold, LeaderInfo, Leadership, Resign, Snapshot, Store,
    StoreError, Transaction, Watch, WatchBatch, Write,
};
use crate::keys;
use crate::store::LeaderRecord;
use file::File;

/// Key to (create revision, mod revision, value).
const ENTRIES: TableDefinition<'static, &str, (i64, i64, &[u8])> = TableDefinition::new("entries");
const META: TableDefinition<'static, &str, i64> = TableDefinition::new("meta");
const REVISION: &str = "revision";
/// Events kept for watches that resume; older ones are compacted.
pub const HISTORY_EVENTS: usize = 20_000;
/// A leadership in the only process that can open the file holds until it is given up.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Cheap to clone; the file is closed with the last clone.
#[derive(Clone)]
pub struct EmbeddedStore {
    inner: Arc<Inner>,
}

struct Inner {
    file: File,
    /// Held through a commit, so that history is in the order of revisions.
    history: Mutex<History>,
    revision: watch::Sender<i64>,
}

struct History {
    limit: usize,
    /// Events after this revision are all in `events`.
    oldest: i64,
    events: VecDeque<(i64, Event)>,
}

impl History {
    fn push(&mut self, revision: i64, events: Vec<Event>) {
        self.events.extend(events.into_iter().map(|event| (revision, event)));
        while self.events.len() > self.limit {
            let (gone, _) = self.events.pop_front().expect("it is longer than the limit");
            self.oldest = gone;
        }
        // What is left of a revision that lost its first event is of no use.
        while self.events.front().is_some_and(|(revision, _)| *revision == self.oldest) {
            self.events.pop_front();
        }
    }

    fn after(&self, revision: i64, prefix: &str) -> Result<Vec<Event>, StoreError> {
        if revision < self.oldest {
            return Err(StoreError::Compacted { asked: revision, oldest: self.oldest });
        }
        let first = self.events.partition_point(|(at, _)| *at <= revision);
        let in_prefix = |event: &&Event| match event {
            Event::Put(entry) => entry.key.starts_with(prefix),
            Event::Deleted { key, .. } => key.starts_with(prefix),
        };
        Ok(self.events.range(first..).map(|(_, event)| event).filter(in_prefix).cloned().collect())
    }
}

impl EmbeddedStore {
    /// Opens or creates the file. Fails if another process has it open.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with_history(path, HISTORY_EVENTS)
    }

    /// As `open`, with a history of at most `limit` events.
    pub fn open_with_history(path: &Path, limit: usize) -> Result<Self, StoreError> {
        let (file, revision) = File::open(path)?;
        let history = History { limit, oldest: revision, events: VecDeque::new() };
        let inner = Inner { file, history: Mutex::new(history), revision: watch::Sender::new(revision) };
        Ok(Self { inner: Arc::new(inner) })
    }

    async fn blocking<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    {
        let inner = self.inner.clone();
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .unwrap_or_else(|error| Err(StoreError::Unknown(format!("the storage thread failed: {error}"))))
    }
}

/// Milliseconds since 1970; 0 with a clock before that.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(0)
}

/// Creates the tables, and removes the leader key of a process that is gone (or it would not have lost its lock). Returns the
/// revision from which it goes on.
fn prepare(database: &Database, at_least: i64) -> Result<i64, redb::Error> {
    let txn = database.begin_write()?;
    let revision = {
        let mut entries = txn.open_table(ENTRIES)?;
        let mut meta = txn.open_table(META)?;
        let mut revision = meta.get(REVISION)?.map_or(0, |value| value.value());
        if entries.remove(keys::LEADER)?.is_some() {
            revision += 1;
        }
        revision = revision.max(now()).max(at_least);
        meta.insert(REVISION, revision)?;
        revision
    };
    txn.commit()?;
    Ok(revision)
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}

impl Inner {
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().expect("a commit that panicked left the file as it was")
    }

    /// Opens the file again where it was closed. What came to be of a commit that failed isn't known: what was before is no
    /// history of it, and the leadership is over.
    fn ready(&self) -> Result<(), StoreError> {
        if !self.file.is_closed() {
            return Ok(());
        }
        let mut history = self.history();
        // Not within the condition: a borrow of the revision would last until the end of it.
        let known = *self.revision.borrow();
        if let Some(revision) = self.file.reopen(known)? {
            history.events.clear();
            history.oldest = revision;
            self.revision.send_replace(revision);
        }
        Ok(())
    }

    fn list(&self, prefix: &str) -> Result<Snapshot, StoreError> {
        self.ready()?;
        self.file.with(|database| Self::read(database, prefix))
    }

    fn read(database: &Database, prefix: &str) -> Result<Snapshot, redb::Error> {
        let txn = database.begin_read()?;
        let revision = txn.open_table(META)?.get(REVISION)?.map_or(0, |value| value.value());
        let mut entries = Vec::new();
        for item in txn.open_table(ENTRIES)?.range(prefix..)? {
            let (key, value) = item?;
            if !key.value().starts_with(prefix) {
                break;
            }
            entries.push(entry(key.value(), value.value()));
        }
        Ok(Snapshot { revision, entries })
    }

    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.ready()?;
        self.file.with(|database| {
            let table = database.begin_read()?.open_table(ENTRIES)?;
            Ok(table.get(key)?.map(|value| entry(key, value.value())))
        })
    }

    fn commit(&self, txn: &Transaction) -> Result<CommitOutcome, StoreError> {
        txn.check()?;
        self.ready()?;
        let mut history = self.history();
        let mut written = false;
        let done = self.file.with(|database| Self::write(database, txn, &mut written));
        let done = done.map_err(|error| match error {
            StoreError::Unavailable(why) if written => StoreError::Unknown(why),
            other => other,
        });
        let Some((revision, events)) = done? else {
            return Ok(CommitOutcome::Conflict);
        };
        if !events.is_empty() {
            history.push(revision, events);
            self.revision.send_replace(revision);
        }
        Ok(CommitOutcome::Committed { revision })
    }

    /// `None`: a guard did not hold. `written`: from then on an error says nothing of the outcome.
    fn write(
        database: &Database,
        txn: &Transaction,
        written: &mut bool,
    ) -> Result<Option<(i64, Vec<Event>)>, redb::Error> {
        let write = database.begin_write()?;
        let mut events = Vec::new();
        let revision = {
            let mut entries = write.open_table(ENTRIES)?;
            let mut meta = write.open_table(META)?;
            for guard in &txn.guards {
                let found = entries.get(guard.key.as_str())?.map_or(0, |value| value.value().1);
                if found != guard.mod_revision {
                    return Ok(None);
                }
            }
            let now = meta.get(REVISION)?.map_or(0, |value| value.value());
            for change in &txn.writes {
                match change {
                    Write::Put { key, value } => {
                        let created = entries.get(key.as_str())?.map_or(now + 1, |value| value.value().0);
                        entries.insert(key.as_str(), (created, now + 1, value.as_ref()))?;
                        events.push(Event::Put(entry(key, (created, now + 1, value))));
                    }
                    Write::Delete { key } => {
                        if entries.remove(key.as_str())?.is_some() {
                            events.push(Event::Deleted { key: key.clone(), mod_revision: now + 1 });
                        }
                    }
                }
            }
            if events.is_empty() {
                now
            } else {
                meta.insert(REVISION, now + 1)?;
                now + 1
            }
        };
        if !events.is_empty() {
            *written = true;
            write.commit()?;
        }
        Ok(Some((revision, events)))
    }

    /// Everything after a revision. Under the lock the history and the revision agree.
    fn batch(&self, after: i64, prefix: &str) -> Result<WatchBatch, StoreError> {
        self.ready()?;
        let history = self.history();
        let newest = *self.revision.borrow();
        if after > newest {
            return Err(StoreError::Future { asked: after, newest });
        }
        Ok(WatchBatch { revision: newest, events: history.after(after, prefix)? })
    }

    /// Moves everything on, so that the oldest entry's revision is greater than `beyond` too. What was before is no history of
    /// it, and the leadership is over.
    fn advance(&self, beyond: i64) -> Result<(), StoreError> {
        self.ready()?;
        let mut history = self.history();
        if *self.revision.borrow() > beyond {
            return Ok(());
        }
        let revision = self.file.with(|database| Self::shift(database, beyond))?;
        history.events.clear();
        history.oldest = revision;
        self.revision.send_replace(revision);
        tracing::error!(
            seen = beyond,
            revision,
            "somebody has seen a later state than this store holds: it is an older copy, or a new one. Terms and epochs go on above \
             what was seen"
        );
        Ok(())
    }

    fn shift(database: &Database, beyond: i64) -> Result<i64, redb::Error> {
        let write = database.begin_write()?;
        let revision = {
            let mut entries = write.open_table(ENTRIES)?;
            let mut meta = write.open_table(META)?;
            let now = meta.get(REVISION)?.map_or(0, |value| value.value());
            entries.remove(keys::LEADER)?;
            let mut all = Vec::new();
            for item in entries.iter()? {
                let (key, value) = item?;
                let (created, modified, value) = value.value();
                all.push((key.value().to_owned(), created, modified, value.to_vec()));
            }
            let oldest = all.iter().map(|(_, created, ..)| *created).min().unwrap_or(now);
            let by = beyond.saturating_sub(oldest).saturating_add(1);
            for (key, created, modified, value) in &all {
                entries.insert(key.as_str(), (created + by, modified + by, value.as_slice()))?;
            }
            meta.insert(REVISION, now + by)?;
            now + by
        };
        write.commit()?;
        Ok(revision)
    }

    /// Ends a leadership in the file, if it is still there.
    fn end_term(&self, term: Term) -> Result<(), StoreError> {
        let txn = Transaction {
            guards: vec![Guard::unchanged(keys::LEADER, term.0)],
            writes: vec![Write::delete(keys::LEADER)],
        };
        self.commit(&txn).map(|_| ())
    }
}

fn entry(key: &str, (create_revision, mod_revision, value): (i64, i64, &[u8])) -> Entry {
    Entry { key: key.to_owned(), value: Bytes::copy_from_slice(value), create_revision, mod_revision }
}

#[async_trait::async_trait]
impl Store for EmbeddedStore {
    async fn list(&self, prefix: &str) -> Result<Snapshot, StoreError> {
        let prefix = prefix.to_owned();
        self.blocking(move |inner| inner.list(&prefix)).await
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let key = key.to_owned();
        self.blocking(move |inner| inner.get(&key)).await
    }

    async fn commit(&self, txn: Transaction) -> Result<CommitOutcome, StoreError> {
        self.blocking(move |inner| inner.commit(&txn)).await
    }

    async fn watch(&self, prefix: &str, after_revision: i64) -> Result<Watch, StoreError> {
        let (inner, prefix) = (self.inner.clone(), prefix.to_owned());
        let begins = prefix.clone();
        self.blocking(move |inner| inner.batch(after_revision, &begins)).await?;
        Ok(Box::pin(async_stream::try_stream! {
            let (mut current, mut problem) = (inner.revision.subscribe(), inner.file.problem());
            let mut after = after_revision;
            loop {
                let newer = tokio::select! {
                    biased;
                    failed = problem.wait_for(Option::is_some) => Err(match failed.as_deref() {
                        Ok(Some(problem)) => StoreError::Unavailable(problem.why.clone()),
                        _ => closed(),
                    }),
                    newer = current.wait_for(|revision| *revision > after) => newer.map(|_| ()).map_err(|_| closed()),
                };
                newer?;
                let batch = inner.batch(after, &prefix)?;
                after = batch.revision;
                yield batch;
            }
        }))
    }

    async fn advance(&self, beyond: i64) -> Result<(), StoreError> {
        self.blocking(move |inner| inner.advance(beyond)).await
    }

    async fn campaign(&self, candidate: &Candidate) -> Result<Leadership, StoreError> {
        let record = LeaderRecord { id: candidate.id.clone(), address: candidate.address.clone() };
        let value = Bytes::from(record.encode_to_vec());
        let mut revision = self.inner.revision.subscribe();
        loop {
            revision.mark_unchanged();
            let txn = Transaction {
                guards: vec![Guard::absent(keys::LEADER)],
                writes: vec![Write::put(keys::LEADER, value.clone())],
            };
            if let CommitOutcome::Committed { revision: term } = self.commit(txn).await? {
                return Ok(self.lead(Term(term), candidate.ttl));
            }
            revision.changed().await.map_err(|_| closed())?;
        }
    }

    async fn leader(&self) -> Result<Option<LeaderInfo>, StoreError> {
        self.get(keys::LEADER)
            .await?
            .map(|entry| LeaderRecord::info(&entry))
            .transpose()
            .map_err(|error| StoreError::Unusable(format!("the leader key can't be read: {error}")))
    }
}

impl EmbeddedStore {
    fn lead(&self, term: Term, ttl: Duration) -> Leadership {
        let hold = Hold::new(Instant::now() + FOREVER);
        tokio::spawn(watch_term(Arc::downgrade(&self.inner), term, ttl, hold.clone()));
        let guard = Guard::unchanged(keys::LEADER, term.0);
        // The file may have been put back while no process had it open.
        let since = self.inner.history().oldest;
        Leadership::new(term, since, guard, hold, Box::new(EmbeddedResign { store: self.clone(), term }))
    }
}

struct EmbeddedResign {
    store: EmbeddedStore,
    term: Term,
}

#[async_trait::async_trait]
impl Resign for EmbeddedResign {
    async fn resign(&self) {
        let term = self.term;
        if let Err(error) = self.store.blocking(move |inner| inner.end_term(term)).await {
            tracing::warn!(%error, %term, "can't resign");
        }
    }
}

/// Tells the holder when its key is gone; ends the term one TTL after the holder is gone.
async fn watch_term(inner: Weak<Inner>, term: Term, ttl: Duration, hold: Arc<Hold>) {
    let Some(mut revision) = inner.upgrade().map(|inner| inner.revision.subscribe()) else { return };
    // What happened before this task began would otherwise go unseen until the next change.
    revision.mark_changed();
    loop {
        tokio::select! {
            biased;
            () = hold.lost().cancelled() => break,
            changed = revision.changed() => if changed.is_err() { return },
        }
        let Some(inner) = inner.upgrade() else { return };
        let holds = tokio::task::spawn_blocking(move || inner.get(keys::LEADER)).await;
        if !matches!(holds, Ok(Ok(Some(entry))) if entry.mod_revision == term.0) {
            hold.lost().cancel();
            return;
        }
    }
    tokio::time::sleep(ttl).await;
    let Some(inner) = inner.upgrade() else { return };
    match tokio::task::spawn_blocking(move || inner.end_term(term)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, %term, "can't end a term"),
        Err(error) => tracing::warn!(%error, %term, "can't end a term"),
    }
}
