//! Writes a few records to partitions that are named: in order through retries, to all replicas in sync, each once.
//!
//! It has one batch on its way at a time. A batch that is sent again says who wrote it and its number, so that a broker that has it
//! already does not store it twice. What forwards records is elsewhere.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, TopicName};
use tokio::time::Instant;
use twinlog_proto::reason::Reason;

use super::records::encode::{BatchBuilder, BatchOf, NoBatch, Producer};
use super::records::{Headers, Record};
use crate::kafka::wire::client::KafkaClient;
use crate::kafka::wire::code::{self, Ask};
use crate::kafka::wire::error::KafkaError;
use crate::kafka::wire::leaders::{Wanted, by_partition, by_topic};
use crate::kafka::wire::pool::Use;
use crate::kafka::wire::retry::Answers;
use crate::kafka::wire::route::To;
use crate::kafka::wire::types::{AclOperation, text};

/// Bytes of a batch, more only where a single record has them. A topic that takes less says so, and gets smaller ones.
const MAX_BATCH_BYTES: usize = 256 << 10;
/// What a record has besides key and value, at most.
const AROUND_RECORD: usize = 32;
/// All replicas in sync have a batch by then, or the broker says that they haven't: early enough to ask again.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(5);
const ACKS_ALL: i16 = -1;

/// A record that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub timestamp_ms: i64,
}

impl NewRecord {
    fn size(&self) -> usize {
        self.key.len() + self.value.len() + AROUND_RECORD
    }
}

/// Writes as whom the cluster's `producer.*` properties say. It asks for a number of its own when first used, and after a failure anew:
/// what became of the batch before is not known then.
#[derive(Debug)]
pub struct RecordWriter {
    client: KafkaClient,
    identity: Option<Identity>,
}

/// Who writes, and the number of the next record of each partition.
#[derive(Debug)]
struct Identity {
    /// `None` where the cluster gives this client none.
    producer: Option<(i64, i16)>,
    next: HashMap<(String, i32), i32>,
}

impl RecordWriter {
    /// A batch that isn't acknowledged within `patience` has failed.
    pub fn new(client: &KafkaClient, patience: Duration) -> Self {
        Self { client: client.as_producer().with_deadline(patience), identity: None }
    }

