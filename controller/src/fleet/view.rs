//! What the fleet shows to people: workers, ranges, and the state of a mirror with its causes.

mod aggregate;
mod known;
mod summary;
mod tasks;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use prost_types::Timestamp;
use tokio::time::Instant;
use twinlog_proto::id::{MirrorId, TaskName, WorkerId};
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::lag;
use twinlog_proto::model::Guarantee;
use twinlog_proto::reason::Reason;
use twinlog_proto::text::sentence;
use twinlog_proto::v1::{self, State as Is};

use super::member::Member;
use super::{Fleet, Members, orphans};
use crate::ranges::{cut, is_copied};
use crate::state::{MirrorState, State};
use aggregate::{add_totals, add_warnings, combine, worse_cause};
pub(crate) use summary::{Summaries, bare};
use tasks::{Groups, task_status};

/// A status with more partitions than this leaves the ranges out: they come page by page from `ListRanges`.
const MAX_PARTITIONS_IN_STATUS: usize = 4_000;
/// Causes of one mirror or topic, at most; the first ones are the worst.
const MAX_CAUSES: usize = 20;

/// The workers, by id.
pub(crate) struct Workers {
    pub(crate) workers: Vec<v1::Worker>,
    /// A new leader still waits for some to come back.
    pub(crate) settling: bool,
}

impl Fleet {
    /// Those that are there, and those that a new leader waits for.
    pub(crate) fn workers(&self, state: &State) -> Workers {
        let now = Instant::now();
        let members = self.members();
        let here = members.by_id.values().map(|m| {
            let mut worker = worker(m, state.drains.contains(&m.id), now);
            worker.cause = worker.cause.or_else(|| members.orphans.get(&m.id).map(orphans::Ended::cause));
            worker
        });
        let workers = here.chain(members.expected.keys().map(not_back)).collect();
        Workers { workers, settling: members.is_settling(now) }
    }

    /// `None`: no such mirror.
    pub(crate) fn ranges(&self, id: &MirrorId, state: &State) -> Option<Vec<v1::RangeStatus>> {
        let mirror = state.mirrors.get(id)?;
        let members = self.members();
        Some(View::new(mirror, state, &members).ranges())
    }

    /// `None`: no such mirror.
    pub(crate) fn mirror_status(&self, id: &MirrorId, state: &State) -> Option<v1::MirrorStatus> {
        let mirror = state.mirrors.get(id)?;
        let members = self.members();
        Some(View::new(mirror, state, &members).status())
    }
}

/// A worker that is known by its name only.
fn not_back(id: &WorkerId) -> v1::Worker {
    let message = format!("worker {id} has not come back to the new leader yet: what it runs goes on");
    v1::Worker {
        name: id.name(),
        state: v1::worker::State::NotBack.into(),
        cause: Some(cause(Reason::WORKER_NOT_BACK, message)),
        ..v1::Worker::default()
    }
}

fn worker(member: &Member, drained: bool, now: Instant) -> v1::Worker {
    let tasks = &member.running.tasks;
    let partitions = member.reports.values().flat_map(|report| &report.partitions);
    let (records, bytes) =
        partitions.fold((0.0, 0.0), |sum, p| (sum.0 + p.records_per_second, sum.1 + p.bytes_per_second));
    let refuses = member.refuses();
    let state = match (&member.link, drained || member.leaving) {
        (None, _) => v1::worker::State::Unreachable,
        (Some(_), _) if refuses.is_some() => v1::worker::State::Refusing,
        (Some(_), true) if tasks.is_empty() => v1::worker::State::Drained,
        (Some(_), true) => v1::worker::State::Draining,
        (Some(_), false) => v1::worker::State::Ready,
    };
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    v1::Worker {
        name: member.id.name(),
        state: state.into(),
        version: member.profile.version.clone(),
        labels: member.profile.labels.clone().into_iter().collect(),
        capacity: member.profile.capacity.map_or(0, |c| i32::try_from(c).unwrap_or(i32::MAX)),
        ranges: Some(count(tasks.keys().filter(|task| task.is_replicate()).count())),
        tasks: Some(count(tasks.len())),
        records_per_second: Some(records),
        bytes_per_second: Some(bytes),
        connect_time: Some(Timestamp::from(member.connected_at)),
        since_last_report: duration(now.duration_since(member.last_heard)),
        memory_bytes: Some(member.memory_bytes),
        memory_limit_bytes: member.profile.memory_limit_bytes,
        task_names: tasks.keys().map(ToString::to_string).collect::<BTreeSet<_>>().into_iter().collect(),
        cause: refuses.map(|refused| refusal(&member.id, refused)),
    }
}

