//! What a range shows, whatever its lane does: the lane's own numbers, with how the source ends now or ended when it last answered,
//! the lag that follows, and why nothing comes: a source that doesn't answer, a transaction there that nobody ends.
//!
//! Lag, as metrics, with the labels of `metrics::partition`: no sample where it isn't known.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use tokio::time::Instant;
use twinlog_proto::id::SourceOffset;
use twinlog_proto::lag::Ends;
use twinlog_proto::reason::Reason;

use super::{LaneSpec, LaneStatus, Range};
use crate::board::TaskStatus;
use crate::cause::Cause;
use crate::cluster::ClusterHandle;
use crate::metrics::{Labels, LagMetrics};
use crate::source_ends::{Seen, Subscription};
use crate::status::{PartitionStatus, State};

/// What a range shows besides its lane's own numbers is looked at this often ...
const LOOK: Duration = Duration::from_millis(500);
/// ... and where it is copied to its end and the source answers, when the source says something else, and for its last answer's time.
const LOOK_AT_REST: Duration = Duration::from_secs(10);
/// A transaction that holds records back for less is in nobody's way: producers that commit every few seconds are common.
const HELD_AFTER: Duration = Duration::from_secs(5);
/// Who holds them is asked a little before.
const IDENTIFY_AFTER: Duration = Duration::from_secs(3);
/// Looking for the producer ends after this time.
const IDENTIFY_DEADLINE: Duration = Duration::from_secs(2);

pub(crate) struct LagView {
    source: Arc<ClusterHandle>,
    range: Range,
    subscription: Subscription,
    metrics: LagMetrics,
    /// Position, and when it moved last: also a sign that the source answers.
    moved: BTreeMap<i32, (Option<SourceOffset>, Instant)>,
    held: BTreeMap<i32, Held>,
    /// What was shown last changes with time alone.
    restless: bool,
}

/// A partition whose next record waits for the end of a transaction.
#[derive(Debug, Clone, Copy)]
struct Held {
    offset: i64,
    since: Instant,
    producer: Producer,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Producer {
    NotAsked,
    Asked,
    Known(i64),
}

/// Partition, offset, and the id of the producer whose batch stands there.
pub(crate) type Identified = (i32, i64, Option<i64>);

impl LagView {
    /// Must be called inside a tokio runtime.
    pub(crate) fn new(spec: &LaneSpec) -> Self {
        let (source, range) = (spec.source.clone(), spec.range.clone());
        Self {
            subscription: source.ends.subscribe(&source.client, &range.source_topic, range.partitions()),
            metrics: LagMetrics::new(Labels::new(&spec.mirror, &range.target_topic), range.block),
            source,
            range,
            moved: BTreeMap::new(),
            held: BTreeMap::new(),
            restless: true,
        }
    }

    /// Resolves when there is another thing to show than last, though the lane says nothing new.
    pub(crate) async fn changed(&self) {
        let due = tokio::time::sleep(if self.restless { LOOK } else { LOOK_AT_REST });
        tokio::select! {
            () = self.subscription.changed() => {}
            () = due => {}
        }
    }

    /// The range has grown.
    pub(crate) fn set_range(&mut self, range: &Range) {
        if range.partition_count != self.range.partition_count {
            let (source, partitions) = (&self.source, range.partitions());
            self.subscription = source.ends.subscribe(&source.client, &range.source_topic, partitions);
        }
        self.range = range.clone();
    }

    /// The lane's status and all that it doesn't know by itself.
    pub(crate) fn show(&mut self, lane: &LaneStatus) -> TaskStatus {
        let now = Instant::now();
        let mut known: BTreeMap<i32, PartitionStatus> =
            lane.partitions.iter().map(|status| (status.partition, status.clone())).collect();
        let mut partitions = Vec::with_capacity(known.len());
        self.restless = false;
        for partition in self.range.partitions() {
            let mut status =
                known.remove(&partition).unwrap_or_else(|| PartitionStatus::new(partition, lane.state));
            let cause = self.partition(&mut status, now);
            partitions.push((status, cause));
        }
        let is_at_rest = |status: &PartitionStatus| status.lag_records == Some(0) && !status.lag_at_least;
        self.restless |= !self.held.is_empty() || !partitions.iter().all(|(status, _)| is_at_rest(status));
        self.metrics.show(partitions.iter().map(|(status, _)| status), &lane.newest);
        summary(lane, partitions)
    }

