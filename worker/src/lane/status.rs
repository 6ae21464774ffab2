//! What a lane shows: its status for the session and its metrics.
//!
//! Metrics, all with labels `mirror`, `topic` (of the target) and `block`:
//! - `twinlog_lane_records_total`, `twinlog_lane_bytes_total` (keys and values): copied to the target;
//! - `twinlog_lane_lag_records`: what is not copied yet, of all partitions together; no sample where it isn't known (`lag`);
//! - `twinlog_lane_in_flight_bytes`: memory held by records that wait for acknowledgement;
//! - `twinlog_lane_latency_p50_seconds`, `twinlog_lane_latency_p99_seconds`: from fetched to acknowledged (exactly once:
//!   committed), worst partition, over ten seconds;
//! - `twinlog_lane_restarts_total`: times the lane made its clients anew.
//!
//! And what `metrics::partition` has for each partition.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime};

use metrics::{Counter, Gauge};
use tokio::runtime::Handle;
use tokio::sync::watch;
use twinlog_proto::id::{SourceOffset, TaskName};
use twinlog_proto::lag::Ends;
use twinlog_proto::model::Partitioning;
use twinlog_proto::reason::Reason;

use super::slowed::{self, Slowed};
use super::{LaneSpec, LaneStatus};
use crate::cause::Cause;
use crate::choice::Choice;
use crate::cluster::ClusterHandle;
use crate::engine::{Health, Seen, Sight};
use crate::ledger::{Account, Ledger};
use crate::metrics::{Labels, PartitionMetrics};
use crate::progress::{PartitionProgress, RangeProgress, millis};
use crate::said::Said;
use crate::status::{PartitionStatus, State};

/// Records that wait so long for an acknowledgement mean that the target, or the leader of a partition there, is away.
const ACK_PATIENCE: Duration = Duration::from_secs(3);
/// The first look whether a cluster is away takes no longer.
const FIRST_PROBE: Duration = Duration::from_secs(1);
/// Between tries to reach a cluster that is away.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);

pub(super) struct Board {
    sender: watch::Sender<LaneStatus>,
    source_topic: String,
    target_topic: String,
    by_key: bool,
    /// Partitions that don't run, and why.
    pub(super) halted: BTreeMap<i32, Cause>,
    /// Of these, the first source offset that is not rightly on the target, where that isn't the position.
    pub(super) missing_from: BTreeMap<i32, i64>,
    /// Partitions that stop before a record, and why.
    pub(super) blocked: BTreeMap<i32, Cause>,
    source: Side,
    target: Side,
    /// Records and bytes copied by earlier runs of the engine, by partition.
    copied: BTreeMap<i32, (i64, i64)>,
    task: TaskName,
    /// For looks at a cluster that seems to be away.
    runtime: Handle,
    said: Said,
    metrics: Metrics,
}

struct Metrics {
    labels: Labels,
    /// Of the partitions that run.
    partitions: BTreeMap<i32, PartitionMetrics>,
    records: Counter,
    bytes: Counter,
    in_flight: Gauge,
    p50: Gauge,
    p99: Gauge,
    restarts: Counter,
    /// Of this run of the engine, already counted.
    counted: (u64, u64),
}

impl Metrics {
    fn show(&mut self, account: &mut Account, now: Instant) {
        let labels = &self.labels;
        let series = self
            .partitions
            .entry(account.partition)
            .or_insert_with(|| PartitionMetrics::new(labels, account.partition));
        let copied = (account.meter.records, account.meter.bytes);
        series.show(copied, std::mem::take(&mut account.ages), now);
    }
}

/// One of the two clusters, as far as the lane can tell.
struct Side {
    role: &'static str,
    cluster: Arc<ClusterHandle>,
    /// Set while every broker seems to be away; a task that tries to reach the cluster says whether it is.
    away: Option<Away>,
    /// Set while a quota of the cluster holds requests back.
    slowed: Option<Slowed>,
    quotas: [&'static str; 2],
}

struct Away {
    cause: Cause,
    state: Arc<AtomicU8>,
}

/// Not sure yet; sure; over.
const ASKED: u8 = 0;
const GONE: u8 = 1;
const BACK: u8 = 2;

impl Side {
    fn new(role: &'static str, cluster: &Arc<ClusterHandle>, quotas: [&'static str; 2]) -> Self {
        Self { role, cluster: cluster.clone(), away: None, slowed: None, quotas }
    }

