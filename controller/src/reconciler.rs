//! The leader's loop: looks at the whole state, decides, writes, and tells the workers. It is level-triggered: what wakes it
//! only wakes it, so a lost or repeated message costs nothing, and starting is the same as going on.
//!
//! Every write is guarded by the leadership. A write with an unknown outcome, or one that the guard refused, ends the term.

mod changes;
mod work;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use twinlog_proto::id::{Generation, TaskName};
use twinlog_proto::internal::v1 as internal;

use crate::fleet::Fleet;
use crate::handover::{self, Holders};
use crate::planner::{self, Input, Placement};
use crate::state::{Cache, State};
use crate::store::{CommitOutcome, Leadership, MAX_TXN_BYTES, Store, StoreError, Transaction, Write};

/// Writes in one transaction: below the store's limit, with room for the guard.
const BATCH: usize = 100;
const BATCH_BYTES: usize = MAX_TXN_BYTES / 2;
/// What comes within this time is looked at together.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// The clocks are looked at this often.
const TICK: Duration = Duration::from_millis(200);
/// Measured loads are taken over this often.
const LOAD_PERIOD: Duration = Duration::from_secs(30);
/// Pause after the store was not available.
const RETRY: Duration = Duration::from_millis(250);
/// How long the cache may take to see our own write.
const CACHE_LAG: Duration = Duration::from_secs(5);

/// Why a term ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TermEnd {
    #[error("this replica is stopping")]
    Stopping,
    #[error("the leadership is lost")]
    Lost,
    #[error(
        "workers have seen {0}, which is later than this store's newest revision: leading again above it"
    )]
    Behind(i64),
    #[error("a write's outcome is not known: {0}")]
    Unknown(String),
    #[error("the store can't be used: {0}")]
    Unusable(#[source] StoreError),
}

pub(crate) struct Reconciler {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) rebalance_delay: Duration,
}

impl Reconciler {
    /// Leads until the leadership is lost, something makes it unsafe to go on, or `stop`.
    pub(crate) async fn run(&self, leadership: &Leadership, stop: &CancellationToken) -> TermEnd {
        tokio::select! {
            biased;
            () = stop.cancelled() => TermEnd::Stopping,
            () = leadership.lost().cancelled_owned() => TermEnd::Lost,
            end = self.lead(leadership) => end,
        }
    }

