//! What a lane asks the clusters before it starts: topics, ends of partitions, leader epochs.

use std::collections::{HashMap, HashSet};

use twinlog_proto::model::{Partitioning, Start};
use twinlog_proto::reason::Reason;

use super::place::Place;
use super::questions::Questions;
use super::start::Facts;
use super::tail::{self, Owners};
use super::{LaneSpec, Range};
use crate::cause::Cause;
use crate::cluster::ClusterHandle;
use crate::kafka::{KafkaError, ListedOffset, OffsetSpec, TopicMetadata};
use crate::offset_map::progress_of_others;
use crate::progress::{PartitionProgress, RangeProgress};

type Listed = HashMap<(String, i32), Result<ListedOffset, KafkaError>>;

/// What the clusters say.
pub(super) struct Gathered {
    /// For every partition of the range, in its order.
    pub(super) facts: Vec<Facts>,
    pub(super) target_partitions: i32,
    /// Kafka's id; empty where the broker doesn't tell, or the target has the same.
    pub(super) source_cluster_id: String,
}

/// Asks both clusters only whether the range can run.
///
/// # Errors
/// What keeps it from running.
pub(super) async fn look(spec: &LaneSpec, range: &Range) -> Result<(), Cause> {
    topics(spec, range).await.map(drop)
}

/// The source's and the target's topic, with what the range needs.
async fn topics(spec: &LaneSpec, range: &Range) -> Result<(TopicMetadata, TopicMetadata), Cause> {
    let (source_topic, target_topic) =
        tokio::join!(topic(&spec.source, &range.source_topic), topic(&spec.target, &range.target_topic),);
    let source_topic =
        source_topic.map_err(|e| missing(e, Reason::SOURCE_TOPIC_DELETED, "source", &range.source_topic))?;
    let target_topic =
        target_topic.map_err(|e| missing(e, Reason::TARGET_TOPIC_MISSING, "target", &range.target_topic))?;
    enough(&source_topic, range, Reason::SOURCE_TOPIC_DELETED, "source")?;
    if spec.mirror.partitioning != Partitioning::ByKey {
        enough(&target_topic, range, Reason::TARGET_HAS_FEWER_PARTITIONS, "target")?;
    }
    Ok((source_topic, target_topic))
}