    /// Enters what is known of the source; why its records don't come.
    fn partition(&mut self, status: &mut PartitionStatus, now: Instant) -> Option<Cause> {
        let partition = status.partition;
        let seen = self.source.ends.seen(&self.range.source_topic, partition)?;
        let moved = self.moved.entry(partition).or_insert((status.position, now));
        if moved.0 != status.position {
            *moved = (status.position, now);
        }
        let moving = status.state == State::Active && Some(moved.1) > Some(seen.since);
        let since = if moving { moved.1 } else { seen.since };
        let silent = Seen { since, ..seen.clone() }.is_silent(now);
        let ends = newest(status.ends, seen.ends);
        status.enter(ends, seen.ends.is_some() && !silent);
        // It may be away, which shows when it has failed to answer for a while.
        self.restless |= seen.failed.is_some();
        match seen.failed.filter(|_| silent) {
            Some(error) => {
                self.held.remove(&partition);
                Some(away(&self.source, error, now.duration_since(since)))
            }
            None => self.held(status, now),
        }
    }

    fn held(&mut self, status: &PartitionStatus, now: Instant) -> Option<Cause> {
        let partition = status.partition;
        let stable = status.ends.and_then(|ends| ends.last_stable);
        let (position, high) = (status.position.map(|at| at.0), status.ends.map(|ends| ends.high_watermark));
        let waits = status.state == State::Active && position >= stable && stable < high;
        let Some(offset) = stable.filter(|_| waits) else {
            self.held.remove(&partition);
            return None;
        };
        let fresh = Held { offset, since: now, producer: Producer::NotAsked };
        let held = self.held.entry(partition).or_insert(fresh);
        if held.offset != offset {
            *held = fresh;
        }
        let waited = now.duration_since(held.since);
        let since = SystemTime::now().checked_sub(waited).unwrap_or_else(SystemTime::now);
        let held = *held;
        (waited >= HELD_AFTER).then(|| self.held_back(partition, held, since))
    }

    fn held_back(&self, partition: i32, held: Held, since: SystemTime) -> Cause {
        let (topic, offset) = (&self.range.source_topic, held.offset);
        let cluster = &self.source.id;
        let servers = self.source.properties.bootstrap_servers().join(",");
        let producer = match held.producer {
            Producer::Known(id) => format!("producer id {id}"),
            _ => "a producer that could not be looked up".to_owned(),
        };
        let message = format!(
            "{topic} partition {partition} on cluster {cluster} is held back since {} at offset {offset} by an open transaction of {producer}: \
             what stands behind it can be read when the transaction ends. Where its producer is gone: kafka-transactions.sh \
             --bootstrap-server {servers} abort --topic {topic} --partition {partition} --start-offset {offset}",
            humantime::format_rfc3339_seconds(since),
        );
        Cause { since, ..Cause::new(Reason::HELD_BY_OPEN_TRANSACTION, message) }
    }

    /// A look at whose transaction holds a partition back, where that isn't known yet.
    pub(crate) fn identify(&mut self) -> Option<BoxFuture<'static, Identified>> {
        let unknown =
            |held: &Held| held.producer == Producer::NotAsked && held.since.elapsed() >= IDENTIFY_AFTER;
        let (partition, held) = self.held.iter_mut().find(|(_, held)| unknown(held))?;
        held.producer = Producer::Asked;
        let (partition, offset, topic) = (*partition, held.offset, self.range.source_topic.clone());
        let client = self.source.client.with_deadline(IDENTIFY_DEADLINE);
        Some(Box::pin(async move {
            (partition, offset, client.producer_at(&topic, partition, offset).await.ok().flatten())
        }))
    }

    pub(crate) fn identified(&mut self, (partition, offset, producer): Identified) {
        if let Some(held) = self.held.get_mut(&partition).filter(|held| held.offset == offset)
            && let Some(id) = producer
        {
            held.producer = Producer::Known(id);
        }
    }
}

/// The later look; of two at the running log the higher watermark.
fn newest(own: Option<Ends>, seen: Option<Ends>) -> Option<Ends> {
    match (own, seen) {
        (Some(own), Some(seen)) if own.seen > seen.seen => Some(own),
        (_, Some(seen)) => Some(seen),
        (own, None) => own,
    }
}

