//! The workers whose streams end at this replica: who is there, what they run, what they report.
//!
//! A worker's membership is a lease in memory, by the monotonic clock: it is lost when it was silent for the lease, or when
//! its stream broke and it is not back after the reconnect grace. (A store's lease could not be shorter than two seconds
//! and would cost a write per worker and second; after a leader change the assignments in the store say which workers to
//! wait for.) Losing a worker only matters while this replica leads.
//!
//! All methods are quick and synchronous; `changed` tells the reconciler that it has something to look at.

mod behind;
mod claims;
mod last;
pub(crate) mod member;
mod orphans;
mod plannable;
mod plausible;
mod queries;
mod texts;
mod view;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};
use twinlog_proto::id::{Epoch, Generation, MirrorId, TaskName, Term, WorkerId};
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;

use crate::last_groups::LastGroups;
use crate::planner::Load;
use crate::state::State;
pub(crate) use last::ToStore;
use member::{Link, Member, Profile, Running};
use queries::Queries;
pub(crate) use view::{Summaries, Workers, bare};

/// A gap between two looks at the clocks that is longer than this was our own sleep: the workers don't pay for it.
const OWN_SLEEP: Duration = Duration::from_secs(1);
/// A set that was not applied for this long is sent again.
const RESEND_AFTER: Duration = Duration::from_secs(2);

/// A question that a worker shall answer.
#[derive(Debug, Clone)]
pub struct Question {
    pub question: internal::query::Question,
    /// Clusters that the question names.
    pub clusters: Vec<v1::Cluster>,
    /// The mirror in question; its placement decides who may answer.
    pub mirror: Option<v1::Mirror>,
    pub deadline: Duration,
}

/// An answer, never an error, and who gave it.
#[derive(Debug, Clone)]
pub struct Answered {
    pub worker: WorkerId,
    pub answer: internal::answer::Answer,
}

/// How long workers may be away.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) lease: Duration,
    pub(crate) reconnect: Duration,
    pub(crate) startup: Duration,
}

/// What a survey reported and the store doesn't hold yet.
#[derive(Debug, Clone)]
pub(crate) struct ReportedInventory {
    pub(crate) epoch: Epoch,
    pub(crate) worker: WorkerId,
    pub(crate) inventory: internal::Inventory,
}

/// By mirror. Shared, so that they can be looked at while reports come in.
pub(crate) type Reported = HashMap<MirrorId, Arc<ReportedInventory>>;

/// How the source's topics end, as a survey saw it, and when that was heard.
#[derive(Debug)]
pub(crate) struct ReportedEnds {
    pub(crate) report: internal::SourceEndsReport,
    pub(crate) heard: Instant,
}

pub(crate) struct Fleet {
    patience: Patience,
    members: Mutex<Members>,
    /// Something that the reconciler should look at has changed.
    pub(crate) changed: Notify,
    queries: Queries,
}

pub(crate) struct Members {
    pub(crate) by_id: BTreeMap<WorkerId, Member>,
    /// Until then a new leader waits for workers.
    settles_at: Instant,
    /// Until then a new leader only listens, as the store may not name all workers that run something.
    listens_until: Option<Instant>,
    /// When tasks may be given a later epoch again, see `behind`.
    pub(crate) retries: behind::Retries,
    /// Known from the store, not seen yet in this term, and counted as lost at this time.
    pub(crate) expected: BTreeMap<WorkerId, Instant>,
    pub(crate) term: Option<Term>,
    generation: Generation,
    sessions: u64,
    last_look: Instant,
    /// When workers last came or went.
    pub(crate) last_change: Instant,
    pub(crate) inventories: Reported,
    pub(crate) inventory_times: HashMap<MirrorId, prost_types::Timestamp>,
    pub(crate) source_ends: HashMap<MirrorId, ReportedEnds>,
    compared: HashMap<MirrorId, claims::Compared>,
    /// What was last reported of ranges that nobody reports any more.
    pub(crate) last: BTreeMap<TaskName, internal::TaskReport>,
    /// The same of groups.
    pub(crate) last_groups: BTreeMap<MirrorId, LastGroups>,
    /// Inventories that no store takes: what to say about them.
    pub(crate) too_large: BTreeMap<MirrorId, String>,
    /// What workers ran of mirrors that the store doesn't know.
    orphans: orphans::Orphans,
    /// Tasks of the last plan that have no worker.
    pub(crate) unplaced: BTreeMap<TaskName, Reason>,
    /// Loads that the planner uses.
    pub(crate) load: Arc<HashMap<TaskName, Load>>,
}

