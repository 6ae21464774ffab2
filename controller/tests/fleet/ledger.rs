//! Writes down which worker runs which task when, and finds tasks that two workers ran at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Happened {
    Started {
        epoch: i64,
    },
    Stopped,
    /// Killed or frozen: the leader can't know, and may give its tasks away once its lease is over.
    Vanished,
}

#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) at: Instant,
    pub(crate) worker: String,
    pub(crate) task: String,
    pub(crate) what: Happened,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Vec<Line>>>);

impl Ledger {
    pub(crate) fn write(&self, worker: &str, task: &str, what: Happened) {
        let line = Line { at: Instant::now(), worker: worker.to_owned(), task: task.to_owned(), what };
        self.0.lock().unwrap().push(line);
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        self.0.lock().unwrap().clone()
    }

    /// How often a task was started, over all workers.
    pub(crate) fn starts(&self, task: &str) -> usize {
        let started = |line: &&Line| line.task == task && matches!(line.what, Happened::Started { .. });
        self.lines().iter().filter(started).count()
    }

    /// No task ever had two owners of which both were within reach, and epochs only grew.
    pub(crate) fn assert_one_owner_each(&self) {
        let mut owners: BTreeMap<String, (String, i64)> = BTreeMap::new();
        let mut epochs: BTreeMap<String, i64> = BTreeMap::new();
        for line in self.lines() {
            match line.what {
                Happened::Started { epoch } => {
                    if let Some((owner, _)) = owners.insert(line.task.clone(), (line.worker.clone(), epoch)) {
                        let at = line.at.elapsed();
                        assert_eq!(
                            owner, line.worker,
                            "{at:?} ago {} ran on {owner} and {}",
                            line.task, line.worker
                        );
                    }
                    let last = epochs.insert(line.task.clone(), epoch).unwrap_or(0);
                    assert!(epoch >= last, "{} went from epoch {last} back to {epoch}", line.task);
                }
                Happened::Stopped | Happened::Vanished => {
                    if owners.get(&line.task).is_some_and(|(owner, _)| *owner == line.worker) {
                        owners.remove(&line.task);
                    }
                }
            }
        }
    }
}
