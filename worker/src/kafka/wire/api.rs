//! The requests that this client makes, and the versions of each that it writes and reads.
//!
//! The highest version that both sides have is used. An upper bound below what the message types can do has its reason
//! beside it; a lower bound says what the client can't do without.

use kafka_protocol::messages as m;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};

/// The versions of one request that we can write and read.
#[derive(Debug, Clone, Copy)]
pub(in crate::kafka) struct Versions {
    pub(in crate::kafka) min: i16,
    pub(in crate::kafka) max: i16,
}

/// A request with its answer.
pub(in crate::kafka) trait Api: Encodable + HeaderVersion + Send + Sync {
    const KEY: ApiKey;
    const VERSIONS: Versions;
    type Response: Decodable + HeaderVersion + Send;
}

macro_rules! apis {
    ($($(#[$doc:meta])* $key:ident $request:ident $response:ident $min:literal..=$max:literal;)*) => {
        $($(#[$doc])* impl Api for m::$request {
            const KEY: ApiKey = ApiKey::$key;
            const VERSIONS: Versions = Versions { min: $min, max: $max };
            type Response = m::$response;
        })*
    };
}

apis! {
    // Version 3 names our software to the broker; a broker from before 2.4 answers it with what it has.
    ApiVersions ApiVersionsRequest ApiVersionsResponse 0..=3;
    // Version 0 can't carry SaslAuthenticate.
    SaslHandshake SaslHandshakeRequest SaslHandshakeResponse 1..=1;
    SaslAuthenticate SaslAuthenticateRequest SaslAuthenticateResponse 0..=2;
    // Versions before 4 create the topics that they are asked about.
    Metadata MetadataRequest MetadataResponse 4..=12;
    DescribeCluster DescribeClusterRequest DescribeClusterResponse 0..=1;
    CreateTopics CreateTopicsRequest CreateTopicsResponse 2..=7;
    CreatePartitions CreatePartitionsRequest CreatePartitionsResponse 0..=3;
    // Version 6 wants the topics in another field, for the sake of ids that aren't needed here.
    DeleteTopics DeleteTopicsRequest DeleteTopicsResponse 1..=5;
    DescribeConfigs DescribeConfigsRequest DescribeConfigsResponse 1..=4;
    // Kafka 2.3. There is no falling back to AlterConfigs: that one resets every config it isn't told.
    IncrementalAlterConfigs IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse 0..=1;
    // Versions 8 and up are about tiered storage.
    ListOffsets ListOffsetsRequest ListOffsetsResponse 1..=7;
    OffsetForLeaderEpoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse 2..=4;
    // Version 13 names topics by id.
    Fetch FetchRequest FetchResponse 4..=12;
    // Version 3 has the batches that are written here; version 13 names topics by id.
    Produce ProduceRequest ProduceResponse 3..=12;
    FindCoordinator FindCoordinatorRequest FindCoordinatorResponse 1..=4;
    // Version 5 is for transactions that librdkafka doesn't speak.
    InitProducerId InitProducerIdRequest InitProducerIdResponse 0..=4;
    // Versions from 4 on are for brokers.
    AddPartitionsToTxn AddPartitionsToTxnRequest AddPartitionsToTxnResponse 0..=3;
    // Version 5 is for transactions of KIP-890, which not every broker has switched on.
    EndTxn EndTxnRequest EndTxnResponse 0..=4;
    // Kafka 3.0. Later versions only filter more.
    ListTransactions ListTransactionsRequest ListTransactionsResponse 0..=0;
    ListGroups ListGroupsRequest ListGroupsResponse 0..=5;
    DescribeGroups DescribeGroupsRequest DescribeGroupsResponse 0..=6;
    ConsumerGroupDescribe ConsumerGroupDescribeRequest ConsumerGroupDescribeResponse 0..=1;
    DeleteGroups DeleteGroupsRequest DeleteGroupsResponse 0..=2;
    // Version 2 asks for all partitions of a group; version 10 names topics by id.
    OffsetFetch OffsetFetchRequest OffsetFetchResponse 2..=9;
    // Version 10 names topics by id.
    OffsetCommit OffsetCommitRequest OffsetCommitResponse 2..=9;
    // Kafka 2.6.
    DescribeClientQuotas DescribeClientQuotasRequest DescribeClientQuotasResponse 0..=1;
    DescribeAcls DescribeAclsRequest DescribeAclsResponse 1..=3;
    CreateAcls CreateAclsRequest CreateAclsResponse 1..=3;
    DeleteAcls DeleteAclsRequest DeleteAclsResponse 1..=3;
}
