//! Where a group, or given offsets, would go on, on the other side.
//!
//! Failing over is when this is asked: a source that is gone must not stand in the way. What only it knows is taken from the group's
//! last checkpoints on the target, with their time; the map is on the target anyway.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use twinlog_proto::id::{SourceOffset, TargetOffset};
use twinlog_proto::model::Mirror;
use twinlog_proto::reason::Reason;

use super::asked::Asked;
use super::question::{Flow, Positions};
use super::reach;
use crate::cause::Cause;
use crate::checkpoint;
use crate::cluster::ClusterHandle;
use crate::flow::Ends;
use crate::kafka::{CommittedOffset, KafkaClient, KafkaError};
use crate::lane::{SourcePosition, Translation, Translator};
use crate::topic::TopicPartition;

/// Explicit offsets in one question.
const MAX_OFFSETS: usize = 10_000;

/// What came of a translation.
#[derive(Debug)]
pub struct Translated {
    pub offsets: Vec<TranslatedOffset>,
    /// Why the source could not be asked.
    pub unasked: Option<Cause>,
}

#[derive(Debug)]
pub struct TranslatedOffset {
    /// `None` where the target topic is no copy.
    pub source_topic: Option<String>,
    pub partition: i32,
    pub source_offset: Option<SourceOffset>,
    /// `None` where the source topic isn't copied.
    pub target_topic: Option<String>,
    pub target_offset: Option<TargetOffset>,
    /// Why there is no offset on the other side.
    pub not: Option<Not>,
    pub metadata: String,
    /// When the group was seen at this place, where that was not now.
    pub as_of: Option<SystemTime>,
}

#[derive(Debug)]
pub struct Not {
    pub reason: Reason,
    pub message: String,
}

/// A position on the source.
struct Place {
    committed: CommittedOffset,
    /// When the group was there, if that isn't now.
    as_of: Option<SystemTime>,
}

impl From<CommittedOffset> for Place {
    fn from(committed: CommittedOffset) -> Self {
        Self { committed, as_of: None }
    }
}

/// From positions on the source to the copies.
///
/// # Errors
/// The target can't be asked; nor can the source, and the target has no checkpoint of the group.
pub(super) async fn to_target(
    asked: &Asked<'_>,
    flow: Result<Flow, Cause>,
    Positions { group, offsets }: &Positions,
) -> Result<Translated, Cause> {
    let (mirror, ends) = asked.flow(flow)?;
    let soon = ends.source.client.with_deadline(reach::SOON);
    let (given, open) = tokio::join!(positions(&ends.source, &soon, group, offsets), open(&mirror, &ends),);
    let translator = open?;
    let (places, unasked) = match given? {
        Ok(committed) => (committed.into_iter().map(Place::from).collect(), None),
        Err(error) => last_known(&mirror, &ends, group, error).await?,
    };
    let topics = places.iter().map(|place: &Place| place.committed.topic.clone()).collect();
    let unasked = match unasked {
        Some(error) => Some(error),
        None => translator.look(&soon, topics).await.err(),
    };
    let wanted = places.iter().map(|Place { committed: c, .. }| {
        (TopicPartition::new(&c.topic, c.partition), SourceOffset(c.offset))
    });
    let wanted: Vec<_> = wanted.collect();
    let source = unasked.as_ref().map_or(Ok(()), Err);
    let translations = translator.translate(&wanted, source).await;
    let offsets = places.into_iter().zip(translations).map(|(p, t)| translated(&mirror, p, t)).collect();
    Ok(Translated { offsets, unasked: unasked.map(Cause::from) })
}

/// From positions in the copies on the target to the source.
pub(super) async fn to_source(
    asked: &Asked<'_>,
    flow: Result<Flow, Cause>,
    Positions { group, offsets }: &Positions,
) -> Result<Translated, Cause> {
    let (mirror, ends) = asked.flow(flow)?;
    reach::alive(&ends.target, reach::ALIVE).await?;
    // Before the map is read: what the group has read by now is then in it.
    let positions = positions(&ends.target, &ends.target.client, group, offsets).await??;
    let translator = open(&mirror, &ends).await?;
    let wanted: Vec<_> = positions
        .iter()
        .map(|p| (TopicPartition::new(&p.topic, p.partition), TargetOffset(p.offset)))
        .collect();
    let translations = translator.translate_to_source(&wanted).await;
    let offsets = positions.into_iter().zip(translations);
    Ok(Translated {
        offsets: offsets.map(|(p, t)| translated_to_source(&mirror, p, t)).collect(),
        unasked: None,
    })
}

/// The map, which lies on the target.
async fn open(mirror: &Arc<Mirror>, ends: &Ends) -> Result<Arc<Translator>, Cause> {
    reach::alive(&ends.target, reach::ALIVE).await?;
    let source = Arc::new(ends.source.with_deadline(reach::ALIVE));
    Ok(Translator::open(mirror.clone(), source, ends.target.clone()).await?)
}

