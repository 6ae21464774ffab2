//! One worker as the leader knows it: what it is, what it was given, what it may still be running.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use twinlog_proto::id::{Epoch, Generation, TaskName, Term, WorkerId};
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;

use crate::state::State;

/// What a worker says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    pub(crate) version: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// Ranges that it accepts at most; `None`: no limit.
    pub(crate) capacity: Option<u32>,
    pub(crate) memory_limit_bytes: i64,
    /// Different for every process; empty where the worker is too old to say.
    pub(crate) instance: String,
}

/// What a worker says it runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Running {
    /// The newest set that it has applied.
    pub(crate) applied: (Term, Generation),
    pub(crate) tasks: HashMap<TaskName, Epoch>,
    /// The latest term or epoch that it has seen, wherever.
    pub(crate) newest: i64,
}

impl Running {
    /// A name that isn't a task's is not ours to manage: it is left out.
    pub(crate) fn parse(applied: Option<&internal::Applied>) -> Self {
        let Some(applied) = applied else { return Self::default() };
        let task = |task: &internal::RunningTask| Some((task.task.parse().ok()?, Epoch(task.epoch)));
        Self {
            applied: (Term(applied.term), Generation(applied.generation)),
            tasks: applied.running.iter().filter_map(task).collect(),
            newest: applied.newest.max(applied.term),
        }
    }
}

/// What a worker refused last.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) cause: v1::Cause,
    /// The set in question; zeros where the worker is too old to say.
    set: (Term, Generation),
}

impl Refusal {
    /// Only single tasks of the set were refused: they need later epochs, the rest is accepted.
    fn is_partial(&self) -> bool {
        self.cause.reason == Reason::STALE_EPOCH.as_str()
    }
}

/// The leader's end of an open stream.
#[derive(Debug)]
pub(crate) struct Link {
    /// Different for every stream: what comes late from an old one is told apart.
    pub(crate) session: u64,
    /// The newest set; older ones need not be sent any more.
    pub(crate) sets: watch::Sender<Option<Arc<internal::AssignmentSet>>>,
    pub(crate) queries: mpsc::Sender<internal::Query>,
    /// Cancelled to close the stream.
    pub(crate) close: CancellationToken,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: WorkerId,
    pub(crate) profile: Profile,
    pub(crate) connected_at: SystemTime,
    /// `None` while it is disconnected.
    pub(crate) link: Option<Link>,
    pub(crate) closed_at: Option<Instant>,
    pub(crate) last_heard: Instant,
    /// Number of the newest report of the present stream.
    pub(crate) heard_report: i64,
    pub(crate) leaving: bool,
    pub(crate) running: Running,
    /// For each task, the newest set that offered it to this worker, and with which epoch.
    offered: HashMap<TaskName, ((Term, Generation), Epoch)>,
    pub(crate) sent: Option<(Arc<internal::AssignmentSet>, Instant)>,
    pub(crate) reports: HashMap<TaskName, internal::TaskReport>,
    pub(crate) memory_bytes: i64,
    pub(crate) refusal: Option<Refusal>,
    /// Tasks that it can't run by the epoch they were assigned with, and the later one that it knows of.
    pub(crate) later: BTreeMap<TaskName, Epoch>,
}

impl Member {
    pub(crate) fn new(id: WorkerId, profile: Profile, running: Running, link: Link, now: Instant) -> Self {
        Self {
            id,
            profile,
            connected_at: SystemTime::now(),
            link: Some(link),
            closed_at: None,
            last_heard: now,
            heard_report: 0,
            leaving: false,
            running,
            offered: HashMap::new(),
            sent: None,
            reports: HashMap::new(),
            memory_bytes: 0,
            refusal: None,
            later: BTreeMap::new(),
        }
    }

    /// The same process is back on a new stream.
    pub(crate) fn reconnect(&mut self, profile: Profile, running: Running, link: Link, now: Instant) {
        if let Some(old) = self.link.replace(link) {
            old.close.cancel();
        }
        self.profile = profile;
        self.closed_at = None;
        self.last_heard = now;
        self.heard_report = 0;
        self.sent = None;
        self.set_running(running);
    }

