//! What lanes say that they have copied, beside what a survey finds on the target itself: a worker that is broken, or not one of ours,
//! may report plausible numbers of records that nobody will find after a failover.
//!
//! The clocks of workers don't agree and reports take their time. So a claim is compared with a look at the target that began
//! after this controller had heard the claim: the second after the one that was the last then. Ends of a log don't shrink, and a lane
//! whose copy was deleted stops before that.

use std::collections::{BTreeMap, HashMap};

use tracing::warn;
use twinlog_proto::id::{MirrorId, TaskName, WorkerId};
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::reason::Reason;
use twinlog_proto::v1::{self, State as Is};

use super::{Members, plausible};
use crate::state::State;

/// Of a task's partitions, by the epoch that says so.
#[derive(Debug, Clone)]
struct Claimed {
    epoch: i64,
    ends: BTreeMap<i32, i64>,
}

type Claims = HashMap<TaskName, Claimed>;

/// The last that was claimed of a partition, and what is there.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    claimed: i64,
    found: i64,
}

/// One mirror's.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    /// The survey whose looks are counted, and its last look.
    epoch: i64,
    looks: u64,
    /// What was claimed when the last look was heard of, and the one before.
    last: Claims,
    before: Claims,
    doubted: HashMap<TaskName, (WorkerId, BTreeMap<i32, Doubt>)>,
}

impl Compared {
    fn doubts(&mut self, claims: &Claims, found: &HashMap<&str, &internal::TopicEnds>, by: &WorkerId) {
        self.doubted.clear();
        for (task, claimed) in claims {
            let TaskName::Replicate { target_topic, .. } = task else { continue };
            let before = self.before.get(task).filter(|before| before.epoch == claimed.epoch);
            let (Some(before), Some(topic)) = (before, found.get(target_topic.as_str())) else { continue };
            let doubt = |(number, claimed): (&i32, &i64)| {
                let least = (*before.ends.get(number)?).min(*claimed);
                // A survey names them in order: of a topic with thousands each is found at once.
                let at = topic.partitions.binary_search_by_key(number, |p| p.partition).ok()?;
                let found = *topic.target_ends.get(at)?;
                (0..least).contains(&found).then_some((*number, Doubt { claimed: *claimed, found }))
            };
            let doubts: BTreeMap<i32, Doubt> = claimed.ends.iter().filter_map(doubt).collect();
            if !doubts.is_empty() {
                self.doubted.insert(task.clone(), (by.clone(), doubts));
            }
        }
    }
}

impl Members {
    /// Compares what was claimed with what a survey has found on the target since.
    pub(super) fn compare(
        &mut self,
        mirror: &MirrorId,
        report: &internal::SourceEndsReport,
        by: &WorkerId,
        state: &State,
    ) {
        let known = self.compared.get(mirror);
        let same = known.is_some_and(|known| known.epoch == report.epoch);
        if known.filter(|_| same).map_or(0, |known| known.looks) >= report.target_looks {
            return;
        }
        let claims = self.claims(mirror, state);
        let compared = self.compared.entry(mirror.clone()).or_default();
        if !same {
            // Another survey counts from the beginning.
            (compared.last, compared.before) = Default::default();
        }
        (compared.epoch, compared.looks) = (report.epoch, report.target_looks);
        let found = report.topics.iter().map(|topic| (topic.target_topic.as_str(), topic)).collect();
        compared.doubts(&claims, &found, by);
        compared.before = std::mem::replace(&mut compared.last, claims);
        for (task, (_, doubts)) in &compared.doubted {
            warn!(%task, partitions = doubts.len(), "more is said to be copied than a survey finds on the target");
        }
        for member in self.by_id.values_mut() {
            for (task, doubted) in &compared.doubted {
                if let Some(report) = member.reports.get_mut(task) {
                    doubt(&member.id, report, doubted);
                }
            }
        }
    }

    /// What lanes of a mirror say now of partitions that they copy.
    fn claims(&self, mirror: &MirrorId, state: &State) -> Claims {
        let first = TaskName::Replicate { mirror: mirror.clone(), target_topic: String::new(), block: 0 };
        let tasks = state.assignments.range::<TaskName, _>(&first..);
        let tasks = tasks.take_while(|(task, _)| task.is_replicate() && task.mirror() == mirror);
        let doubted = self.compared.get(mirror).map(|known| &known.doubted);
        let claimed = |task: &TaskName, worker: &WorkerId| {
            let report = self.by_id.get(worker)?.reports.get(task)?;
            let ends = report.partitions.iter().filter(|p| p.state() == Is::Active);
            let mut ends: BTreeMap<i32, i64> =
                ends.filter_map(|p| Some((p.partition, p.target_end?))).collect();
            let doubts = doubted.and_then(|doubted| doubted.get(task));
            ends.extend(
                doubts.iter().flat_map(|(_, doubts)| doubts).map(|(number, doubt)| (*number, doubt.claimed)),
            );
            (!ends.is_empty()).then(|| (task.clone(), Claimed { epoch: report.epoch, ends }))
        };
        tasks.filter_map(|(task, assignment)| claimed(task, assignment.worker.as_ref()?)).collect()
    }
}

/// What was found to be too much counts for nothing until a survey finds it.
pub(super) fn doubt_again(
    compared: &mut HashMap<MirrorId, Compared>,
    worker: &WorkerId,
    reports: &mut [internal::TaskReport],
) {
    if compared.values().all(|known| known.doubted.is_empty()) {
        return;
    }
    for report in reports {
        let Ok(task) = report.task.parse::<TaskName>() else { continue };
        let known = compared.get_mut(task.mirror()).and_then(|known| known.doubted.get_mut(&task));
        let Some(doubted) = known else { continue };
        for partition in &report.partitions {
            // One that says less now may be right.
            let Some(doubt) = doubted.1.get_mut(&partition.partition) else { continue };
            match partition.target_end.filter(|end| partition.state() == Is::Active && *end > doubt.found) {
                Some(claimed) => doubt.claimed = claimed,
                None => drop(doubted.1.remove(&partition.partition)),
            }
        }
        doubt(worker, report, doubted);
    }
}

fn doubt(
    worker: &WorkerId,
    report: &mut internal::TaskReport,
    (by, doubts): &(WorkerId, BTreeMap<i32, Doubt>),
) {
    plausible::doubt_some(report, |partition| {
        let Doubt { claimed, found } = doubts.get(&partition.partition)?;
        let message = format!(
            "partition {} of the copy is said to end at {claimed} by worker {worker}, and worker {by} finds it to end at {found}: the target has lost records, or {worker} is wrong, and what it says doesn't count; it looks by itself within a minute; if this lasts, drain it (twinlog worker drain {worker}), as who copies next looks at what is there",
            partition.partition
        );
        Some(v1::Cause { reason: Reason::REPORT_DOUBTED.as_str().to_owned(), message, since: None })
    });
}