impl Fleet {
    pub(crate) fn new(patience: Patience) -> Arc<Self> {
        let now = Instant::now();
        let members = Members {
            by_id: BTreeMap::new(),
            expected: BTreeMap::new(),
            term: None,
            generation: Generation(0),
            sessions: 0,
            last_look: now,
            last_change: now,
            settles_at: now,
            listens_until: None,
            retries: behind::Retries::default(),
            inventories: HashMap::new(),
            inventory_times: HashMap::new(),
            source_ends: HashMap::new(),
            compared: HashMap::new(),
            last: BTreeMap::new(),
            last_groups: BTreeMap::new(),
            too_large: BTreeMap::new(),
            orphans: BTreeMap::new(),
            unplaced: BTreeMap::new(),
            load: Arc::default(),
        };
        Arc::new(Self {
            patience,
            members: Mutex::new(members),
            changed: Notify::new(),
            queries: Queries::default(),
        })
    }

    pub(crate) fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().expect("no code panics while it holds the members")
    }

    /// A term of this replica begins: workers that the store names and that are not here get time to come. So do those that it may
    /// have forgotten: a leader wrote assignments since the present history began (`since`), or nobody knows whom they lack.
    pub(crate) fn begin_term(&self, term: Term, since: i64, state: &State, now: Instant) {
        let mut members = self.members();
        // Whoever is not connected now may be anywhere: it gets the same time as those this replica never saw.
        let all = std::mem::take(&mut members.by_id);
        let (here, away): (BTreeMap<_, _>, BTreeMap<_, _>) =
            all.into_iter().partition(|(_, member)| member.link.is_some());
        members.by_id = here;
        for member in away.into_values() {
            members.keep(member.reports, member.last_heard);
        }
        let mut named: BTreeSet<&WorkerId> = state.drains.iter().collect();
        for assignment in state.assignments.values() {
            named.extend(assignment.worker.iter().chain(&assignment.previous));
        }
        let deadline = now + self.patience.startup;
        let absent = named.into_iter().filter(|id| !members.by_id.contains_key(*id));
        let expected = absent.map(|id| (id.clone(), deadline)).collect();
        members.expected = expected;
        members.term = Some(term);
        members.settles_at = deadline;
        let is_complete = state.assignments.values().any(|assignment| assignment.epoch.0 > since);
        members.listens_until = (!is_complete && now < deadline).then_some(deadline);
        if members.listens_until.is_some() {
            let grace = self.patience.startup;
            info!(%term, ?grace, "the store may be new, or a copy: nothing is given to workers before all can have said what they run");
        }
        members.retries.clear();
        members.last_change = now;
        members.last_look = now;
        members.unplaced.clear();
        members.inventories.clear();
        members.by_id.values_mut().for_each(|member| member.sent = None);
        drop(members);
        self.changed.notify_one();
    }

    /// This replica leads no more. Streams stay open: only when someone else leads must they end (`close_sessions`).
    pub(crate) fn end_term(&self) {
        self.members().term = None;
    }

    /// Closes every stream: the workers go on, and connect to the leader through whichever replica they reach. What they
    /// reported last stays to be seen until somebody else leads.
    pub(crate) fn close_sessions(&self) {
        for member in self.members().by_id.values() {
            if let Some(link) = &member.link {
                link.close.cancel();
            }
        }
    }

    /// Whether a term has begun: who is waited for is known from then on.
    pub(crate) fn has_begun(&self) -> bool {
        self.members().term.is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members().by_id.is_empty()
    }

    /// A worker has connected. Returns the number of its session.
    pub(crate) fn connected(
        &self,
        id: &WorkerId,
        profile: Profile,
        running: Running,
        link: impl FnOnce(u64) -> Link,
        now: Instant,
    ) -> u64 {
        let mut members = self.members();
        members.sessions += 1;
        let session = members.sessions;
        let link = link(session);
        members.expected.remove(id);
        if let Some(member) = members.by_id.get_mut(id) {
            info!(worker = %id, "worker is back");
            member.reconnect(profile, running, link, now);
        } else {
            info!(worker = %id, version = profile.version, running = running.tasks.len(), "worker connected");
            let member = Member::new(id.clone(), profile, running, link, now);
            members.by_id.insert(id.clone(), member);
            members.last_change = now;
        }
        drop(members);
        self.changed.notify_one();
        session
    }

    /// Another process with this worker's id that is not lost: when it was heard last, and a sentence about it.
    pub(crate) fn other_process(&self, id: &WorkerId, instance: &str) -> Option<(Instant, String)> {
        let members = self.members();
        let member = members.by_id.get(id)?;
        let known = &member.profile.instance;
        if known.is_empty() || instance.is_empty() || known == instance {
            return None;
        }
        let since = humantime::format_rfc3339_seconds(member.connected_at);
        let said = format!(
            "another process with this id is connected since {since}, and was heard {:.1} s ago",
            member.last_heard.elapsed().as_secs_f64()
        );
        Some((member.last_heard, said))
    }

    /// A worker's stream has ended.
    pub(crate) fn disconnected(&self, id: &WorkerId, session: u64, now: Instant) {
        self.queries.session_ended(session);
        let mut members = self.members();
        let Some(member) = members.by_id.get_mut(id).filter(|member| member.is_session(session)) else {
            return;
        };
        member.link = None;
        member.closed_at = Some(now);
        info!(worker = %id, leaving = member.leaving, "worker disconnected");
        drop(members);
        self.changed.notify_one();
    }

    /// A worker reports. What comes from an ended session is ignored, and so is what it says of tasks that it was not given.
    pub(crate) fn report(
        &self,
        id: &WorkerId,
        session: u64,
        mut report: internal::Report,
        state: &State,
        now: Instant,
    ) {
        report
            .refused
            .iter_mut()
            .chain(report.tasks.iter_mut().flat_map(texts::causes))
            .for_each(texts::bound);
        let mut guard = self.members();
        let members = &mut *guard;
        let Some(member) = members.by_id.get_mut(id).filter(|member| member.is_session(session)) else {
            return;
        };
        member.last_heard = now;
        member.heard_report = report.sequence;
        let mut news = match report.running_unchanged {
            true => member.runs_the_same(report.applied.as_ref()),
            false => member.set_running(Running::parse(report.applied.as_ref())),
        };
        if report.leaving && !member.leaving {
            info!(worker = %id, "worker wants to leave");
            member.leaving = true;
            news = true;
        }
        if let Some(cause) = &report.refused
            && member.refusal.as_ref().map(|known| &known.cause.message) != Some(&cause.message)
        {
            warn!(worker = %id, reason = cause.reason, message = cause.message, "worker refused its assignments");
        }
        news |= member.set_refusal(&report);
        member.memory_bytes = plausible::bytes(report.memory_bytes);
        report.tasks.retain(|task| member.was_given(task, state));
        report.tasks.iter_mut().for_each(|task| plausible::check(id, task));
        claims::doubt_again(&mut members.compared, id, &mut report.tasks);
        let dropped = member.take_reports(report.tasks, report.news_only);
        if member.is_overdue(now, RESEND_AFTER)
            && let Some((set, _)) = member.sent.clone()
        {
            member.send((*set).clone(), now);
        }
        news |= members.keep(dropped, now);
        drop(guard);
        if news {
            self.changed.notify_one();
        }
    }

    /// A survey reports what it found. Only the current survey's word counts: `epoch` must be that of the assignment.
    pub(crate) fn inventory(&self, id: &WorkerId, report: internal::InventoryReport, state: &State) {
        let Ok(mirror) = MirrorId::from_name(&report.mirror) else { return };
        let survey = TaskName::Survey { mirror: mirror.clone() };
        let current = state.assignments.get(&survey);
        if current.is_none_or(|a| a.epoch.0 != report.epoch || a.worker.as_ref() != Some(id)) {
            return;
        }
        let Some(mut inventory) = report.inventory else { return };
        texts::bound_inventory(&mut inventory);
        let mut members = self.members();
        if let Some(time) = inventory.time {
            members.inventory_times.insert(mirror.clone(), time);
        }
        let reported = ReportedInventory { epoch: Epoch(report.epoch), worker: id.clone(), inventory };
        members.inventories.insert(mirror, Arc::new(reported));
        drop(members);
        self.changed.notify_one();
    }

    /// A survey reports how the source's topics end. Only the current survey's word counts.
    pub(crate) fn source_ends(
        &self,
        id: &WorkerId,
        mut report: internal::SourceEndsReport,
        state: &State,
        heard: Instant,
    ) {
        plausible::check_ends(&mut report);
        let Ok(mirror) = MirrorId::from_name(&report.mirror) else { return };
        let survey = TaskName::Survey { mirror: mirror.clone() };
        let current = state.assignments.get(&survey);
        if current.is_some_and(|a| a.epoch.0 == report.epoch && a.worker.as_ref() == Some(id)) {
            let mut members = self.members();
            members.compare(&mirror, &report, id, state);
            members.source_ends.insert(mirror, ReportedEnds { report, heard });
        }
    }

    /// Drops workers whose time is up. Call it often; true if any was lost, or need not be waited for any longer.
    pub(crate) fn expire(&self, now: Instant) -> bool {
        let mut guard = self.members();
        let members = &mut *guard;
        let asleep = now.duration_since(members.last_look).saturating_sub(OWN_SLEEP);
        members.last_look = now;
        if !asleep.is_zero() {
            warn!(?asleep, "this process was asleep: its workers get that time on top");
            members.excuse(asleep);
        }
        let lost: Vec<WorkerId> =
            members.by_id.values().filter(|m| m.is_lost(now, self.patience)).map(|m| m.id.clone()).collect();
        for id in &lost {
            let member = members.by_id.remove(id).expect("it was just found");
            if member.leaving && member.running.tasks.is_empty() {
                info!(worker = %id, "worker left");
            } else {
                warn!(worker = %id, silent = ?now.duration_since(member.last_heard), "worker lost");
            }
            if let Some(link) = &member.link {
                link.close.cancel();
            }
            members.keep(member.reports, member.last_heard);
        }
        let known = members.expected.len();
        members.expected.retain(|id, deadline| {
            let waits = now < *deadline;
            if !waits {
                warn!(worker = %id, "worker did not come back to the new leader");
            }
            waits
        });
        let changed = !lost.is_empty() || members.expected.len() < known;
        if changed {
            members.last_change = now;
        }
        let all_heard = members.listens_until.take_if(|until| now >= *until).is_some();
        changed || all_heard
    }

    /// When `expire` should be called next at the latest, because of a broken stream or a worker that is waited for.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let members = self.members();
        let closed = members.by_id.values().filter_map(|member| member.closed_at);
        let waits = members.expected.values().chain(&members.listens_until).copied();
        closed.map(|at| at + self.patience.reconnect).chain(waits).min()
    }
}