    pub(crate) fn is_session(&self, session: u64) -> bool {
        self.link.as_ref().is_some_and(|link| link.session == session)
    }

    /// Takes over what the worker says it runs. True if that is news.
    pub(crate) fn set_running(&mut self, running: Running) -> bool {
        let news = running.applied != self.running.applied || running.tasks != self.running.tasks;
        self.running = running;
        if news {
            let applied = self.running.applied;
            self.offered.retain(|_, (offer, _)| *offer >= applied);
        }
        news
    }

    /// The worker runs what it said last. True if it does so by another set.
    pub(crate) fn runs_the_same(&mut self, applied: Option<&internal::Applied>) -> bool {
        let tasks = std::mem::take(&mut self.running.tasks);
        let before = std::mem::replace(&mut self.running, Running { tasks, ..Running::parse(applied) });
        let (applied, news) = (self.running.applied, self.running.applied != before.applied);
        if news {
            self.offered.retain(|_, (offer, _)| *offer >= applied);
        }
        news
    }

    /// Takes over what the worker says it refused. True if that is news.
    pub(crate) fn set_refusal(&mut self, report: &internal::Report) -> bool {
        let set = (Term(report.refused_term), Generation(report.refused_generation));
        let refusal = report.refused.clone().map(|cause| Refusal { cause, set });
        let named = |later: &internal::RunningTask| Some((later.task.parse().ok()?, Epoch(later.epoch)));
        let later: BTreeMap<_, _> = report.later.iter().filter_map(named).collect();
        if let Some(refusal) = refusal.as_ref().filter(|refusal| !refusal.is_partial()) {
            // It will never start what such a set offered.
            self.offered.retain(|_, (offer, _)| *offer > refusal.set);
        }
        // As long as a task can't run it is tried again now and then.
        let news = refusal != self.refusal || !later.is_empty();
        self.refusal = refusal;
        self.later = later;
        news
    }

    /// Why the worker takes no assignments at all, if it doesn't.
    pub(crate) fn refuses(&self) -> Option<&v1::Cause> {
        self.refusal.as_ref().filter(|refusal| !refusal.is_partial()).map(|refusal| &refusal.cause)
    }

    /// Whether the worker runs this task by this very assignment, or has been sent it. A worker that was away may still run
    /// it by an older one, which others have had since.
    pub(crate) fn has(&self, task: &TaskName, epoch: Epoch) -> bool {
        self.running.tasks.get(task) == Some(&epoch)
            || self.offered.get(task).is_some_and(|(_, offered)| *offered == epoch)
    }

    /// Whether a report is about a task that this worker was given, by this very assignment: the store says so, or a set that was
    /// sent to it. What a worker says that it runs doesn't count here.
    pub(crate) fn was_given(&self, report: &internal::TaskReport, state: &State) -> bool {
        let Ok(task) = report.task.parse::<TaskName>() else { return false };
        let epoch = Epoch(report.epoch);
        let assigned = state.assignments.get(&task);
        assigned.is_some_and(|known| known.worker.as_ref() == Some(&self.id) && known.epoch == epoch)
            || self.offered.get(&task).is_some_and(|(_, offered)| *offered == epoch)
    }

    /// Every task that the worker runs, or may come to run by a set that is on its way.
    pub(crate) fn may_run_tasks(&self) -> impl Iterator<Item = &TaskName> {
        let offered = self.offered.keys().filter(|task| !self.running.tasks.contains_key(*task));
        self.running.tasks.keys().chain(offered)
    }

