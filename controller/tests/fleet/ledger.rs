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

    fn history(&self, task: &str) -> String {
        let lines = self.lines();
        let Some(first) = lines.first().map(|line| line.at) else { return String::new() };
        let of_task = lines.iter().filter(|line| line.task == task);
        let text = of_task.map(|line| format!("{:?} {} {:?}\n", line.at - first, line.worker, line.what));
        text.collect()
    }

    /// No task ever had two owners of which both were within reach, and epochs only grew.
    pub(crate) fn assert_one_owner_each(&self) {
        let mut owners: BTreeMap<String, (String, i64)> = BTreeMap::new();
        let mut epochs: BTreeMap<String, i64> = BTreeMap::new();
        for line in self.lines() {
            match line.what {
                Happened::Started { epoch } => {
                    if let Some((owner, _)) = owners.insert(line.task.clone(), (line.worker.clone(), epoch)) {
                        assert_eq!(
                            owner,
                            line.worker,
                            "{} ran on {owner} and {}; its history:\n{}",
                            line.task,
                            line.worker,
                            self.history(&line.task)
                        );
                    }
                    let last = epochs.insert(line.task.clone(), epoch).unwrap_or(0);
                    let history = || self.history(&line.task);
                    assert!(
                        epoch >= last,
                        "{} went from epoch {last} back to {epoch}; its history:\n{}",
                        line.task,
                        history()
                    );
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
