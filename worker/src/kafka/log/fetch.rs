//! Raw bytes of one partition's log.

use futures::FutureExt;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{ApiKey, BrokerId, FetchRequest, TopicName};
use tokio::time::Instant;
use twinlog_proto::reason::Reason;

use super::batch;
use super::types::{AbortedTransaction, FetchHow, FetchedBatches, FetchedLog, LogFormat};
use crate::kafka::wire::client::KafkaClient;
use crate::kafka::wire::code::Ask;
use crate::kafka::wire::error::KafkaError;
use crate::kafka::wire::pool::Use;
use crate::kafka::wire::retry::Answers;
use crate::kafka::wire::route::To;
use crate::kafka::wire::types::text;
use crate::kafka::wire::types::{AclOperation, Isolation};

/// How long a broker waits at the end of a log, milliseconds.
const MAX_WAIT_MS: i32 = 100;
/// No fetch session.
const NO_SESSION_EPOCH: i32 = -1;

impl KafkaClient {
    /// Reads the batches from `offset` on, up to `max_bytes` (a first batch larger than that comes whole). At the end of the
    /// log it waits 100 ms, then answers with no batches.
    ///
    /// # Errors
    /// `code::OFFSET_OUT_OF_RANGE` where the log doesn't hold `offset`; UNSUPPORTED_VERSION where it holds messages in a format of
    /// before 0.11.
    pub async fn fetch_batches(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        max_bytes: i32,
        isolation: Isolation,
    ) -> Result<FetchedBatches, KafkaError> {
        let how = FetchHow { max_bytes, isolation, max_wait_ms: MAX_WAIT_MS };
        let log = self.fetch_log(topic, partition, offset, how).await?;
        Ok(FetchedBatches {
            batches: batch::split(&log.records)?,
            aborted: log.aborted,
            log_start: log.log_start,
            high_watermark: log.high_watermark,
            last_stable_offset: log.last_stable_offset,
        })
    }

    /// As `fetch_batches`, in all formats.
    ///
    /// # Errors
    /// `code::OFFSET_OUT_OF_RANGE` where the log doesn't hold `offset`.
    pub async fn fetch_log(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        how: FetchHow,
    ) -> Result<FetchedLog, KafkaError> {
        let deadline = self.until();
        let item = (topic.to_owned(), partition, offset);
        let route = |items, again| self.to_leaders(items, again, deadline).boxed();
        let ask = |to, items| self.fetch_one(to, items, how, deadline).boxed();
        let mut found = self.router.scatter(vec![item], deadline, route, ask).await?;
        found.pop().expect("one item, one answer").1
    }

    /// In which format the log goes on at `offset`.
    ///
    /// # Errors
    /// `code::OFFSET_OUT_OF_RANGE` where the log doesn't hold `offset`.
    pub async fn format_at(&self, topic: &str, partition: i32, offset: i64) -> Result<LogFormat, KafkaError> {
        let how = FetchHow { max_bytes: 1, isolation: Isolation::Uncommitted, max_wait_ms: 0 };
        let log = self.fetch_log(topic, partition, offset, how).await?;
        Ok(batch::format_of(&log.records))
    }

    /// Id of the producer whose batch holds `offset`; `None` where it has none, or the log ends there.
    ///
    /// # Errors
    /// `code::OFFSET_OUT_OF_RANGE` where the log doesn't hold `offset`.
    pub async fn producer_at(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<Option<i64>, KafkaError> {
        let how = FetchHow { max_bytes: 1, isolation: Isolation::Uncommitted, max_wait_ms: 0 };
        let log = self.fetch_log(topic, partition, offset, how).await?;
        let header = batch::BatchHeader::parse(&log.records);
        Ok(header.map(|header| header.producer_id).filter(|id| *id >= 0))
    }

    /// Whether a batch from which compaction has removed nothing, a marker for example, holds `offset`.
    ///
    /// # Errors
    /// `code::OFFSET_OUT_OF_RANGE` where the log doesn't hold `offset`.
    pub async fn is_whole_at(&self, topic: &str, partition: i32, offset: i64) -> Result<bool, KafkaError> {
        let how = FetchHow { max_bytes: 1, isolation: Isolation::Uncommitted, max_wait_ms: 0 };
        let log = self.fetch_log(topic, partition, offset, how).await?;
        let header = batch::BatchHeader::parse(&log.records);
        Ok(header.is_some_and(|batch| {
            batch.base_offset <= offset && offset <= batch.last_offset() && !batch.has_holes()
        }))
    }

    /// The newest version of fetch requests that some broker of the cluster knows.
    pub async fn fetch_version(&self) -> Result<i16, KafkaError> {
        let deadline = self.until();
        let newest = |c: &crate::kafka::wire::connection::Connection| {
            c.apis().range(ApiKey::Fetch).map(|(_, newest)| newest)
        };
        let found = self.router.retry(deadline, || self.router.probe(deadline, newest)).await?;
        Ok(found.unwrap_or_default())
    }

    async fn fetch_one(
        &self,
        to: To,
        items: Vec<(String, i32, i64)>,
        how: FetchHow,
        deadline: Instant,
    ) -> Answers<(String, i32, i64), FetchedLog> {
        let Some((topic, partition, offset)) = items.first() else { return Ok(Vec::new()) };
        let build = |_| {
            let wanted = FetchPartition::default()
                .with_partition(*partition)
                .with_fetch_offset(*offset)
                .with_partition_max_bytes(how.max_bytes);
            let topic =
                FetchTopic::default().with_topic(TopicName(text(topic))).with_partitions(vec![wanted]);
            Ok(FetchRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_max_wait_ms(how.max_wait_ms)
                .with_min_bytes(1)
                .with_max_bytes(how.max_bytes)
                .with_isolation_level(how.isolation.to_wire())
                .with_session_epoch(NO_SESSION_EPOCH)
                .with_topics(vec![topic]))
        };
        let answer = self.router.send(to, Use::Fetch, deadline, &build).await?.body;
        let ask = Ask::topic("read", AclOperation::Read, topic);
        ask.check(self.properties(), answer.error_code, None)?;
        let data = answer.responses.into_iter().next().and_then(|t| t.partitions.into_iter().next());
        let result = data.ok_or_else(|| self.nothing(topic)).and_then(|data| {
            ask.check(self.properties(), data.error_code, None)?;
            Ok(log(data))
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

fn log(data: PartitionData) -> FetchedLog {
    let aborted = data.aborted_transactions.unwrap_or_default();
    let mut aborted: Vec<_> = aborted
        .into_iter()
        .map(|a| AbortedTransaction { producer_id: a.producer_id.0, first_offset: a.first_offset })
        .collect();
    aborted.sort_by_key(|a| a.first_offset);
    FetchedLog {
        records: data.records.unwrap_or_default(),
        aborted,
        log_start: data.log_start_offset,
        high_watermark: data.high_watermark,
        last_stable_offset: data.last_stable_offset,
    }
}