fn duration(duration: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(duration).ok()
}

/// What is known of one task.
struct Known<'a> {
    worker: Option<&'a WorkerId>,
    epoch: i64,
    state: Is,
    cause: Option<v1::Cause>,
    report: Option<&'a internal::TaskReport>,
}

struct View<'a> {
    mirror: &'a MirrorState,
    state: &'a State,
    members: &'a Members,
    /// What the survey says of the source's topics, by name.
    source: HashMap<&'a str, &'a internal::TopicEnds>,
    /// It said so lately.
    source_fresh: bool,
    /// A worker that refuses its assignments, and why; looked for once.
    refusing: OnceCell<Option<(&'a WorkerId, &'a v1::Cause)>>,
    /// Mirrors of which a worker runs something, where somebody has looked.
    working: Option<&'a HashSet<MirrorId>>,
}

/// A mirror's status in its parts.
struct Looked<'a> {
    /// Without topics, tasks and groups.
    summary: v1::MirrorStatus,
    topics: Vec<v1::TopicStatus>,
    tasks: BTreeMap<TaskName, Known<'a>>,
}

impl<'a> View<'a> {
    /// Combines what the store says of a task with what its worker reports.
    fn task(&self, task: &TaskName) -> Known<'a> {
        let assignment = self.state.assignments.get(task);
        let worker = assignment.and_then(|assignment| assignment.worker.as_ref());
        let epoch = assignment.map_or(0, |assignment| assignment.epoch.0);
        let member = worker.and_then(|worker| self.members.by_id.get(worker));
        let report =
            member.and_then(|member| member.reports.get(task)).filter(|report| report.epoch == epoch);
        let (state, cause) = match (worker, report) {
            (_, Some(report)) => (report.state(), report.cause.clone()),
            (None, None) if !self.mirror.model.running => (Is::Paused, None),
            (None, None) => (Is::Pending, Some(self.unplaced(task))),
            (Some(worker), None) => self.not_reported(worker, task, epoch),
        };
        Known { worker, epoch, state, cause, report }
    }

    /// What is known of an assigned task that shows no report of its own.
    fn not_reported(&self, worker: &WorkerId, task: &TaskName, epoch: i64) -> (Is, Option<v1::Cause>) {
        let Some(member) = self.members.by_id.get(worker) else {
            let cause = not_back(worker).cause;
            return if self.members.expected.contains_key(worker) {
                (Is::Unknown, cause)
            } else {
                (Is::Pending, Some(lost(worker)))
            };
        };
        if let Some(refused) = &member.refusal {
            // As after a restored store: what the worker has seen is newer than what this leader has.
            return (Is::Pending, Some(refusal(worker, &refused.cause)));
        }
        let runs = member.running.tasks.get(task).is_some_and(|running| running.0 == epoch);
        let state = if runs { Is::Unknown } else { Is::Pending };
        (state, Some(cause(Reason::STARTING, format!("worker {worker} has not reported it yet"))))
    }

    /// Why a task has no worker.
    fn unplaced(&self, task: &TaskName) -> v1::Cause {
        let labels: Vec<_> = self.mirror.model.placement.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let labels = labels.join(", ");
        match self.members.unplaced.get(task) {
            Some(Reason::NO_WORKER | Reason::NO_ELIGIBLE_WORKER)
                if let Some((worker, refused)) = self.refusing() =>
            {
                refusal(worker, refused)
            }
            Some(Reason::NO_WORKER) => {
                cause(Reason::NO_WORKER, "no worker is connected: start one and point it at a controller")
            }
            Some(Reason::NO_ELIGIBLE_WORKER) if labels.is_empty() => cause(
                Reason::NO_ELIGIBLE_WORKER,
                "every connected worker is draining or away: start another one",
            ),
            Some(Reason::NO_ELIGIBLE_WORKER) => cause(
                Reason::NO_ELIGIBLE_WORKER,
                format!(
                    "no worker that takes tasks carries the labels {labels}: start one, or change the placement"
                ),
            ),
            Some(Reason::NO_CAPACITY) => cause(
                Reason::NO_CAPACITY,
                "every eligible worker runs as many ranges as its capacity allows: start another one, or raise it",
            ),
            _ => cause(Reason::STARTING, "not assigned to a worker yet"),
        }
    }

    fn refusing(&self) -> Option<(&'a WorkerId, &'a v1::Cause)> {
        let find = || self.members.by_id.values().find_map(|member| Some((&member.id, member.refuses()?)));
        *self.refusing.get_or_init(find)
    }

    fn topics(&self) -> &'a [internal::InventoryTopic] {
        let inventory = self.state.inventories.get(&self.mirror.model.id);
        inventory.map_or(&[], |stored| &stored.inventory.topics)
    }

    fn ranges(&self) -> Vec<v1::RangeStatus> {
        let mut topics: Vec<_> = self.topics().iter().filter(|topic| is_copied(topic)).collect();
        topics.sort_by(|a, b| a.target_topic.cmp(&b.target_topic));
        topics.into_iter().flat_map(|topic| self.ranges_of(topic)).collect()
    }

    fn ranges_of(&self, topic: &'a internal::InventoryTopic) -> impl Iterator<Item = v1::RangeStatus> {
        cut(topic, self.mirror.model.block_size).map(|range| self.range(range))
    }

    fn range(&self, range: internal::PartitionRange) -> v1::RangeStatus {
        let mirror = self.mirror.model.id.clone();
        let block = range.block.unsigned_abs();
        let task = TaskName::Replicate { mirror, target_topic: range.target_topic.clone(), block };
        let known = self.task(&task);
        let partitions = self.partitions(&task, &range, &known);
        let model = &self.mirror.model;
        // What an older worker doesn't say follows from the guarantee.
        let said = known.report.map_or(v1::Mode::Unspecified, internal::TaskReport::mode);
        let mode = match (known.worker, said, model.guarantee) {
            (None, ..) => v1::Mode::Unspecified,
            (_, v1::Mode::Unspecified, Guarantee::ExactlyOnce) => v1::Mode::Transactions,
            (_, v1::Mode::Unspecified, Guarantee::AtLeastOnce) => v1::Mode::Acknowledged,
            (_, said, _) => said,
        };
        let engine = known.report.map_or(v1::Engine::Unspecified, internal::TaskReport::engine);
        let engine_note = known.report.map(|report| sentence(&report.engine_note)).unwrap_or_default();
        v1::RangeStatus {
            task: task.to_string(),
            source_topic: range.source_topic,
            target_topic: range.target_topic,
            first_partition: range.first_partition,
            partition_count: range.partition_count,
            worker: known.worker.map(|worker| worker.name()).unwrap_or_default(),
            epoch: known.epoch,
            state: known.state.into(),
            cause: known.cause,
            partitions,
            engine: engine.into(),
            mode: mode.into(),
            engine_note,
        }
    }

    fn topic(&self, topic: &'a internal::InventoryTopic) -> v1::TopicStatus {
        let ranges: Vec<_> = if is_copied(topic) { self.ranges_of(topic).collect() } else { Vec::new() };
        let mut totals = v1::Totals::default();
        self.count(topic, &ranges, &mut totals);
        let mut causes: Vec<v1::Cause> = topic.blocked.iter().cloned().collect();
        ranges
            .iter()
            .filter_map(|range| range.cause.as_ref())
            .for_each(|c| worse_cause(&mut causes, c, MAX_CAUSES));
        let blocked = topic.blocked.as_ref().map(|_| Is::Stopped);
        let state = combine(ranges.iter().map(v1::RangeStatus::state).chain(blocked));
        v1::TopicStatus {
            source_topic: topic.source_topic.clone(),
            target_topic: topic.target_topic.clone(),
            state: state.into(),
            causes,
            totals: (state != Is::Unknown || ranges.iter().any(|range| !range.partitions.is_empty()))
                .then_some(totals),
            ranges,
            drift: topic.drift.clone(),
            drift_mended: topic.drift_mended,
            note: topic.note.clone(),
            ..v1::TopicStatus::default()
        }
    }

    fn status(&self) -> v1::MirrorStatus {
        let Looked { summary, topics, tasks } = self.look();
        let Groups { groups, time: groups_time, left_out: groups_left_out } = self.groups(&tasks);
        let tasks = tasks.iter().map(|(task, known)| task_status(task, known)).collect();
        v1::MirrorStatus { topics, tasks, groups, groups_time, groups_left_out, ..summary }
    }

    fn look(&self) -> Looked<'a> {
        let id = &self.mirror.model.id;
        let stored = self.state.inventories.get(id).map(|stored| &stored.inventory);
        let mut topics: Vec<_> = self.topics().iter().map(|topic| self.topic(topic)).collect();
        let tasks = self.tasks();
        let (state, causes) = self.state_and_causes(stored, &topics, &tasks);
        topics.extend(self.not_surveyed(state));
        topics.sort_by(|a, b| a.target_topic.cmp(&b.target_topic));
        let totals = self.sum(&topics);
        let source_contact_time = self.source_contact_time(&topics);
        if usize::try_from(totals.partitions).unwrap_or(0) > MAX_PARTITIONS_IN_STATUS {
            topics.iter_mut().for_each(|topic| topic.ranges.clear());
        }
        // Where no worker has been heard of yet, zeros would be wrong.
        let heard = topics.is_empty() || topics.iter().any(|topic| topic.totals.is_some());
        let survey_time = self.members.inventory_times.get(id).copied();
        let summary = v1::MirrorStatus {
            state: state.into(),
            causes,
            totals: heard.then_some(totals),
            inventory_time: survey_time.or(stored.and_then(|inventory| inventory.time)),
            source_contact_time,
            topic_count: i32::try_from(topics.len()).unwrap_or(i32::MAX),
            ..bare(self.mirror)
        };
        Looked { summary, topics, tasks }
    }

    fn sum(&self, topics: &[v1::TopicStatus]) -> v1::Totals {
        let mut totals = v1::Totals::default();
        topics
            .iter()
            .filter_map(|topic| topic.totals.as_ref())
            .for_each(|part| add_totals(&mut totals, part));
        let silent = topics.iter().filter(|topic| topic.totals.is_none()).flat_map(|topic| &topic.ranges);
        silent.for_each(|range| (0..range.partition_count).for_each(|_| lag::add(&mut totals, None)));
        lag::settle(&mut totals, self.is_surveyed() || !topics.is_empty());
        totals
    }

    fn state_and_causes(
        &self,
        inventory: Option<&internal::Inventory>,
        topics: &[v1::TopicStatus],
        tasks: &BTreeMap<TaskName, Known<'a>>,
    ) -> (Is, Vec<v1::Cause>) {
        if !self.mirror.model.running {
            return self.paused();
        }
        let mut causes = Vec::new();
        let mut add = |cause: &v1::Cause| worse_cause(&mut causes, cause, MAX_CAUSES);
        let blocked = inventory.and_then(|inventory| inventory.blocked.as_ref());
        blocked.into_iter().for_each(&mut add);
        let too_large = self.members.too_large.get(&self.mirror.model.id);
        too_large.into_iter().for_each(|message| add(&cause(Reason::TOO_MANY, message)));
        topics.iter().flat_map(|topic| &topic.causes).for_each(&mut add);
        let troubled = |known: &&Known<'_>| known.state != Is::Active;
        tasks.values().filter(troubled).filter_map(|known| known.cause.as_ref()).for_each(&mut add);
        let survey =
            tasks.iter().find(|(task, _)| matches!(task, TaskName::Survey { .. })).map(|(_, known)| known);
        let state = match (inventory, blocked) {
            (None, _) => survey.map_or(Is::Pending, |survey| match survey.state {
                Is::Stopped | Is::Waiting => survey.state,
                _ => Is::Pending,
            }),
            (Some(_), Some(blocked)) if topics.is_empty() => aggregate::state_of(blocked),
            (Some(_), blocked) => {
                let states = topics.iter().map(v1::TopicStatus::state);
                let blocked = blocked.map(aggregate::state_of);
                let others = tasks.values().map(|known| known.state).filter(|state| *state == Is::Stopped);
                combine(states.chain(blocked).chain(others))
            }
        };
        if inventory.is_none() && causes.is_empty() {
            causes.push(cause(Reason::NOT_SURVEYED, "the survey of the source is not complete yet"));
        }
        let warnings = inventory.map_or(&[][..], |inventory| &inventory.warnings);
        add_warnings(&mut causes, warnings, MAX_CAUSES);
        (state, causes)
    }
}

fn lost(worker: &WorkerId) -> v1::Cause {
    cause(Reason::STARTING, format!("worker {worker} is lost: another one is about to get it"))
}

/// What is said of a worker that has seen later assignments than it is sent.
fn refusal(worker: &WorkerId, refused: &v1::Cause) -> v1::Cause {
    let message = format!("worker {worker} refuses its assignments: {}", refused.message);
    v1::Cause { message, ..refused.clone() }
}

fn cause(reason: Reason, message: impl Into<String>) -> v1::Cause {
    v1::Cause { reason: reason.as_str().to_owned(), message: message.into(), since: None }
}