    /// Returns once all are acknowledged, or with the first failure: then those before it are there, it may be, those behind it are not.
    ///
    /// # Errors
    /// The partition's leader refuses them, or can't be asked in time.
    pub async fn write(
        &mut self,
        topic: &str,
        partition: i32,
        records: &[NewRecord],
    ) -> Result<(), KafkaError> {
        let (mut rest, mut most) = (records, MAX_BATCH_BYTES);
        while !rest.is_empty() {
            let (some, behind) = rest.split_at(fitting(rest, most));
            match self.write_some(topic, partition, some).await {
                Ok(()) => rest = behind,
                Err(error) if error.reason == Reason::RECORD_TOO_LARGE && some.len() > 1 => {
                    most = some.iter().map(NewRecord::size).sum::<usize>() / 2;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// One batch. The identity is used on only where it is known what became of the batch.
    async fn write_some(
        &mut self,
        topic: &str,
        partition: i32,
        records: &[NewRecord],
    ) -> Result<(), KafkaError> {
        let place = (topic.to_owned(), partition);
        loop {
            let mut identity = match self.identity.take() {
                Some(identity) => identity,
                None => self.client.identity().await?,
            };
            let sequence = identity.next.get(&place).copied().unwrap_or(0);
            let producer = identity.producer.map(|(id, epoch)| Producer { id, epoch, sequence });
            let batch = batch(producer, records).map_err(|what| {
                let cluster = self.client.properties().cluster_id();
                KafkaError::new(
                    Reason::INTERNAL,
                    format!("cluster {cluster}: cannot write to {topic}: {what}"),
                )
            })?;
            let Err(error) = self.client.append(topic, partition, batch).await else {
                identity.next.insert(place, sequence_after(sequence, records.len()));
                self.identity = Some(identity);
                return Ok(());
            };
            match error.reason {
                // Nothing was stored, and there is something to try that differs.
                Reason::RECORD_TOO_LARGE => self.identity = Some(identity),
                _ if is_forgotten(error.code) && sequence > 0 => continue,
                _ => {}
            }
            return Err(error);
        }
    }
}

/// How many of the records fit into one batch; one always does.
fn fitting(records: &[NewRecord], most: usize) -> usize {
    let mut size = 0;
    let fits = |record: &&NewRecord| {
        size += record.size();
        size <= most
    };
    records.iter().take_while(fits).count().max(1)
}

fn batch(producer: Option<Producer>, records: &[NewRecord]) -> Result<Bytes, NoBatch> {
    let mut builder = BatchBuilder::new(BatchOf { producer, ..BatchOf::default() });
    for (offset, record) in (0..).zip(records) {
        builder.push(&Record {
            offset,
            timestamp: record.timestamp_ms,
            attributes: 0,
            key: Some(&record.key),
            value: Some(&record.value),
            headers: Headers::default(),
        })?;
    }
    builder.finish().map(Bytes::from)
}

/// Sequences begin anew at 0 after the largest.
fn sequence_after(sequence: i32, records: usize) -> i32 {
    let records = i32::try_from(records).expect("a batch has fewer");
    sequence.wrapping_add(records) & i32::MAX
}

/// The broker has lost what it knew of the producer, or never had it: nothing was stored.
fn is_forgotten(code: i16) -> bool {
    matches!(
        code,
        code::OUT_OF_ORDER_SEQUENCE_NUMBER | code::UNKNOWN_PRODUCER_ID | code::INVALID_PRODUCER_EPOCH
    )
}

impl KafkaClient {
    /// Without a number of its own a batch that is sent again may be stored twice, which a reader of keys doesn't mind; not to write would be worse.
    async fn identity(&self) -> Result<Identity, KafkaError> {
        let producer = match self.new_producer_id().await {
            Err(error) if error.code == code::CLUSTER_AUTHORIZATION_FAILED => None,
            given => Some(given?),
        };
        Ok(Identity { producer, next: HashMap::new() })
    }

    /// Appends a batch; asks whoever leads the partition until it is there.
    async fn append(&self, topic: &str, partition: i32, batch: Bytes) -> Result<(), KafkaError> {
        let deadline = self.until();
        let route = |items, again| self.to_leaders(items, again, deadline).boxed();
        let ask = |to, items| self.append_some(to, items, deadline).boxed();
        let wanted = vec![(topic.to_owned(), partition, batch)];
        let done = self.router.scatter(wanted, deadline, route, ask).await?;
        done.into_iter().try_for_each(|(_, result)| result)
    }

    async fn append_some(
        &self,
        to: To,
        items: Vec<Wanted<Bytes>>,
        deadline: Instant,
    ) -> Answers<Wanted<Bytes>, ()> {
        let build = |_| {
            let data = |p, batch: &Bytes| {
                PartitionProduceData::default().with_index(p).with_records(Some(batch.clone()))
            };
            let topics = by_topic(&items, data).into_iter().map(|(name, partitions)| {
                TopicProduceData::default().with_name(TopicName(text(name))).with_partition_data(partitions)
            });
            Ok(ProduceRequest::default()
                .with_acks(ACKS_ALL)
                .with_timeout_ms(i32::try_from(ACKNOWLEDGED_WITHIN.as_millis()).unwrap_or(i32::MAX))
                .with_topic_data(topics.collect()))
        };
        let answer = self.router.send(to, Use::Produce, deadline, &build).await?.body;
        let asked = by_partition(&items);
        let mut answers = Vec::with_capacity(items.len());
        for topic in &answer.responses {
            for p in &topic.partition_responses {
                let Some(item) = asked.get(&(&*topic.name, p.index)) else { continue };
                let ask = Ask::topic("write to", AclOperation::Write, &topic.name);
                let result = match p.error_code {
                    // It is there from a try whose answer was lost.
                    code::DUPLICATE_SEQUENCE_NUMBER => Ok(()),
                    error => ask.check(self.properties(), error, p.error_message.as_deref()),
                };
                answers.push(((*item).clone(), result));
            }
        }
        Ok(answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(size: usize) -> NewRecord {
        NewRecord { key: Vec::new(), value: vec![0; size - AROUND_RECORD], timestamp_ms: 1 }
    }

    #[test]
    fn a_batch_is_filled_as_far_as_it_may_be_and_never_empty() {
        let records = [record(40), record(40), record(40)];
        assert_eq!(fitting(&records, 1_000), 3);
        assert_eq!(fitting(&records, 80), 2);
        assert_eq!(fitting(&records, 79), 1);
        assert_eq!(fitting(&records, 1), 1);
    }

    #[test]
    fn what_a_record_takes_is_not_more_than_is_reckoned_with() {
        let key = vec![7; 100];
        let records: Vec<NewRecord> = (0..1_000)
            .map(|i| NewRecord { key: key.clone(), value: Vec::new(), timestamp_ms: i << 40 })
            .collect();
        let written = batch(None, &records).unwrap();
        assert!(written.len() <= records.iter().map(NewRecord::size).sum(), "{}", written.len());
    }

    #[test]
    fn sequences_begin_anew_after_the_largest() {
        assert_eq!(sequence_after(5, 3), 8);
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(sequence_after(i32::MAX - 1, 3), 1);
    }
}
