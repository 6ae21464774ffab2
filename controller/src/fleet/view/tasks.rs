//! A mirror's tasks other than its ranges, the groups that they report, and what is still running while it pauses.
//!
//! They are looked up by their names: with a thousand mirrors there are too many tasks to walk through for each of them.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::RangeInclusive;

use prost_types::Timestamp;
use tokio::time::Instant;
use twinlog_proto::id::{MirrorId, TaskName};
use twinlog_proto::reason::Reason;
use twinlog_proto::v1::group_status::State as Group;
use twinlog_proto::v1::{self, State as Is};

use super::{Known, View, cause};
use crate::fleet::Members;
use crate::fleet::last::{newest, shards as shards_of};
use crate::last_groups::{LastSaid, tells};

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

    pub(super) fn groups(&self, tasks: &BTreeMap<TaskName, Known<'a>>) -> Groups {
        let tells = |known: &Known<'a>| known.report.filter(|report| tells(report));
        let reports: Vec<_> = tasks.values().filter_map(tells).collect();
        // As they were, where nobody looks at them now.
        let id = &self.mirror.model.id;
        let is_reported = |shard: u32| {
            let task = TaskName::Checkpoint { mirror: id.clone(), shard };
            tasks.get(&task).and_then(tells).is_some()
        };
        let heard = self.members.last_groups.get(id);
        let stored = self.state.last_groups.get(id).map(AsRef::as_ref);
        let shards: BTreeSet<u32> = shards_of(heard, stored).collect();
        let silent = shards.into_iter().filter(|shard| !is_reported(*shard));
        let last: Vec<&LastSaid> = silent.filter_map(|shard| newest(heard, stored, shard)).collect();
        let now = reports.into_iter().flat_map(|report| said(&report.groups, report.groups_sync_time));
        let then = last.iter().flat_map(|last| said(&last.groups, last.sync_time));
        let mut groups: Vec<_> = now.chain(then).collect();
        groups.sort_by(|a, b| a.group.cmp(&b.group));
        Groups {
            groups,
            time: last.iter().min_by_key(|last| last.at()).and_then(|last| last.time),
            left_out: last.iter().fold(0, |sum, last| sum.saturating_add(last.left_out)),
        }
    }

    /// A new leader doesn't know whether everything has stopped until the workers are back.
    pub(super) fn paused(&self) -> (Is, Vec<v1::Cause>) {
        let id = &self.mirror.model.id;
        let works = self.working.map_or_else(|| self.members.works_for(id), |working| working.contains(id));
        let state = match (works, self.members.is_settling(Instant::now())) {
            (true, _) => Is::Pausing,
            (false, false) => Is::Paused,
            (false, true) => {
                let message =
                    "workers have not come back to the new leader yet: whether all is stopped is not known";
                return (Is::Unknown, vec![cause(Reason::WORKER_NOT_BACK, message)]);
            }
        };
        (state, vec![self.paused_since()])
    }
}

/// A mirror's groups, as a status shows them.
pub(super) struct Groups {
    pub(super) groups: Vec<v1::GroupStatus>,
    /// When they were like that, where that is not now.
    pub(super) time: Option<Timestamp>,
    pub(super) left_out: i32,
}

fn said(groups: &[v1::GroupStatus], round: Option<Timestamp>) -> impl Iterator<Item = v1::GroupStatus> {
    groups.iter().map(move |group| with_sync_time(group, round))
}

/// A group that is in step was brought there with all others of its task.
fn with_sync_time(group: &v1::GroupStatus, round: Option<Timestamp>) -> v1::GroupStatus {
    let in_step = matches!(group.state(), Group::Synced | Group::AtCopyEnd | Group::AheadOnTarget);
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
