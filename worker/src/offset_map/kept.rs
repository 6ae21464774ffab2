//! What a mirror's progress topic says about the mirror as a whole.

use std::collections::HashSet;

use prost::Message;
use twinlog_proto::id::MirrorId;
use twinlog_proto::storage::ProgressKey;

use super::reader;
use crate::cluster::ClusterHandle;
use crate::kafka::KafkaError;
use crate::progress::RangeProgress;

/// Nothing, where the topic doesn't exist or is empty.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Target topics with progress in some range.
    pub(crate) target_topics: HashSet<String>,
    /// Kafka's id of the cluster that was copied from; empty where it isn't known.
    pub(crate) source_cluster_id: String,
}

/// Reads the whole progress topic of a mirror.
pub(crate) async fn kept(target: &ClusterHandle, mirror: &MirrorId) -> Result<Kept, KafkaError> {
    let (mut progress, _) = reader::readers(mirror);
    let mut records = Vec::new();
    progress.read(target, &mut records).await?;
    let (mut kept, mut newest) = (Kept::default(), i64::MIN);
    for record in &records {
        let (Ok(key), Some(value)) = (ProgressKey::decode(&*record.key), &record.value) else { continue };
        let Ok(range) = RangeProgress::decode(value) else { continue };
        kept.target_topics.insert(key.target_topic);
        if range.epoch >= newest && !range.source_cluster_id.is_empty() {
            (newest, kept.source_cluster_id) = (range.epoch, range.source_cluster_id);
        }
    }
    Ok(kept)
}

/// Whether some range of the topic has progress.
pub(crate) async fn progress_of_others(
    target: &ClusterHandle,
    mirror: &MirrorId,
    target_topic: &str,
) -> Result<bool, KafkaError> {
    Ok(kept(target, mirror).await?.target_topics.contains(target_topic))
}