    async fn lead(&self, leadership: &Leadership) -> TermEnd {
        // Everything that an earlier leader wrote is older than our own key.
        let Some(state) = self.cache.at_least(leadership.term.0).await else { return TermEnd::Stopping };
        self.fleet.begin_term(leadership.term, leadership.since, &state, Instant::now());
        let mut states = self.cache.subscribe();
        let mut clock = Clock::new(self.rebalance_delay);
        let mut away = false;
        loop {
            match self.pass(leadership, &mut clock).await {
                Ok(None) => away = false,
                Ok(Some(end)) => return end,
                Err(StoreError::Unavailable(problem)) => {
                    // Tried again several times a second: said once.
                    if !std::mem::replace(&mut away, true) {
                        warn!(problem, "the store is not available, changes wait");
                    }
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
                Err(StoreError::Unknown(problem)) => return TermEnd::Unknown(problem),
                Err(error) => return TermEnd::Unusable(error),
            }
            if !leadership.is_valid() {
                return TermEnd::Lost;
            }
            self.wait(&mut states, &mut clock).await;
        }
    }

    /// Returns when there is something to look at.
    async fn wait(&self, states: &mut tokio::sync::watch::Receiver<Arc<State>>, clock: &mut Clock) {
        loop {
            let now = Instant::now();
            let tick =
                self.fleet.next_deadline().map_or(now + TICK, |deadline| deadline.clamp(now, now + TICK));
            let woken = tokio::select! {
                biased;
                () = self.fleet.changed.notified() => true,
                Ok(()) = states.changed() => true,
                () = tokio::time::sleep_until(tick) => false,
            };
            let now = Instant::now();
            if woken {
                tokio::time::sleep(DEBOUNCE).await;
                return;
            }
            if self.fleet.expire(now) || clock.is_due(&self.fleet, now) {
                return;
            }
        }
    }

    /// One look at everything. It ends with workers told, or with writes whose effect wakes the next pass; or with the term.
    async fn pass(&self, leadership: &Leadership, clock: &mut Clock) -> Result<Option<TermEnd>, StoreError> {
        let now = Instant::now();
        self.fleet.expire(now);
        clock.look(&self.fleet, now);
        let state = self.cache.snapshot();
        let ahead = self.fleet.members().ahead_of(state.revision, now_ms());
        if let Some(seen) = ahead {
            // Before anybody is told anything by this term, or by epochs that have been seen.
            self.store.advance(seen).await?;
            return Ok(Some(TermEnd::Behind(seen)));
        }
        let writes = self.decide(leadership, &state, clock.rebalance);
        if !writes.is_empty() {
            debug!(writes = writes.len(), "writing");
            let revision = self.write(leadership, writes).await?;
            let seen = tokio::time::timeout(CACHE_LAG, self.cache.at_least(revision)).await;
            if !matches!(seen, Ok(Some(_))) {
                return Err(StoreError::Unavailable("the cache does not follow the store".to_owned()));
            }
        }
        self.publish(leadership, &self.cache.snapshot());
        Ok(None)
    }

    fn decide(&self, leadership: &Leadership, state: &State, rebalance: bool) -> Vec<Write> {
        let (workers, load, reported, said) = {
            let mut members = self.fleet.members();
            members.forget_gone(state);
            let workers = members.for_planner(&state.drains);
            (workers, members.load.clone(), members.inventories.clone(), members.too_large.clone())
        };
        // What takes long with many ranges and topics; no session and no call waits for it.
        let input = Input { workers, load: Some(&load), rebalance, ..work::planner_input(state) };
        let plan = planner::plan(&input);
        let (inventories, too_large) = changes::inventories(&reported, &said, state);

        let mut members = self.fleet.members();
        let nowhere = |(task, placement): (&TaskName, &Placement)| match placement {
            Placement::Nowhere(reason) => Some((task.clone(), *reason)),
            Placement::On(_) => None,
        };
        members.unplaced = plan.tasks.iter().filter_map(nowhere).collect();
        if members.is_listening() {
            return Vec::new();
        }
        let late = members.want_later(state, Instant::now());
        let holders = Holders::new(&members, leadership.term);
        let mut writes = changes::assignments(&plan, state, &holders, leadership.since);
        let planned: BTreeSet<String> = writes.iter().map(|write| write.key().to_owned()).collect();
        let anew = changes::anew(&late, state, &holders);
        writes.extend(anew.into_iter().filter(|write| !planned.contains(write.key())));
        writes.extend(inventories);
        members.too_large = too_large;
        members.forget_shards(&plan, state);
        writes.extend(changes::groups(&members, &plan, state));
        writes.extend(changes::drains(&members, state));
        writes
    }

    /// Commits in batches. Returns the last revision.
    async fn write(&self, leadership: &Leadership, writes: Vec<Write>) -> Result<i64, StoreError> {
        let mut last = 0;
        for writes in batches(writes) {
            let txn = Transaction { guards: vec![leadership.guard.clone()], writes };
            match self.store.commit(txn).await? {
                CommitOutcome::Committed { revision } => last = revision,
                CommitOutcome::Conflict => {
                    return Err(StoreError::Unknown("another replica leads already".to_owned()));
                }
            }
        }
        Ok(last)
    }

    /// Gives every worker its set, where that has changed.
    fn publish(&self, leadership: &Leadership, state: &State) {
        let term = leadership.term;
        let tasks = {
            let members = self.fleet.members();
            if members.is_listening() {
                return;
            }
            let assignments = state.assignments.iter().map(|(task, a)| (task.as_ref(), a.as_ref()));
            handover::sets(assignments, &Holders::new(&members, term))
        };
        // Whole sets are made while nobody waits for the members.
        let work = work::Work::new(state);
        let sets: Vec<_> =
            tasks.into_iter().map(|(to, tasks)| (to, work.set(&tasks, term, Generation(0)))).collect();
        if !leadership.is_valid() {
            return;
        }
        let mut members = self.fleet.members();
        for (to, mut set) in sets {
            // Who has come anew meanwhile may run something else than was looked at: the next pass, which that wakes, is its own.
            let Some(member) = members.by_id.get(&to.worker).filter(|m| m.is_session(to.session)) else {
                continue;
            };
            let sent = member.sent.as_ref();
            if sent.is_some_and(|(sent, _)| sent.term == set.term && same_work(sent, &set)) {
                continue;
            }
            members.note_orphans(&to.worker, state);
            set.generation = members.next_generation(state.revision).0;
            info!(worker = %to.worker, tasks = set.tasks.len(), generation = set.generation, "new assignments");
            let member = members.by_id.get_mut(&to.worker).expect("it was just found");
            member.send(set, Instant::now());
        }
    }
}

/// Milliseconds since 1970; 0 with a clock before that.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(0)
}

fn same_work(a: &internal::AssignmentSet, b: &internal::AssignmentSet) -> bool {
    a.tasks == b.tasks && a.mirrors == b.mirrors && a.clusters == b.clusters
}

fn batches(writes: Vec<Write>) -> Vec<Vec<Write>> {
    let mut batches: Vec<Vec<Write>> = Vec::new();
    let mut bytes = 0;
    for write in writes {
        bytes += write.bytes();
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH && bytes <= BATCH_BYTES => batch.push(write),
            _ => {
                bytes = write.bytes();
                batches.push(vec![write]);
            }
        }
    }
    batches
}

/// When loads are taken over, and when they may move ranges.
struct Clock {
    rebalance_delay: Duration,
    next_load: Instant,
    /// The change of the fleet or of the loads that was evened out last.
    evened: Option<Instant>,
    changed: Instant,
    rebalance: bool,
}

impl Clock {
    fn new(rebalance_delay: Duration) -> Self {
        let now = Instant::now();
        Self { rebalance_delay, next_load: now + LOAD_PERIOD, evened: None, changed: now, rebalance: false }
    }

    fn is_due(&self, fleet: &Fleet, now: Instant) -> bool {
        let changed = self.changed.max(fleet.members().last_change);
        let evened = self.evened.is_some_and(|evened| evened >= changed);
        now >= self.next_load || (!evened && now >= changed + self.rebalance_delay)
    }

    fn look(&mut self, fleet: &Fleet, now: Instant) {
        let mut members = fleet.members();
        if now >= self.next_load {
            members.settle_load();
            self.next_load = now + LOAD_PERIOD;
            self.changed = now;
        }
        let changed = members.last_change;
        self.rebalance = now >= changed + self.rebalance_delay;
        if self.rebalance {
            self.evened = Some(now);
        }
    }
}