fn away(source: &ClusterHandle, error: crate::kafka::KafkaError, silent: Duration) -> Cause {
    let message = match error.reason {
        Reason::CLUSTER_UNREACHABLE => {
            let (cluster, servers) =
                (format!("cluster {}: ", source.id), source.properties.bootstrap_servers().join(","));
            let why = error.message.strip_prefix(&cluster).unwrap_or(&error.message);
            format!("{cluster}the source ({servers}) doesn't answer: {why}")
        }
        _ => error.message,
    };
    let since = SystemTime::now().checked_sub(silent).unwrap_or_else(SystemTime::now);
    Cause { since, ..Cause::new(error.reason, message) }
}

/// The state of the whole range. What keeps the lane itself from running comes first.
fn summary(lane: &LaneStatus, partitions: Vec<(PartitionStatus, Option<Cause>)>) -> TaskStatus {
    let (mut state, mut cause) = (lane.state, lane.cause.clone());
    let mut shown = Vec::with_capacity(partitions.len());
    let open = |status: &PartitionStatus| status.state != State::Stopped;
    let all = partitions.iter().filter(|(status, _)| open(status)).all(|(_, cause)| cause.is_some());
    let worst = partitions.iter().filter(|(status, _)| open(status)).filter_map(|(_, cause)| cause.as_ref());
    let first = worst.min_by_key(|cause| cause.reason == Reason::HELD_BY_OPEN_TRANSACTION).cloned();
    if let Some(first) = first
        && matches!(lane.state, State::Active | State::Pending)
    {
        state = if all { State::Waiting } else { State::Degraded };
        cause = Some(first);
    }
    for (mut status, why) in partitions {
        if matches!(status.state, State::Active | State::Pending)
            && let Some(why) = why
        {
            status.state = State::Waiting;
            status.cause = Some(why);
        }
        shown.push(status);
    }
    TaskStatus {
        partitions: shown,
        moved_by: lane.moved_by,
        mode: lane.mode,
        ..TaskStatus::new(state, cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(state: State) -> LaneStatus {
        LaneStatus {
            state,
            cause: None,
            partitions: Vec::new(),
            newest: BTreeMap::new(),
            moved_by: None,
            mode: None,
        }
    }

    fn part(partition: i32, state: State, why: Option<Reason>) -> (PartitionStatus, Option<Cause>) {
        (PartitionStatus::new(partition, state), why.map(|reason| Cause::new(reason, "why")))
    }

    #[test]
    fn a_range_is_active_only_while_its_source_answers() {
        use Reason::{HELD_BY_OPEN_TRANSACTION as HELD, WAITING_FOR_CLUSTER as AWAY};
        let whole = |lane_is, parts: &[(State, Option<Reason>)]| {
            let parts = parts.iter().enumerate().map(|(p, (state, why))| part(p as i32, *state, *why));
            let shown = summary(&lane(lane_is), parts.collect());
            (shown.state, shown.cause.map(|cause| cause.reason))
        };
        let active = State::Active;
        assert_eq!(whole(active, &[(active, None), (active, None)]), (active, None));
        assert_eq!(
            whole(active, &[(active, Some(AWAY)), (active, Some(AWAY))]),
            (State::Waiting, Some(AWAY))
        );
        assert_eq!(whole(active, &[(active, Some(AWAY)), (active, None)]), (State::Degraded, Some(AWAY)));
        assert_eq!(
            whole(active, &[(active, Some(HELD)), (active, Some(AWAY))]),
            (State::Waiting, Some(AWAY))
        );
        // A lane that is still starting says that its source is away; one that has stopped says why it has.
        assert_eq!(whole(State::Pending, &[(State::Pending, Some(AWAY))]), (State::Waiting, Some(AWAY)));
        assert_eq!(whole(State::Stopped, &[(State::Stopped, Some(AWAY))]), (State::Stopped, None));
        let held = summary(&lane(active), vec![part(0, active, Some(HELD)), part(1, active, None)]);
        assert_eq!((held.partitions[0].state, held.partitions[1].state), (State::Waiting, active));
    }

    #[test]
    fn the_later_look_at_the_source_counts() {
        let ends = |high_watermark, second| {
            let seen = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            Some(Ends { high_watermark, last_stable: None, seen })
        };
        assert_eq!(newest(ends(40, 1), ends(41, 2)), ends(41, 2));
        assert_eq!(newest(ends(40, 3), ends(41, 2)), ends(40, 3));
        assert_eq!(newest(ends(40, 3), None), ends(40, 3));
        assert_eq!(newest(None, ends(40, 3)), ends(40, 3));
    }
}