    /// What the worker says of its tasks: of groups only what has changed since it last did, and of tasks, too, where it says news only.
    /// Returns what it doesn't say any more.
    pub(crate) fn take_reports(
        &mut self,
        reports: Vec<internal::TaskReport>,
        news_only: bool,
    ) -> HashMap<TaskName, internal::TaskReport> {
        let mut dropped = HashMap::new();
        let mut before = match news_only {
            false => std::mem::take(&mut self.reports),
            true => self.reports.extract_if(|task, _| !self.running.tasks.contains_key(task)).collect(),
        };
        for mut report in reports {
            let Ok(task) = report.task.parse::<TaskName>() else { continue };
            let known = before.remove(&task).or_else(|| self.reports.remove(&task));
            if let Some(mut known) = known {
                if report.groups_unchanged {
                    report.groups = std::mem::take(&mut known.groups);
                }
                if report.partitions.is_empty() && !known.partitions.is_empty() {
                    dropped.insert(task.clone(), known);
                }
            }
            self.reports.insert(task, report);
        }
        dropped.extend(before);
        dropped
    }

    /// Whether it has applied or refused a set of this term: then nothing of an earlier leader is on its way any more.
    pub(crate) fn is_settled(&self, term: Term) -> bool {
        self.running.applied.0 == term || self.refusal.as_ref().is_some_and(|refusal| refusal.set.0 == term)
    }

    /// Sends a set, if the worker is connected. It says what was heard last: a worker that gets it much later than that knows.
    pub(crate) fn send(&mut self, mut set: internal::AssignmentSet, now: Instant) {
        let Some(link) = &self.link else { return };
        set.heard_report = Some(self.heard_report);
        let set = Arc::new(set);
        let offer = (Term(set.term), Generation(set.generation));
        for task in &set.tasks {
            if let Ok(name) = task.name.parse() {
                self.offered.insert(name, (offer, Epoch(task.epoch)));
            }
        }
        link.sets.send_replace(Some(set.clone()));
        self.sent = Some((set, now));
    }

