//! Heartbeats: MM2's records, one per interval, that show that a flow is alive.
//!
//! MM2's tools read a cluster's topic names: `heartbeats` on the source, mirrored as `<source>.heartbeats`, is what makes
//! `MirrorClient.replicationHops(source)` and `upstreamClusters()` on the target answer. MM2 needs the reverse flow's connector to
//! write `heartbeats` on the source; one Twinlog mirror does both itself:
//!
//! - on the target, `heartbeats`, as MM2's flow does: it says that the flow is up and that the target can be written to, and
//!   the next flow from there carries it on;
//! - on the source, `heartbeats` too. Mirrored like any topic it arrives as `<source>.heartbeats`, and the time in it is when it
//!   was emitted: the age of the newest one is the delay of the whole path, a read of the source included.
//!
//! Both carry the key (source, target): it names the flow that emits, so several flows share a topic and compaction keeps one
//! record of each. A mirror's principal often may not write to the source. Then the second one is left out, which the task's
//! status says; nothing else depends on it. `heartbeats.on_source = false` leaves it out silently.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::time::MissedTickBehavior;
use twinlog_proto::model::Mirror;

use crate::board::{StatusCell, TaskStatus, state_of};
use crate::cause::Cause;
use crate::cluster::ClusterHandle;
use crate::flow::Ends;
use crate::kafka::KafkaError;
use crate::metrics;
use crate::mm2;
use crate::produce::{Producer, Record, millis};
use crate::status::State;
use crate::survey::internal::{self, HEARTBEATS};

/// Beats between two tries where it can't succeed unless somebody acts: a permission, a replication factor.
const REFUSED_PAUSE_BEATS: u32 = 30;

/// Emits until it is dropped.
pub async fn run(mirror: Arc<Mirror>, ends: Ends, status: &StatusCell) {
    let key = mm2::heartbeat_key(mirror.policy.source_alias(), mirror.policy.target_alias())
        .expect("aliases have at most 64 characters");
    let last = Mutex::new((None, None));
    let said = |change: &dyn Fn(&mut Failures)| {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut last);
        status.set(summary(&last));
    };
    // Each at its own pace: a source that hangs delays no beat on the target.
    let (target, source) = (Side::new("target", ends.target), Side::new("source", ends.source));
    let on_target = target.run(&mirror, &key, |result| said(&|last| last.0 = result.clone().err()));
    if mirror.heartbeats_on_source {
        let on_source = source.run(&mirror, &key, |result| said(&|last| last.1 = result.clone().err()));
        tokio::join!(on_target, on_source);
    } else {
        on_target.await;
    }
}

/// Why the last beat failed, on the target and on the source.
type Failures = (Option<KafkaError>, Option<KafkaError>);

/// The target counts; the source is only mentioned.
fn summary(failures: &Failures) -> TaskStatus {
    match failures {
        (Some(error), _) => TaskStatus::new(state_of(error), Some(error.clone().into())),
        (None, Some(error)) => {
            let message = format!("no heartbeats are written to the source: {}", error.message);
            TaskStatus::new(State::Active, Some(Cause::new(error.reason, message)))
        }
        (None, None) => TaskStatus::new(State::Active, None),
    }
}

/// One of the two clusters.
struct Side {
    name: &'static str,
    cluster: Arc<ClusterHandle>,
    producer: Producer,
    /// The topic is there.
    ready: bool,
    refused: Option<(KafkaError, u32)>,
}

impl Side {
    fn new(name: &'static str, cluster: Arc<ClusterHandle>) -> Self {
        let producer = Producer::new(&cluster);
        Self { name, cluster, producer, ready: false, refused: None }
    }

    async fn run(mut self, mirror: &Mirror, key: &[u8], said: impl Fn(Result<(), KafkaError>)) {
        let mut ticks = tokio::time::interval(mirror.heartbeat_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = millis(SystemTime::now());
            let record = Record { key: key.to_vec(), value: mm2::heartbeat_value(now), timestamp_ms: now };
            said(self.beat_unless_refused(mirror, &record).await);
        }
    }

    async fn beat(&mut self, mirror: &Mirror, record: &Record) -> Result<(), KafkaError> {
        let result = self.try_beat(mirror, record).await;
        metrics::heartbeat(&mirror.id, self.name, result.is_ok());
        if result.is_err() {
            // The topic may be gone.
            self.ready = false;
        }
        result
    }

    /// Doesn't ask again at every beat where it was refused.
    async fn beat_unless_refused(&mut self, mirror: &Mirror, record: &Record) -> Result<(), KafkaError> {
        if let Some((error, beats)) = &mut self.refused {
            *beats += 1;
            if *beats < REFUSED_PAUSE_BEATS {
                return Err(error.clone());
            }
        }
        let result = self.beat(mirror, record).await;
        self.refused = match &result {
            Err(error) if !error.retriable => Some((error.clone(), 0)),
            _ => None,
        };
        result
    }

    async fn try_beat(&mut self, mirror: &Mirror, record: &Record) -> Result<(), KafkaError> {
        if !self.ready {
            internal::ensure_topic(&self.cluster.client, &internal::heartbeats(mirror)).await?;
            self.ready = true;
        }
        self.producer.send_all(HEARTBEATS, 0, std::slice::from_ref(record)).await
    }
}
