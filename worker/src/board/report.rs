//! Everything there is to say of a worker at one time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use twinlog_proto::id::{Epoch, TaskName};

use super::{Board, Known, Running, TaskStatus};
use crate::assignments::{Refused, Version};
use crate::status::GroupStatus;

/// Which assignments are applied, and what runs as their result.
#[derive(Debug, Clone)]
pub struct Applied {
    pub version: Version,
    /// Also what still drains.
    pub running: Vec<(TaskName, Epoch)>,
    /// The latest term or epoch that was seen.
    pub newest: i64,
}

#[derive(Debug, Clone)]
pub struct Report {
    pub applied: Applied,
    pub tasks: Vec<TaskReport>,
    /// Resident memory of the process.
    pub memory_bytes: u64,
    pub refused: Option<Refused>,
    /// Tasks that can't run by the epoch they were assigned with, and the later one that was seen.
    pub later: Vec<(TaskName, Epoch)>,
    pub leaving: bool,
    /// Tasks are left out of which there is no news.
    pub news_only: bool,
    /// The list of what runs is left out.
    pub running_unchanged: bool,
    /// Which list of what runs it is.
    runs: u64,
}

#[derive(Debug, Clone)]
pub struct TaskReport {
    pub task: TaskName,
    pub epoch: Epoch,
    pub status: TaskStatus,
    /// The groups need not be said, because the controller has them as they are.
    pub groups_unchanged: bool,
}

/// What one stream has said of the tasks that run.
#[derive(Default)]
pub struct Told {
    runs: Option<u64>,
    tasks: HashMap<TaskName, Last>,
}

struct Last {
    epoch: Epoch,
    revision: u64,
    groups: Arc<Vec<GroupStatus>>,
}

impl Told {
    /// It has said this, too.
    pub fn enter(&mut self, report: &Report) {
        self.runs = Some(report.runs);
        if !report.running_unchanged {
            let runs: HashSet<&TaskName> = report.applied.running.iter().map(|(task, _)| task).collect();
            self.tasks.retain(|task, _| runs.contains(task));
        }
        for TaskReport { task, epoch, status, .. } in &report.tasks {
            let last = Last { epoch: *epoch, revision: status.revision, groups: status.groups.clone() };
            match self.tasks.get_mut(task) {
                Some(known) => *known = last,
                None => drop(self.tasks.insert(task.clone(), last)),
            }
        }
    }
}

impl Board {
    pub fn applied(&self) -> Applied {
        let state = self.state();
        Applied { running: running(&state), ..applied(&state) }
    }

    /// What there is to say now to whom was `told` something before: all but for groups, or `news_only`. `memory_bytes` is the process's
    /// resident memory.
    pub fn report(&self, memory_bytes: u64, told: &Told, news_only: bool) -> Report {
        let state = self.state();
        let report = |(name, running): (&TaskName, &Running)| {
            let status = running.status.borrow();
            let last = told.tasks.get(name);
            let is_told =
                last.is_some_and(|last| (last.epoch, last.revision) == (running.epoch, status.revision));
            if news_only && is_told {
                return None;
            }
            let groups = last.filter(|_| !status.groups.is_empty()).map(|last| &last.groups);
            let groups_unchanged = groups.is_some_and(|groups| Arc::ptr_eq(groups, &status.groups));
            let (task, epoch) = (name.clone(), running.epoch);
            Some(TaskReport { task, epoch, status: status.clone(), groups_unchanged })
        };
        let later = state.assigned_later.iter().chain(&state.found_later);
        let running_unchanged = news_only && told.runs == Some(state.runs);
        let running = if running_unchanged { Vec::new() } else { running(&state) };
        Report {
            applied: Applied { running, ..applied(&state) },
            tasks: state.running.iter().filter_map(report).collect(),
            memory_bytes,
            refused: state.refused.clone(),
            later: later.map(|(task, epoch)| (task.clone(), *epoch)).collect(),
            leaving: state.leaving,
            news_only,
            running_unchanged,
            runs: state.runs,
        }
    }
}

fn running(state: &Known) -> Vec<(TaskName, Epoch)> {
    state.running.iter().map(|(task, running)| (task.clone(), running.epoch)).collect()
}

fn applied(state: &Known) -> Applied {
    Applied { version: state.applied, running: Vec::new(), newest: state.newest }
}
