//! Metrics of a worker, for Prometheus. The table below is the documentation: it becomes the HELP text of `/metrics`.
//!
//! Units are in the names (`_seconds`, `_bytes`); `_total` only grows. Labels: `mirror` (id), `kind` (of a task or question),
//! `state` (as in the API), `reason` (as in the API), `side` (source, target), `shard`. In one process with a controller both
//! write to the one recorder that the process has. What there is per partition is in `partition`.

mod partition;
mod server;

use std::collections::BTreeMap;
use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use twinlog_proto::id::{MirrorId, TaskName};
use twinlog_proto::model::Mirror;
use twinlog_proto::reason::Reason;

use crate::assignments::Version;
use crate::board::Board;
use crate::budget::Budget;
use crate::inventory::Inventory;
use crate::status::{ForthState, GroupStatus};

pub(crate) use partition::{Labels, LagMetrics, PartitionMetrics};
pub(crate) use server::{install, refresh, serve};

const SESSION_CONNECTED: &str = "twinlog_worker_session_connected";
const SESSIONS: &str = "twinlog_worker_sessions_total";
const REFUSED: &str = "twinlog_worker_assignments_refused_total";
const TERM: &str = "twinlog_worker_assignment_term";
const GENERATION: &str = "twinlog_worker_assignment_generation";
const TASKS: &str = "twinlog_worker_tasks";
const RESIDENT: &str = "twinlog_worker_resident_memory_bytes";
const RESERVED: &str = "twinlog_worker_record_memory_reserved_bytes";
const RECORD_LIMIT: &str = "twinlog_worker_record_memory_limit_bytes";
const SURVEY: &str = "twinlog_survey_seconds";
const SURVEY_FAILURES: &str = "twinlog_survey_failures_total";
const SURVEY_TOPICS: &str = "twinlog_survey_topics";
const DRIFT: &str = "twinlog_drift";
const DRIFT_MENDED: &str = "twinlog_drift_mended_total";
const CHECKPOINT: &str = "twinlog_checkpoint_seconds";
const CHECKPOINT_FAILURES: &str = "twinlog_checkpoint_failures_total";
const CHECKPOINT_RECORDS: &str = "twinlog_checkpoint_records_total";
const CHECKPOINT_LATENCY: &str = "twinlog_checkpoint_latency_seconds";
const CHECKPOINT_GROUPS: &str = "twinlog_checkpoint_groups";
const HEARTBEATS: &str = "twinlog_heartbeats_total";
const HEARTBEAT_FAILURES: &str = "twinlog_heartbeat_failures_total";
const QUERY: &str = "twinlog_query_seconds";
const QUERY_FAILURES: &str = "twinlog_query_failures_total";

/// Buckets of every histogram, seconds.
const BUCKETS: &[f64] = &[0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Buckets of what is counted from a record's own timestamp, seconds: it may be days old.
const AGE_BUCKETS: &[f64] = &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0, 86400.0];
/// Everything a group can be; those that none is in are 0.
const GROUP_STATES: [ForthState; 6] = [
    ForthState::Synced,
    ForthState::AtCopyEnd,
    ForthState::ActiveOnTarget,
    ForthState::AheadOnTarget,
    ForthState::NotSynced,
    ForthState::Waiting,
];

pub(crate) fn describe() {
    partition::describe();
    describe_gauge!(SESSION_CONNECTED, "1 while a controller has welcomed this worker, else 0");
    describe_counter!(SESSIONS, "Sessions opened; more than one means reconnects");
    describe_counter!(REFUSED, "Assignment sets refused, whole or in part, by reason");
    describe_gauge!(TERM, "Leader's term of the newest accepted assignments");
    describe_gauge!(GENERATION, "Generation of the newest accepted assignments");
    describe_gauge!(TASKS, "Tasks that run or drain here, by kind and state");
    describe_gauge!(RESIDENT, "Resident memory of the process, bytes");
    describe_gauge!(RESERVED, "Record memory that lanes have reserved, bytes");
    describe_gauge!(RECORD_LIMIT, "Bound of the record memory, bytes");
    describe_histogram!(SURVEY, "Duration of one survey, seconds");
    describe_counter!(SURVEY_FAILURES, "Surveys that failed, by reason");
    describe_gauge!(
        SURVEY_TOPICS,
        "Selected topics: copied, or blocked (with a cause in the mirror's status)"
    );
    describe_gauge!(DRIFT, "Configs and ACLs (kind) of target topics that differ and could not be mended");
    describe_counter!(DRIFT_MENDED, "Configs and ACLs (kind) of target topics that were brought in step");
    describe_histogram!(CHECKPOINT, "Duration of one round over the groups of a shard, seconds");
    describe_counter!(CHECKPOINT_FAILURES, "Rounds that failed, by reason");
    describe_counter!(CHECKPOINT_RECORDS, "Checkpoint records written");
    describe_histogram!(
        CHECKPOINT_LATENCY,
        "From reading groups' offsets to the acknowledgement of their checkpoints, seconds"
    );
    describe_gauge!(CHECKPOINT_GROUPS, "Consumer groups, by shard and state");
    describe_counter!(HEARTBEATS, "Heartbeats acknowledged, by side");
    describe_counter!(HEARTBEAT_FAILURES, "Heartbeats not acknowledged, by side");
    describe_histogram!(QUERY, "Time to answer a question, seconds, by kind");
    describe_counter!(QUERY_FAILURES, "Questions that could not be answered, by kind and reason");
}

