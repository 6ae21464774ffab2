//! Who runs what: a pure function from mirrors, inventory, workers and present assignments to the next assignments.
//!
//! No clock, no I/O, no randomness; the same input gives the same plan. The rules, in this order:
//! 1. a task stays where it is, as long as that worker may run it;
//! 2. a task without a worker goes to the least loaded one that carries the mirror's placement labels and has room;
//! 3. if nothing was lost and `rebalance` is set, ranges move from the heaviest worker to the lightest while that evens
//!    them out by more than 5 %.
//!
//! So a lost worker moves only its own tasks, a new worker gets only what evens the load out, and in the end two workers
//! that may run the same ranges differ by no more than one range or 5 % of the heavier one's load.

mod balance;
mod load;
mod wanted;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use twinlog_proto::id::{MirrorId, TaskName, WorkerId};
use twinlog_proto::reason::Reason;

use balance::{Board, Item};
pub use load::Load;
pub(crate) use wanted::checkpoint_shards;

/// What the planner must know of a mirror.
#[derive(Debug, Clone)]
pub struct MirrorInput<'a> {
    pub id: &'a MirrorId,
    /// A mirror that shall not run has only its survey, which then changes nothing.
    pub running: bool,
    /// Labels that a worker must carry.
    pub placement: &'a BTreeMap<String, String>,
    /// Partitions in one range.
    pub block_size: u32,
    pub heartbeats: bool,
    /// Consumer groups to translate; `None` where the mirror selects none.
    pub groups: Option<u32>,
    /// Topics that are to be copied.
    pub topics: Vec<TopicInput<'a>>,
}

#[derive(Debug, Clone, Copy)]
pub struct TopicInput<'a> {
    pub target_topic: &'a str,
    pub partitions: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerState {
    /// Takes tasks.
    Ready,
    /// Gives its tasks away as soon as another worker can take them.
    Draining,
    /// Not connected but not lost either: keeps its tasks, gets none.
    Waiting,
}

#[derive(Debug, Clone)]
pub struct WorkerInput {
    pub id: WorkerId,
    pub labels: BTreeMap<String, String>,
    /// Ranges that it accepts at most.
    pub capacity: Option<u32>,
    pub state: WorkerState,
}

#[derive(Debug, Default)]
pub struct Input<'a> {
    pub mirrors: Vec<MirrorInput<'a>>,
    pub workers: Vec<WorkerInput>,
    pub current: HashMap<&'a TaskName, &'a WorkerId>,
    /// Measured load of ranges; one that is missing counts as idle.
    pub load: Option<&'a HashMap<TaskName, Load>>,
    /// Whether tasks may be moved only to even out the load.
    pub rebalance: bool,
}

/// Where a task goes, or why it goes nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    On(WorkerId),
    /// NO_WORKER, NO_ELIGIBLE_WORKER or NO_CAPACITY.
    Nowhere(Reason),
}

/// Every task that shall run. A task that is not in here shall stop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub tasks: BTreeMap<TaskName, Placement>,
}

/// Decides where every task goes.
pub fn plan(input: &Input<'_>) -> Plan {
    let mut workers = input.workers.clone();
    workers.sort_by(|a, b| a.id.cmp(&b.id));
    let wanted = wanted::tasks(&input.mirrors, &input.current);
    let index: HashMap<&WorkerId, usize> = workers.iter().enumerate().map(|(i, w)| (&w.id, i)).collect();
    let classes = Classes::new(&input.mirrors);
    let mut plan = Plan::default();
    let (ranges, services): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|(task, _)| task.is_replicate());
    for (tasks, bounded) in [(ranges, true), (services, false)] {
        let items = tasks.iter().map(|(task, mirror)| Item {
            class: classes.of_mirror[*mirror],
            load: input.load.and_then(|load| load.get(task)).copied().unwrap_or_default(),
            current: input.current.get(task).map(|worker| index.get(worker).copied()),
        });
        let mut board = Board::new(&workers, &classes.placements, items.collect(), bounded);
        let places = board.run(input.rebalance);
        plan.tasks.extend(tasks.into_iter().zip(places).map(|((task, _), place)| {
            (
                task,
                match place {
                    Ok(worker) => Placement::On(workers[worker].id.clone()),
                    Err(reason) => Placement::Nowhere(reason),
                },
            )
        }));
    }
    plan
}

/// Mirrors with the same placement labels have the same eligible workers: they are one class.
struct Classes<'a> {
    placements: Vec<&'a BTreeMap<String, String>>,
    of_mirror: Vec<usize>,
}

impl<'a> Classes<'a> {
    fn new(mirrors: &[MirrorInput<'a>]) -> Self {
        let mut known: BTreeMap<&BTreeMap<String, String>, usize> = BTreeMap::new();
        let mut placements = Vec::new();
        let of_mirror = mirrors
            .iter()
            .map(|mirror| {
                *known.entry(mirror.placement).or_insert_with(|| {
                    placements.push(mirror.placement);
                    placements.len() - 1
                })
            })
            .collect();
        Self { placements, of_mirror }
    }
}

/// Whether a worker carries all labels that a placement asks for.
pub fn is_eligible(labels: &BTreeMap<String, String>, placement: &BTreeMap<String, String>) -> bool {
    placement.iter().all(|(key, value)| labels.get(key) == Some(value))
}
