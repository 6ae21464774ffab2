//! One list of raw requests with the answer that is due to each, for the fake and for real brokers alike.

use anyhow::{Context, Result};
use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use kafka_protocol::messages::create_topics_response::CreateTopicsResponse;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchResponse, PartitionData};
use kafka_protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use kafka_protocol::messages::list_offsets_response::ListOffsetsResponse;
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{ApiKey, BrokerId, TopicName};
use kafka_protocol::protocol::StrBytes;
use twinlog_tests::broker::Release;
use twinlog_tests::broker::batch::Header;
use twinlog_tests::broker::raw::{RawClient, To};
use twinlog_tests::broker::reader::{self, Entry};
use uuid::Uuid;

/// Enough for every story to have partitions of its own.
const PARTITIONS: i32 = 160;
/// Topics of one kind each, with the config that makes it.
pub(crate) const KINDS: [(&str, &[(&str, &str)]); 7] = [
    ("plain", &[]),
    ("small", &[("max.message.bytes", "2000")]),
    ("compacted", &[("cleanup.policy", "compact")]),
    ("stamped", &[("message.timestamp.type", "LogAppendTime")]),
    ("bounded", &[("message.timestamp.before.max.ms", "60000"), ("message.timestamp.after.max.ms", "60000")]),
    ("gzip", &[("compression.type", "gzip")]),
    ("bare", &[("compression.type", "uncompressed")]),
];

/// Runs the list, and notes what was said and what should have been.
pub(crate) struct Script {
    pub(crate) client: RawClient,
    pub(crate) address: String,
    pub(crate) release: Release,
    pub(crate) ids: Vec<(String, Uuid)>,
    used: i32,
    pub(crate) said: Vec<String>,
    pub(crate) wrong: Vec<String>,
}

pub(crate) fn code(error: Option<ResponseError>) -> i16 {
    error.map_or(0, |error| error.code())
}

pub(crate) fn named(code: i16) -> String {
    ResponseError::try_from_code(code).map_or("None".into(), |error| format!("{error:?}"))
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the year 292 million")
}

impl Script {
    /// Connects and makes the topics.
    pub(crate) async fn start(address: &str, release: Release) -> Result<Self> {
        let mut client = RawClient::connect(address).await?;
        let topics = KINDS.map(|(name, configs)| {
            let configs = configs.iter().map(|(name, value)| {
                CreatableTopicConfig::default()
                    .with_name(StrBytes::from_static_str(name))
                    .with_value(Some(StrBytes::from_static_str(value)))
            });
            let partitions = if name == "plain" { PARTITIONS } else { 12 };
            CreatableTopic::default()
                .with_name(topic_name(name))
                .with_num_partitions(partitions)
                .with_replication_factor(1)
                .with_configs(configs.collect())
        });
        let request = CreateTopicsRequest::default().with_topics(topics.to_vec()).with_timeout_ms(20_000);
        let made: CreateTopicsResponse = client.call(ApiKey::CreateTopics, 7, &request).await?;
        let ids = made.topics.iter().map(|topic| {
            assert_eq!(named(topic.error_code), "None", "{:?}", topic.name);
            (topic.name.to_string(), topic.topic_id)
        });
        let ids = ids.collect();
        let address = address.to_owned();
        let mut script = Self { client, address, release, ids, used: 0, said: Vec::new(), wrong: Vec::new() };
        script.wait_for_leaders().await?;
        Ok(script)
    }

