//! The topics that Twinlog and MM2's tools need on the target: they exist, and they are compacted.

use std::collections::BTreeMap;

use twinlog_proto::model::{Mirror, OffsetSyncLocation};
use twinlog_proto::policy;

use crate::kafka::{KafkaClient, KafkaError, NewTopic};
use crate::supervisor::Ends;

/// Partitions of the progress and offsets topics. Fixed for life: a range's records lie in stable_hash % partitions.
pub const STATE_PARTITIONS: i32 = 8;
/// Small segments: a segment that is still written to is never compacted, and readers scan it from the start.
const SEGMENT_BYTES: &str = "16777216";

pub const HEARTBEATS: &str = "heartbeats";

/// A compacted topic, as every internal one is.
pub fn compacted(mirror: &Mirror, name: String, partitions: i32) -> NewTopic {
    let configs = [("cleanup.policy", "compact"), ("segment.bytes", SEGMENT_BYTES)];
    NewTopic {
        name,
        partitions,
        replication_factor: mirror.replication_factor,
        configs: configs.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
    }
}

/// What must exist on the target.
pub fn on_target(mirror: &Mirror) -> Vec<NewTopic> {
    let mut topics = vec![
        compacted(mirror, policy::progress_topic(&mirror.id), STATE_PARTITIONS),
        compacted(mirror, policy::offsets_topic(&mirror.id), STATE_PARTITIONS),
        compacted(mirror, mirror.policy.checkpoints_topic(), 1),
    ];
    if mirror.heartbeats {
        topics.push(compacted(mirror, HEARTBEATS.to_owned(), 1));
    }
    if mirror.offset_syncs == OffsetSyncLocation::Target {
        topics.push(compacted(mirror, mirror.policy.offset_syncs_topic(mirror.source.as_str()), 1));
    }
    topics
}

/// Creates what is missing and mends what is not compacted (a topic may have been created by hand or by a broker).
pub async fn ensure(mirror: &Mirror, ends: &Ends) -> Result<(), KafkaError> {
    ensure_all(&ends.target.client, &on_target(mirror)).await?;
    if mirror.offset_syncs == OffsetSyncLocation::Source {
        let name = mirror.policy.offset_syncs_topic(mirror.target.as_str());
        ensure_all(&ends.source.client, &[compacted(mirror, name, 1)]).await?;
    }
    Ok(())
}

async fn ensure_all(client: &KafkaClient, topics: &[NewTopic]) -> Result<(), KafkaError> {
    futures::future::try_join_all(topics.iter().map(|topic| client.ensure_topic(topic))).await?;
    let names: Vec<String> = topics.iter().map(|t| t.name.clone()).collect();
    for (name, described) in client.describe_configs(&names).await? {
        // Who may not look may still copy: what matters is checked where it can be.
        let Ok(entries) = described else { continue };
        let policy = entries.iter().find(|e| e.name == "cleanup.policy").and_then(|e| e.value.as_deref());
        if policy.is_some_and(|policy| !policy.split(',').any(|p| p.trim() == "compact")) {
            tracing::warn!(
                topic = name,
                cleanup_policy = policy,
                "an internal topic was not compacted; mending it"
            );
            let set = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
            client.incremental_alter_configs(&name, &set, &[]).await?;
        }
    }
    Ok(())
}
