//! Follows a mirror's progress and offsets topics: every committed record, once, in order; first what lies under the name of older
//! versions, as what is carried over is carried from there to here.

use std::collections::HashMap;
use std::time::Duration;

use twinlog_proto::id::MirrorId;
use twinlog_proto::reason::Reason;

use super::history::StoredAt;
use crate::cluster::ClusterHandle;
use crate::kafka::{
    Isolation, KafkaClient, KafkaError, LogReader, LogRecord, NotRead, OffsetSpec, Span, TopicMetadata,
    Wanted,
};
use crate::progress::StorageTopics;

/// Reading what exists takes longer only if a broker is away.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// A transaction that is being committed hides records for milliseconds; one that was left open is not waited for.
const HIDDEN_PATIENCE: Duration = Duration::from_secs(2);

/// A record of one of the two topics.
pub(super) struct Stored {
    pub(super) at: StoredAt,
    pub(super) key: Vec<u8>,
    /// `None` for a tombstone.
    pub(super) value: Option<Vec<u8>>,
}

impl Stored {
    fn of(record: &LogRecord<'_>, former: bool) -> Self {
        Self {
            at: StoredAt { former, partition: record.partition, offset: record.offset },
            key: record.key.unwrap_or_default().to_vec(),
            value: record.value.map(<[u8]>::to_vec),
        }
    }
}

/// How far a read came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    /// Everything that was in the topic when the read began.
    End,
    /// An open transaction hides the rest.
    Hidden,
}

/// Both names of a topic, from their starts, as far as they were read.
pub(super) struct Reader {
    former: Log,
    now: Log,
}

/// One topic from its start, as far as it was read.
struct Log {
    topic: String,
    /// It is an older version's.
    is_former: bool,
    /// Next offset by partition.
    next: HashMap<i32, i64>,
}

pub(super) fn readers(mirror: &MirrorId) -> (Reader, Reader) {
    let (progress, offsets) = StorageTopics::names(mirror);
    let (former_progress, former_offsets) = StorageTopics::former_names(mirror);
    (Reader::new(former_progress, progress), Reader::new(former_offsets, offsets))
}

impl Reader {
    fn new(former: String, now: String) -> Self {
        Self { former: Log::new(former, true), now: Log::new(now, false) }
    }

    /// Reads to the present high watermarks. A topic that doesn't exist is an empty one.
    pub(super) async fn read(
        &mut self,
        cluster: &ClusterHandle,
        records: &mut Vec<Stored>,
    ) -> Result<Reached, KafkaError> {
        let names = [self.former.topic.clone(), self.now.topic.clone()];
        let found = cluster.client.topics(Some(&names)).await?;
        let mut reached = Reached::End;
        for log in [&mut self.former, &mut self.now] {
            let Some(partitions) = log.partitions(&found)? else { continue };
            if log.read(cluster, partitions, records).await? == Reached::Hidden {
                reached = Reached::Hidden;
            }
        }
        Ok(reached)
    }
}

impl Log {
    fn new(topic: String, is_former: bool) -> Self {
        Self { topic, is_former, next: HashMap::new() }
    }

    async fn read(
        &mut self,
        cluster: &ClusterHandle,
        partitions: Vec<i32>,
        records: &mut Vec<Stored>,
    ) -> Result<Reached, KafkaError> {
        let new: Vec<i32> = partitions.iter().copied().filter(|p| !self.next.contains_key(p)).collect();
        let starts = self.list(cluster, &new, OffsetSpec::Earliest).await?;
        let ends = self.list(cluster, &partitions, OffsetSpec::Latest).await?;
        self.next.extend(&starts);
        if self.is_at(&ends) {
            return Ok(Reached::End);
        }
        let span =
            |partition: &i32| Span { partition: *partition, from: self.next[partition], to: ends[partition] };
        let spans: Vec<Span> = partitions.iter().filter(|p| ends.contains_key(p)).map(span).collect();
        let former = self.is_former;
        let mut reader = LogReader::new(&cluster.client, &self.topic, Isolation::Committed, HIDDEN_PATIENCE);
        let reached = read(&mut reader, &self.topic, spans, |record| {
            records.push(Stored::of(record, former));
            Wanted::More
        });
        let reached = reached.await;
        // After an error the next read begins after what was read.
        self.next.extend(partitions.iter().filter_map(|p| Some((*p, reader.next(*p)?))));
        reached
    }

