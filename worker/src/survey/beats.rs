//! Which heartbeats topics of the source are of upstream clusters that exist.
//!
//! MirrorMaker's policy calls every topic so whose name is `heartbeats` behind any number of aliases. A name alone says little: flows
//! end and leave theirs behind, and a user may call a topic `iot.heartbeats`. What counts is a young heartbeat in it.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use twinlog_proto::model::Mirror;

use super::internal::HEARTBEATS;
use super::select::SourceTopic;
use crate::cluster::ClusterHandle;
use crate::kafka::{Isolation, KafkaError, OffsetSpec};
use crate::mm2;
use crate::produce::millis;
use crate::scan::{self, Span, Wanted};
use crate::topic::TopicId;

/// A flow whose newest heartbeat is older has ended, or stands still.
const YOUNG: Duration = Duration::from_secs(600);
/// Between two looks where no topic has come.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// For the record that shows whether it is a heartbeat.
const READ_PATIENCE: Duration = Duration::from_secs(5);

/// What is known of the heartbeats topics behind aliases.
#[derive(Debug, Default)]
pub struct Beats {
    looked: Option<Instant>,
    /// Topics of the last look, each with whether it beats.
    beats: HashMap<String, bool>,
    /// Whether a topic's records are heartbeats, by the life of the topic.
    genuine: HashMap<(String, Option<TopicId>), bool>,
}

impl Beats {
    /// Those that beat. What can't be looked at stays as it was.
    pub async fn look(
        &mut self,
        mirror: &Mirror,
        source: &ClusterHandle,
        topics: &[SourceTopic],
    ) -> HashSet<String> {
        let named =
            |topic: &&SourceTopic| topic.name != HEARTBEATS && mirror.policy.is_heartbeats_topic(&topic.name);
        let candidates: Vec<&SourceTopic> = topics.iter().filter(named).collect();
        let known = candidates.iter().all(|topic| self.beats.contains_key(&topic.name));
        if !known || self.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            match self.look_at(source, &candidates).await {
                Ok(()) => self.looked = Some(Instant::now()),
                Err(error) => tracing::debug!(mirror = %mirror.id, %error, "heartbeats topics not looked at"),
            }
        }
        let beats = |topic: &&SourceTopic| self.beats.get(&topic.name).copied().unwrap_or(false);
        candidates.into_iter().filter(beats).map(|topic| topic.name.clone()).collect()
    }

    async fn look_at(
        &mut self,
        source: &ClusterHandle,
        candidates: &[&SourceTopic],
    ) -> Result<(), KafkaError> {
        self.genuine.retain(|(name, id), _| candidates.iter().any(|t| t.name == *name && t.id == *id));
        self.beats.retain(|name, _| candidates.iter().any(|t| t.name == *name));
        if candidates.is_empty() {
            return Ok(());
        }
        let young = OffsetSpec::Timestamp(millis(SystemTime::now() - YOUNG));
        let question: Vec<_> = candidates.iter().map(|topic| (topic.name.clone(), 0, young)).collect();
        let mut listed = source.client.list_offsets(&question, Isolation::Committed).await?;
        for topic in candidates {
            let Some(Ok(first)) = listed.remove(&(topic.name.clone(), 0)) else { continue };
            let beats = first.offset >= 0 && self.is_genuine(source, topic, first.offset).await;
            self.beats.insert(topic.name.clone(), beats);
        }
        Ok(())
    }

    /// Whether the record there is a heartbeat. One that can't be read now counts as none, and is looked at again.
    async fn is_genuine(&mut self, source: &ClusterHandle, topic: &SourceTopic, offset: i64) -> bool {
        let life = (topic.name.clone(), topic.id);
        if let Some(genuine) = self.genuine.get(&life) {
            return *genuine;
        }
        let span = Span { partition: 0, from: offset, to: offset + 1 };
        let read = scan::scan(source, &topic.name, vec![span], None, |found, record| {
            let (key, value) = (record.key.unwrap_or_default(), record.value.unwrap_or_default());
            *found = Some(mm2::decode_heartbeat(key, value).is_some());
            Wanted::Enough
        });
        match tokio::time::timeout(READ_PATIENCE, read).await {
            Ok(Ok(Some(genuine))) => {
                self.genuine.insert(life, genuine);
                genuine
            }
            _ => false,
        }
    }
}
