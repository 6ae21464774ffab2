//! The state of the world in memory: everything under `keys::ROOT`, parsed once, kept current by list and watch.
//!
//! API reads, the reconciler and sessions share it. A snapshot costs one reference count and never changes. The cache may
//! lag behind the store; who needs his own write waits for its revision with `Cache::at_least`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use prost::Message;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use twinlog_proto::id::{ClusterId, MirrorId, TaskName, WorkerId};
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::reason::Reason;
use twinlog_proto::{model, v1};

use crate::assignment::Assignment;
use crate::inventory;
use crate::keys;
use crate::last_groups::{self, LastGroups};
use crate::store::{Entry, Event, LeaderInfo, LeaderRecord, Snapshot, Store, StoreError, WatchBatch};

/// Pause before the store is asked again after an error.
const RETRY: Duration = Duration::from_millis(250);

/// A stored cluster: as the API shows it (with etag), and as the domain sees it.
#[derive(Debug)]
pub struct ClusterState {
    pub wire: v1::Cluster,
    pub model: model::Cluster,
    pub create_revision: i64,
    pub mod_revision: i64,
}

/// A stored mirror: as the API shows it (with etag), and as the domain sees it.
#[derive(Debug)]
pub struct MirrorState {
    pub wire: v1::Mirror,
    pub model: Arc<model::Mirror>,
    pub create_revision: i64,
    pub mod_revision: i64,
}

/// What a survey found, as it was last written.
#[derive(Debug)]
pub struct InventoryState {
    pub inventory: internal::Inventory,
    pub mod_revision: i64,
}

/// One consistent view. The maps are shared between snapshots and copied only when they change.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Everything written up to this revision is in here.
    pub revision: i64,
    pub clusters: Arc<BTreeMap<ClusterId, Arc<ClusterState>>>,
    pub mirrors: Arc<BTreeMap<MirrorId, Arc<MirrorState>>>,
    pub inventories: Arc<BTreeMap<MirrorId, Arc<InventoryState>>>,
    pub last_groups: Arc<BTreeMap<MirrorId, Arc<LastGroups>>>,
    pub assignments: Arc<BTreeMap<Arc<TaskName>, Arc<Assignment>>>,
    pub drains: Arc<BTreeSet<WorkerId>>,
    pub leader: Option<LeaderInfo>,
    /// What replicas show each other, see `replica::forward::credential`.
    pub peer_secret: Option<Arc<str>>,
}

/// The etag that the API shows for a mod revision.
pub fn etag(mod_revision: i64) -> String {
    mod_revision.to_string()
}

impl State {
    fn from_snapshot(snapshot: Snapshot) -> Self {
        let mut state = Self { revision: snapshot.revision, ..Self::default() };
        for entry in &snapshot.entries {
            state.put(entry);
        }
        state
    }

