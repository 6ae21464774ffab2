//! Workers that come with tasks of mirrors that the store doesn't know: these end, and somebody must learn of it. The mirrors were
//! deleted while the worker was away, or the store was lost and nobody has noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tracing::warn;
use twinlog_proto::id::{MirrorId, WorkerId};
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;

use super::Members;
use crate::state::State;

/// Mirrors that a message names.
const MAX_NAMED: usize = 5;
/// It is shown beside the worker for so long, unless the mirrors are there again.
const SHOWN: Duration = Duration::from_secs(3600);

/// What was ended at a worker.
pub(crate) struct Ended {
    mirrors: BTreeSet<MirrorId>,
    at: (Instant, SystemTime),
}

impl Members {
    /// Says what the first set of a stream or term is about to end.
    pub(crate) fn note_orphans(&mut self, id: &WorkerId, state: &State) {
        let Some(member) = self.by_id.get(id).filter(|member| member.sent.is_none()) else { return };
        let tasks = member.running.tasks.keys().map(|task| task.mirror());
        let mirrors: BTreeSet<MirrorId> =
            tasks.filter(|mirror| !state.mirrors.contains_key(*mirror)).cloned().collect();
        if mirrors.is_empty() {
            return;
        }
        let ended = Ended { mirrors, at: (Instant::now(), SystemTime::now()) };
        warn!(worker = %id, "{}", ended.message());
        self.orphans.insert(id.clone(), ended);
    }

    /// Forgets what is over, and what is good again.
    pub(super) fn forget_orphans(&mut self, state: &State) {
        let by_id = &self.by_id;
        self.orphans.retain(|id, ended| {
            ended.mirrors.retain(|mirror| !state.mirrors.contains_key(mirror));
            by_id.contains_key(id) && !ended.mirrors.is_empty() && ended.at.0.elapsed() < SHOWN
        });
    }
}

/// By worker.
pub(crate) type Orphans = BTreeMap<WorkerId, Ended>;

impl Ended {
    pub(crate) fn cause(&self) -> v1::Cause {
        v1::Cause {
            reason: Reason::MIRROR_NOT_FOUND.as_str().to_owned(),
            message: self.message(),
            since: Some(self.at.1.into()),
        }
    }

    fn message(&self) -> String {
        let named: Vec<String> = self.mirrors.iter().take(MAX_NAMED).map(ToString::to_string).collect();
        let more = match self.mirrors.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!(
            "it ran tasks of mirrors that the controller's store does not know, and must end them: {}{more}. Where nobody deleted these, the \
             store was lost or replaced: put a copy of it in its place, or apply the files of the clusters and mirrors again (twinlog apply); \
             they go on where they stopped",
            named.join(", ")
        )
    }
}
