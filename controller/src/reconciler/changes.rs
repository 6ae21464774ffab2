//! From a plan to writes: pure.

use std::collections::BTreeSet;

use tracing::error;
use twinlog_proto::id::{TaskName, WorkerId};

use crate::assignment::Assignment;
use crate::fleet::Members;
use crate::handover::Holders;
use crate::planner::{Placement, Plan};
use crate::state::State;
use crate::store::{MAX_TXN_BYTES, Write};
use crate::{inventory, keys};

/// Writes that turn the stored assignments into the planned ones.
pub(super) fn assignments(plan: &Plan, state: &State, holders: &Holders<'_>) -> Vec<Write> {
    let mut writes = Vec::new();
    for (task, placement) in &plan.tasks {
        let stored = state.assignments.get(task).map(AsRef::as_ref);
        let Placement::On(worker) = placement else { continue };
        if stored.is_none_or(|assignment| assignment.worker.as_ref() != Some(worker)) {
            let previous = owned(holders.of(task, stored).into_iter().filter(|holder| *holder != worker));
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

fn owned<'a>(workers: impl Iterator<Item = &'a WorkerId>) -> Vec<WorkerId> {
    workers.cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

/// Writes for inventories that differ from the stored ones, and deletions for mirrors that are gone.
pub(super) fn inventories(members: &Members, state: &State) -> Vec<Write> {
    let mut writes = Vec::new();
    for (mirror, reported) in &members.inventories {
        let survey = TaskName::Survey { mirror: mirror.clone() };
        let survey = state.assignments.get(&survey);
        let is_current =
            survey.is_some_and(|a| a.epoch == reported.epoch && a.worker.as_ref() == Some(&reported.worker));
        if !is_current || !state.mirrors.contains_key(mirror) {
            continue;
        }
        let stored = state.inventories.get(mirror).map(|stored| &stored.inventory);
        let mut next = reported.inventory.clone();
        if next.blocked.is_some() && next.topics.is_empty() {
            // The survey saw nothing: what was known stays.
            next.topics = stored.map(|inventory| inventory.topics.clone()).unwrap_or_default();
        }
        if stored.is_some_and(|stored| inventory::same(stored, &next)) {
            continue;
        }
        let write = Write::put(keys::inventory(mirror), inventory::encode(&next));
        if write.bytes() > MAX_TXN_BYTES {
            error!(%mirror, topics = next.topics.len(), bytes = write.bytes(), "the inventory is too large to store");
            continue;
        }
        writes.push(write);
    }
    let gone = state.inventories.keys().filter(|mirror| !state.mirrors.contains_key(*mirror));
    writes.extend(gone.map(|mirror| Write::delete(keys::inventory(mirror))));
    writes
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
