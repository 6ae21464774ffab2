//! The topics that Twinlog and MM2's tools need: they exist, and they are compacted.
//!
//! Nothing can be copied without Twinlog's own. MM2's are for other tools: what is wrong with one of them is said, tried again
//! later, and stops nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use twinlog_proto::model::{Mirror, OffsetSyncLocation};
use twinlog_proto::reason::Reason;

use crate::flow::Ends;
use crate::inventory::Warning;
use crate::kafka::{KafkaClient, KafkaError, NewTopic};
use crate::progress::StorageTopics;

/// Small segments: a segment that is still written to is never compacted, and readers scan it from the start.
const SEGMENT_BYTES: &str = "16777216";
/// What could not be created is tried again after this.
const RETRY: Duration = Duration::from_secs(30);

pub const HEARTBEATS: &str = "heartbeats";

/// A compacted topic of one partition, as MM2's are.
fn compacted(name: String, replication_factor: i16) -> NewTopic {
    let configs = [("cleanup.policy", "compact"), ("segment.bytes", SEGMENT_BYTES)];
    let configs = configs.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    NewTopic { name, partitions: 1, replication_factor, configs }
}

pub fn checkpoints(mirror: &Mirror) -> NewTopic {
    compacted(mirror.policy.checkpoints_topic(), mirror.internal_replication.checkpoints)
}

pub fn heartbeats(mirror: &Mirror) -> NewTopic {
    compacted(HEARTBEATS.to_owned(), mirror.internal_replication.heartbeats)
}

/// As MM2 names it: after the cluster at the other end. `None` where the mirror wants none.
pub fn offset_syncs(mirror: &Mirror) -> Option<NewTopic> {
    let alias = match mirror.offset_syncs {
        OffsetSyncLocation::Disabled => return None,
        OffsetSyncLocation::Target => mirror.policy.source_alias(),
        OffsetSyncLocation::Source => mirror.policy.target_alias(),
    };
    Some(compacted(mirror.policy.offset_syncs_topic(alias), mirror.internal_replication.offset_syncs))
}

/// Makes sure of a topic of MM2's. One that can't be looked at, or that the broker's version can't create, is taken to be there:
/// whoever writes to it will see.
pub async fn ensure_topic(client: &KafkaClient, topic: &NewTopic) -> Result<(), KafkaError> {
    let found = client.topics(Some(std::slice::from_ref(&topic.name))).await?;
    if let Some(error) = found.into_iter().next().and_then(|found| found.error)
        && taken_to_be_there(&error)
    {
        return Ok(());
    }
    match client.ensure_topic(topic).await {
        Err(error) if error.reason == Reason::UNSUPPORTED_VERSION => Ok(()),
        result => result.map(drop),
    }
}

fn taken_to_be_there(error: &KafkaError) -> bool {
    matches!(error.reason, Reason::MISSING_PERMISSION | Reason::UNSUPPORTED_VERSION | Reason::ALREADY_EXISTS)
}

/// How far a survey has got with the internal topics of its mirror.
#[derive(Default)]
pub(super) struct Internal {
    own_ready: bool,
    ready: bool,
    tried: Option<Instant>,
    warnings: Vec<Warning>,
}

impl Internal {
    /// Creates what is missing and mends what is not compacted (a topic may have been created by hand or by a broker).
    ///
    /// # Errors
    /// Twinlog's own topics are not there: nothing can be copied.
    pub(super) async fn ensure(&mut self, mirror: &Mirror, ends: &Ends) -> Result<(), KafkaError> {
        let target = &ends.target.client;
        if !self.own_ready {
            let own = StorageTopics::ensure(target, mirror).await?;
            for topic in [own.progress, own.offsets] {
                mend(target, &topic).await?;
            }
            self.own_ready = true;
        }
        if self.ready || self.tried.is_some_and(|at| at.elapsed() < RETRY) {
            return Ok(());
        }
        self.tried = Some(Instant::now());
        let of_mm2 = of_mm2(mirror);
        let each = of_mm2.iter().map(|(on_source, topic)| {
            let end = if *on_source { &ends.source } else { &ends.target };
            async move {
                ensure_topic(&end.client, topic).await?;
                mend(&end.client, &topic.name).await
            }
        });
        let results = futures::future::join_all(each).await;
        let failed = of_mm2.iter().zip(results).filter_map(|(topic, result)| Some((topic, result.err()?)));
        self.warnings = failed.map(|(topic, error)| warning(mirror, topic, &error)).collect();
        self.ready = self.warnings.is_empty();
        Ok(())
    }

