//! What the planner must know of the fleet: who may be given what, and how much each range has to do.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use twinlog_proto::id::{TaskName, WorkerId};

use super::Members;
use super::member::Member;
use crate::planner::{Load, WorkerInput, WorkerState};

impl Members {
    /// What the planner must know of the workers.
    pub(crate) fn for_planner(&self, drains: &BTreeSet<WorkerId>) -> Vec<WorkerInput> {
        let member = |member: &Member| WorkerInput {
            id: member.id.clone(),
            labels: member.profile.labels.clone(),
            capacity: member.profile.capacity,
            state: match (
                &member.link,
                member.leaving || drains.contains(&member.id) || member.refuses().is_some(),
            ) {
                (None, _) => WorkerState::Waiting,
                (Some(_), true) => WorkerState::Draining,
                (Some(_), false) => WorkerState::Ready,
            },
        };
        let expected = |id: &WorkerId| WorkerInput {
            id: id.clone(),
            labels: BTreeMap::new(),
            capacity: None,
            state: WorkerState::Waiting,
        };
        self.by_id.values().map(member).chain(self.expected.keys().map(expected)).collect()
    }

    /// Takes over what was measured since the last time; small changes change nothing.
    pub(crate) fn settle_load(&mut self) {
        let load = Arc::make_mut(&mut self.load);
        let mut seen: HashMap<TaskName, Load> = HashMap::new();
        for member in self.by_id.values() {
            for (task, report) in member.reports.iter().filter(|(task, _)| task.is_replicate()) {
                let bytes = report.partitions.iter().map(|p| p.bytes_per_second).sum();
                let records = report.partitions.iter().map(|p| p.records_per_second).sum();
                let measured = Load::measured(bytes, records);
                let settled = load.get(task).map_or(measured, |before| before.settle(measured));
                seen.insert(task.clone(), settled);
            }
        }
        *load = seen;
    }
}