    fn is_at(&self, ends: &HashMap<i32, i64>) -> bool {
        ends.iter().all(|(partition, end)| self.next.get(partition).is_some_and(|next| next >= end))
    }

    /// `None` where the topic doesn't exist, or is a former one that can't be seen: who uses it still, can.
    fn partitions(&self, found: &[TopicMetadata]) -> Result<Option<Vec<i32>>, KafkaError> {
        let Some(topic) = found.iter().find(|topic| topic.name == self.topic) else { return Ok(None) };
        match &topic.error {
            None => Ok(Some(topic.partitions.iter().map(|p| p.partition).collect())),
            Some(error) if error.reason == Reason::TOPIC_NOT_FOUND => Ok(None),
            Some(error) if self.is_former && error.reason == Reason::MISSING_PERMISSION => Ok(None),
            Some(error) => Err(error.clone()),
        }
    }

    async fn list(
        &self,
        cluster: &ClusterHandle,
        partitions: &[i32],
        spec: OffsetSpec,
    ) -> Result<HashMap<i32, i64>, KafkaError> {
        let wanted: Vec<_> = partitions.iter().map(|p| (self.topic.clone(), *p, spec)).collect();
        if wanted.is_empty() {
            return Ok(HashMap::new());
        }
        let listed = cluster.client.list_offsets(&wanted, Isolation::Uncommitted).await?;
        listed.into_iter().map(|((_, partition), found)| Ok((partition, found?.offset))).collect()
    }
}

/// Reads the spans as far as nothing hides them.
async fn read(
    reader: &mut LogReader,
    topic: &str,
    spans: Vec<Span>,
    each: impl FnMut(&LogRecord<'_>) -> Wanted,
) -> Result<Reached, KafkaError> {
    let failed = |what: &str| {
        KafkaError::retriable(Reason::KAFKA_ERROR, format!("reading {topic} on the target: {what}"))
    };
    match tokio::time::timeout(READ_TIMEOUT, reader.read(spans, each)).await {
        Ok(Ok(())) => Ok(Reached::End),
        Ok(Err(NotRead::Stalled { .. })) => Ok(Reached::Hidden),
        Ok(Err(NotRead::Failed(error))) => Err(failed(&error.message)),
        Err(_) => Err(failed("it takes too long")),
    }
}

/// Reads single records of the topic again.
pub(super) async fn reread(
    cluster: &ClusterHandle,
    mirror: &MirrorId,
    wanted: Vec<StoredAt>,
) -> Result<Vec<Stored>, KafkaError> {
    let ((_, now), (_, former)) = (StorageTopics::names(mirror), StorageTopics::former_names(mirror));
    let mut found = Vec::with_capacity(wanted.len());
    for at in wanted {
        let topic = if at.former { &former } else { &now };
        found.push(reread_one(&cluster.client, topic, at).await?);
    }
    Ok(found)
}

async fn reread_one(client: &KafkaClient, topic: &str, at: StoredAt) -> Result<Stored, KafkaError> {
    let StoredAt { former, partition, offset } = at;
    let mut found = None;
    let mut reader = LogReader::new(client, topic, Isolation::Committed, HIDDEN_PATIENCE);
    let span = Span { partition, from: offset, to: offset + 1 };
    read(&mut reader, topic, vec![span], |record| {
        found = Some(Stored::of(record, former));
        Wanted::Enough
    })
    .await?;
    found.ok_or_else(|| {
        let what = format!("{topic} partition {partition} has no record at {offset} any more");
        KafkaError::retriable(Reason::KAFKA_ERROR, what)
    })
}