    fn slowed(&self) -> Option<Cause> {
        let slowed = self.slowed.as_ref()?;
        Some(slowed.cause(&self.name(), &self.cluster.properties, self.quotas))
    }

    fn note_throttle(&mut self, by: Option<Duration>, runtime: &Handle) {
        let before = self.slowed.take();
        self.slowed = Slowed::note(before, by, self.quotas, &self.cluster, runtime, Instant::now());
    }

    fn name(&self) -> String {
        format!("{} cluster {}", self.role, self.cluster.id)
    }

    /// Why the cluster can't be used now.
    fn away(&self) -> Option<&Cause> {
        let away = self.away.as_ref().filter(|away| away.state.load(Ordering::Relaxed) == GONE);
        away.map(|away| &away.cause)
    }

    /// Nothing is said of it that may be over soon.
    fn is_well(&self) -> bool {
        self.away.is_none() && self.slowed.is_none()
    }

    fn note(&mut self, health: &Health, runtime: &Handle) {
        self.note_throttle(health.throttle, runtime);
        self.away.take_if(|away| away.state.load(Ordering::Relaxed) == BACK);
        let Some(trouble) = &health.trouble else { return };
        let Some(reason) = trouble.away else { return };
        if self.away.is_some() {
            return;
        }
        let servers = self.cluster.properties.bootstrap_servers().join(",");
        // It is said, too, when the only connection was closed because it was idle: the cluster is asked.
        let doubtful = reason == Reason::WAITING_FOR_CLUSTER;
        let text = if doubtful { "none of its brokers can be reached" } else { trouble.text.as_str() };
        let cause = Cause::new(reason, format!("{} ({servers}): {text}", self.name()));
        let state = Arc::new(AtomicU8::new(if doubtful { ASKED } else { GONE }));
        self.away = Some(Away { cause: cause.clone(), state: state.clone() });
        runtime.spawn(look_whether_it_is_back(self.cluster.clone(), cause, state));
    }
}