    fn apply_all(&mut self, batch: &WatchBatch) {
        batch.events.iter().for_each(|event| self.apply(event));
        self.revision = self.revision.max(batch.revision);
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Put(entry) => self.put(entry),
            Event::Deleted { key, .. } => self.delete(key),
        }
    }

    /// What can't be parsed is logged and left out; it never stops the rest.
    fn put(&mut self, entry: &Entry) {
        if let Err(problem) = self.try_put(entry) {
            warn!(key = entry.key, revision = entry.mod_revision, problem, "unreadable value in the store");
            self.delete(&entry.key);
        }
    }

    fn try_put(&mut self, entry: &Entry) -> Result<(), String> {
        let key = entry.key.as_str();
        if let Some(id) = key.strip_prefix(keys::CLUSTERS) {
            let id = ClusterId::new(id).map_err(|e| e.to_string())?;
            Arc::make_mut(&mut self.clusters).insert(id, Arc::new(decode_cluster(entry)?));
        } else if let Some(id) = key.strip_prefix(keys::MIRRORS) {
            let id = MirrorId::new(id).map_err(|e| e.to_string())?;
            let mirror = decode_mirror(entry, self.mirrors.get(&id).map(AsRef::as_ref))?;
            Arc::make_mut(&mut self.mirrors).insert(id, Arc::new(mirror));
        } else if let Some(id) = key.strip_prefix(keys::INVENTORY) {
            let id = MirrorId::new(id).map_err(|e| e.to_string())?;
            let inventory = inventory::decode(&entry.value)?;
            let state = InventoryState { inventory, mod_revision: entry.mod_revision };
            Arc::make_mut(&mut self.inventories).insert(id, Arc::new(state));
        } else if let Some(id) = key.strip_prefix(keys::GROUPS) {
            let id = MirrorId::new(id).map_err(|e| e.to_string())?;
            let groups = last_groups::decode(&entry.value)?;
            Arc::make_mut(&mut self.last_groups).insert(id, Arc::new(groups));
        } else if let Some(task) = key.strip_prefix(keys::ASSIGNMENTS) {
            let task: TaskName = task.parse().map_err(|e| format!("{e}"))?;
            let assignment = Assignment::decode(&entry.value, entry.mod_revision)?;
            Arc::make_mut(&mut self.assignments).insert(Arc::new(task), Arc::new(assignment));
        } else if let Some(worker) = key.strip_prefix(keys::DRAINS) {
            let worker = WorkerId::new(worker).map_err(|e| e.to_string())?;
            Arc::make_mut(&mut self.drains).insert(worker);
        } else if key == keys::LEADER {
            self.leader = Some(LeaderRecord::info(entry).map_err(|e| e.to_string())?);
        } else if key == keys::PEER_SECRET {
            let secret = std::str::from_utf8(&entry.value).map_err(|e| e.to_string())?;
            self.peer_secret = Some(secret.into());
        }
        Ok(())
    }

    fn delete(&mut self, key: &str) {
        if let Some(id) = key.strip_prefix(keys::CLUSTERS).and_then(|id| ClusterId::new(id).ok()) {
            Arc::make_mut(&mut self.clusters).remove(&id);
        } else if let Some(id) = key.strip_prefix(keys::MIRRORS).and_then(|id| MirrorId::new(id).ok()) {
            Arc::make_mut(&mut self.mirrors).remove(&id);
        } else if let Some(id) = key.strip_prefix(keys::INVENTORY).and_then(|id| MirrorId::new(id).ok()) {
            Arc::make_mut(&mut self.inventories).remove(&id);
        } else if let Some(id) = key.strip_prefix(keys::GROUPS).and_then(|id| MirrorId::new(id).ok()) {
            Arc::make_mut(&mut self.last_groups).remove(&id);
        } else if let Some(task) =
            key.strip_prefix(keys::ASSIGNMENTS).and_then(|t| t.parse::<TaskName>().ok())
        {
            Arc::make_mut(&mut self.assignments).remove(&task);
        } else if let Some(worker) = key.strip_prefix(keys::DRAINS).and_then(|w| WorkerId::new(w).ok()) {
            Arc::make_mut(&mut self.drains).remove(&worker);
        } else if key == keys::LEADER {
            self.leader = None;
        } else if key == keys::PEER_SECRET {
            self.peer_secret = None;
        }
    }
}

/// Parses a stored cluster, filling in name and etag.
pub fn decode_cluster(entry: &Entry) -> Result<ClusterState, String> {
    let mut wire = v1::Cluster::decode(entry.value.clone()).map_err(|e| e.to_string())?;
    wire.etag = etag(entry.mod_revision);
    let model = model::Cluster::parse(&wire).map_err(|violations| format!("{violations:?}"))?;
    let (create_revision, mod_revision) = (entry.create_revision, entry.mod_revision);
    Ok(ClusterState { wire, model, create_revision, mod_revision })
}

/// A stored mirror as the API shows it, with its etag.
pub fn mirror_message(entry: &Entry) -> Result<v1::Mirror, String> {
    let mut wire = v1::Mirror::decode(entry.value.clone()).map_err(|e| e.to_string())?;
    carry_over(&mut wire, &entry.value);
    wire.etag = etag(entry.mod_revision);
    Ok(wire)
}