/// Where a group was by its last checkpoints, and why it isn't known where it is.
async fn last_known(
    mirror: &Mirror,
    ends: &Ends,
    group: &str,
    error: KafkaError,
) -> Result<(Vec<Place>, Option<KafkaError>), Cause> {
    let places: Vec<Place> = checkpoint::last_of(mirror, &ends.target, group)
        .await?
        .into_iter()
        .filter_map(|(checkpoint, at)| {
            let committed = CommittedOffset {
                topic: mirror.policy.source_topic(&checkpoint.key.target_topic)?,
                partition: checkpoint.key.partition,
                offset: checkpoint.upstream.0,
                leader_epoch: -1,
                metadata: checkpoint.metadata,
            };
            Some(Place { committed, as_of: time(at) })
        })
        .collect();
    if !places.is_empty() {
        return Ok((places, Some(error)));
    }
    // There is nothing here to answer with: it may take longer, if that helps.
    let patient = ends.source.client.with_deadline(reach::ALIVE);
    match committed(&ends.source, &patient, group).await? {
        Ok(committed) => Ok((committed.into_iter().map(Place::from).collect(), None)),
        Err(error) => {
            let message = format!(
                "{}; and {} has no checkpoints of group {group:?}",
                error.message,
                ends.target.id.name()
            );
            Err(Cause::new(error.reason, message))
        }
    }
}

fn time(millis: i64) -> Option<SystemTime> {
    let since = Duration::from_millis(u64::try_from(millis).ok().filter(|millis| *millis > 0)?);
    Some(UNIX_EPOCH + since)
}

/// The group's, or those given where no group is. The inner error: the cluster can't be asked now.
async fn positions(
    cluster: &ClusterHandle,
    client: &KafkaClient,
    group: &str,
    offsets: &[CommittedOffset],
) -> Result<Result<Vec<CommittedOffset>, KafkaError>, Cause> {
    if offsets.len() > MAX_OFFSETS {
        let message = format!("{} offsets were given; at most {MAX_OFFSETS} are allowed", offsets.len());
        return Err(Cause::new(Reason::TOO_MANY, message));
    }
    match group {
        "" => Ok(Ok(offsets.to_vec())),
        group => committed(cluster, client, group).await,
    }
}

async fn committed(
    cluster: &ClusterHandle,
    client: &KafkaClient,
    group: &str,
) -> Result<Result<Vec<CommittedOffset>, KafkaError>, Cause> {
    let fetched = client.fetch_offsets(&[group.to_owned()]).await;
    let mut offsets = match fetched.and_then(|mut fetched| fetched.remove(group).transpose()) {
        Ok(offsets) => offsets.unwrap_or_default(),
        Err(error) if error.retriable => return Ok(Err(error)),
        Err(error) => return Err(error.into()),
    };
    // Brokers answer in no order; people read the result.
    offsets.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    if offsets.is_empty() {
        let message = format!("group {group:?} has no committed offsets on {}", cluster.id.name());
        return Err(Cause::new(Reason::NO_COMMITTED_OFFSET, message));
    }
    Ok(Ok(offsets))
}

fn translated(
    mirror: &Mirror,
    Place { committed: position, as_of }: Place,
    translation: Translation,
) -> TranslatedOffset {
    let selected = mirror.selects(&position.topic);
    let target_topic = mirror.policy.remote_topic(&position.topic).filter(|_| selected);
    let (target_offset, not) = match translation {
        Translation::Exact(offset) => (Some(offset), None),
        Translation::Not { reason, message } => (None, Some(Not { reason, message })),
    };
    TranslatedOffset {
        source_topic: Some(position.topic),
        partition: position.partition,
        source_offset: Some(SourceOffset(position.offset)),
        target_topic,
        target_offset,
        not,
        metadata: position.metadata,
        as_of,
    }
}

fn translated_to_source(
    mirror: &Mirror,
    position: CommittedOffset,
    translation: Translation<SourcePosition>,
) -> TranslatedOffset {
    let (source_offset, not) = match translation {
        Translation::Exact(found) => (Some(found.offset), None),
        Translation::Not { reason, message } => (None, Some(Not { reason, message })),
    };
    let is_copy = not.as_ref().is_none_or(|not| not.reason != Reason::NOT_A_COPY);
    let source_topic = mirror.policy.source_topic(&position.topic).filter(|_| is_copy);
    TranslatedOffset {
        source_topic,
        partition: position.partition,
        source_offset,
        target_topic: Some(position.topic),
        target_offset: Some(TargetOffset(position.offset)),
        not,
        metadata: position.metadata,
        as_of: None,
    }
}
