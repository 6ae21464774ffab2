//! A request as it comes in a frame: its kind, its version, its message.

use bytes::Bytes;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, ApiKey, CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest,
    DeleteTopicsRequest, DescribeConfigsRequest, DescribeProducersRequest, DescribeTransactionsRequest,
    EndTxnRequest, FetchRequest, FindCoordinatorRequest, IncrementalAlterConfigsRequest,
    InitProducerIdRequest, ListOffsetsRequest, ListTransactionsRequest, MetadataRequest,
    OffsetForLeaderEpochRequest, ProduceRequest, RequestHeader,
};
use kafka_protocol::protocol::Decodable;

use super::metadata::versions;
use super::state::State;
use super::topics::Release;

#[derive(Debug)]
pub(super) enum Message {
    ApiVersions,
    /// In a version that isn't known.
    ApiVersionsUnknown,
    Metadata(MetadataRequest),
    FindCoordinator(FindCoordinatorRequest),
    Produce(ProduceRequest),
    Fetch(FetchRequest),
    ListOffsets(ListOffsetsRequest),
    EpochEnds(OffsetForLeaderEpochRequest),
    Producers(DescribeProducersRequest),
    InitProducerId(InitProducerIdRequest),
    AddPartitions(AddPartitionsToTxnRequest),
    EndTxn(EndTxnRequest),
    CreateTopics(CreateTopicsRequest),
    DeleteTopics(DeleteTopicsRequest),
    DescribeConfigs(DescribeConfigsRequest),
    AlterConfigs(IncrementalAlterConfigsRequest),
    CreatePartitions(CreatePartitionsRequest),
    DeleteRecords(DeleteRecordsRequest),
    ListTransactions(ListTransactionsRequest),
    DescribeTransactions(DescribeTransactionsRequest),
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) api: ApiKey,
    pub(super) version: i16,
    pub(super) correlation: i32,
    pub(super) message: Message,
}

impl Request {
    /// `None` for what a broker closes the connection at: bytes that are no request, a version that it doesn't have.
    pub(super) fn read(mut frame: Bytes, release: Release) -> Option<Self> {
        let start = frame.get(..8)?;
        let api = ApiKey::try_from(i16::from_be_bytes([start[0], start[1]])).ok()?;
        let version = i16::from_be_bytes([start[2], start[3]]);
        let correlation = i32::from_be_bytes(start[4..8].try_into().expect("4 bytes"));
        let (_, min, max) = versions(release).into_iter().find(|(key, ..)| *key == api)?;
        if !(min..=max).contains(&version) {
            let message = Message::ApiVersionsUnknown;
            return (api == ApiKey::ApiVersions).then_some(Self { api, version: 0, correlation, message });
        }
        RequestHeader::decode(&mut frame, api.request_header_version(version)).ok()?;
        let message = message(api, version, &mut frame).ok()?;
        Some(Self { api, version, correlation, message })
    }

    /// The partitions that it names.
    pub(super) fn places(&self, state: &State) -> Vec<(String, i32)> {
        let mut places = Vec::new();
        let mut add = |topic: &str, partitions: Vec<i32>| {
            places.extend(partitions.into_iter().map(|index| (topic.to_owned(), index)));
        };
        let named = |name: &str, id: uuid::Uuid| state.topics.name_of(id).unwrap_or(name).to_owned();
        match &self.message {
            Message::Produce(request) => {
                for t in &request.topic_data {
                    let name = named(&t.name, t.topic_id);
                    add(&name, t.partition_data.iter().map(|p| p.index).collect());
                }
            }
            Message::Fetch(request) => {
                for t in &request.topics {
                    let name = named(&t.topic, t.topic_id);
                    add(&name, t.partitions.iter().map(|p| p.partition).collect());
                }
            }
            Message::ListOffsets(request) => {
                for t in &request.topics {
                    add(&t.name, t.partitions.iter().map(|p| p.partition_index).collect());
                }
            }
            Message::EpochEnds(request) => {
                for t in &request.topics {
                    add(&t.topic, t.partitions.iter().map(|p| p.partition).collect());
                }
            }
            Message::Producers(request) => {
                for t in &request.topics {
                    add(&t.name, t.partition_indexes.clone());
                }
            }
            Message::AddPartitions(request) => {
                for t in &request.v3_and_below_topics {
                    add(&t.name, t.partitions.clone());
                }
            }
            _ => {}
        }
        places
    }
}

fn message(api: ApiKey, version: i16, body: &mut Bytes) -> anyhow::Result<Message> {
    Ok(match api {
        ApiKey::ApiVersions => Message::ApiVersions,
        ApiKey::Metadata => Message::Metadata(Decodable::decode(body, version)?),
        ApiKey::FindCoordinator => Message::FindCoordinator(Decodable::decode(body, version)?),
        ApiKey::Produce => Message::Produce(Decodable::decode(body, version)?),
        ApiKey::Fetch => Message::Fetch(Decodable::decode(body, version)?),
        ApiKey::ListOffsets => Message::ListOffsets(Decodable::decode(body, version)?),
        ApiKey::OffsetForLeaderEpoch => Message::EpochEnds(Decodable::decode(body, version)?),
        ApiKey::DescribeProducers => Message::Producers(Decodable::decode(body, version)?),
        ApiKey::InitProducerId => Message::InitProducerId(Decodable::decode(body, version)?),
        ApiKey::AddPartitionsToTxn => Message::AddPartitions(Decodable::decode(body, version)?),
        ApiKey::EndTxn => Message::EndTxn(Decodable::decode(body, version)?),
        ApiKey::CreateTopics => Message::CreateTopics(Decodable::decode(body, version)?),
        ApiKey::DeleteTopics => Message::DeleteTopics(Decodable::decode(body, version)?),
        ApiKey::DescribeConfigs => Message::DescribeConfigs(Decodable::decode(body, version)?),
        ApiKey::IncrementalAlterConfigs => Message::AlterConfigs(Decodable::decode(body, version)?),
        ApiKey::CreatePartitions => Message::CreatePartitions(Decodable::decode(body, version)?),
        ApiKey::DeleteRecords => Message::DeleteRecords(Decodable::decode(body, version)?),
        ApiKey::ListTransactions => Message::ListTransactions(Decodable::decode(body, version)?),
        ApiKey::DescribeTransactions => Message::DescribeTransactions(Decodable::decode(body, version)?),
        other => anyhow::bail!("the fake doesn't answer {other:?}"),
    })
}
