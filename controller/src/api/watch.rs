//! WatchMirrors: mirrors as they change, from a revision on, and their status now and then.
//!
//! Changes come from the store's own history, so a client that comes back with the last revision it saw misses nothing,
//! whatever replica it reaches. A stream that fails ends with a status; the client resumes.

pub(super) mod drain;
pub(super) mod encoded;
pub(super) mod places;
pub(crate) mod serve;

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tonic::{Extensions, Status};
use twinlog_proto::id::MirrorId;
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;
use twinlog_proto::v1::watch_mirrors_response::{Bookmark, Deleted, Event as Sent};

use self::drain::{Drained, drain};
use self::encoded::Encoded;
use self::places::Place;
use super::Api;
use crate::catalog::{mirror_id, mirror_not_found, store_failed};
use crate::keys;
use crate::refusal::{Refusal, invalid};
use crate::state::State;
use crate::store::Event;

pub(super) type MirrorStream = Pin<Box<dyn Stream<Item = Result<Encoded, Status>> + Send>>;
pub(super) type MessageStream = Pin<Box<dyn Stream<Item = Result<v1::WatchMirrorsResponse, Status>> + Send>>;

/// A status costs work in the leader: no more often than this.
const MIN_STATUS_INTERVAL: Duration = Duration::from_millis(100);
const MAX_STATUS_INTERVAL: Duration = Duration::from_secs(3600);

/// A stream that said nothing for this long says so: a client that hears nothing for longer knows that it is dead.
const BOOKMARK_AFTER: Duration = Duration::from_secs(10);

/// What a client watches.
struct Watcher {
    api: Api,
    only: Option<MirrorId>,
    statuses: Option<Interval>,
    /// When something was sent last.
    spoke: Instant,
    /// Counts against the limit of streams.
    _place: Place,
}

/// MIRROR_NOT_FOUND where one mirror is named that doesn't exist; REVISION_COMPACTED; REVISION_UNKNOWN; TOO_MANY streams.
/// `address`: where it is called from.
pub(super) async fn start(
    api: &Api,
    request: v1::WatchMirrorsRequest,
    address: Option<IpAddr>,
) -> Result<MirrorStream, Status> {
    let only = if request.name.is_empty() { None } else { Some(mirror_id("name", &request.name)?) };
    let statuses = status_interval(request.status_interval)?;
    if request.revision < 0 {
        return Err(invalid("revision", "is negative").into());
    }
    let place = api.watches.take(address)?;
    // The present comes from the cache, as every read: it is shared, however many watch.
    let present = (request.revision == 0).then(|| api.state());
    if let (Some(id), Some(state)) = (&only, &present)
        && !state.mirrors.contains_key(id)
    {
        return Err(mirror_not_found(id).into());
    }
    let revision = present.as_ref().map_or(request.revision, |state| state.revision);
    let changes = api.controller.store().watch(keys::MIRRORS, revision).await.map_err(store_failed)?;
    let watcher = Watcher { api: api.clone(), only, statuses, spoke: Instant::now(), _place: place };
    Ok(Box::pin(watcher.run(present, revision, drain(changes, api.watch_bytes.clone()))))
}

fn status_interval(given: Option<prost_types::Duration>) -> Result<Option<Interval>, Refusal> {
    let Some(given) = given else { return Ok(None) };
    match Duration::try_from(given) {
        Ok(every) if (MIN_STATUS_INTERVAL..=MAX_STATUS_INTERVAL).contains(&every) => {
            let mut interval = tokio::time::interval(every);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            Ok(Some(interval))
        }
        _ => Err(invalid("status_interval", "must be between 100ms and 1h")),
    }
}

impl Watcher {
    fn run(
        mut self,
        present: Option<Arc<State>>,
        mut revision: i64,
        mut changes: Drained,
    ) -> impl Stream<Item = Result<Encoded, Status>> {
        async_stream::try_stream! {
            if let Some(state) = present {
                let wanted = state.mirrors.iter().filter(|(id, _)| self.only.as_ref().is_none_or(|only| only == *id));
                for (_, mirror) in wanted {
                    yield Encoded::present(mirror.wire.clone(), revision);
                }
                yield Encoded::new(Sent::Synced(true), revision);
            }
            loop {
                let messages = self.wait(&mut changes, &mut revision).await?;
                for message in messages {
                    yield message;
                    self.spoke = Instant::now();
                }
            }
        }
    }

    /// What is to be sent next; nothing is lost when it is dropped before it is ready.
    async fn wait(&mut self, changes: &mut Drained, revision: &mut i64) -> Result<Vec<Encoded>, Refusal> {
        tokio::select! {
            biased;
            () = self.api.stop.cancelled() => {
                let message = "this controller stops: resume the watch at another replica";
                Err(Refusal::new(Reason::SHUTTING_DOWN, message, &[]))
            }
            batch = changes.next() => {
                let batch = batch?;
                *revision = batch.revision.max(*revision);
                Ok(batch.events.iter().filter_map(|event| self.change(event)).collect())
            }
            () = tick(&mut self.statuses) => {
                let statuses = self.current_statuses().await;
                Ok(statuses.into_iter().map(|status| Encoded::new(Sent::Status(status), *revision)).collect())
            }
            () = tokio::time::sleep_until(self.spoke + BOOKMARK_AFTER) => {
                Ok(vec![Encoded::new(Sent::Bookmark(Bookmark {}), *revision)])
            }
        }
    }

    fn wants(&self, key: &str) -> bool {
        self.only.as_ref().is_none_or(|id| key == keys::mirror(id))
    }

    fn change(&self, event: &Event) -> Option<Encoded> {
        match event {
            Event::Put(entry) if self.wants(&entry.key) => self.api.changes.put(entry),
            Event::Deleted { key, mod_revision } if self.wants(key) => {
                let id = key.strip_prefix(keys::MIRRORS)?;
                let deleted = Deleted { name: format!("mirrors/{id}") };
                Some(Encoded::new(Sent::Deleted(deleted), *mod_revision))
            }
            Event::Put(_) | Event::Deleted { .. } => None,
        }
    }

    async fn status(&self, id: &MirrorId) -> Result<v1::MirrorStatus, Status> {
        match self.api.controller.elsewhere(&Extensions::new()) {
            Some(leader) => leader.mirror_status(id).await,
            None => Ok(self.api.controller.informed()?.mirror_status(id)?),
        }
    }

    /// What can't be told now (no leader yet) comes with a later tick.
    async fn current_statuses(&self) -> Vec<v1::MirrorStatus> {
        let state = self.api.state();
        let mut statuses = Vec::new();
        for id in state.mirrors.keys().filter(|id| self.only.as_ref().is_none_or(|only| only == *id)) {
            if let Ok(status) = self.status(id).await {
                statuses.push(status);
            }
        }
        statuses
    }
}

async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// As messages, for callers that are no clients of the port.
pub(super) fn messages(stream: MirrorStream) -> MessageStream {
    Box::pin(stream.map(|encoded| Ok(encoded?.message()?)))
}
