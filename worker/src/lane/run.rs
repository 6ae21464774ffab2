//! The life of a lane on its thread: prepare, decide, move, and again, until it is drained. One that is superseded moves nothing.
//!
//! Restarting is the normal path: whatever happens, the clients are closed, progress is read back, the clusters are asked, and
//! the lane goes on from facts.

mod assign;
mod coordinator;
mod judge;
mod keep;
mod position;
mod turns;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rand::Rng;
use tokio::runtime::Handle;
use tokio::sync::watch;
use twinlog_proto::id::SourceOffset;
use twinlog_proto::model::{Guarantee, Partitioning};
use twinlog_proto::policy;
use twinlog_proto::reason::Reason;
use twinlog_proto::v1::State;

use super::missing;
use super::start::{Facts, Left, Question, Verdict};
use super::status::Board;
use super::tail::Place;
use super::{LaneSpec, LaneStatus, Range, gather, take_over};
use crate::budget::{Budget, Seat};
use crate::cause::Cause;
use crate::control::{Control, Wanted};
use crate::engine::copy_end::CopyEnds;
use crate::engine::feeder::Feeder;
use crate::engine::librdkafka::config::{self, Memory, TargetSettings};
use crate::engine::librdkafka::ffi;
use crate::engine::librdkafka::ffi::source::Source;
use crate::engine::librdkafka::ffi::target::Target;
use crate::engine::librdkafka::mover::{Clients, Exit, Job, Mover, View};
use crate::kafka::Role;
use crate::ledger::{Entry, Ledger};
use crate::offset_syncs::SyncSender;
use crate::progress::{self, RangeProgress, StorageTopics};

const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// A run of this length counts as healthy: the next backoff is short again.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);
/// A partition that halted or was refused is tried again this often: someone may have changed a topic's settings.
const RETRY_STOPPED: Duration = Duration::from_secs(30);

pub(super) struct Runner {
    pub(super) spec: LaneSpec,
    pub(super) control: Arc<Control>,
    /// Among the ranges that share the worker's memory and descriptors.
    seat: Seat,
    pub(super) runtime: Handle,
    pub(super) board: Board,
    /// What keeps the lane from running; it is said until it runs.
    trouble: Option<Cause>,
    /// It was said that the lane runs, and nothing has kept it from running since.
    announced: bool,
    /// How far the partitions were copied when the last run ended.
    positions: Vec<(i32, SourceOffset)>,
    topics: Option<StorageTopics>,
    /// Records that the target refused or that can't be read, by partition; and those that have been tried again since.
    refused: BTreeMap<i32, (SourceOffset, Cause)>,
    refused_before: BTreeMap<i32, (SourceOffset, Cause)>,
    /// It has run before: somebody else may have the range by now, and must not be fenced by this one.
    again: bool,
    /// When another owner fenced this one.
    fenced: Option<Instant>,
    batch_size: usize,
    /// What a transaction may take: longer where a quota holds requests back.
    patience: Duration,
    backoff: Duration,
    /// Partitions that don't meet their copies, with where these ended when that was found.
    pub(super) apart: BTreeMap<i32, i64>,
    /// Partitions whose copy lost records, with where the next one was stored.
    kept: BTreeMap<i32, i64>,
    /// Partitions of which the source has other records than were copied, with where these begin, once that was looked for.
    pub(super) others: BTreeMap<i32, Option<i64>>,
}

/// What is known of a range's partitions besides its progress.
struct Known {
    /// There was progress once.
    began: bool,
    /// Where MirrorMaker 2, or whoever made the copy, has come further.
    taken: BTreeMap<i32, i64>,
    /// Where the start group has left those without progress.
    left: BTreeMap<i32, Left>,
}

/// How an attempt ended.
pub(super) enum End {
    /// Try again at once, or after a growing while.
    Again,
    Later(Cause),
    /// Others wait for what the lane holds.
    TurnOver,
}

pub(super) type Step<T> = Result<T, End>;

impl From<Cause> for End {
    fn from(cause: Cause) -> Self {
        Self::Later(cause)
    }
}

impl Runner {
    pub(super) fn new(
        spec: LaneSpec,
        control: Arc<Control>,
        budget: &Arc<Budget>,
        status: watch::Sender<LaneStatus>,
    ) -> Self {
        let board = Board::new(&spec, status);
        let seat = budget.join(control.turn().clone());
        Self {
            spec,
            control,
            seat,
            runtime: Handle::current(),
            board,
            trouble: None,
            announced: false,
            positions: Vec::new(),
            topics: None,
            refused: BTreeMap::new(),
            refused_before: BTreeMap::new(),
            again: false,
            fenced: None,
            batch_size: usize::MAX,
            patience: config::TRANSACTION_TIMEOUT,
            backoff: FIRST_BACKOFF,
            apart: BTreeMap::new(),
            kept: BTreeMap::new(),
            others: BTreeMap::new(),
        }
    }