/// Fills in what earlier versions stored in other fields: the codec by its name.
pub(crate) fn carry_over(mirror: &mut v1::Mirror, stored: &[u8]) {
    #[derive(Message)]
    struct Before {
        #[prost(string, tag = "23")]
        compression: String,
    }
    if mirror.compression == 0
        && let Ok(before) = Before::decode(stored)
        && let Some(codec) = v1::Compression::from_name(&before.compression.to_uppercase())
    {
        mirror.set_compression(codec);
    }
}

/// Parses a stored mirror, filling in the etag. `before`: as it was.
fn decode_mirror(entry: &Entry, before: Option<&MirrorState>) -> Result<MirrorState, String> {
    let wire = mirror_message(entry)?;
    let parsed = match before {
        Some(before) => model::Mirror::parse_again(&wire, (&before.wire, &before.model)),
        None => model::Mirror::parse(&wire),
    };
    let model = parsed.map_err(|violations| format!("{violations:?}"))?;
    let (create_revision, mod_revision) = (entry.create_revision, entry.mod_revision);
    Ok(MirrorState { wire, model: Arc::new(model), create_revision, mod_revision })
}

/// The store can't be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Away {
    pub since: SystemTime,
    pub why: String,
}

impl Away {
    /// For whoever asks how things are.
    pub fn cause(&self) -> v1::Cause {
        v1::Cause {
            reason: Reason::STORE_UNAVAILABLE.as_str().to_owned(),
            message: self.to_string(),
            since: Some(self.since.into()),
        }
    }
}

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = humantime::format_rfc3339_seconds(self.since);
        write!(
            f,
            "the controller's store can't be used since {since} ({}): what runs goes on, changes wait, and what is shown of mirrors and \
             clusters is from before",
            self.why
        )
    }
}

/// Keeps a `State` current. Clone the `Arc`; it lives until its stop token is cancelled.
pub struct Cache {
    state: watch::Receiver<Arc<State>>,
    away: watch::Receiver<Option<Away>>,
}

impl Cache {
    /// Loads the state and keeps it current until `stop`. Waits until the store could be read once.
    pub async fn start(store: Arc<dyn Store>, stop: CancellationToken) -> Result<Arc<Self>, StoreError> {
        let state = State::from_snapshot(store.list(keys::ROOT).await?);
        let (sender, state) = watch::channel(Arc::new(state));
        let (away_sender, away) = watch::channel(None);
        tokio::spawn(follow(store, sender, away_sender, stop));
        Ok(Arc::new(Self { state, away }))
    }

    /// Since when the store can't be reached, if so.
    pub fn away(&self) -> Option<Away> {
        self.away.borrow().clone()
    }

    /// Sees the store going away and coming back.
    pub fn subscribe_away(&self) -> watch::Receiver<Option<Away>> {
        self.away.clone()
    }

    pub fn snapshot(&self) -> Arc<State> {
        self.state.borrow().clone()
    }

    /// Sees every new state, or the last of several.
    pub fn subscribe(&self) -> watch::Receiver<Arc<State>> {
        self.state.clone()
    }

    /// Waits until everything written up to `revision` is in, and returns that state. `None` when the cache has stopped.
    pub async fn at_least(&self, revision: i64) -> Option<Arc<State>> {
        let mut receiver = self.state.clone();
        let state = receiver.wait_for(|state| state.revision >= revision).await.ok()?;
        Some(state.clone())
    }
}

