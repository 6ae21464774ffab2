//! The topics that Twinlog and MM2's tools need on the target: they exist, and they are compacted.

use std::collections::BTreeMap;

use twinlog_proto::model::{Mirror, OffsetSyncLocation};

use crate::kafka::{KafkaClient, KafkaError, NewTopic};
use crate::progress::StorageTopics;
use crate::supervisor::Ends;

/// Small segments: a segment that is still written to is never compacted, and readers scan it from the start.
const SEGMENT_BYTES: &str = "16777216";

pub const HEARTBEATS: &str = "heartbeats";

/// A compacted topic of one partition, as MM2's are.
pub fn compacted(mirror: &Mirror, name: String) -> NewTopic {
    let configs = [("cleanup.policy", "compact"), ("segment.bytes", SEGMENT_BYTES)];
    NewTopic {
        name,
        partitions: 1,
        replication_factor: mirror.replication_factor,
        configs: configs.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
    }
}

/// MM2's topics on the target.
fn of_mm2(mirror: &Mirror) -> Vec<NewTopic> {
    let mut names = vec![mirror.policy.checkpoints_topic()];
    if mirror.heartbeats {
        names.push(HEARTBEATS.to_owned());
    }
    if mirror.offset_syncs == OffsetSyncLocation::Target {
        names.push(mirror.policy.offset_syncs_topic(mirror.source.as_str()));
    }
    names.into_iter().map(|name| compacted(mirror, name)).collect()
}

/// Creates what is missing and mends what is not compacted (a topic may have been created by hand or by a broker).
pub async fn ensure(mirror: &Mirror, ends: &Ends) -> Result<(), KafkaError> {
    let target = &ends.target.client;
    let own = StorageTopics::ensure(target, mirror).await?;
    let of_mm2 = of_mm2(mirror);
    futures::future::try_join_all(of_mm2.iter().map(|topic| target.ensure_topic(topic))).await?;
    let names = of_mm2.into_iter().map(|topic| topic.name);
    mend(target, &names.chain([own.progress, own.offsets]).collect::<Vec<_>>()).await?;
    if mirror.offset_syncs == OffsetSyncLocation::Source {
        let syncs = compacted(mirror, mirror.policy.offset_syncs_topic(mirror.target.as_str()));
        ends.source.client.ensure_topic(&syncs).await?;
        mend(&ends.source.client, &[syncs.name]).await?;
    }
    Ok(())
}

async fn mend(client: &KafkaClient, names: &[String]) -> Result<(), KafkaError> {
    for (name, described) in client.describe_configs(names).await? {
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