    pub(super) fn run(mut self) {
        self.control.attach();
        self.seat.attach();
        while !self.control.is_draining() {
            let began = Instant::now();
            let end = match self.attempt() {
                Ok(exit) => self.judge(exit),
                Err(end) => end,
            };
            if began.elapsed() >= HEALTHY_AFTER {
                self.backoff = FIRST_BACKOFF;
            }
            match end {
                End::Again => {}
                End::TurnOver => self.rest(),
                End::Later(cause) => self.wait(cause),
            }
        }
        let drained = Cause::new(Reason::STARTING, "the range was drained from this worker");
        self.board.not_running(State::Pending, drained);
    }

    fn wait(&mut self, cause: Cause) {
        // Whatever it is, the topics may not be there any more.
        self.topics = None;
        let state = if heals(cause.reason) { State::Waiting } else { State::Stopped };
        self.say_trouble(&cause);
        self.board.not_running(state, cause);
        self.seat.release();
        let jitter = rand::rng().random_range(0.75..1.25);
        self.control.pause(self.backoff.mul_f64(jitter));
        self.backoff = (self.backoff * 2).min(MAX_BACKOFF);
    }

    /// Says once, not with every try, what keeps the lane from running.
    fn say_trouble(&mut self, cause: &Cause) {
        let known = self.trouble.as_ref().is_some_and(|before| before.reason == cause.reason);
        let (task, reason, message) = (&self.spec.task, cause.reason, &cause.message);
        match known {
            true => tracing::debug!(%task, %reason, "lane waits: {message}"),
            false => tracing::warn!(%task, %reason, "lane waits: {message}"),
        }
        (self.trouble, self.announced) = (Some(cause.clone()), false);
    }

