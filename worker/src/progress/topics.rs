//! Where a mirror keeps its progress and its offset map, and where an older version kept them.

use twinlog_proto::id::MirrorId;
use twinlog_proto::reason::Reason;
use twinlog_proto::{model, policy};

use crate::kafka::{KafkaClient, KafkaError, NewTopic};

/// Partitions of a new progress or offsets topic.
const PARTITIONS: i32 = 8;
/// Kafka 4.3 refuses smaller segments; small ones keep what compaction can't touch, and so a takeover's reading, small.
const SEGMENT_BYTES: &str = "1048576";
/// A segment is closed to compaction until it rolls, milliseconds.
const PROGRESS_SEGMENT_MS: &str = "600000";
const DIRTY_RATIO: &str = "0.1";

/// Where a mirror keeps its progress and its offset map.
#[derive(Debug, Clone)]
pub struct StorageTopics {
    pub progress: String,
    pub progress_partitions: usize,
    pub offsets: String,
    pub offsets_partitions: usize,
    pub former: Former,
}

/// What there is under the names that older versions use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Former {
    Absent,
    There(FormerTopics),
    /// Who may not describe topics of these names can't tell whether they are there.
    Hidden,
}

/// As many partitions as each has, 0 where it isn't there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormerTopics {
    pub progress: String,
    pub progress_partitions: usize,
    pub offsets: String,
    pub offsets_partitions: usize,
}

impl StorageTopics {
    /// Creates what is missing on the target.
    ///
    /// # Errors
    /// As `KafkaClient::ensure_topic`.
    pub async fn ensure(target: &KafkaClient, mirror: &model::Mirror) -> Result<Self, KafkaError> {
        let topic = |name: String, settings: &[(&str, &str)]| NewTopic {
            name,
            partitions: PARTITIONS,
            replication_factor: mirror.replication_factor,
            configs: settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        };
        let compact = ("cleanup.policy", "compact");
        let (progress, offsets) = Self::names(&mirror.id);
        let progress = topic(
            progress,
            &[
                compact,
                ("segment.bytes", SEGMENT_BYTES),
                ("segment.ms", PROGRESS_SEGMENT_MS),
                ("min.cleanable.dirty.ratio", DIRTY_RATIO),
            ],
        );
        let offsets = topic(offsets, &[compact]);
        let found = target.ensure_topic(&progress).await?;
        let progress_partitions = found.partitions.len();
        let found = target.ensure_topic(&offsets).await?;
        let offsets_partitions = found.partitions.len();
        let former = Former::find(target, &mirror.id).await?;
        let (progress, offsets) = (progress.name, offsets.name);
        Ok(Self { progress, progress_partitions, offsets, offsets_partitions, former })
    }

    /// Names of the progress and the offsets topic.
    pub fn names(mirror: &MirrorId) -> (String, String) {
        (policy::progress_topic(mirror), policy::offsets_topic(mirror))
    }

    /// The names that older versions use.
    pub fn former_names(mirror: &MirrorId) -> (String, String) {
        (policy::former_progress_topic(mirror), policy::former_offsets_topic(mirror))
    }
}

impl Former {
    async fn find(target: &KafkaClient, mirror: &MirrorId) -> Result<Self, KafkaError> {
        let (progress, offsets) = StorageTopics::former_names(mirror);
        let found = target.topics(Some(&[progress.clone(), offsets.clone()])).await?;
        let partitions = |name: &String| match found.iter().find(|topic| topic.name == *name) {
            Some(topic) => match &topic.error {
                None => Ok(topic.partitions.len()),
                Some(error) if error.reason == Reason::TOPIC_NOT_FOUND => Ok(0),
                Some(error) => Err(error.clone()),
            },
            None => Ok(0),
        };
        match (partitions(&progress), partitions(&offsets)) {
            (Ok(0), Ok(0)) => Ok(Self::Absent),
            (Ok(progress_partitions), Ok(offsets_partitions)) => {
                Ok(Self::There(FormerTopics { progress, progress_partitions, offsets, offsets_partitions }))
            }
            (Err(error), _) | (_, Err(error)) if error.reason == Reason::MISSING_PERMISSION => {
                tracing::debug!(%mirror, %error, "whether an older version was here can't be seen");
                Ok(Self::Hidden)
            }
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }
}