    /// Whether the newest set was sent a while ago and is not applied.
    pub(crate) fn is_overdue(&self, now: Instant, patience: std::time::Duration) -> bool {
        self.sent.as_ref().is_some_and(|(set, at)| {
            now.duration_since(*at) >= patience
                && self.running.applied < (Term(set.term), Generation(set.generation))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(session: u64) -> Link {
        let (sets, _) = watch::channel(None);
        let (queries, _) = mpsc::channel(1);
        Link { session, sets, queries, close: CancellationToken::new() }
    }

    fn member() -> Member {
        let profile = Profile {
            version: String::new(),
            labels: BTreeMap::new(),
            capacity: None,
            memory_limit_bytes: 0,
            instance: String::new(),
        };
        Member::new(WorkerId::new("w").unwrap(), profile, Running::default(), link(1), Instant::now())
    }

    fn set(generation: i64, tasks: &[&str]) -> internal::AssignmentSet {
        let task =
            |name: &&str| internal::Task { name: (*name).to_owned(), epoch: 1, ..internal::Task::default() };
        let tasks = tasks.iter().map(task).collect();
        internal::AssignmentSet { term: 1, generation, tasks, ..internal::AssignmentSet::default() }
    }

    fn applied(generation: i64, tasks: &[&str]) -> Running {
        let tasks = tasks.iter().map(|name| (name.parse().unwrap(), Epoch(1))).collect();
        Running { applied: (Term(1), Generation(generation)), tasks, newest: 1 }
    }

    fn may_run(member: &Member, task: &TaskName) -> bool {
        member.may_run_tasks().any(|known| known == task)
    }

    #[test]
    fn a_task_is_free_only_when_a_set_without_it_is_applied_and_it_has_stopped() {
        let task: TaskName = "survey/m".parse().unwrap();
        let mut member = member();
        let now = Instant::now();
        member.send(set(5, &["survey/m"]), now);
        assert!(may_run(&member, &task), "it was offered");
        member.send(set(6, &[]), now);
        member.set_running(applied(0, &[]));
        assert!(may_run(&member, &task), "an old report says nothing");
        member.set_running(applied(5, &[]));
        assert!(may_run(&member, &task), "set 5 holds it, even if it is not started yet");
        member.set_running(applied(6, &["survey/m"]));
        assert!(may_run(&member, &task), "it still drains");
        member.set_running(applied(6, &[]));
        assert!(!may_run(&member, &task));
    }

    #[test]
    fn what_a_worker_refuses_it_does_not_hold() {
        let task: TaskName = "survey/m".parse().unwrap();
        let mut member = member();
        let refuses = |generation, reason: Reason| internal::Report {
            refused: Some(v1::Cause { reason: reason.as_str().to_owned(), ..Default::default() }),
            refused_term: 1,
            refused_generation: generation,
            ..Default::default()
        };
        member.send(set(5, &["survey/m"]), Instant::now());
        assert!(member.set_refusal(&refuses(4, Reason::STALE_TERM)));
        assert!(may_run(&member, &task), "it speaks of an earlier set");
        member.set_refusal(&refuses(5, Reason::STALE_EPOCH));
        assert!(may_run(&member, &task) && member.refuses().is_none(), "the rest of the set may run");
        assert!(!member.is_settled(Term(2)));
        member.set_refusal(&refuses(5, Reason::STALE_TERM));
        assert!(!may_run(&member, &task) && member.refuses().is_some() && member.is_settled(Term(1)));
        member.send(set(6, &["survey/m"]), Instant::now());
        assert!(may_run(&member, &task), "it may accept the next one");
        assert!(member.set_refusal(&internal::Report::default()) && member.refuses().is_none());
    }

    #[test]
    fn groups_that_are_left_out_stay_as_they_were() {
        let mut member = member();
        let task: TaskName = "checkpoint/m/0".parse().unwrap();
        let report = |groups: Vec<v1::GroupStatus>, groups_unchanged| internal::TaskReport {
            task: task.to_string(),
            groups,
            groups_unchanged,
            ..Default::default()
        };
        member.take_reports(vec![report(vec![v1::GroupStatus::default()], false)], false);
        member.take_reports(vec![report(Vec::new(), true)], false);
        assert_eq!(member.reports[&task].groups.len(), 1);
        member.take_reports(vec![report(Vec::new(), false)], false);
        assert!(member.reports[&task].groups.is_empty());
    }

    #[test]
    fn of_what_runs_without_news_the_last_word_holds() {
        let mut member = member();
        let names = ["survey/m", "heartbeat/m", "replicate/m/t/0"];
        let [survey, heartbeat, range] = names.map(|name| name.parse::<TaskName>().unwrap());
        member.set_running(applied(1, &names));
        let report = |task: &TaskName, epoch| internal::TaskReport {
            task: task.to_string(),
            epoch,
            partitions: vec![v1::PartitionStatus::default(); usize::from(task.is_replicate())],
            ..Default::default()
        };
        let epochs = |member: &Member| {
            let mut epochs: Vec<i64> = member.reports.values().map(|report| report.epoch).collect();
            epochs.sort_unstable();
            epochs
        };
        member.take_reports(vec![report(&survey, 1), report(&heartbeat, 2), report(&range, 3)], false);
        assert!(member.take_reports(vec![report(&heartbeat, 9)], true).is_empty());
        assert_eq!(epochs(&member), [1, 3, 9]);
        let same = internal::Applied { term: 1, generation: 2, ..Default::default() };
        assert!(member.runs_the_same(Some(&same)) && !member.runs_the_same(Some(&same)));
        assert_eq!((member.running.tasks.len(), member.running.applied.1), (3, Generation(2)));
        // One that has ended is let go, and kept by others.
        member.set_running(applied(3, &["survey/m", "heartbeat/m"]));
        let dropped = member.take_reports(Vec::new(), true);
        assert_eq!((dropped.len(), dropped[&range].epoch), (1, 3));
        assert_eq!(epochs(&member), [1, 9]);
        member.take_reports(vec![report(&survey, 4)], false);
        assert_eq!(epochs(&member), [4], "a whole report names all");
    }

    #[tokio::test(start_paused = true)]
    async fn a_set_that_is_not_applied_is_overdue() {
        let mut member = member();
        let patience = std::time::Duration::from_secs(2);
        member.send(set(5, &[]), Instant::now());
        assert!(!member.is_overdue(Instant::now(), patience));
        tokio::time::advance(patience).await;
        assert!(member.is_overdue(Instant::now(), patience));
        member.set_running(applied(5, &[]));
        assert!(!member.is_overdue(Instant::now(), patience));
    }
}
