//! What workers said last of tasks that nobody reports any more: where ranges stood, and how groups were.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::SystemTime;

use prost_types::Timestamp;
use tokio::time::Instant;
use twinlog_proto::id::{MirrorId, TaskName};
use twinlog_proto::internal::v1 as internal;

use super::Members;
use crate::last_groups::{LastGroups, LastSaid, tells};
use crate::planner::{Placement, Plan};
use crate::state::State;

type Reported<'a> = BTreeMap<u32, (&'a internal::TaskReport, Instant)>;
/// `LastGroups` that are mostly not copied.
pub(crate) type ToStore<'a> = BTreeMap<u32, Cow<'a, LastSaid>>;

impl Members {
    /// Remembers what nobody reports any more, where it says something. True if that is of groups.
    pub(super) fn keep(&mut self, reports: HashMap<TaskName, internal::TaskReport>, heard: Instant) -> bool {
        let mut news = false;
        for (task, report) in reports {
            match task {
                TaskName::Checkpoint { mirror, shard } if tells(&report) => {
                    let said = LastSaid::new(shard, report, at(heard));
                    self.last_groups.entry(mirror).or_default().insert(shard, said);
                    news = true;
                }
                TaskName::Replicate { .. } if !report.partitions.is_empty() => {
                    self.last.insert(task, report);
                }
                _ => {}
            }
        }
        news
    }

    /// Forgets what belongs to mirrors that are gone.
    pub(crate) fn forget_gone(&mut self, state: &State) {
        self.last.retain(|task, _| state.mirrors.contains_key(task.mirror()));
        self.last_groups.retain(|mirror, _| state.mirrors.contains_key(mirror));
        self.source_ends.retain(|mirror, _| state.mirrors.contains_key(mirror));
        self.compared.retain(|mirror, _| state.mirrors.contains_key(mirror));
        self.forget_orphans(state);
    }

    /// What is to be stored of the groups of every mirror that has some there, or should have.
    pub(crate) fn groups_to_store<'a>(
        &'a self,
        plan: &Plan,
        state: &'a State,
    ) -> BTreeMap<&'a MirrorId, ToStore<'a>> {
        let mut reported: HashMap<&MirrorId, Reported<'_>> = HashMap::new();
        for member in self.by_id.values() {
            for (task, report) in member.reports.iter().filter(|(_, report)| tells(report)) {
                if let TaskName::Checkpoint { mirror, shard } = task {
                    reported.entry(mirror).or_default().insert(*shard, (report, member.last_heard));
                }
            }
        }
        let stopping =
            reported.keys().copied().filter(|id| state.mirrors.get(*id).is_some_and(|m| !m.model.running));
        let ids: BTreeSet<&MirrorId> =
            state.last_groups.keys().chain(self.last_groups.keys()).chain(stopping).collect();
        let none = Reported::new();
        let of = |id| self.to_store(id, reported.get(id).unwrap_or(&none), plan, state);
        ids.into_iter().map(|id| (id, of(id))).collect()
    }

    fn to_store<'a>(
        &'a self,
        id: &MirrorId,
        reported: &Reported<'_>,
        plan: &Plan,
        state: &'a State,
    ) -> ToStore<'a> {
        let Some(mirror) = state.mirrors.get(id) else { return ToStore::new() };
        let stored = state.last_groups.get(id).map(AsRef::as_ref);
        let last = self.last_groups.get(id);
        let shards: BTreeSet<u32> = shards(last, stored).chain(reported.keys().copied()).collect();
        let said = |shard: u32| {
            let task = TaskName::Checkpoint { mirror: id.clone(), shard };
            let stored_here = stored.and_then(|stored| stored.get(&shard)).map(Cow::Borrowed);
            let newest = || newest(last, stored, shard).map(Cow::Borrowed);
            match (mirror.model.running, reported.get(&shard)) {
                (true, Some(_)) => None,
                // It stops: what it says last will take this one's place.
                (false, Some((report, heard))) => stored_here
                    .or_else(|| Some(Cow::Owned(LastSaid::new(shard, (*report).clone(), at(*heard))))),
                (false, None) => newest(),
                (true, None) => match plan.tasks.get(&task) {
                    Some(Placement::Nowhere(_)) => newest(),
                    // A worker is about to say it: a move costs no write.
                    Some(Placement::On(_)) => stored_here,
                    None => None,
                },
            }
        };
        shards.into_iter().filter_map(|shard| Some((shard, said(shard)?))).collect()
    }

    /// Forgets groups of tasks that running mirrors don't have any more.
    pub(crate) fn forget_shards(&mut self, plan: &Plan, state: &State) {
        for (id, last) in &mut self.last_groups {
            let planned =
                |shard: u32| plan.tasks.contains_key(&TaskName::Checkpoint { mirror: id.clone(), shard });
            let runs = state.mirrors.get(id).is_some_and(|mirror| mirror.model.running);
            last.retain(|shard, _| !runs || planned(*shard));
        }
    }
}

/// Shards of which the leader or the store knows something.
pub(super) fn shards<'a>(
    heard: Option<&'a LastGroups>,
    stored: Option<&'a LastGroups>,
) -> impl Iterator<Item = u32> + use<'a> {
    heard.into_iter().chain(stored).flat_map(|said| said.keys().copied())
}

/// Of what this leader has heard and what the store holds the later one: replicas lead in turns. Of the same, what was heard is whole.
pub(super) fn newest<'a>(
    heard: Option<&'a LastGroups>,
    stored: Option<&'a LastGroups>,
    shard: u32,
) -> Option<&'a LastSaid> {
    stored.into_iter().chain(heard).filter_map(|said| said.get(&shard)).max_by_key(|said| said.at())
}

fn at(heard: Instant) -> Timestamp {
    let now = SystemTime::now();
    now.checked_sub(heard.elapsed()).unwrap_or(now).into()
}