    pub(super) fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

/// MM2's topics, and whether each is on the source. Heartbeats on the source are their task's own affair.
fn of_mm2(mirror: &Mirror) -> Vec<(bool, NewTopic)> {
    let mut topics = Vec::new();
    if mirror.checkpoints {
        topics.push((false, checkpoints(mirror)));
    }
    if mirror.heartbeats {
        topics.push((false, heartbeats(mirror)));
    }
    let on_source = mirror.offset_syncs == OffsetSyncLocation::Source;
    topics.extend(offset_syncs(mirror).map(|topic| (on_source, topic)));
    topics
}

fn warning(mirror: &Mirror, (on_source, topic): &(bool, NewTopic), error: &KafkaError) -> Warning {
    let cluster = if *on_source { &mirror.source } else { &mirror.target };
    let reason = match error.reason {
        Reason::MISSING_PERMISSION => error.reason,
        _ => Reason::TOPIC_CREATION_FAILED,
    };
    let name = &topic.name;
    tracing::warn!(mirror = %mirror.id, topic = name, %cluster, %error, "an internal topic is not as it should be");
    Warning {
        reason,
        message: format!(
            "{name} on {cluster}, which MirrorMaker's tools use, is not as it should be (records are copied all the same): {}",
            error.message
        ),
    }
}

async fn mend(client: &KafkaClient, name: &str) -> Result<(), KafkaError> {
    for (name, described) in client.describe_configs(&[name.to_owned()]).await? {
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

#[cfg(test)]
mod tests {
    use twinlog_proto::v1;

    use super::*;
    use crate::survey::tests::wire;

    fn mirror(change: impl FnOnce(&mut v1::Mirror)) -> Mirror {
        let mut wire = wire("a", "b");
        change(&mut wire);
        Mirror::parse(&wire).unwrap()
    }

    /// S15: what exists, can't be seen or can't be created by this version is taken to be there; the rest is an error.
    #[test]
    fn s15_existing_and_forbidden_topics_are_taken_to_be_there() {
        for reason in [Reason::ALREADY_EXISTS, Reason::UNSUPPORTED_VERSION, Reason::MISSING_PERMISSION] {
            assert!(taken_to_be_there(&KafkaError::new(reason, "x")), "{reason}");
        }
        for reason in [Reason::KAFKA_ERROR, Reason::CLUSTER_UNREACHABLE, Reason::TOPIC_NOT_FOUND] {
            assert!(!taken_to_be_there(&KafkaError::new(reason, "x")), "{reason}");
        }
    }

    /// S15: one partition, compacted, each with the replication factor of its own setting.
    #[test]
    fn s15_internal_topics_have_mm2s_settings() {
        let mirror = mirror(|m| {
            let syncs = v1::OffsetSyncs { replication_factor: 3, ..Default::default() };
            m.offset_syncs = Some(syncs);
            m.checkpoints = Some(v1::Checkpoints { replication_factor: 2, enabled: None });
        });
        let topics = of_mm2(&mirror);
        let seen: Vec<_> =
            topics.iter().map(|(source, t)| (*source, t.name.as_str(), t.replication_factor)).collect();
        assert_eq!(
            seen,
            [
                (false, "a.checkpoints.internal", 2),
                (false, "heartbeats", -1),
                (false, "mm2-offset-syncs.a.internal", 3)
            ]
        );
        assert!(topics.iter().all(|(_, t)| t.partitions == 1 && t.configs["cleanup.policy"] == "compact"));
    }

    /// I11, I12, K10, H1: what is switched off makes no topic, and syncs on the source are named after the target.
    #[test]
    fn i11_i12_what_is_switched_off_makes_no_topic() {
        let off = mirror(|m| {
            let mut syncs = v1::OffsetSyncs::default();
            syncs.set_location(v1::offset_syncs::Location::Disabled);
            m.offset_syncs = Some(syncs);
            m.checkpoints = Some(v1::Checkpoints { enabled: Some(false), ..Default::default() });
            m.heartbeats = Some(v1::Heartbeats { enabled: Some(false), ..Default::default() });
        });
        assert_eq!(of_mm2(&off), []);
        let on_source = mirror(|m| {
            let mut syncs = v1::OffsetSyncs::default();
            syncs.set_location(v1::offset_syncs::Location::Source);
            m.offset_syncs = Some(syncs);
        });
        let (is_on_source, topic) = of_mm2(&on_source).pop().unwrap();
        assert_eq!((is_on_source, topic.name.as_str()), (true, "mm2-offset-syncs.b.internal"));
    }
}
