//! Raw record batches of one partition.

use futures::FutureExt;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{ApiKey, BrokerId, FetchRequest, TopicName};
use tokio::time::Instant;
use twinlog_proto::reason::Reason;

use super::batch;
use super::code::Ask;
use super::pool::Use;
use super::retry::Answers;
use super::route::To;
use super::topics::text;
use super::types::{AbortedTransaction, AclOperation, FetchedBatches, Isolation};
use super::{KafkaClient, KafkaError};

/// How long a broker waits for the first byte at the end of a log, milliseconds.
const MAX_WAIT_MS: i32 = 100;
/// No fetch session.
const NO_SESSION_EPOCH: i32 = -1;

impl KafkaClient {
    /// Reads the batches from `offset` on, up to `max_bytes` (a first batch larger than that comes whole). At the end of the
    /// log it waits 100 ms, then answers with no batches.
    ///
    /// # Errors
    /// `code::OFFSET_OUT_OF_RANGE` where the log doesn't hold `offset`.
    pub async fn fetch_batches(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        max_bytes: i32,
        isolation: Isolation,
    ) -> Result<FetchedBatches, KafkaError> {
        let deadline = self.until();
        let item = (topic.to_owned(), partition, offset);
        let route = |items, again| self.to_leaders(items, again, deadline).boxed();
        let ask = |to, items| self.fetch_one(to, items, max_bytes, isolation, deadline).boxed();
        let mut found = self.router.scatter(vec![item], deadline, route, ask).await?;
        found.pop().expect("one item, one answer").1
    }

    /// The newest version of fetch requests that some broker of the cluster knows.
    pub async fn fetch_version(&self) -> Result<i16, KafkaError> {
        let deadline = self.until();
        let newest =
            |c: &super::connection::Connection| c.apis().range(ApiKey::Fetch).map(|(_, newest)| newest);
        let found = self.router.retry(deadline, || self.router.probe(deadline, newest)).await?;
        Ok(found.unwrap_or_default())
    }

    async fn fetch_one(
        &self,
        to: To,
        items: Vec<(String, i32, i64)>,
        max_bytes: i32,
        isolation: Isolation,
        deadline: Instant,
    ) -> Answers<(String, i32, i64), FetchedBatches> {
        let Some((topic, partition, offset)) = items.first() else { return Ok(Vec::new()) };
        let build = |_| {
            let wanted = FetchPartition::default()
                .with_partition(*partition)
                .with_fetch_offset(*offset)
                .with_partition_max_bytes(max_bytes);
            let topic =
                FetchTopic::default().with_topic(TopicName(text(topic))).with_partitions(vec![wanted]);
            Ok(FetchRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_max_wait_ms(MAX_WAIT_MS)
                .with_min_bytes(1)
                .with_max_bytes(max_bytes)
                .with_isolation_level(isolation.to_wire())
                .with_session_epoch(NO_SESSION_EPOCH)
                .with_topics(vec![topic]))
        };
        let answer = self.router.send(to, Use::Fetch, deadline, &build).await?.body;
        let ask = Ask::topic("read", AclOperation::Read, topic);
        ask.check(self.properties(), answer.error_code, None)?;
        let data = answer.responses.into_iter().next().and_then(|t| t.partitions.into_iter().next());
        let result = data.ok_or_else(|| self.nothing(topic)).and_then(|data| {
            ask.check(self.properties(), data.error_code, None)?;
            batches(data)
        });
        Ok(vec![((topic.clone(), *partition, *offset), result)])
    }

    fn nothing(&self, topic: &str) -> KafkaError {
        let cluster = self.properties().cluster_id();
        KafkaError::retriable(
            Reason::KAFKA_ERROR,
            format!("cluster {cluster}: the broker's answer to a fetch leaves out topic {topic}"),
        )
    }
}

fn batches(data: PartitionData) -> Result<FetchedBatches, KafkaError> {
    let aborted = data.aborted_transactions.unwrap_or_default();
    let mut aborted: Vec<_> = aborted
        .into_iter()
        .map(|a| AbortedTransaction { producer_id: a.producer_id.0, first_offset: a.first_offset })
        .collect();
    aborted.sort_by_key(|a| a.first_offset);
    Ok(FetchedBatches {
        batches: batch::split(&data.records.unwrap_or_default())?,
        aborted,
        log_start: data.log_start_offset,
        high_watermark: data.high_watermark,
        last_stable_offset: data.last_stable_offset,
    })
}
