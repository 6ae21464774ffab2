//! What to do so that what runs becomes what is assigned. Pure.

use std::collections::BTreeMap;

use twinlog_proto::id::TaskName;

use crate::assignments::Assigned;

/// A task as it runs.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    /// What it was started with or last changed to.
    pub(super) assigned: Assigned,
    pub(super) draining: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Start,
    /// Same epoch, same clusters, other settings or another range: applied while it runs.
    Update,
    /// Also the first half of a restart: when it has ended, the next look starts it anew.
    Drain,
}

/// In the order of the names; empty once everything is as assigned or on its way there.
pub(super) fn diff<'a>(
    observed: &'a BTreeMap<TaskName, Observed>,
    wanted: &'a BTreeMap<TaskName, Assigned>,
) -> Vec<(&'a TaskName, Action)> {
    let running = observed
        .iter()
        .filter(|(_, task)| !task.draining)
        .filter_map(|(name, task)| Some((name, change(&task.assigned, wanted.get(name))?)));
    let missing =
        wanted.keys().filter(|name| !observed.contains_key(*name)).map(|name| (name, Action::Start));
    running.chain(missing).collect()
}

fn change(now: &Assigned, wanted: Option<&Assigned>) -> Option<Action> {
    let Some(wanted) = wanted else { return Some(Action::Drain) };
    if wanted.epoch != now.epoch {
        return Some(Action::Drain);
    }
    match (&now.work, &wanted.work) {
        (Ok(now), Ok(wanted)) if !now.same_clusters(wanted) => Some(Action::Drain),
        (Ok(now), Ok(wanted)) => (!now.same_settings(wanted)).then_some(Action::Update),
        (Err(now), Err(wanted)) if now.message == wanted.message => None,
        _ => Some(Action::Drain),
    }
}

#[cfg(test)]
mod tests;
