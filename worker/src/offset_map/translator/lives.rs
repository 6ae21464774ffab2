//! Which life of each topic the clusters hold now. A name outlives its topic: offsets of one life say nothing about another.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use twinlog_proto::id::{SourceOffset, TargetOffset};
use twinlog_proto::reason::Reason;

use super::{Translation, Translator, lost_answer, not};
use crate::kafka::{Isolation, KafkaClient, KafkaError, OffsetSpec};
use crate::progress::PartitionProgress;
use crate::topic::TopicPartition;

/// Topic ids (UUID text) by name, of topics that are there and have one.
pub(crate) type Ids = HashMap<String, String>;

/// What was seen last.
#[derive(Debug, Default)]
pub(super) struct Lives {
    source: Ids,
}

impl Translator {
    /// Looks which topics these are on the source now, for the answers that follow, and says their ids. What isn't there, or can't
    /// be described, is left out.
    ///
    /// # Errors
    /// The source can't be asked: what was seen before stays.
    pub(crate) async fn look(
        &self,
        source: &KafkaClient,
        topics: BTreeSet<String>,
    ) -> Result<Ids, KafkaError> {
        let ids = ids(source, topics).await?;
        self.state.lock().await.lives.source.clone_from(&ids);
        Ok(ids)
    }

    /// Takes back what was said of copies that are gone: an offset that the map gives is no place in a topic that was made anew.
    pub(super) async fn check_copies(
        &self,
        wanted: &[(TopicPartition, SourceOffset)],
        translations: &mut [Translation],
    ) {
        let copies = self.copies(wanted, translations).await;
        if copies.is_empty() {
            return;
        }
        let ends: Vec<_> =
            copies.iter().map(|(at, copy)| (copy.topic.clone(), at.partition, OffsetSpec::Latest)).collect();
        let listed = self.target.client.list_offsets(&ends, Isolation::Uncommitted).await;
        for ((at, _), translation) in wanted.iter().zip(translations) {
            let Some(copy) = copies.get(at) else { continue };
            if !matches!(translation, Translation::Exact(_)) {
                continue;
            }
            let end = match &listed {
                Ok(listed) => listed.get(&(copy.topic.clone(), at.partition)).map(Result::as_ref),
                Err(error) => Some(Err(error)),
            };
            match end {
                Some(Ok(end)) if end.offset >= copy.end.0 => {}
                Some(Ok(end)) => *translation = copy.lost(at.partition, TargetOffset(end.offset)),
                Some(Err(error)) => *translation = not(error),
                None => *translation = lost_answer(),
            }
        }
    }

    /// The copies that exact answers are about.
    async fn copies(
        &self,
        wanted: &[(TopicPartition, SourceOffset)],
        translations: &[Translation],
    ) -> BTreeMap<TopicPartition, CopyEnd> {
        let state = self.state.lock().await;
        let copy = |((at, _), translation): (&(TopicPartition, SourceOffset), &Translation)| {
            let tracked = state.partitions.get(at)?;
            let end = tracked.progress.as_ref()?.chunk.target_end();
            let copy = CopyEnd { topic: tracked.target_topic.clone(), end };
            matches!(translation, Translation::Exact(_)).then(|| (at.clone(), copy))
        };
        wanted.iter().zip(translations).filter_map(copy).collect()
    }
}

/// A copy, and where it ended when progress was written last.
struct CopyEnd {
    topic: String,
    end: TargetOffset,
}

impl CopyEnd {
    fn lost(&self, partition: i32, end: TargetOffset) -> Translation {
        let message = format!(
            "{} partition {partition} was copied up to {}, but ends at {end} now: it lost records, or was deleted and made anew",
            self.topic, self.end
        );
        Translation::Not { reason: Reason::TARGET_TRUNCATED, message }
    }
}

async fn ids(client: &KafkaClient, topics: BTreeSet<String>) -> Result<Ids, KafkaError> {
    if topics.is_empty() {
        return Ok(Ids::new());
    }
    let topics: Vec<String> = topics.into_iter().collect();
    let found = client.topics(Some(&topics)).await?.into_iter().filter(|topic| topic.error.is_none());
    Ok(found.filter_map(|topic| Some((topic.name, topic.topic_id?.to_string()))).collect())
}

impl Lives {
    /// Why what was copied says nothing of the topics that are there now; `None` where nothing speaks against it.
    pub(super) fn contradict(&self, source: &str, progress: &PartitionProgress) -> Option<(Reason, String)> {
        let copied = &progress.source_topic_id;
        let now = self.source.get(source).filter(|now| !copied.is_empty() && *now != copied)?;
        let message = format!(
            "{source} was deleted and made anew on the source (topic id {copied} was copied, now it is {now}): offsets in it say nothing of \
             the copies until the new topic is copied"
        );
        Some((Reason::SOURCE_TOPIC_RECREATED, message))
    }
}
