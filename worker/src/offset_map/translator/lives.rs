//! Which life of each topic the clusters hold now. A name outlives its topic: offsets of one life say nothing about another.

use std::collections::{BTreeSet, HashMap};

use twinlog_proto::reason::Reason;

use super::Translator;
use crate::kafka::{KafkaClient, KafkaError};
use crate::progress::PartitionProgress;

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
    pub(super) fn contradict(
        &self,
        source: &str,
        _target: &str,
        progress: &PartitionProgress,
    ) -> Option<(Reason, String)> {
        let copied = &progress.source_topic_id;
        let now = self.source.get(source).filter(|now| !copied.is_empty() && *now != copied)?;
        let message = format!(
            "{source} was deleted and made anew on the source (topic id {copied} was copied, now it is {now}): offsets in it say nothing of \
             the copies until the new topic is copied"
        );
        Some((Reason::SOURCE_TOPIC_RECREATED, message))
    }
}
