//! Everything there is to say of a worker at one time.

use std::sync::Arc;

use twinlog_proto::id::{Epoch, TaskName};

use super::{Board, Groups, Known, Running, TaskStatus};
use crate::assignments::{Refused, Version};

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
}

#[derive(Debug, Clone)]
pub struct TaskReport {
    pub task: TaskName,
    pub epoch: Epoch,
    pub status: TaskStatus,
    /// The groups are left out, because the controller has them as they are.
    pub groups_unchanged: bool,
}

impl Board {
    pub fn applied(&self) -> Applied {
        applied(&self.state())
    }

    /// Everything there is to say now, but for groups that the controller has as they are in `known`. `memory_bytes` is the
    /// process's resident memory.
    pub fn report(&self, memory_bytes: u64, groups: &Groups, known: &Groups) -> Report {
        let state = self.state();
        let report = |(name, running): (&TaskName, &Running)| {
            let (now, before) = (groups.get(name), known.get(name));
            let groups_unchanged = now.zip(before).is_some_and(|(now, before)| Arc::ptr_eq(now, before));
            let said = now.filter(|_| !groups_unchanged).cloned();
            let status = TaskStatus { groups: said.unwrap_or_default(), ..running.status.borrow().clone() };
            TaskReport { task: name.clone(), epoch: running.epoch, status, groups_unchanged }
        };
        let later = state.assigned_later.iter().chain(&state.found_later);
        Report {
            applied: applied(&state),
            tasks: state.running.iter().map(report).collect(),
            memory_bytes,
            refused: state.refused.clone(),
            later: later.map(|(task, epoch)| (task.clone(), *epoch)).collect(),
            leaving: state.leaving,
        }
    }
}

fn applied(state: &Known) -> Applied {
    Applied {
        version: state.applied,
        running: state.running.iter().map(|(task, running)| (task.clone(), running.epoch)).collect(),
        newest: state.newest,
    }
}
