//! From a plan to writes: pure.

use std::collections::{BTreeMap, BTreeSet};

use tracing::error;
use twinlog_proto::id::{MirrorId, TaskName, WorkerId};

use crate::assignment::Assignment;
use crate::catalog::conflict::{self, Conflicts};
use crate::fleet::{Members, Reported, ToStore};
use crate::handover::Holders;
use crate::last_groups::{self, LastGroups};
use crate::planner::{Placement, Plan};
use crate::state::State;
use crate::store::{MAX_TXN_BYTES, Write};
use crate::{inventory, keys};

/// Writes that turn the stored assignments into the planned ones. What is not newer than `since` may be from before others got
/// the task: whoever runs it is added, so that the next leader waits for it, too.
pub(super) fn assignments(plan: &Plan, state: &State, holders: &Holders<'_>, since: i64) -> Vec<Write> {
    let mut writes = Vec::new();
    for (task, placement) in &plan.tasks {
        let stored = state.assignments.get(task).map(AsRef::as_ref);
        let Placement::On(worker) = placement else { continue };
        let previous = owned(holders.of(task, stored).into_iter().filter(|holder| *holder != worker));
        let is_old = |assignment: &Assignment| {
            assignment.epoch.0 <= since && previous.iter().any(|holder| !assignment.previous.contains(holder))
        };
        if stored.is_none_or(|assignment| assignment.worker.as_ref() != Some(worker) || is_old(assignment)) {
            writes.push(Write::put(keys::assignment(task), Assignment::encode(Some(worker), &previous)));
        }
    }
    for (task, stored) in state.assignments.iter() {
        if !matches!(plan.tasks.get(task.as_ref()), Some(Placement::On(_))) {
            writes.extend(release(task, stored, holders));
        }
    }
    writes
}

/// Nobody shall run the task: it is recorded as being released while someone may, and forgotten afterwards.
fn release(task: &TaskName, stored: &Assignment, holders: &Holders<'_>) -> Option<Write> {
    let key = keys::assignment(task);
    let running = holders.of(task, Some(stored));
    match (running.is_empty(), &stored.worker) {
        (true, _) => Some(Write::delete(key)),
        (false, Some(_)) => Some(Write::put(key, Assignment::encode(None, &owned(running.into_iter())))),
        (false, None) => None,
    }
}

/// Writes the assignments of tasks again, as they are, so that they get a later epoch.
pub(super) fn anew(tasks: &[TaskName], state: &State, holders: &Holders<'_>) -> Vec<Write> {
    let anew = |task: &TaskName| {
        let stored = state.assignments.get(task).map(AsRef::as_ref)?;
        let worker = stored.worker.as_ref()?;
        let previous = owned(holders.of(task, Some(stored)).into_iter().filter(|holder| *holder != worker));
        Some(Write::put(keys::assignment(task), Assignment::encode(Some(worker), &previous)))
    };
    tasks.iter().filter_map(anew).collect()
}