    /// A broker that has just made topics doesn't lead them at once.
    async fn wait_for_leaders(&mut self) -> Result<()> {
        for (name, _) in KINDS {
            let partitions = if name == "plain" { PARTITIONS } else { 12 };
            for _ in 0..200 {
                let offsets = self.offsets(name, &(0..partitions).collect::<Vec<_>>(), -1, 0).await?;
                if offsets.iter().all(|(code, _)| *code == 0) {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// A partition of "plain" that nobody used.
    pub(crate) fn fresh(&mut self) -> To<'static> {
        self.used += 1;
        assert!(self.used <= PARTITIONS, "more partitions are needed");
        To::new("plain", self.used - 1)
    }

    pub(crate) fn id(&self, topic: &str) -> Uuid {
        self.ids.iter().find(|(name, _)| name == topic).map(|(_, id)| *id).expect("it was made at the start")
    }

    /// Notes an answer, and whether it was the right one.
    pub(crate) fn note(&mut self, what: &str, said: String, expected: &str) {
        if said != expected && !expected.is_empty() {
            self.wrong.push(format!("{what}: {said}, and {expected} is right"));
        }
        self.said.push(format!("{what}: {said}"));
    }

    /// Produces one batch; `Ok(offset)` or the error that is due.
    pub(crate) async fn produce(
        &mut self,
        what: &str,
        to: To<'_>,
        batch: Bytes,
        expected: Result<i64, ResponseError>,
    ) -> Result<PartitionProduceResponse> {
        let answer = self.client.produce(&to, batch).await.with_context(|| what.to_owned())?;
        let said = if answer.error_code == 0 {
            format!("{}", answer.base_offset)
        } else {
            let records: Vec<i32> = answer.record_errors.iter().map(|e| e.batch_index).collect();
            let text = if answer.record_errors.is_empty() { "" } else { ", with a text" };
            let text = if answer.error_message.is_some() { text } else { "" };
            let records = if records.is_empty() { String::new() } else { format!(" of records {records:?}") };
            format!("{}{records}{text}", named(answer.error_code))
        };
        let right = match expected {
            Ok(offset) => offset.to_string(),
            Err(error) => format!("{error:?}"),
        };
        // Which records are to blame is compared between brokers.
        if said.split([' ', ',']).next() != Some(right.as_str()) {
            self.wrong.push(format!("{what}: {said}, and {right} is right"));
        }
        self.said.push(format!("{what}: {said}"));
        Ok(answer)
    }

    pub(crate) async fn fetch(
        &mut self,
        topic: &str,
        partition: FetchPartition,
        isolation: i8,
    ) -> Result<PartitionData> {
        let version = if self.release == Release::V3_9 { 12 } else { 13 };
        let mut asked =
            FetchTopic::default().with_partitions(vec![partition.with_partition_max_bytes(1 << 20)]);
        if version >= 13 {
            asked.topic_id = self.id(topic);
        } else {
            asked.topic = topic_name(topic);
        }
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(0)
            .with_min_bytes(1)
            .with_max_bytes(1 << 20)
            .with_isolation_level(isolation)
            .with_session_epoch(-1)
            .with_topics(vec![asked]);
        let response: FetchResponse = self.client.call(ApiKey::Fetch, version, &request).await?;
        let partition = response.responses.into_iter().flat_map(|topic| topic.partitions).next();
        partition.context("an answer without a partition")
    }

    /// All that lies in a partition.
    pub(crate) async fn stored(&mut self, to: To<'_>) -> Result<Bytes> {
        let asked = at(to.partition, 0);
        Ok(self.fetch(to.topic, asked, 0).await?.records.unwrap_or_default())
    }

    pub(crate) async fn entries(&mut self, to: To<'_>) -> Result<Vec<Entry>> {
        reader::entries(self.stored(to).await?)
    }

    /// Produces a batch that is taken, and notes how it lies there: header, whether checksum and payload are as sent, and what a consumer sees.
    pub(crate) async fn kept(&mut self, what: &str, to: To<'_>, batch: Bytes) -> Result<()> {
        let answer = self.produce(what, to, batch.clone(), Ok(0)).await?;
        if answer.error_code != 0 {
            return Ok(());
        }
        let stamped = if answer.log_append_time_ms >= 0 { "stamped" } else { "not stamped" };
        let stored = self.stored(to).await?;
        let (sent, header) =
            (Header::read(&batch).context("a batch")?, Header::read(&stored).context("it lies there")?);
        let kept = |same: bool| if same { "kept" } else { "other" };
        let line = format!(
            "attributes {:#06x}, delta {}, count {}, checksum {}, maximum {}, payload {}, {stamped}",
            header.attributes,
            header.last_offset_delta,
            header.count,
            kept(header.crc == sent.crc),
            kept(header.max_timestamp == sent.max_timestamp),
            kept(stored[61..] == batch[61..]),
        );
        self.note(what, line, "");
        let entries = reader::entries(stored).map_or_else(
            |error| format!("damaged: {error}"),
            |entries| {
                let shown = entries.iter().map(|e| {
                    let time = if e.is_log_append_time {
                        "now".into()
                    } else {
                        (e.timestamp - sent.base_timestamp).to_string()
                    };
                    format!("{}@{time} {:?}", e.offset, e.sequence)
                });
                shown.collect::<Vec<_>>().join(" ")
            },
        );
        self.note(what, entries, "");
        Ok(())
    }

    /// (error, offset) of partitions.
    pub(crate) async fn offsets(
        &mut self,
        topic: &str,
        partitions: &[i32],
        timestamp: i64,
        isolation: i8,
    ) -> Result<Vec<(i16, i64)>> {
        let asked = partitions.iter().map(|index| {
            ListOffsetsPartition::default()
                .with_partition_index(*index)
                .with_current_leader_epoch(-1)
                .with_timestamp(timestamp)
        });
        let topic = ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(asked.collect());
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_isolation_level(isolation)
            .with_topics(vec![topic]);
        let response: ListOffsetsResponse = self.client.call(ApiKey::ListOffsets, 7, &request).await?;
        Ok(response.topics.iter().flat_map(|t| &t.partitions).map(|p| (p.error_code, p.offset)).collect())
    }
}

/// To fetch from an offset, without epochs.
pub(crate) fn at(partition: i32, offset: i64) -> FetchPartition {
    FetchPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(-1)
        .with_last_fetched_epoch(-1)
        .with_fetch_offset(offset)
}
