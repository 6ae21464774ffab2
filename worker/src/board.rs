//! What this worker tells its controller, in one place: which assignments are applied, what runs, how it is doing, what
//! surveys found. Tasks write, the session reads; nobody waits for anybody.

mod report;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::watch;
use twinlog_proto::id::{Epoch, MirrorId, TaskName};

use crate::assignments::{Refused, Version};
use crate::cause::Cause;
use crate::choice::Choice;
use crate::inventory::{InventoryReport, SourceEnds};
use crate::kafka::KafkaError;
use crate::progress::Mode;
use crate::status::{GroupStatus, PartitionStatus, State};

pub use report::{Applied, Report, TaskReport, Told};

/// How a task is doing.
#[derive(Debug, Clone)]
pub struct TaskStatus {
    pub state: State,
    pub cause: Option<Cause>,
    /// For replicate tasks.
    pub partitions: Vec<PartitionStatus>,
    /// Of replicate tasks that have run: what moves the records.
    pub moved_by: Option<Choice>,
    /// Likewise: how what is copied becomes durable.
    pub mode: Option<Mode>,
    /// For checkpoint tasks.
    pub groups: Arc<Vec<GroupStatus>>,
    /// When the offsets of the groups that are in step were read on the source.
    pub groups_synced: Option<SystemTime>,
    /// Grows whenever the task says something new.
    pub(crate) revision: u64,
}

impl TaskStatus {
    pub fn new(state: State, cause: Option<Cause>) -> Self {
        let (partitions, groups) = (Vec::new(), Arc::default());
        Self {
            state,
            cause,
            partitions,
            moved_by: None,
            mode: None,
            groups,
            groups_synced: None,
            revision: 0,
        }
    }

    /// Whether it says nothing new, but for the time at which the source was seen.
    fn repeats(&self, before: &Self) -> bool {
        let partitions = || self.partitions.iter().zip(&before.partitions);
        (self.state, self.moved_by, self.mode, self.groups_synced)
            == (before.state, before.moved_by, before.mode, before.groups_synced)
            && self.cause == before.cause
            && Arc::ptr_eq(&self.groups, &before.groups)
            && self.partitions.len() == before.partitions.len()
            && partitions().all(|(now, before)| now.repeats(before))
    }
}

/// A task that runs or drains.
#[derive(Clone)]
pub struct Running {
    pub epoch: Epoch,
    pub status: watch::Receiver<TaskStatus>,
}

#[derive(Default)]
struct Known {
    applied: Version,
    running: BTreeMap<TaskName, Running>,
    /// Grows whenever other tasks run.
    runs: u64,
    inventories: BTreeMap<MirrorId, Arc<InventoryReport>>,
    source_ends: BTreeMap<MirrorId, Arc<SourceEnds>>,
    refused: Option<Refused>,
    /// Tasks that were assigned with an older epoch than one that was seen, and that one: in earlier assignments, and on targets.
    assigned_later: BTreeMap<TaskName, Epoch>,
    found_later: BTreeMap<TaskName, Epoch>,
    /// The latest term or epoch that was seen.
    newest: i64,
    leaving: bool,
}

/// Shared by everything in a worker.
pub struct Board {
    state: Mutex<Known>,
    urgent: watch::Sender<()>,
}

impl Board {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), urgent: watch::Sender::new(()) })
    }

    fn state(&self) -> MutexGuard<'_, Known> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whenever something changed that the controller should know at once.
    pub fn urgent(&self) -> watch::Receiver<()> {
        self.urgent.subscribe()
    }

    /// Asks for a report at once.
    pub fn touch(&self) {
        self.urgent.send_replace(());
    }

    /// The result of applying a set, in one step: a reader never sees the new version with the old tasks.
    pub fn set_running(&self, applied: Version, running: BTreeMap<TaskName, Running>) {
        let mut state = self.state();
        state.applied = applied;
        state.found_later.retain(|name, later| running.get(name).is_some_and(|task| task.epoch < *later));
        state.running = running;
        state.runs += 1;
        drop(state);
        self.touch();
    }

    /// What was refused of the last set, and which of its tasks need a later epoch than they were assigned with.
    pub fn set_refused(&self, refused: Option<Refused>, later: BTreeMap<TaskName, Epoch>) {
        let mut state = self.state();
        state.refused = refused;
        state.assigned_later = later;
        drop(state);
        self.touch();
    }

    /// A term or an epoch was seen.
    pub fn saw(&self, newest: i64) {
        let mut state = self.state();
        state.newest = state.newest.max(newest);
    }

    /// The target knows a later epoch of a task than it runs with.
    pub fn found_later(&self, task: &TaskName, epoch: Epoch) {
        let mut state = self.state();
        state.newest = state.newest.max(epoch.0);
        let is_news = state.found_later.insert(task.clone(), epoch) != Some(epoch);
        drop(state);
        if is_news {
            self.touch();
        }
    }

    pub fn set_leaving(&self) {
        self.state().leaving = true;
        self.touch();
    }

    /// What a survey found; kept until the survey leaves this worker, so that it can be sent again after a reconnect.
    pub fn set_inventory(&self, mirror: MirrorId, report: InventoryReport) {
        self.state().inventories.insert(mirror, Arc::new(report));
        self.touch();
    }

    pub fn forget_inventory(&self, mirror: &MirrorId) {
        let mut state = self.state();
        state.inventories.remove(mirror);
        state.source_ends.remove(mirror);
    }

    /// How a mirror's source topics end; kept as inventories are.
    pub fn set_source_ends(&self, mirror: MirrorId, ends: SourceEnds) {
        self.state().source_ends.insert(mirror, Arc::new(ends));
    }

    pub fn source_ends(&self) -> BTreeMap<MirrorId, Arc<SourceEnds>> {
        self.state().source_ends.clone()
    }

    pub fn inventories(&self) -> BTreeMap<MirrorId, Arc<InventoryReport>> {
        self.state().inventories.clone()
    }

    /// Nothing runs and nothing drains.
    pub fn is_idle(&self) -> bool {
        self.state().running.is_empty()
    }

    pub fn running(&self) -> BTreeMap<TaskName, Running> {
        self.state().running.clone()
    }
}