fn owned<'a>(workers: impl Iterator<Item = &'a WorkerId>) -> Vec<WorkerId> {
    workers.cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

/// Writes for inventories that differ from the stored ones, and deletions for mirrors that are gone; and what is too large to
/// store, with what to say about it. `said`: what was too large before.
pub(super) fn inventories(
    reported: &Reported,
    said: &BTreeMap<MirrorId, String>,
    state: &State,
) -> (Vec<Write>, BTreeMap<MirrorId, String>) {
    let (mut writes, mut too_large) = (Vec::new(), BTreeMap::new());
    let conflicts = Conflicts::new(state, reported.iter().map(|(id, reported)| (id, &reported.inventory)));
    for (mirror, reported) in reported {
        let survey = TaskName::Survey { mirror: mirror.clone() };
        let survey = state.assignments.get(&survey);
        let is_current =
            survey.is_some_and(|a| a.epoch == reported.epoch && a.worker.as_ref() == Some(&reported.worker));
        let Some(known) = state.mirrors.get(mirror).filter(|_| is_current) else { continue };
        let stored = state.inventories.get(mirror).map(|stored| &stored.inventory);
        let mut next = reported.inventory.clone();
        if next.blocked.is_some() && next.topics.is_empty() {
            // The survey saw nothing: what was known stays.
            next.topics = stored.map(|inventory| inventory.topics.clone()).unwrap_or_default();
        }
        inventory::note_beginnings(&mut next, stored);
        if let Some(cause) = conflicts.of(known) {
            conflict::stop(&mut next, &cause);
        }
        if stored.is_some_and(|stored| inventory::same(stored, &next)) {
            continue;
        }
        let write = Write::put(keys::inventory(mirror), inventory::encode(&next));
        if write.bytes() > MAX_TXN_BYTES {
            let message = format!(
                "the survey found {} topics: their inventory takes {} bytes packed, and a store takes {MAX_TXN_BYTES}. What was \
                 known before goes on, new topics wait: spread the topics over several mirrors",
                next.topics.len(),
                write.bytes()
            );
            if !said.contains_key(mirror) {
                error!(%mirror, "{message}");
            }
            too_large.insert(mirror.clone(), message);
            continue;
        }
        writes.push(write);
    }
    let gone = state.inventories.keys().filter(|mirror| !state.mirrors.contains_key(*mirror));
    writes.extend(gone.map(|mirror| Write::delete(keys::inventory(mirror))));
    (writes, too_large)
}

/// Writes for what was last said of groups, where the store doesn't hold it, and deletions of what workers say by now.
pub(super) fn groups(members: &Members, plan: &Plan, state: &State) -> Vec<Write> {
    let changed = |(mirror, next): (&MirrorId, ToStore<'_>)| {
        let key = keys::groups(mirror);
        let stored = state.last_groups.get(mirror);
        if next.is_empty() {
            return stored.map(|_| Write::delete(key));
        }
        let same = |stored: &LastGroups| {
            stored.keys().eq(next.keys()) && next.iter().all(|(shard, said)| stored[shard].at() == said.at())
        };
        if stored.is_some_and(|stored| same(stored)) {
            return None;
        }
        let room = MAX_TXN_BYTES - key.len();
        let value = last_groups::encode(next.values().map(AsRef::as_ref), room);
        Some(Write::put(key, value))
    };
    members.groups_to_store(plan, state).into_iter().filter_map(changed).collect()
}

/// A worker that says it leaves is drained, whoever leads; a drain ends with its worker.
pub(super) fn drains(members: &Members, state: &State) -> Vec<Write> {
    let leaving =
        members.by_id.values().filter(|member| member.leaving && !state.drains.contains(&member.id));
    let gone = state.drains.iter().filter(|worker| !members.is_known(worker));
    leaving
        .map(|member| Write::put(keys::drain(&member.id), bytes::Bytes::new()))
        .chain(gone.map(|worker| Write::delete(keys::drain(worker))))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use twinlog_proto::id::Epoch;
    use twinlog_proto::{model, v1};

    use super::*;
    use crate::fleet::ReportedInventory;
    use crate::state::MirrorState;
    use twinlog_proto::internal::v1 as internal;

    #[test]
    fn an_inventory_that_no_store_takes_is_said_and_changes_nothing() {
        let worker = WorkerId::new("w").unwrap();
        let wire = v1::Mirror {
            name: "mirrors/m".to_owned(),
            source: "clusters/a".to_owned(),
            target: "clusters/b".to_owned(),
            topics: vec![".*".to_owned()],
            ..Default::default()
        };
        let model = Arc::new(model::Mirror::parse(&wire).unwrap());
        let id = model.id.clone();
        let mut state = State::default();
        let mirror = MirrorState { wire, model, create_revision: 1, mod_revision: 1 };
        Arc::make_mut(&mut state.mirrors).insert(id.clone(), Arc::new(mirror));
        let survey = Assignment { worker: Some(worker.clone()), previous: Vec::new(), epoch: Epoch(1) };
        let task = TaskName::Survey { mirror: id.clone() };
        Arc::make_mut(&mut state.assignments).insert(Arc::new(task), Arc::new(survey));
        let found = |count: usize| {
            // Names that don't pack.
            let topics = (0..count).map(|_| internal::InventoryTopic {
                source_topic: uuid::Uuid::new_v4().to_string(),
                target_topic: uuid::Uuid::new_v4().to_string(),
                ..Default::default()
            });
            let inventory = internal::Inventory { topics: topics.collect(), ..Default::default() };
            let reported = ReportedInventory { epoch: Epoch(1), worker: worker.clone(), inventory };
            inventories(&[(id.clone(), Arc::new(reported))].into(), &BTreeMap::new(), &state)
        };
        let (writes, too_large) = found(1_000);
        assert_eq!((writes.len(), too_large.len()), (1, 0));
        let (writes, too_large) = found(50_000);
        assert!(writes.is_empty());
        assert!(too_large[&id].contains("50000 topics") && too_large[&id].contains("several mirrors"));
    }
}