/// Watches from the state's revision on; lists again when that history is gone, or has become another one.
async fn follow(
    store: Arc<dyn Store>,
    sender: watch::Sender<Arc<State>>,
    away: watch::Sender<Option<Away>>,
    stop: CancellationToken,
) {
    loop {
        let problem = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            problem = watch_until_error(store.as_ref(), &sender, &away) => problem,
        };
        let problem = match problem {
            StoreError::Compacted { asked, oldest } | StoreError::Future { asked, newest: oldest } => {
                info!(asked, oldest, "store history compacted or replaced, listing again");
                match store.list(keys::ROOT).await {
                    Ok(snapshot) => {
                        back(&away);
                        sender.send_replace(Arc::new(State::from_snapshot(snapshot)));
                        continue;
                    }
                    Err(error) => error,
                }
            }
            other => other,
        };
        away.send_if_modified(|away| {
            let news = away.is_none();
            away.get_or_insert_with(|| {
                warn!(error = %problem, "lost the store");
                Away { since: SystemTime::now(), why: problem.to_string() }
            });
            news
        });
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

async fn watch_until_error(
    store: &dyn Store,
    sender: &watch::Sender<Arc<State>>,
    away: &watch::Sender<Option<Away>>,
) -> StoreError {
    let after = sender.borrow().revision;
    let mut watch = match store.watch(keys::ROOT, after).await {
        Ok(watch) => watch,
        Err(error) => return error,
    };
    back(away);
    loop {
        match watch.next().await {
            Some(Ok(batch)) if batch.events.iter().any(compiles) => {
                let mut next = sender.borrow().clone();
                let applied = tokio::task::spawn_blocking(move || {
                    Arc::make_mut(&mut next).apply_all(&batch);
                    next
                });
                match applied.await {
                    Ok(next) => drop(sender.send_replace(next)),
                    Err(error) => return StoreError::Unavailable(format!("the view of it failed: {error}")),
                }
            }
            Some(Ok(batch)) => sender.send_modify(|shared| Arc::make_mut(shared).apply_all(&batch)),
            Some(Err(error)) => return error,
            None => return StoreError::Unavailable("the watch ended".to_owned()),
        }
    }
}

/// A mirror's patterns are compiled, which may take a second: apart from the threads that keep leases and streams alive.
fn compiles(event: &Event) -> bool {
    matches!(event, Event::Put(entry) if entry.key.starts_with(keys::MIRRORS))
}

/// The store has answered.
fn back(away: &watch::Sender<Option<Away>>) {
    if let Some(away) = away.send_replace(None) {
        let since = humantime::format_rfc3339_seconds(away.since);
        info!(%since, "the store is back");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn mirror(topics: Vec<String>, desired: v1::DesiredState) -> v1::Mirror {
        v1::Mirror {
            name: "mirrors/m".to_owned(),
            source: "clusters/a".to_owned(),
            target: "clusters/b".to_owned(),
            topics,
            desired_state: desired.into(),
            ..Default::default()
        }
    }

    /// Writes the mirror, and says how long the view took to have it.
    fn put(state: &mut State, revision: i64, mirror: &v1::Mirror) -> Duration {
        let key = format!("{}m", keys::MIRRORS);
        let value = mirror.encode_to_vec().into();
        let began = Instant::now();
        state.put(&Entry { key, value, create_revision: 1, mod_revision: revision });
        began.elapsed()
    }

    #[test]
    fn patterns_are_compiled_when_they_change_and_not_when_a_mirror_pauses() {
        let heavy: Vec<String> = (0..200).map(|i| format!("[a-z]{{1,40}}-{i}")).collect();
        let mut state = State::default();
        let compiled = put(&mut state, 1, &mirror(heavy.clone(), v1::DesiredState::Running));
        let paused = (2..5)
            .map(|revision| put(&mut state, revision, &mirror(heavy.clone(), v1::DesiredState::Paused)));
        let paused = paused.min().unwrap();
        assert!(paused * 5 < compiled, "{paused:?} for a pause, {compiled:?} for the patterns");
        let known = state.mirrors.values().next().unwrap().model.clone();
        assert!(!known.running && known.topics.matches("x-7") && !known.topics.matches("y"));
        put(&mut state, 6, &mirror(vec!["y".to_owned()], v1::DesiredState::Paused));
        let known = &state.mirrors.values().next().unwrap().model;
        assert!(known.topics.matches("y") && !known.topics.matches("x-7"));
    }
}
