//! What workers have seen that is later than what the store gives out: then the store was lost, restored from an older copy, or is
//! another one. Its revisions must go on above it, or workers refuse their assignments and ranges stay fenced.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;
use twinlog_proto::id::{Epoch, TaskName};

use super::Members;
use crate::assignment::Assignment;
use crate::state::State;

/// A claim further ahead of the clock than this is none of any controller's clock: nobody is followed there.
const FARTHEST_MS: i64 = 10 * 365 * 24 * 3600 * 1000;
/// Pause before a task that still finds a later epoch is given another one; doubled each time, so that two controllers that run the
/// same mirror don't take it from each other all the time.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const MAX_PAUSE: Duration = Duration::from_secs(3600);

/// When a task may be given a later epoch again.
#[derive(Debug, Default)]
pub(crate) struct Retries(HashMap<TaskName, (Instant, Duration)>);

impl Retries {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether now is the time; if so, the next one is later.
    fn is_due(&mut self, task: &TaskName, now: Instant) -> bool {
        let (at, pause) = self.0.entry(task.clone()).or_insert((now, FIRST_PAUSE));
        if now < *at {
            return false;
        }
        *at = now + *pause;
        *pause = (*pause * 2).min(MAX_PAUSE);
        true
    }
}

fn is_plausible(seen: i64, now_ms: i64) -> bool {
    seen <= now_ms.saturating_add(FARTHEST_MS)
}

impl Members {
    /// The latest that a worker has seen, if it is later than anything that a store at this revision gives out.
    pub(crate) fn ahead_of(&self, revision: i64, now_ms: i64) -> Option<i64> {
        let seen = self.by_id.values().filter(|member| member.link.is_some()).map(|m| m.running.newest);
        seen.filter(|seen| *seen > revision && is_plausible(*seen, now_ms)).max()
    }

    /// Tasks whose workers know of a later epoch than the assignment's, where writing the assignment again gives one that is later
    /// still.
    pub(crate) fn want_later(&mut self, state: &State, now: Instant) -> Vec<TaskName> {
        let mut tasks = Vec::new();
        self.retries.0.retain(|task, _| state.assignments.contains_key(task));
        for member in self.by_id.values() {
            let behind = |(task, seen): &(&TaskName, &Epoch)| {
                let assigned = state.assignments.get(*task).map(AsRef::as_ref);
                let is_behind = |a: &Assignment| a.worker.as_ref() == Some(&member.id) && a.epoch < **seen;
                assigned.is_some_and(is_behind) && seen.0 <= state.revision
            };
            for (task, seen) in member.later.iter().filter(behind) {
                if self.retries.is_due(task, now) {
                    warn!(%task, worker = %member.id, %seen, "a later epoch has been seen: the task is assigned anew");
                    tasks.push(task.clone());
                }
            }
        }
        tasks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_beyond_any_clock_are_not_followed() {
        let now = 1_800_000_000_000;
        assert!(is_plausible(now + 1, now) && is_plausible(0, now));
        assert!(is_plausible(now + FARTHEST_MS, now));
        assert!(
            !is_plausible(now + FARTHEST_MS + 1, now)
                && !is_plausible(i64::MAX, i64::MAX - 1 - FARTHEST_MS - 1)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_is_given_later_epochs_at_growing_intervals() {
        let mut retries = Retries::default();
        let task: TaskName = "replicate/m/a.t/0".parse().unwrap();
        let mut given = Vec::new();
        let start = Instant::now();
        for second in 0..10_000 {
            let now = start + Duration::from_secs(second);
            if retries.is_due(&task, now) {
                given.push(second);
            }
        }
        assert_eq!(given, [0, 5, 15, 35, 75, 155, 315, 635, 1275, 2555, 5115, 8715]);
    }
}