impl Member {
    fn is_lost(&self, now: Instant, patience: Patience) -> bool {
        let gone = self.leaving && self.link.is_none() && self.running.tasks.is_empty();
        let away = self.closed_at.is_some_and(|at| now.duration_since(at) >= patience.reconnect);
        gone || away || now.duration_since(self.last_heard) >= patience.lease
    }
}

impl Members {
    fn excuse(&mut self, asleep: Duration) {
        for member in self.by_id.values_mut() {
            member.last_heard += asleep;
            member.closed_at = member.closed_at.map(|at| at + asleep);
        }
        self.expected.values_mut().chain(&mut self.listens_until).for_each(|deadline| *deadline += asleep);
    }

    /// A number for a new set, greater than all before it in this term.
    pub(crate) fn next_generation(&mut self, revision: i64) -> Generation {
        self.generation = Generation(self.generation.0.max(revision - 1) + 1);
        self.generation
    }

    /// Whether a new leader still waits for workers: what they run is not known yet.
    pub(crate) fn is_settling(&self, now: Instant) -> bool {
        let waits = now < self.settles_at && (!self.expected.is_empty() || self.by_id.is_empty());
        self.is_listening() || waits
    }

    /// Whether nothing may be given to workers yet: others may run it.
    pub(crate) fn is_listening(&self) -> bool {
        self.listens_until.is_some()
    }

    /// Whether a worker counts as there, or as coming back.
    pub(crate) fn is_known(&self, id: &WorkerId) -> bool {
        self.by_id.contains_key(id) || self.expected.contains_key(id)
    }
}
