//! The worker's whole work as the controller last sent it, parsed, and which sets are refused as stale.
//!
//! A set replaces whatever was sent before. (term, generation) orders sets and the epoch orders assignments of one task:
//! what is older than something already seen is refused. Then a controller that came back from an old backup, or a leader
//! that doesn't know it has been replaced, can't take back what its successor gave.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use twinlog_proto::id::{Epoch, Generation, TaskName, Term};
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::reason::Reason;
use twinlog_proto::{model, v1};

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

/// A set, parsed.
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
    /// The mirror as it was sent, without what the store adds: tells whether a setting changed.
    settings: Arc<v1::Mirror>,
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
        self.settings == other.settings && self.kind == other.kind
    }
}

/// The mirrors of the last set. Compiling a mirror's patterns takes milliseconds, and most sets bring the same mirrors.
#[derive(Debug, Default)]
pub struct Mirrors(HashMap<String, (v1::Mirror, Arc<model::Mirror>)>);

impl Mirrors {
    fn parse(&mut self, wire: &v1::Mirror) -> Result<Arc<model::Mirror>, String> {
        if let Some((known, mirror)) = self.0.get(&wire.name)
            && known == wire
        {
            return Ok(mirror.clone());
        }
        let mirror = model::Mirror::parse(wire).map_err(|v| violations(&wire.name, &v))?;
        let mirror = Arc::new(mirror);
        self.0.insert(wire.name.clone(), (wire.clone(), mirror.clone()));
        Ok(mirror)
    }

    fn forget_others(&mut self, set: &internal::AssignmentSet) {
        let named: HashSet<&str> = set.mirrors.iter().map(|m| m.name.as_str()).collect();
        self.0.retain(|name, _| named.contains(name.as_str()));
    }
}

impl Assignments {
    /// Parses a set. A task that can't be parsed carries the cause; one whose very name is wrong is left out and logged.
    pub fn parse(set: &internal::AssignmentSet, known: &mut Mirrors) -> Self {
        known.forget_others(set);
        let clusters: HashMap<&str, Result<Arc<model::Cluster>, String>> =
            set.clusters.iter().map(|c| (c.name.as_str(), parse_cluster(c))).collect();
        let mirrors: HashMap<&str, Result<Flow, String>> =
            set.mirrors.iter().map(|m| (m.name.as_str(), Flow::parse(m, &clusters, known))).collect();
        let mut tasks = BTreeMap::new();
        for task in &set.tasks {
            match task.name.parse::<TaskName>() {
                Ok(name) => {
                    let work = parse_work(&name, task, &mirrors)
                        .map_err(|message| Cause::new(Reason::INVALID_FIELD, message));
                    tasks.insert(name, Assigned { epoch: Epoch(task.epoch), work });
                }
                Err(error) => {
                    tracing::error!(task = task.name, %error, "left out a task with an unknown name")
                }
            }
        }
        let version = Version { term: Term(set.term), generation: Generation(set.generation) };
        Self { version, tasks }
    }
}

/// A mirror with its clusters, parsed once for all of its tasks.
struct Flow {
    mirror: Arc<model::Mirror>,
    source: Arc<model::Cluster>,
    target: Arc<model::Cluster>,
    settings: Arc<v1::Mirror>,
}

impl Flow {
    fn parse(
        wire: &v1::Mirror,
        clusters: &HashMap<&str, Result<Arc<model::Cluster>, String>>,
        known: &mut Mirrors,
    ) -> Result<Self, String> {
        let cluster = |name: &str| match clusters.get(name) {
            Some(found) => found.clone(),
            None => Err(format!("the assignment set holds no {name}, which {} names", wire.name)),
        };
        let mirror = known.parse(wire)?;
        Ok(Self {
            source: with(cluster(&wire.source)?, &mirror.source_properties),
            target: with(cluster(&wire.target)?, &mirror.target_properties),
            mirror,
            settings: Arc::new(settings(wire)),
        })
    }
}

/// Shared as it is where the mirror has no properties of its own.
fn with(cluster: Arc<model::Cluster>, properties: &BTreeMap<String, String>) -> Arc<model::Cluster> {
    if properties.is_empty() {
        return cluster;
    }
    Arc::new(Arc::unwrap_or_clone(cluster).with(properties))
}

/// What of a mirror can change how its tasks run.
fn settings(wire: &v1::Mirror) -> v1::Mirror {
    v1::Mirror {
        labels: Default::default(),
        placement: Default::default(),
        display_name: String::new(),
        create_time: None,
        update_time: None,
        desired_state_time: None,
        etag: String::new(),
        plan: None,
        ..wire.clone()
    }
}

fn parse_cluster(wire: &v1::Cluster) -> Result<Arc<model::Cluster>, String> {
    model::Cluster::parse(wire).map(Arc::new).map_err(|v| violations(&wire.name, &v))
}

/// One text for everything that is wrong with a resource.
pub(crate) fn violations(name: &str, list: &[model::Violation]) -> String {
    let all: Vec<_> = list.iter().map(|(field, what)| format!("{field}: {what}")).collect();
    format!("{name} is not valid: {}", all.join("; "))
}

fn parse_work(
    name: &TaskName,
    task: &internal::Task,
    mirrors: &HashMap<&str, Result<Flow, String>>,
) -> Result<Work, String> {
    let flow = match mirrors.get(task.mirror.as_str()) {
        Some(Ok(flow)) => flow,
        Some(Err(message)) => return Err(message.clone()),
        None => return Err(format!("the assignment set holds no {:?}, which {name} names", task.mirror)),
    };
    Ok(Work {
        kind: parse_kind(name, task)?,
        mirror: flow.mirror.clone(),
        source: flow.source.clone(),
        target: flow.target.clone(),
        settings: flow.settings.clone(),
    })
}

fn parse_kind(name: &TaskName, task: &internal::Task) -> Result<Kind, String> {
    use internal::task::Kind as Wire;
    match (name, task.kind.as_ref()) {
        (TaskName::Survey { .. }, Some(Wire::Survey(_))) => Ok(Kind::Survey),
        (TaskName::Heartbeat { .. }, Some(Wire::Heartbeat(_))) => Ok(Kind::Heartbeat),
        (TaskName::Checkpoint { .. }, Some(Wire::Checkpoint(task))) => {
            let shard = u32::try_from(task.shard).ok();
            let count = u32::try_from(task.shard_count).ok();
            match (shard, count) {
                (Some(index), Some(count)) if index < count => Ok(Kind::Checkpoint(Shard { index, count })),
                _ => Err(format!("{name}: shard {} of {} does not exist", task.shard, task.shard_count)),
            }
        }
        (TaskName::Replicate { .. }, Some(Wire::Replicate(task))) => {
            let range = task.range.as_ref().ok_or_else(|| format!("{name} has no range"))?;
            Range::try_from(range).map(Kind::Replicate).map_err(|e| format!("{name}: {e}"))
        }
        _ => Err(format!("{name}: its kind does not fit its name; this worker may be too old for it")),
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
    pub(crate) mirrors: Mirrors,
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
pub(crate) mod tests;
