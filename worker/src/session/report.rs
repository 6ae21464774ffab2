//! What runs and how it is doing, as messages.

use twinlog_proto::id::{Epoch, TaskName};
use twinlog_proto::internal::v1 as internal;

use super::status;
use crate::board::{Applied, Report, TaskReport, TaskStatus};

/// `sequence`: its number in its stream.
pub(super) fn message(report: Report, sequence: i64) -> internal::Report {
    let refused = report.refused.as_ref().map(|refused| refused.version).unwrap_or_default();
    internal::Report {
        applied: Some(applied(&report.applied)),
        tasks: report.tasks.into_iter().map(task).collect(),
        memory_bytes: i64::try_from(report.memory_bytes).unwrap_or(i64::MAX),
        refused: report.refused.map(|refused| status::cause(refused.cause)),
        leaving: report.leaving,
        sequence,
        later: report.later.iter().map(task_at).collect(),
        refused_term: refused.term.0,
        refused_generation: refused.generation.0,
        news_only: report.news_only,
        running_unchanged: report.running_unchanged,
    }
}

pub(super) fn applied(applied: &Applied) -> internal::Applied {
    internal::Applied {
        term: applied.version.term.0,
        generation: applied.version.generation.0,
        running: applied.running.iter().map(task_at).collect(),
        newest: applied.newest,
    }
}

fn task_at((task, epoch): &(TaskName, Epoch)) -> internal::RunningTask {
    internal::RunningTask { task: task.to_string(), epoch: epoch.0 }
}

fn task(TaskReport { task, epoch, status, groups_unchanged }: TaskReport) -> internal::TaskReport {
    let TaskStatus { state, cause, partitions, moved_by, mode, groups, groups_synced, revision: _ } = status;
    let groups = if groups_unchanged { Vec::new() } else { groups.iter().map(status::group).collect() };
    internal::TaskReport {
        task: task.to_string(),
        epoch: epoch.0,
        state: status::state(state).into(),
        cause: cause.map(status::cause),
        partitions: partitions.into_iter().map(status::partition).collect(),
        groups,
        groups_unchanged,
        groups_sync_time: groups_synced.map(Into::into),
        engine: moved_by.map(|by| status::engine(by.engine)).unwrap_or_default().into(),
        engine_note: moved_by.and_then(|by| by.fallback).map(|why| why.text().to_owned()).unwrap_or_default(),
        mode: mode.map(status::mode).unwrap_or_default().into(),
    }
}