    /// One life of the engine, from nothing to its end.
    fn attempt(&mut self) -> Step<Exit> {
        let Wanted { mirror, range, version } = self.control.wanted();
        self.spec.mirror = mirror;
        self.spec.range = range.clone();
        // What can be found out without clients needs no share, so that nobody waits for who can't run.
        let topics = self.storage_topics()?;
        if self.trouble.is_some() {
            self.ask(gather::look(&self.spec, &range))?;
        }
        let memory = self.reserve(&range)?;
        let exactly_once = self.spec.mirror.guarantee == Guarantee::ExactlyOnce;
        let by_key = self.spec.mirror.partitioning == Partitioning::ByKey;
        if std::mem::replace(&mut self.again, true) {
            self.still_owner(&topics)?;
        }
        let began = Instant::now();
        // All clients connect while the coordinator ends what an earlier owner left open.
        let source = self.open_source(&memory)?;
        let reader = self.open_reader(&topics)?;
        let target = self.open_target(&memory, exactly_once)?;
        let opened = began.elapsed();
        let before = self.read_progress(&topics, reader)?;
        before.iter().for_each(|before| self.board.known(before));
        let recovered = began.elapsed();
        // First, as it waits for MirrorMaker to end: facts from before that would be old.
        let taken = self.taken_over(&range, before.as_ref())?;
        let committed = self.committed_by_group(&range, before.as_ref())?;
        let place =
            Place { topic: &topics.progress, partition: self.storage_partition(topics.progress_partitions) };
        let mut gathered = self.ask(gather::gather(&self.spec, &range, before.as_ref(), place))?;
        self.other_records(&range, before.as_ref(), &mut gathered.facts)?;
        let taken = self.met(&range, before.as_ref(), taken, &gathered.facts)?;
        let lost = before.is_none() && self.has_begun(&topics, &gathered.facts, !committed.is_empty())?;
        let committed = if lost { BTreeMap::new() } else { committed };
        let left = self.left_by_group(&range, before.as_ref(), &committed, &gathered.facts)?;
        let known = Known { began: lost, taken, left };
        let mut progress = self.decide(&range, before.clone(), &known, &gathered.facts);
        if !gathered.source_cluster_id.is_empty() {
            progress.source_cluster_id.clone_from(&gathered.source_cluster_id);
        }
        let decided = began.elapsed();
        tracing::debug!(task = %self.spec.task, ?opened, ?recovered, ?decided, "lane prepared");
        self.board.restarted(&progress);
        let old = self.old_partitions(&range, &progress, &gathered.facts)?;
        let assigned = self.assigned(&progress, &old, &gathered.facts);
        if assigned.is_empty() {
            drop((source, target));
            return Err(self.stay_halted((&range, version), before.as_ref(), &known, place));
        }
        let running: Vec<i32> = assigned.iter().map(|a| a.partition).collect();
        let shared = self.spec.mirror.policy.is_heartbeats_topic(&range.source_topic);
        let alone = !self.spec.mirror.allow_foreign_writes && !shared;
        let job = Job {
            target_topic: &range.target_topic,
            assigned,
            by_key: by_key.then_some(gathered.target_partitions),
            exactly_once,
            alone,
            commit_interval: self.spec.mirror.target_latency,
            in_flight: memory.in_flight,
            carefully: self.spec.target.was_throttled(),
            patience: self.patience,
            progress_topic: &topics.progress,
            offsets_topic: &topics.offsets,
            progress_partition: self.storage_partition(topics.progress_partitions),
            offsets_partition: self.storage_partition(topics.offsets_partitions),
            progress_key: progress::progress_key(&range.target_topic, range.block),
        };
        let (client, stop) = (&self.spec.source.client, self.control.stop());
        let feeder = Feeder::new(client, &range.source_topic, &memory, &self.runtime, stop);
        let note = (!progress.began).then(|| Entry {
            key: progress::began_key(&range.target_topic, range.block),
            value: progress::began_value(SystemTime::now()),
        });
        let mut ledger = Ledger::new(progress, &running, exactly_once, Instant::now())
            .with_sync_lag(self.spec.mirror.offset_lag_max)
            .alone(alone)
            .beginning(note);
        let control = self.control.clone();
        let syncs = {
            let _runtime = self.runtime.enter();
            let mirror = &self.spec.mirror;
            // By key there are no pairs of offsets.
            (!by_key)
                .then(|| SyncSender::new(mirror, &range.source_topic, &self.spec.source, &self.spec.target))
                .flatten()
        };
        let (board, runtime) = (&mut self.board, &self.runtime);
        let stops = !board.halted.is_empty() || !board.blocked.is_empty();
        let retry = stops.then(|| Instant::now() + RETRY_STOPPED);
        let observer = Box::new(|view: View<'_>| {
            if let Some(syncs) = &syncs {
                send_syncs(syncs, view.ledger, control.is_draining());
            }
            board.running(view, runtime);
        });
        self.trouble = None;
        match std::mem::replace(&mut self.announced, true) {
            true => tracing::debug!(task = %self.spec.task, "lane runs again"),
            false => {
                tracing::info!(task = %self.spec.task, epoch = %self.spec.epoch, partitions = running.len(), "lane runs");
            }
        }
        let ends = CopyEnds::new(&self.spec.target.client, &range.target_topic, &self.runtime, stop);
        let clients = Clients { source, target, feeder, ends };
        let exit = match Mover::new(&job, &control, version, clients, &mut ledger, observer) {
            Ok(mover) => mover.run(retry),
            Err(exit) => exit,
        };
        self.positions = ledger.accounts.iter().map(|a| (a.partition, a.durable)).collect();
        if matches!(exit, Exit::Refused { .. }) && !exactly_once {
            self.keep(&mut ledger, &job);
        }
        Ok(exit)
    }

    /// Waits for an answer of the admin client, not longer than the lane is wanted.
    pub(super) fn ask<T>(&self, answer: impl Future<Output = Result<T, impl Into<Cause>>>) -> Step<T> {
        let stop = self.control.stop().clone();
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = stop.cancelled() => Err(End::Again),
                answer = answer => answer.map_err(|error| End::Later(error.into())),
            }
        })
    }

    fn storage_topics(&mut self) -> Step<StorageTopics> {
        if let Some(topics) = &self.topics {
            return Ok(topics.clone());
        }
        let topics = self.ask(StorageTopics::ensure(&self.spec.target.client, &self.spec.mirror))?;
        self.topics = Some(topics.clone());
        Ok(topics)
    }

    fn storage_partition(&self, partitions: usize) -> i32 {
        progress::storage_partition(&self.spec.range.target_topic, self.spec.range.block, partitions)
    }

    fn open_source(&self, memory: &Memory) -> Step<Source> {
        let source = &self.spec.source;
        let config = config::source(source.client.rdkafka(Role::Consumer), memory);
        Source::open(&config, &source.properties, &self.spec.range.source_topic)
            .map_err(|e| self.unusable("source", &e))
    }

    fn open_target(&mut self, memory: &Memory, exactly_once: bool) -> Step<Target> {
        let (mirror, range) = (&self.spec.mirror, &self.spec.range);
        let id = policy::transactional_id(&mirror.id, &range.target_topic, range.block);
        let settings = TargetSettings {
            transactional_id: exactly_once.then_some(&*id),
            compression: mirror.compression,
            target_latency: mirror.target_latency,
            batch_size: config::batch_size(range.target_max_message_bytes).min(self.batch_size),
            patience: self.patience,
        };
        let config = config::target(self.spec.target.client.rdkafka(Role::Producer), memory, &settings);
        let target =
            Target::open(&config, &self.spec.target.properties).map_err(|e| self.unusable("target", &e))?;
        if exactly_once {
            self.own(&target, &id)?;
        }
        Ok(target)
    }

    fn unusable(&self, role: &str, error: &ffi::Error) -> End {
        let cluster = if role == "source" { &self.spec.source } else { &self.spec.target };
        let reason = ffi::reason_when_away(error).unwrap_or(Reason::KAFKA_ERROR);
        Cause::new(reason, format!("{role} cluster {}: {error}", cluster.id)).into()
    }

    /// Progress to run with: where every partition of the range starts. Partitions that must not run are noted on the board.
    fn decide(
        &mut self,
        range: &Range,
        before: Option<RangeProgress>,
        known: &Known,
        facts: &[Facts],
    ) -> RangeProgress {
        let mut progress = before.unwrap_or_else(|| RangeProgress {
            source_topic: range.source_topic.clone(),
            epoch: 0,
            worker: String::new(),
            partitions: BTreeMap::new(),
            began: false,
            source_cluster_id: String::new(),
            ends: BTreeMap::new(),
        });
        progress.epoch = self.spec.epoch.0;
        progress.worker = self.spec.worker.to_string();
        let halted_before = std::mem::take(&mut self.board.halted);
        self.board.missing_from.clear();
        for (partition, facts) in range.partitions().zip(facts) {
            let mut facts = Facts { target_kept: self.kept.get(&partition).copied(), ..facts.clone() };
            if let Some(position) = known.taken.get(&partition) {
                let before = progress.partitions.get(&partition);
                let taken = take_over::progress_at(*position, &facts, before);
                progress.partitions.insert(partition, taken);
                facts.foreign = None;
            }
            let question = Question {
                mirror: self.spec.mirror.id.as_str(),
                source: &range.source_topic,
                target: &range.target_topic,
                partition,
                before: progress.partitions.get(&partition),
                left: known.left.get(&partition).copied(),
                facts: &facts,
                policy: self.spec.mirror.gap_policy,
                onto: self.spec.mirror.onto_existing,
                allow_foreign: self.spec.mirror.allow_foreign_writes,
                began: known.began,
                by_key: self.spec.mirror.partitioning == Partitioning::ByKey,
                now: SystemTime::now(),
            };
            match question.decide() {
                Verdict::Run(decided) => self.note_start(partition, &mut progress, decided),
                Verdict::Halt(cause) => {
                    let before = halted_before.get(&partition);
                    if before.is_none_or(|before| before.reason != cause.reason) {
                        tracing::error!(task = %self.spec.task, partition, reason = %cause.reason, "{}", cause.message);
                    }
                    let before = progress.partitions.get(&partition);
                    if let Some(from) = before.and_then(|before| missing::missing_from(before, &facts)) {
                        self.board.missing_from.insert(partition, from);
                    }
                    self.board.halted.insert(partition, cause);
                }
            }
        }
        progress
    }
}

/// `last`: the lane ends.
fn send_syncs(syncs: &SyncSender, ledger: &mut Ledger, last: bool) {
    let now = Instant::now();
    for account in &mut ledger.accounts {
        if let Some(sync) = account.sync(now, last)
            && !syncs.send(account.partition, sync)
        {
            account.not_told(sync);
        }
    }
}

/// Whether waiting may help without anybody changing anything.
fn heals(reason: Reason) -> bool {
    !matches!(
        reason,
        Reason::MISSING_PERMISSION
            | Reason::AUTHENTICATION_FAILED
            | Reason::TLS_FAILED
            | Reason::SECRET_UNRESOLVED
            | Reason::INVALID_PROPERTY
            | Reason::UNSUPPORTED_VERSION
            | Reason::TARGET_HAS_FEWER_PARTITIONS
            | Reason::SOURCE_TOPIC_DELETED
            | Reason::TARGET_TOPIC_MISSING
            | Reason::SOURCE_CLUSTER_CHANGED
            | Reason::INTERNAL
    )
}
