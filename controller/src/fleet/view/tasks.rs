//! A mirror's tasks other than its ranges, the groups that they report, and what is still running while it pauses.
//!
//! They are looked up by their names: with a thousand mirrors there are too many tasks to walk through for each of them.

use std::collections::{BTreeMap, HashSet};
use std::ops::RangeInclusive;

use prost_types::Timestamp;
use tokio::time::Instant;
use twinlog_proto::id::{MirrorId, TaskName};
use twinlog_proto::reason::Reason;
use twinlog_proto::v1::{self, State as Is};

use super::{Known, View, cause};
use crate::fleet::Members;

impl Members {
    /// Mirrors of which a worker still runs something.
    pub(super) fn working(&self) -> HashSet<MirrorId> {
        let running = self.by_id.values().flat_map(|member| member.running.tasks.keys());
        running.filter(|task| works(task)).map(|task| task.mirror().clone()).collect()
    }

    fn works_for(&self, id: &MirrorId) -> bool {
        let works = |task: &TaskName| task.mirror() == id && works(task);
        self.by_id.values().any(|member| member.running.tasks.keys().any(works))
    }
}

/// A survey goes on looking while its mirror is paused.
fn works(task: &TaskName) -> bool {
    !matches!(task, TaskName::Survey { .. })
}

fn shards(mirror: &MirrorId) -> RangeInclusive<TaskName> {
    let shard = |shard| TaskName::Checkpoint { mirror: mirror.clone(), shard };
    shard(0)..=shard(u32::MAX)
}

impl<'a> View<'a> {
    /// Survey, checkpoints and heartbeat: those that there are and those that wait for a worker.
    pub(super) fn tasks(&self) -> BTreeMap<TaskName, Known<'a>> {
        let mirror = &self.mirror.model.id;
        let (stored, waiting) = (&self.state.assignments, &self.members.unplaced);
        let survey = TaskName::Survey { mirror: mirror.clone() };
        let heartbeat = TaskName::Heartbeat { mirror: mirror.clone() };
        let single = [survey, heartbeat].into_iter();
        let single = single.filter(|task| stored.contains_key(task) || waiting.contains_key(task));
        let shards = shards(mirror);
        let assigned = stored.range::<TaskName, _>(shards.clone()).map(|(task, _)| task.as_ref());
        let checkpoints = assigned.chain(waiting.range(shards).map(|(task, _)| task)).cloned();
        let known = |task: TaskName| {
            let known = self.task(&task);
            (task, known)
        };
        single.chain(checkpoints).map(known).collect()
    }

    pub(super) fn groups(&self, tasks: &BTreeMap<TaskName, Known<'a>>) -> Vec<v1::GroupStatus> {
        let reports = tasks.values().filter_map(|known| known.report);
        // As they were, where nobody looks at them now.
        let is_reported = |task: &TaskName| tasks.get(task).is_some_and(|known| known.report.is_some());
        let last = self.members.last.range(shards(&self.mirror.model.id));
        let last = last.filter(|(task, _)| !is_reported(task)).map(|(_, report)| report);
        let of = |report: &'a v1::TaskReport| {
            report.groups.iter().map(|group| with_sync_time(group, report.groups_sync_time))
        };
        let mut groups: Vec<_> = reports.chain(last).flat_map(of).collect();
        groups.sort_by(|a, b| a.group.cmp(&b.group));
        groups
    }

    /// A new leader doesn't know whether everything has stopped until the workers are back.
    pub(super) fn paused(&self) -> (Is, Vec<v1::Cause>) {
        let id = &self.mirror.model.id;
        let works = self.working.map_or_else(|| self.members.works_for(id), |working| working.contains(id));
        let state = match (works, self.members.is_settling(Instant::now())) {
            (true, _) => Is::Pausing,
            (false, false) => Is::IsPaused,
            (false, true) => {
                let message =
                    "workers have not come back to the new leader yet: whether all is stopped is not known";
                return (Is::Unknown, vec![cause(Reason::WORKER_NOT_BACK, message)]);
            }
        };
        (state, vec![self.paused_since()])
    }
}

/// A group that is in step was brought there with all others of its task.
fn with_sync_time(group: &v1::GroupStatus, round: Option<Timestamp>) -> v1::GroupStatus {
    let in_step = matches!(group.state.as_str(), "SYNCED" | "AT_COPY_END" | "AHEAD_ON_TARGET");
    let sync_time = group.sync_time.or(round.filter(|_| in_step));
    v1::GroupStatus { sync_time, ..group.clone() }
}

pub(super) fn task_status(task: &TaskName, known: &Known<'_>) -> v1::TaskStatus {
    v1::TaskStatus {
        task: task.to_string(),
        worker: known.worker.map(|worker| worker.name()).unwrap_or_default(),
        epoch: known.epoch,
        state: known.state.into(),
        cause: known.cause.clone(),
    }
}