/// Where a task says how it is doing.
pub struct StatusCell {
    status: watch::Sender<TaskStatus>,
    board: Arc<Board>,
}

impl StatusCell {
    pub fn new(board: Arc<Board>) -> Self {
        let status = watch::Sender::new(TaskStatus::new(State::Pending, None));
        Self { status, board }
    }

    pub fn subscribe(&self) -> watch::Receiver<TaskStatus> {
        self.status.subscribe()
    }

    /// Publishes a status. A new state or reason is reported at once, anything else with the next report. The same reason
    /// keeps its `since`.
    pub fn set(&self, mut status: TaskStatus) {
        let mut urgent = false;
        self.status.send_modify(|before| {
            status.cause = status.cause.take().map(|cause| cause.continuing(before.cause.as_ref()));
            let reason = |s: &TaskStatus| s.cause.as_ref().map(|c| c.reason);
            urgent = before.state != status.state || reason(before) != reason(&status);
            if status.groups == before.groups {
                status.groups = before.groups.clone();
            }
            status.revision = before.revision + u64::from(!status.repeats(before));
            *before = status;
        });
        if urgent {
            self.board.touch();
        }
    }

    pub fn active(&self) {
        self.set(TaskStatus::new(State::Active, None));
    }

    /// Nothing more happens until someone acts.
    pub fn stopped(&self, cause: Cause) {
        self.set(TaskStatus::new(State::Stopped, Some(cause)));
    }

    /// Waiting or stopped, as the error says; keeps what is known of groups.
    pub fn failed(&self, error: KafkaError) {
        let before = self.status.borrow().clone();
        self.set(TaskStatus { state: state_of(&error), cause: Some(error.into()), ..before });
    }
}

/// What a failed call means for a task that tries again by itself.
pub fn state_of(error: &KafkaError) -> State {
    if error.reason.heals() { State::Waiting } else { State::Stopped }
}

#[cfg(test)]
mod tests {
    use twinlog_proto::lag::Ends;

    use super::*;
    use crate::status::ForthState;

    fn board() -> (Arc<Board>, StatusCell, TaskName) {
        let board = Board::new();
        let cell = StatusCell::new(board.clone());
        let name: TaskName = "checkpoint/m/0".parse().unwrap();
        let running = Running { epoch: Epoch(1), status: cell.subscribe() };
        board.set_running(Version::default(), BTreeMap::from([(name.clone(), running)]));
        (board, cell, name)
    }

    #[test]
    fn groups_are_said_once_and_again_when_they_change() {
        let (board, cell, _) = board();
        let say = |state| {
            let groups = Arc::new(vec![GroupStatus::new("g".to_owned(), state, String::new())]);
            cell.set(TaskStatus { groups, ..TaskStatus::new(State::Active, None) });
        };
        let mut told = Told::default();
        let mut said = || {
            let report = board.report(0, &told, false);
            told.enter(&report);
            let task = &report.tasks[0];
            (task.status.groups.len(), task.groups_unchanged)
        };
        say(ForthState::Waiting);
        assert_eq!(said(), (1, false));
        say(ForthState::Waiting);
        assert_eq!(said(), (1, true), "another look, nothing new");
        say(ForthState::Synced);
        assert_eq!(said(), (1, false));
    }

    #[test]
    fn what_was_told_is_told_again_only_where_it_has_changed() {
        let (board, cell, name) = board();
        let seen = |second| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(second);
        let say = |lag: i64, second| {
            let ends = Ends { high_watermark: lag, last_stable: None, seen: seen(second) };
            let mut partition = PartitionStatus::new(0, State::Active);
            partition.position = Some(twinlog_proto::id::SourceOffset(0));
            partition.enter(Some(ends), true);
            cell.set(TaskStatus { partitions: vec![partition], ..TaskStatus::new(State::Active, None) });
        };
        let mut told = Told::default();
        let mut said = |news_only| {
            let report = board.report(0, &told, news_only);
            told.enter(&report);
            let seen = |task: &TaskReport| task.status.partitions[0].ends.unwrap().seen;
            (report.running_unchanged, report.tasks.iter().map(seen).collect::<Vec<_>>())
        };
        say(4, 1);
        assert_eq!(said(true), (false, vec![seen(1)]), "nothing was told yet");
        assert_eq!(said(true), (true, vec![]));
        say(4, 2);
        assert_eq!(said(true), (true, vec![]), "it was only seen again");
        assert_eq!(said(false), (false, vec![seen(2)]), "a whole report has that, too");
        say(5, 3);
        assert_eq!(said(true), (true, vec![seen(3)]));
        let running = Running { epoch: Epoch(2), status: cell.subscribe() };
        board.set_running(Version::default(), BTreeMap::from([(name, running)]));
        assert_eq!(said(true), (false, vec![seen(3)]), "by a later assignment");
    }
}
