//! The worker's whole work as the controller last sent it, and which sets are refused as stale.
//!
//! A set replaces whatever was sent before. (term, generation) orders sets and the epoch orders assignments of one task:
//! what is older than something already seen is refused. Then a controller that came back from an old backup, or a leader
//! that doesn't know it has been replaced, can't take back what its successor gave.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use twinlog_proto::id::{Epoch, Generation, TaskName, Term};
use twinlog_proto::model;
use twinlog_proto::reason::Reason;

use crate::cause::Cause;
use crate::range::Range;

/// Orders assignment sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub term: Term,
    pub generation: Generation,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "term {}, generation {}", self.term, self.generation)
    }
}

/// A set.
#[derive(Debug, Clone, Default)]
pub struct Assignments {
    pub version: Version,
    pub tasks: BTreeMap<TaskName, Assigned>,
}

/// One task of a set.
#[derive(Debug, Clone)]
pub struct Assigned {
    pub epoch: Epoch,
    /// Or why it can't be run.
    pub work: Result<Work, Cause>,
}

/// What a task needs to know.
#[derive(Debug, Clone)]
pub struct Work {
    pub kind: Kind,
    pub mirror: Arc<model::Mirror>,
    pub source: Arc<model::Cluster>,
    pub target: Arc<model::Cluster>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Survey,
    Replicate(Range),
    Checkpoint(Shard),
    Heartbeat,
}

/// The consumer groups whose stable hash modulo `count` is `index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    pub index: u32,
    pub count: u32,
}

impl Work {
    pub fn same_clusters(&self, other: &Self) -> bool {
        self.source == other.source && self.target == other.target
    }

    pub fn same_settings(&self, other: &Self) -> bool {
        let same_mirror = Arc::ptr_eq(&self.mirror, &other.mirror) || self.mirror == other.mirror;
        same_mirror && self.kind == other.kind
    }
}

/// Epochs of tasks that are not assigned here any more are remembered for so many, some 200 bytes each: the newest.
const MAX_FORMER: usize = 50_000;

/// What has been seen, for as long as the process lives.
#[derive(Debug, Default)]
pub struct Seen {
    accepted: Arc<Assignments>,
    any: bool,
    epochs: HashMap<TaskName, Epoch>,
}

/// What came of a set.
#[derive(Debug)]
pub struct Admitted {
    /// What to run from now on.
    pub accepted: Arc<Assignments>,
    pub refused: Option<Refused>,
    /// Tasks of the set whose epoch is older than one that has been seen, and that one.
    pub later: BTreeMap<TaskName, Epoch>,
}

/// A set that was refused, as a whole or in part.
#[derive(Debug, Clone)]
pub struct Refused {
    pub cause: Cause,
    pub version: Version,
}

impl Seen {
    /// A stale set changes nothing. In a newer set, a task with a stale epoch stays as it was (if it was ours at all) and the
    /// rest is accepted.
    ///
    /// `nothing_to_lose`: nothing runs here, and the set comes from whoever leads where this worker connected last. Then an older
    /// term is another store's, not a leader's that was replaced, and what was seen of the former store counts no more.
    pub fn admit(&mut self, mut set: Assignments, nothing_to_lose: bool) -> Admitted {
        let version = set.version;
        if let Some(cause) = self.stale(version) {
            if !(nothing_to_lose && cause.reason == Reason::STALE_TERM && self.accepted.tasks.is_empty()) {
                let refused = Some(Refused { cause, version });
                return Admitted { accepted: self.accepted.clone(), refused, later: BTreeMap::new() };
            }
            tracing::warn!(seen = %self.accepted.version, sent = %version,
                "nothing runs here: this worker takes assignments of an older term, so another store's");
            self.epochs.clear();
        }
        let later: BTreeMap<_, _> = self.stale_tasks(&set).into_iter().collect();
        let mut refused = None;
        for (name, seen) in &later {
            let message = format!(
                "{name} was sent with epoch {}, but epoch {seen} has been seen: the store may be an old copy",
                set.tasks[name].epoch
            );
            refused = Some(Refused { cause: Cause::new(Reason::STALE_EPOCH, message), version });
            match self.accepted.tasks.get(name) {
                Some(before) => set.tasks.insert(name.clone(), before.clone()),
                None => set.tasks.remove(name),
            };
        }
        self.epochs.extend(set.tasks.iter().map(|(name, assigned)| (name.clone(), assigned.epoch)));
        self.accepted = Arc::new(set);
        self.forget_oldest(MAX_FORMER);
        self.any = true;
        Admitted { accepted: self.accepted.clone(), refused, later }
    }

    /// Keeps at most so many epochs of tasks that are not assigned now, and forgets half of them when there are more.
    fn forget_oldest(&mut self, most: usize) {
        if self.epochs.len() <= self.accepted.tasks.len() + most {
            return;
        }
        let accepted = &self.accepted.tasks;
        let is_former = |name: &TaskName| !accepted.contains_key(name);
        let mut former: Vec<Epoch> =
            self.epochs.iter().filter(|(name, _)| is_former(name)).map(|(_, epoch)| *epoch).collect();
        former.sort_unstable();
        let oldest_kept = former[former.len() - most / 2];
        self.epochs.retain(|name, epoch| !is_former(name) || *epoch >= oldest_kept);
    }

    fn stale(&self, sent: Version) -> Option<Cause> {
        let seen = self.accepted.version;
        if !self.any || sent >= seen {
            return None;
        }
        let reason = if sent.term < seen.term { Reason::STALE_TERM } else { Reason::STALE_GENERATION };
        let message = format!(
            "assignments of {sent} were sent, but {seen} has been seen, of another controller or of a store that is gone: restart the \
             worker to make it forget"
        );
        Some(Cause::new(reason, message))
    }

    fn stale_tasks(&self, set: &Assignments) -> Vec<(TaskName, Epoch)> {
        set.tasks
            .iter()
            .filter_map(|(name, assigned)| {
                let seen = self.epochs.get(name)?;
                (assigned.epoch < *seen).then(|| (name.clone(), *seen))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
