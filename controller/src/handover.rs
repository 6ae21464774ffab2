//! When a task may be given to its new owner: pure decisions over what the store says and what workers report.
//!
//! A task is in its worker's set once no other live worker runs it or may still come to run it. What keeps this true over a
//! change of leaders is `Assignment::previous`: the workers that might have had the task when the assignment was written.
//! They are waited for until they have applied a set of the present leader, or are lost.
//! A store that is new, or a copy, doesn't name them all: `Fleet::begin_term` lets the leader listen first.

use std::collections::{BTreeMap, HashMap};

use twinlog_proto::id::{TaskName, Term, WorkerId};

use crate::assignment::Assignment;
use crate::fleet::Members;

/// Who may be running what, as far as the leader knows now.
pub(crate) struct Holders<'a> {
    members: &'a Members,
    term: Term,
    of: HashMap<&'a TaskName, Vec<&'a WorkerId>>,
}

impl<'a> Holders<'a> {
    pub(crate) fn new(members: &'a Members, term: Term) -> Self {
        let mut of: HashMap<&TaskName, Vec<&WorkerId>> = HashMap::new();
        for member in members.by_id.values() {
            for task in member.may_run_tasks() {
                of.entry(task).or_default().push(&member.id);
            }
        }
        Self { members, term, of }
    }

    /// Every worker that may be running a task, whatever its assignment says.
    pub(crate) fn of(&self, task: &TaskName, assignment: Option<&'a Assignment>) -> Vec<&'a WorkerId> {
        let mut holders = self.of.get(task).cloned().unwrap_or_default();
        let recorded = assignment.into_iter().flat_map(|a| a.worker.iter().chain(&a.previous));
        for worker in recorded {
            if self.is_unaccounted(worker) && !holders.contains(&worker) {
                holders.push(worker);
            }
        }
        holders
    }

    /// Workers other than its owner that a task must wait for.
    pub(crate) fn in_the_way(&self, task: &TaskName, assignment: &'a Assignment) -> Vec<&'a WorkerId> {
        let mut holders = self.of.get(task).cloned().unwrap_or_default();
        for worker in &assignment.previous {
            if self.is_unaccounted(worker) && !holders.contains(&worker) {
                holders.push(worker);
            }
        }
        holders.retain(|worker| Some(*worker) != assignment.worker.as_ref());
        holders
    }

    /// Not lost, and not heard of in this term in a way that says what it runs.
    fn is_unaccounted(&self, worker: &WorkerId) -> bool {
        match self.members.by_id.get(worker) {
            Some(member) => !member.is_settled(self.term),
            None => self.members.expected.contains_key(worker),
        }
    }

    /// Whether the owner has the task already, by this assignment: then nobody is waited for.
    fn owner_has(&self, task: &TaskName, owner: &WorkerId, assignment: &Assignment) -> bool {
        self.members.by_id.get(owner).is_some_and(|member| member.has(task, assignment.epoch))
    }
}

/// Who is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct To {
    pub(crate) worker: WorkerId,
    /// The stream that was looked at.
    pub(crate) session: u64,
}

/// What each connected worker is to run now.
pub(crate) fn sets<'a>(
    assignments: impl Iterator<Item = (&'a TaskName, &'a Assignment)>,
    holders: &Holders<'_>,
) -> BTreeMap<To, Vec<(&'a TaskName, &'a Assignment)>> {
    let connected = holders.members.by_id.values().filter_map(|m| Some((&m.id, m.link.as_ref()?.session)));
    let mut sets: BTreeMap<&WorkerId, (u64, Vec<_>)> =
        connected.map(|(worker, session)| (worker, (session, Vec::new()))).collect();
    for (task, assignment) in assignments {
        let Some(owner) = &assignment.worker else { continue };
        let Some((_, set)) = sets.get_mut(owner) else { continue };
        if holders.owner_has(task, owner, assignment) || holders.in_the_way(task, assignment).is_empty() {
            set.push((task, assignment));
        }
    }
    sets.into_iter().map(|(worker, (session, set))| (To { worker: worker.clone(), session }, set)).collect()
}