/// Asks both clusters, all at once.
///
/// # Errors
/// What keeps the range as a whole from running.
#[expect(clippy::too_many_lines, reason = "one question beside the other, to be asked at once")]
pub(super) async fn gather(
    spec: &LaneSpec,
    range: &Range,
    progress: Option<&RangeProgress>,
    owners: &[Place<'_>],
) -> Result<Gathered, Cause> {
    let (found, source_cluster_id) = tokio::join!(topics(spec, range), source_cluster_id(spec));
    let source_cluster_id = source_cluster_id?;
    same_source(spec, progress, &source_cluster_id)?;
    let (source_topic, target_topic) = found?;
    let by_key = spec.mirror.partitioning == Partitioning::ByKey;
    let topic_id = source_topic.topic_id.map(|id| id.to_string()).unwrap_or_default();
    let partitions: Vec<i32> = range.partitions().collect();
    let known = |p: &i32| progress.and_then(|progress| progress.partitions.get(p));

    let source = &spec.source.client;
    let list = |at| offsets(&spec.source, &range.source_topic, &partitions, at);
    let epochs: Vec<(String, i32, i32)> = partitions
        .iter()
        .filter_map(|p| Some((range.source_topic.clone(), *p, known(p)?.leader_epoch)))
        .filter(|(_, _, epoch)| *epoch >= 0)
        .collect();
    let start = match spec.mirror.start {
        _ if progress.is_some() => None,
        Start::Earliest | Start::Latest => None,
        Start::Timestamp(ms) => Some(OffsetSpec::Timestamp(ms)),
    };
    let (earliest, latest, started, ends, target_ends) = tokio::join!(
        list(OffsetSpec::Earliest),
        list(OffsetSpec::Latest),
        async {
            match start {
                Some(at) => list(at).await,
                None => Ok(Listed::new()),
            }
        },
        async {
            match epochs.is_empty() {
                true => Ok(HashMap::new()),
                false => source.offset_for_leader_epoch(&epochs).await,
            }
        },
        // By key copies go to all partitions.
        async {
            let all: Vec<i32> = target_topic.partitions.iter().map(|p| p.partition).collect();
            let partitions = if by_key { &all } else { &partitions };
            let list = |spec_of| offsets(&spec.target, &range.target_topic, partitions, spec_of);
            tokio::try_join!(list(OffsetSpec::Earliest), list(OffsetSpec::Latest))
        },
    );
    let (earliest, latest, started, ends) = (earliest?, latest?, started?, ends?);
    let (target_starts, target_ends) = target_ends?;

    let at = |listed: &Listed, topic: &str, partition: i32| -> Result<i64, Cause> {
        match listed.get(&(topic.to_owned(), partition)) {
            Some(Ok(found)) => Ok(found.offset),
            Some(Err(error)) => Err(error.clone().into()),
            None => Err(Cause::new(
                Reason::KAFKA_ERROR,
                format!("the broker did not list offsets of {topic} partition {partition}"),
            )),
        }
    };
    let copy = |partition: i32| -> Result<(i64, i64), Cause> {
        let start = at(&target_starts, &range.target_topic, partition)?;
        Ok((start, at(&target_ends, &range.target_topic, partition)?))
    };
    // Heartbeats come from every mirror of a flow, and only the newest counts.
    let shared = spec.mirror.policy.is_heartbeats_topic(&range.source_topic);
    let whole = match by_key && progress.is_none() && !shared {
        true => held_by_key(spec, range, &target_topic, copy).await?,
        false => 0,
    };
    let target_topic_id = target_topic.topic_id.map(|id| id.to_string()).unwrap_or_default();
    let owners = Owners::new(&spec.target.client, owners);
    let mut foreign = HashMap::new();
    for (partition, known) in partitions.iter().filter_map(|p| Some((*p, known(p)?))) {
        if by_key || shared || spec.mirror.allow_foreign_writes {
            continue;
        }
        let Some(from) = look_from(known, &target_topic_id, copy(partition)?) else { continue };
        let place = Place { topic: &range.target_topic, partition };
        foreign.insert(partition, owners.foreign(place, (from, copy(partition)?.1)).await?);
    }
    let mut marked = HashSet::new();
    for partition in partitions.iter().filter(|p| known(p).is_none() && !by_key && !shared) {
        let (start, end) = copy(*partition)?;
        let place = Place { topic: &range.target_topic, partition: *partition };
        if start < end && tail::holds_nothing(&spec.target.client, place, (start, end)).await? {
            marked.insert(*partition);
        }
    }
    let facts = partitions
        .iter()
        .map(|partition| {
            let earliest = at(&earliest, &range.source_topic, *partition)?;
            let latest = at(&latest, &range.source_topic, *partition)?;
            let start = match spec.mirror.start {
                // It joins a range which has run before.
                _ if progress.is_some() => earliest,
                Start::Earliest => earliest,
                // It came after the mirror began: all of it has arrived since.
                Start::Latest if *partition >= range.initial_partitions => earliest,
                Start::Latest => latest,
                // No record is that young: the next one will be.
                Start::Timestamp(_) => match at(&started, &range.source_topic, *partition)? {
                    -1 => latest,
                    found => found,
                },
            };
            let epoch_end = match ends.get(&(range.source_topic.clone(), *partition)) {
                Some(Ok(end)) => Some(end.end_offset),
                // Brokers before 2.1 can't tell; anything worse shows when fetching.
                _ => None,
            };
            // By key no partition of the target belongs to one of the source.
            let (target_start, target_end) = if by_key { (0, 0) } else { copy(*partition)? };
            Ok(Facts {
                earliest,
                latest,
                topic_id: topic_id.clone(),
                epoch_end,
                others_from: None,
                start,
                target_start,
                target_end,
                target_kept: None,
                target_topic_id: target_topic_id.clone(),
                holds: if shared || marked.contains(partition) {
                    0
                } else {
                    whole.max(target_end - target_start)
                },
                foreign: foreign.get(partition).copied().flatten(),
            })
        })
        .collect::<Result<_, Cause>>()?;
    let target_partitions = i32::try_from(target_topic.partitions.len()).unwrap_or(i32::MAX);
    Ok(Gathered { facts, target_partitions, source_cluster_id })
}

/// From where on the target's log is not known; `None` where all of it is, or nobody has noted what is.
fn look_from(known: &PartitionProgress, topic_id: &str, (start, end): (i64, i64)) -> Option<i64> {
    let another = !known.target_topic_id.is_empty() && known.target_topic_id != topic_id;
    let from = if another { start } else { known.target_known?.0.max(start) };
    (from < end).then_some(from)
}

/// What a topic holds that copies are to be spread over, offsets; 0 where another range of this mirror has begun to.
async fn held_by_key(
    spec: &LaneSpec,
    range: &Range,
    topic: &TopicMetadata,
    copy: impl Fn(i32) -> Result<(i64, i64), Cause>,
) -> Result<i64, Cause> {
    let mut holds = 0;
    for partition in &topic.partitions {
        let (start, end) = copy(partition.partition)?;
        holds += end - start;
    }
    match holds > 0 && progress_of_others(&spec.target, &spec.mirror.id, &range.target_topic).await? {
        true => Ok(0),
        false => Ok(holds),
    }
}

async fn source_cluster_id(spec: &LaneSpec) -> Result<String, KafkaError> {
    let (source, target) = (Questions::of(&spec.source), Questions::of(&spec.target));
    let (source, target) = tokio::try_join!(source.cluster_id(), target.cluster_id())?;
    let shared = source == target;
    Ok(source.filter(|_| !shared).unwrap_or_default())
}

fn same_source(spec: &LaneSpec, progress: Option<&RangeProgress>, now: &str) -> Result<(), Cause> {
    let before = progress.map_or("", |progress| &progress.source_cluster_id);
    match before.is_empty() || now.is_empty() || before == now {
        true => Ok(()),
        false => Err(crate::survey::source_changed(&spec.mirror, before, now)),
    }
}

async fn topic(cluster: &ClusterHandle, name: &str) -> Result<TopicMetadata, KafkaError> {
    Questions::of(cluster).topic(name).await
}

fn missing(error: KafkaError, reason: Reason, role: &str, topic: &str) -> Cause {
    if error.reason != Reason::TOPIC_NOT_FOUND {
        return error.into();
    }
    Cause::new(
        reason,
        format!("{topic} does not exist on the {role} cluster; the range goes on when it is there again"),
    )
}

fn enough(topic: &TopicMetadata, range: &Range, reason: Reason, role: &str) -> Result<(), Cause> {
    let (have, need) = (topic.partitions.len(), range.first_partition + range.partition_count);
    if i64::try_from(have).unwrap_or(i64::MAX) >= i64::from(need) {
        return Ok(());
    }
    let name = &topic.name;
    Err(Cause::new(
        reason,
        format!(
            "{name} has {have} partitions on the {role} cluster, {need} are needed: add partitions there"
        ),
    ))
}

async fn offsets(
    cluster: &ClusterHandle,
    topic: &str,
    partitions: &[i32],
    at: OffsetSpec,
) -> Result<Listed, KafkaError> {
    Questions::of(cluster).offsets(topic, partitions, at).await
}
