//! A lane: one partition range while it runs in this worker, from source reader to target writer to progress.
//!
//! It owns one source consumer, one target producer and one thread for the hot path, shares no lock with other lanes, and
//! runs until it is drained, restarting itself with backoff on what heals.

pub(crate) mod control;
mod gather;
pub(crate) mod lag;
pub(crate) mod ledger;
mod meter;
mod missing;
mod old_format;
mod recover;
mod restored;
mod run;
mod slowed;
mod start;
mod start_group;
mod status;
mod tail;
mod take_over;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use twinlog_proto::id::{Epoch, TaskName, WorkerId};
use twinlog_proto::reason::Reason;
use twinlog_proto::{model, v1};
use uuid::Uuid;

use self::control::Control;
use self::run::Runner;
use crate::budget::Budget;
use crate::cause::Cause;
use crate::cluster::ClusterHandle;

pub use crate::offset_map::{SourcePosition, Translation, Translator};

/// Consecutive partitions of one topic: the unit of assignment, of fencing and of progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    pub source_topic: String,
    pub target_topic: String,
    pub block: u32,
    pub first_partition: i32,
    pub partition_count: i32,
    /// `None` where the source broker has no topic ids.
    pub source_topic_id: Option<Uuid>,
    /// `max.message.bytes` of the target topic, if known.
    pub target_max_message_bytes: Option<i32>,
    /// Partitions that the topic had when the mirror began with it; later ones are copied from their first record.
    pub initial_partitions: i32,
    /// As the survey saw it; `None` where the target broker has no topic ids, or the topic was just created.
    pub target_topic_id: Option<Uuid>,
}

impl Range {
    /// Numbers of its partitions.
    pub fn partitions(&self) -> impl Iterator<Item = i32> + use<> {
        self.first_partition..self.first_partition + self.partition_count
    }
}

/// Why a range from the wire can't be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("partition range: {field} {value:?} is not valid: {rule}")]
pub struct InvalidRange {
    pub field: &'static str,
    pub value: String,
    pub rule: &'static str,
}

impl TryFrom<&v1::PartitionRange> for Range {
    type Error = InvalidRange;

    fn try_from(wire: &v1::PartitionRange) -> Result<Self, InvalidRange> {
        let invalid =
            |field, value: &dyn ToString, rule| InvalidRange { field, value: value.to_string(), rule };
        for (field, value) in [("source_topic", &wire.source_topic), ("target_topic", &wire.target_topic)] {
            if value.is_empty() {
                return Err(invalid(field, value, "it must not be empty"));
            }
        }
        if wire.first_partition < 0 {
            return Err(invalid("first_partition", &wire.first_partition, "it must not be negative"));
        }
        if wire.partition_count < 1 || wire.partition_count > model::MAX_BLOCK_SIZE {
            return Err(invalid("partition_count", &wire.partition_count, "it must be 1 to 256"));
        }
        let block = u32::try_from(wire.block)
            .map_err(|_| invalid("block", &wire.block, "it must not be negative"))?;
        let topic_id = |field, text: &str| match text {
            "" => Ok(None),
            text => Uuid::parse_str(text).map(Some).map_err(|_| invalid(field, &text, "it must be a UUID")),
        };
        let source_topic_id = topic_id("source_topic_id", &wire.source_topic_id)?;
        let target_topic_id = topic_id("target_topic_id", &wire.target_topic_id)?;
        Ok(Self {
            source_topic: wire.source_topic.clone(),
            target_topic: wire.target_topic.clone(),
            block,
            first_partition: wire.first_partition,
            partition_count: wire.partition_count,
            source_topic_id,
            target_max_message_bytes: Some(wire.target_max_message_bytes).filter(|n| *n > 0),
            initial_partitions: wire.initial_partitions,
            target_topic_id,
        })
    }
}

/// Everything a lane needs to know.
#[derive(Clone)]
pub struct LaneSpec {
    pub task: TaskName,
    pub epoch: Epoch,
    pub worker: WorkerId,
    pub mirror: Arc<model::Mirror>,
    pub range: Range,
    pub source: Arc<ClusterHandle>,
    pub target: Arc<ClusterHandle>,
}

/// How a lane is doing.
#[derive(Debug, Clone)]
pub struct LaneStatus {
    pub state: v1::State,
    pub cause: Option<Cause>,
    /// What a lane knows by itself: positions, rates, and the source's ends where it has met them. `lag` adds the rest.
    pub partitions: Vec<v1::PartitionStatus>,
    /// Of the newest copied record of a partition, milliseconds since 1970.
    pub(crate) newest: BTreeMap<i32, i64>,
}

/// A running lane. Dropping the handle drains it without waiting.
pub struct LaneHandle {
    control: Arc<Control>,
    status: watch::Receiver<LaneStatus>,
    /// The lane's thread holds the other end until it is done.
    done: watch::Receiver<()>,
}

/// Starts a lane; it runs until drained, restarting itself with backoff on what heals. Must be called inside a tokio runtime.
///
/// # Errors
/// The system gives this process no more threads.
pub fn start(spec: LaneSpec, budget: &Arc<Budget>) -> Result<LaneHandle, Cause> {
    let control = Arc::new(Control::new(spec.mirror.clone(), spec.range.clone()));
    let starting = Cause::new(Reason::STARTING, "the lane is connecting");
    let (status_sender, status) = watch::channel(LaneStatus {
        state: v1::State::Pending,
        cause: Some(starting),
        partitions: Vec::new(),
        newest: BTreeMap::new(),
    });
    let (done_sender, done) = watch::channel(());
    let runner = Runner::new(spec, control.clone(), budget, status_sender);
    let started = std::thread::Builder::new().name("lane".to_owned()).spawn(move || {
        runner.run();
        drop(done_sender);
    });
    match started {
        Ok(_) => Ok(LaneHandle { control, status, done }),
        Err(error) => Err(Cause::new(
            Reason::THREADS_LIMIT,
            format!(
                "no thread for this range: {error}. The system limits how many threads this worker may have: raise that (`ulimit -u`, \
                 TasksMax of a systemd unit, the container's pids limit) or add workers"
            ),
        )),
    }
}

impl LaneHandle {
    pub fn status(&self) -> watch::Receiver<LaneStatus> {
        self.status.clone()
    }

    /// The epoch in progress on the target that is later than this lane's own, once it was found: then the lane is fenced until it
    /// is started with a later one.
    pub fn later_epoch(&self) -> Option<Epoch> {
        self.control.later_epoch()
    }

    /// Stops fetching, commits what is in flight, and closes.
    pub fn drain(&self) {
        self.control.drain();
    }

    /// Resolves when this lane will never write again.
    pub async fn stopped(&mut self) {
        while self.done.changed().await.is_ok() {}
    }

    /// The range may grow (a topic gained partitions) and hints or the mirror's mutable settings may change without a new
    /// epoch. The lane commits what is in flight and goes on with the new ones.
    pub fn update(&self, mirror: Arc<model::Mirror>, range: Range) {
        self.control.update(mirror, range);
    }
}

impl Drop for LaneHandle {
    fn drop(&mut self) {
        self.control.drain();
    }
}