/// Ends when the lane has forgotten the state, too.
async fn look_whether_it_is_back(cluster: Arc<ClusterHandle>, cause: Cause, state: Arc<AtomicU8>) {
    let quick = cluster.client.with_deadline(FIRST_PROBE);
    while Arc::strong_count(&state) > 1 {
        if state.load(Ordering::Relaxed) == GONE {
            if cluster.said_away().trouble(cause.reason) {
                tracing::warn!(reason = %cause.reason, "{}", cause.message);
            }
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
        if quick.describe_cluster().await.is_ok() {
            state.store(BACK, Ordering::Relaxed);
            if cluster.said_away().over() {
                tracing::info!(cluster = %cluster.id, "the cluster can be used again");
            }
            return;
        }
        state.store(GONE, Ordering::Relaxed);
    }
}

impl Board {
    /// Must be called inside a tokio runtime.
    pub(super) fn new(spec: &LaneSpec, sender: watch::Sender<LaneStatus>) -> Self {
        let labels = [
            ("mirror", spec.mirror.id.to_string()),
            ("topic", spec.range.target_topic.clone()),
            ("block", spec.range.block.to_string()),
        ];
        let metrics = Metrics {
            labels: Labels::new(&spec.mirror, &spec.range.target_topic),
            partitions: BTreeMap::new(),
            records: metrics::counter!("twinlog_lane_records_total", &labels),
            bytes: metrics::counter!("twinlog_lane_bytes_total", &labels),
            in_flight: metrics::gauge!("twinlog_lane_in_flight_bytes", &labels),
            p50: metrics::gauge!("twinlog_lane_latency_p50_seconds", &labels),
            p99: metrics::gauge!("twinlog_lane_latency_p99_seconds", &labels),
            restarts: metrics::counter!("twinlog_lane_restarts_total", &labels),
            counted: (0, 0),
        };
        Self {
            sender,
            source_topic: spec.range.source_topic.clone(),
            target_topic: spec.range.target_topic.clone(),
            by_key: spec.mirror.partitioning == Partitioning::ByKey,
            halted: BTreeMap::new(),
            missing_from: BTreeMap::new(),
            blocked: BTreeMap::new(),
            source: Side::new("source", &spec.source, slowed::OF_READERS),
            target: Side::new("target", &spec.target, slowed::OF_WRITERS),
            copied: BTreeMap::new(),
            task: spec.task.clone(),
            runtime: Handle::current(),
            said: Said::default(),
            metrics,
        }
    }

    /// An engine starts anew with this progress.
    pub(super) fn restarted(&mut self, progress: &RangeProgress, moved_by: Choice) {
        self.metrics.restarts.increment(1);
        self.metrics.counted = (0, 0);
        self.metrics.partitions.clear();
        self.sender
            .send_modify(|status| (status.moved_by, status.mode) = (Some(moved_by), progress.written.mode));
        self.decided(progress);
    }

    /// Where every partition is to go on, and which are not.
    pub(super) fn decided(&mut self, progress: &RangeProgress) {
        self.copied
            .extend(self.sender.borrow().partitions.iter().map(|p| (p.partition, (p.records, p.bytes))));
        // A copy that was made anew and is empty: what was copied to the one before is nowhere any more.
        let empty = |number: &i32| {
            progress.partitions.get(number).is_some_and(|p| !self.by_key && p.chunk.target_end().0 == 0)
        };
        self.copied.retain(|number, _| !empty(number));
        let known = progress.partitions.iter().map(|(number, p)| {
            self.settled(*number, |status| {
                fill(status, p);
                status.missing_from = self.missing_from.get(number).copied().map(SourceOffset);
                status.enter(progress.ends.get(number).copied(), false);
            })
        });
        // Of what must not run there may be no position at all.
        let unknown = self.halted.keys().filter(|number| !progress.partitions.contains_key(number));
        let unknown = unknown.map(|number| self.settled(*number, |status| status.lag_at_least = true));
        let mut partitions: Vec<_> = known.chain(unknown).collect();
        partitions.sort_by_key(|status| status.partition);
        self.send(partitions, BTreeMap::new(), None);
    }

    /// What was read of earlier owners' progress, while nothing else is known of the partitions yet.
    pub(super) fn known(&mut self, progress: &RangeProgress) {
        self.sender.send_modify(|status| {
            for (number, p) in &progress.partitions {
                if status.partitions.iter().any(|known| known.partition == *number) {
                    continue;
                }
                let mut known = PartitionStatus::new(*number, status.state);
                fill(&mut known, p);
                known.enter(progress.ends.get(number).copied(), false);
                status.partitions.push(known);
            }
            status.partitions.sort_by_key(|known| known.partition);
        });
    }

    /// The lane as a whole does not run now: partitions keep their last numbers.
    pub(super) fn not_running(&mut self, state: State, cause: Cause) {
        self.still(state, cause, state);
    }

    /// `rest`: the state of partitions that have not stopped.
    fn still(&mut self, state: State, cause: Cause, rest: State) {
        self.metrics.in_flight.set(0.0);
        self.sender.send_modify(|status| {
            let cause = cause.continuing(status.cause.as_ref());
            status.state = state;
            for partition in &mut status.partitions {
                partition.records_per_second = 0.0;
                partition.bytes_per_second = 0.0;
                if partition.state != State::Stopped {
                    partition.state = rest;
                }
            }
            status.cause = Some(cause);
        });
    }

    /// Others run now. What has stopped doesn't wait for its turn but for somebody, and stays as it was.
    pub(super) fn awaits_turn(&mut self, waits: Cause) {
        let partitions = self.sender.borrow().partitions.clone();
        let all = partitions.iter().all(|partition| partition.state == State::Stopped);
        match self.first_cause(&partitions) {
            None => self.still(State::Waiting, waits, State::Waiting),
            Some(stopped) if all => self.still(State::Stopped, stopped, State::Stopped),
            Some(stopped) => self.still(State::Degraded, stopped, State::Waiting),
        }
    }

    /// There is nothing to copy and the lane holds no clients; everything else is as the last run left it.
    pub(super) fn rests(&mut self) {
        self.metrics.in_flight.set(0.0);
        self.sender.send_modify(|status| {
            for partition in &mut status.partitions {
                (partition.records_per_second, partition.bytes_per_second) = (0.0, 0.0);
            }
        });
    }

    /// The engine runs: takes over its numbers. Whether they stay as they are while nothing happens.
    pub(super) fn running(&mut self, ledger: &mut Ledger, sight: &Sight) -> bool {
        let now = Instant::now();
        self.source.note(&sight.source, &self.runtime);
        self.target.note(&sight.target, &self.runtime);
        let mut statuses = Vec::with_capacity(sight.partitions.len() + self.halted.len());
        let (mut p50, mut p99, mut newest) = (0.0_f64, 0.0_f64, BTreeMap::new());
        let mut known = Vec::with_capacity(sight.partitions.len());
        let (mut records, mut bytes, mut stays) = (0, 0, true);
        for (account, seen) in ledger.accounts.iter_mut().zip(&sight.partitions) {
            let ends = self.ends(seen, now);
            known.extend(ends.map(|ends| (seen.partition, ends)));
            let status = self.settled(seen.partition, |status| measure(status, account, seen, ends, now));
            stays &= !is_moving(&status);
            self.metrics.show(account, now);
            newest.extend(account.newest.map(|(timestamp, _)| (seen.partition, timestamp)));
            p50 = p50.max(status.latency_p50_ms.unwrap_or(0.0));
            p99 = p99.max(status.latency_p99_ms.unwrap_or(0.0));
            records += account.meter.records;
            bytes += account.meter.bytes;
            statuses.push(status);
        }
        known.into_iter().for_each(|(p, (ends, answers))| ledger.ends(p, ends, answers, now));
        let resting = self.sender.borrow().partitions.clone();
        statuses.extend(resting.into_iter().filter(|p| self.halted.contains_key(&p.partition)));
        statuses.sort_by_key(|status| status.partition);
        self.metrics.records.increment(records - self.metrics.counted.0);
        self.metrics.bytes.increment(bytes - self.metrics.counted.1);
        self.metrics.counted = (records, bytes);
        self.metrics.in_flight.set(sight.in_flight as f64);
        self.metrics.p50.set(p50 / 1000.0);
        self.metrics.p99.set(p99 / 1000.0);
        let waiting = self.waiting(sight.oldest, now);
        stays &= waiting.is_none() && sight.oldest.is_none();
        self.send(statuses, newest, waiting);
        stays && self.source.is_well() && self.target.is_well()
    }

    /// How the source ends: as the watch saw it, and as fetch answers say; and whether it answers.
    fn ends(&self, read: &Seen, now: Instant) -> Option<(Ends, bool)> {
        let seen = self.source.cluster.ends.seen(&self.source_topic, read.partition);
        let answers = seen.as_ref().is_none_or(|seen| !seen.is_silent(now.into()));
        let stable = read.end.map(|(stable, _)| stable);
        match (seen.and_then(|seen| seen.ends), read.high_watermark) {
            (Some(seen), high) => {
                let high_watermark = high.map_or(seen.high_watermark, |high| high.max(seen.high_watermark));
                Some((Ends { high_watermark, ..seen }, answers))
            }
            (None, Some(high)) => {
                let seen = SystemTime::now();
                Some((Ends { high_watermark: high, last_stable: stable, seen }, answers))
            }
            (None, None) => None,
        }
    }

    /// Why the copy is slow, where it is because the target lets it.
    pub(super) fn slowed_by_target(&self) -> Option<(Cause, Duration)> {
        Some((self.target.slowed()?, self.target.slowed.as_ref()?.by))
    }

    fn waiting(&self, oldest: Option<Instant>, now: Instant) -> Option<Cause> {
        if let Some(cause) = self.source.away().or_else(|| self.target.away()) {
            return Some(cause.clone());
        }
        if self.target.slowed.is_some() {
            // It doesn't wait: it is held back.
            return None;
        }
        let waited = oldest.map(|at| now.duration_since(at)).filter(|waited| *waited > ACK_PATIENCE)?;
        let message = format!(
            "cluster {}: the target's {} has not acknowledged records for {} s: a partition there has no leader or too few in-sync replicas",
            self.target.cluster.id,
            self.target_topic,
            waited.as_secs()
        );
        let since = SystemTime::now().checked_sub(waited).unwrap_or_else(SystemTime::now);
        Some(Cause { since, ..Cause::new(Reason::WAITING_FOR_CLUSTER, message) })
    }

    /// A partition's status with the state that its causes give it.
    fn settled(&self, partition: i32, fill: impl FnOnce(&mut PartitionStatus)) -> PartitionStatus {
        let mut status = PartitionStatus::new(partition, State::Active);
        fill(&mut status);
        let (records, bytes) = self.copied.get(&partition).copied().unwrap_or_default();
        status.records += records;
        status.bytes += bytes;
        if self.by_key {
            // What is copied lies in several partitions of the target.
            status.target_end = None;
        }
        let blocked = self.blocked.get(&partition).filter(|_| status.state == State::Stopped);
        if let Some(cause) = self.halted.get(&partition).or(blocked) {
            status.state = State::Stopped;
            status.cause = Some(cause.clone());
        }
        status
    }

    fn send(
        &mut self,
        mut partitions: Vec<PartitionStatus>,
        newest: BTreeMap<i32, i64>,
        waiting: Option<Cause>,
    ) {
        let stopped = partitions.iter().filter(|p| p.state == State::Stopped).count();
        let (state, cause) = match (stopped, waiting) {
            (0, None) => (State::Active, self.target.slowed().or_else(|| self.source.slowed())),
            (n, _) if n > 0 && n == partitions.len() => (State::Stopped, self.first_cause(&partitions)),
            (_, Some(cause)) => {
                for partition in partitions.iter_mut().filter(|p| p.state == State::Active) {
                    partition.state = State::Waiting;
                }
                (State::Waiting, Some(cause))
            }
            (_, None) => (State::Degraded, self.first_cause(&partitions)),
        };
        // What stops is said where it is found out; a cluster that is away is said once for all ranges.
        let is_said_elsewhere =
            state != State::Waiting || self.source.away().or(self.target.away()).is_some();
        match &cause {
            Some(_) if is_said_elsewhere => {}
            Some(cause) if self.said.trouble(cause.reason) => {
                tracing::warn!(task = %self.task, reason = %cause.reason, "{}", cause.message);
            }
            None if self.said.over() => tracing::info!(task = %self.task, "the range goes on"),
            _ => {}
        }
        self.sender.send_modify(|status| {
            let cause = cause.map(|cause| cause.continuing(status.cause.as_ref()));
            *status =
                LaneStatus { state, cause, partitions, newest, moved_by: status.moved_by, mode: status.mode };
        });
    }

    fn first_cause(&self, partitions: &[PartitionStatus]) -> Option<Cause> {
        let stopped = partitions.iter().filter(|p| p.state == State::Stopped);
        stopped
            .filter_map(|p| self.halted.get(&p.partition).or_else(|| self.blocked.get(&p.partition)))
            .next()
            .cloned()
    }
}

/// Whether it shows something that is over when nothing has moved for a while.
fn is_moving(status: &PartitionStatus) -> bool {
    status.records_per_second > 0.0 || status.latency_p50_ms.is_some()
}

/// What is known of a partition that doesn't move yet.
fn fill(status: &mut PartitionStatus, progress: &PartitionProgress) {
    status.position = Some(progress.position);
    status.target_end = Some(progress.chunk.target_end());
    status.gaps.clone_from(&progress.gaps);
}

fn measure(
    status: &mut PartitionStatus,
    account: &mut Account,
    seen: &Seen,
    ends: Option<(Ends, bool)>,
    now: Instant,
) {
    fill(status, &account.progress);
    status.position = Some(account.durable);
    status.enter(ends.map(|(ends, _)| ends), ends.is_some_and(|(_, answers)| answers));
    // The last stable offset is known where the reader met it; until the log grows it stays that.
    let end = match (seen.end, status.ends.map(|ends| ends.high_watermark)) {
        (Some((end, then)), Some(high)) if high <= then => Some(end),
        (_, high) => status.ends.and_then(|ends| ends.last_stable).or(high),
    };
    status.source_end = end.map(|end| SourceOffset(end).max(account.durable));
    let reading = account.meter.read(now);
    status.records_per_second = reading.records_per_second;
    status.bytes_per_second = reading.bytes_per_second;
    status.latency_p50_ms = Some(reading.p50_ms).filter(|ms| *ms > 0.0);
    status.latency_p99_ms = Some(reading.p99_ms).filter(|ms| *ms > 0.0);
    status.records = i64::try_from(account.meter.records).unwrap_or(i64::MAX);
    status.bytes = i64::try_from(account.meter.bytes).unwrap_or(i64::MAX);
    let age = account.newest.map(|(timestamp, acknowledged)| millis(acknowledged).saturating_sub(timestamp));
    status.record_age_ms = age.map(|age| age.max(0));
    if seen.stopped {
        status.state = State::Stopped;
    }
}