pub(crate) fn session_connected(connected: bool) {
    gauge!(SESSION_CONNECTED).set(if connected { 1.0 } else { 0.0 });
}

pub(crate) fn session_opened() {
    counter!(SESSIONS).increment(1);
}

pub(crate) fn assignments_refused(reason: Reason) {
    counter!(REFUSED, "reason" => reason.as_str()).increment(1);
}

pub(crate) fn assignments_seen(version: Version) {
    gauge!(TERM).set(version.term.0 as f64);
    gauge!(GENERATION).set(version.generation.0 as f64);
}

pub(crate) fn survey_round(mirror: &MirrorId, took: Duration, failed: Option<Reason>) {
    histogram!(SURVEY, "mirror" => mirror.to_string()).record(took);
    if let Some(reason) = failed {
        counter!(SURVEY_FAILURES, "mirror" => mirror.to_string(), "reason" => reason.as_str()).increment(1);
    }
}

pub(crate) fn survey_topics(mirror: &MirrorId, inventory: &Inventory) {
    let blocked = inventory.topics.iter().filter(|t| t.blocked.is_some()).count();
    let copied = inventory.topics.len() - blocked;
    gauge!(SURVEY_TOPICS, "mirror" => mirror.to_string(), "state" => "copied").set(copied as f64);
    gauge!(SURVEY_TOPICS, "mirror" => mirror.to_string(), "state" => "blocked").set(blocked as f64);
}

pub(crate) fn drift(mirror: &MirrorId, kind: &'static str, open: usize) {
    gauge!(DRIFT, "mirror" => mirror.to_string(), "kind" => kind).set(open as f64);
}

pub(crate) fn drift_mended(mirror: &MirrorId, kind: &'static str, count: u64) {
    counter!(DRIFT_MENDED, "mirror" => mirror.to_string(), "kind" => kind).increment(count);
}

pub(crate) fn checkpoint_round(mirror: &MirrorId, took: Duration, failed: Option<Reason>) {
    histogram!(CHECKPOINT, "mirror" => mirror.to_string()).record(took);
    if let Some(reason) = failed {
        counter!(CHECKPOINT_FAILURES, "mirror" => mirror.to_string(), "reason" => reason.as_str())
            .increment(1);
    }
}

/// Checkpoint records were acknowledged, this long after the groups' offsets had been fetched.
pub(crate) fn checkpoint_records(mirror: &Mirror, count: usize, latency: Duration) {
    counter!(CHECKPOINT_RECORDS, "mirror" => mirror.id.to_string()).increment(count as u64);
    if count > 0 {
        histogram!(CHECKPOINT_LATENCY, "mirror" => mirror.id.to_string(),
            "source" => mirror.source.to_string(), "target" => mirror.target.to_string())
        .record(latency);
    }
}

pub(crate) fn checkpoint_groups(mirror: &MirrorId, shard: u32, groups: &[GroupStatus]) {
    for state in GROUP_STATES {
        let count = groups.iter().filter(|g| g.state == state).count();
        gauge!(CHECKPOINT_GROUPS, "mirror" => mirror.to_string(), "shard" => shard.to_string(), "state" => state.as_str())
            .set(count as f64);
    }
}

pub(crate) fn heartbeat(mirror: &MirrorId, side: &'static str, acknowledged: bool) {
    let name = if acknowledged { HEARTBEATS } else { HEARTBEAT_FAILURES };
    counter!(name, "mirror" => mirror.to_string(), "side" => side).increment(1);
}

pub(crate) fn query(kind: &'static str, took: Duration, failed: Option<Reason>) {
    histogram!(QUERY, "kind" => kind).record(took);
    if let Some(reason) = failed {
        counter!(QUERY_FAILURES, "kind" => kind, "reason" => reason.as_str()).increment(1);
    }
}

/// Tasks per kind and state, as they were last set: what has gone must be set to 0 once.
#[derive(Default)]
pub(crate) struct Gauges(BTreeMap<(&'static str, &'static str), f64>);

impl Gauges {
    /// Sets every gauge that is a view of the present.
    pub(crate) fn refresh(&mut self, board: &Board, budget: &Budget) {
        gauge!(RESIDENT).set(resident_bytes() as f64);
        gauge!(RESERVED).set(budget.reserved() as f64);
        gauge!(RECORD_LIMIT).set(budget.bytes() as f64);
        self.0.values_mut().for_each(|count| *count = 0.0);
        for (name, running) in board.running() {
            let state = running.status.borrow().state.as_str();
            *self.0.entry((kind(&name), state)).or_default() += 1.0;
        }
        for ((kind, state), count) in &self.0 {
            gauge!(TASKS, "kind" => *kind, "state" => *state).set(*count);
        }
    }
}

fn kind(name: &TaskName) -> &'static str {
    match name {
        TaskName::Survey { .. } => "survey",
        TaskName::Replicate { .. } => "replicate",
        TaskName::Checkpoint { .. } => "checkpoint",
        TaskName::Heartbeat { .. } => "heartbeat",
    }
}

/// Resident memory of this process, bytes; 0 where the system doesn't tell.
pub(crate) fn resident_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|field| field.parse().ok()).unwrap_or(0);
    pages * PAGE_BYTES
}
