//! The requests that this client makes, and the versions of each that it writes and reads.
//!
//! The highest version that both sides have is used. An upper bound below what the message types can do has its reason
//! beside it; a lower bound says what the client can't do without.

use kafka_protocol::messages as m;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};

use super::shape::Shape;
use super::shapes;

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
    /// Of its answer.
    const SHAPE: Shape;
    type Response: Decodable + HeaderVersion + Send;
}

/// What is done with each of them.
#[cfg(test)]
pub(super) trait EachApi {
    fn visit<R: Api>(&mut self);
}

macro_rules! apis {
    ($($(#[$doc:meta])* $key:ident $request:ident $response:ident $shape:ident $min:literal..=$max:literal;)*) => {
        $($(#[$doc])* impl Api for m::$request {
            const KEY: ApiKey = ApiKey::$key;
            const VERSIONS: Versions = Versions { min: $min, max: $max };
            const SHAPE: Shape = shapes::$shape;
            type Response = m::$response;
        })*

        /// For tests.
        #[cfg(test)]
        pub(super) fn every_api(visitor: &mut impl EachApi) {
            $(visitor.visit::<m::$request>();)*
        }
    };
}

apis! {
    // Version 3 names our software to the broker; a broker from before 2.4 answers it with what it has.
    ApiVersions ApiVersionsRequest ApiVersionsResponse API_VERSIONS 0..=3;
    // Version 0 can't carry SaslAuthenticate.
    SaslHandshake SaslHandshakeRequest SaslHandshakeResponse SASL_HANDSHAKE 1..=1;
    SaslAuthenticate SaslAuthenticateRequest SaslAuthenticateResponse SASL_AUTHENTICATE 0..=2;
    // Versions before 4 create the topics that they are asked about.
    Metadata MetadataRequest MetadataResponse METADATA 4..=12;
    DescribeCluster DescribeClusterRequest DescribeClusterResponse DESCRIBE_CLUSTER 0..=1;
    CreateTopics CreateTopicsRequest CreateTopicsResponse CREATE_TOPICS 2..=7;
    CreatePartitions CreatePartitionsRequest CreatePartitionsResponse CREATE_PARTITIONS 0..=3;
    // Version 6 wants the topics in another field, for the sake of ids that aren't needed here.
    DeleteTopics DeleteTopicsRequest DeleteTopicsResponse DELETE_TOPICS 1..=5;
    DescribeConfigs DescribeConfigsRequest DescribeConfigsResponse DESCRIBE_CONFIGS 1..=4;
    // Kafka 2.3. There is no falling back to AlterConfigs: that one resets every config it isn't told.
    IncrementalAlterConfigs IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse INCREMENTAL_ALTER_CONFIGS 0..=1;
    // Versions 8 and up are about tiered storage.
    ListOffsets ListOffsetsRequest ListOffsetsResponse LIST_OFFSETS 1..=7;
    OffsetForLeaderEpoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse OFFSET_FOR_LEADER_EPOCH 2..=4;
    // Version 13 names topics by id.
    Fetch FetchRequest FetchResponse FETCH 4..=12;
    // Version 3 has the batches that are written here; version 13 names topics by id.
    Produce ProduceRequest ProduceResponse PRODUCE 3..=12;
    FindCoordinator FindCoordinatorRequest FindCoordinatorResponse FIND_COORDINATOR 1..=4;
    // Version 5 is for transactions that librdkafka doesn't speak.
    InitProducerId InitProducerIdRequest InitProducerIdResponse INIT_PRODUCER_ID 0..=4;
    // Versions from 4 on are for brokers.
    AddPartitionsToTxn AddPartitionsToTxnRequest AddPartitionsToTxnResponse ADD_PARTITIONS_TO_TXN 0..=3;
    // Version 5 is for transactions of KIP-890, which not every broker has switched on.
    EndTxn EndTxnRequest EndTxnResponse END_TXN 0..=4;
    // Kafka 2.8.
    DescribeProducers DescribeProducersRequest DescribeProducersResponse DESCRIBE_PRODUCERS 0..=0;
    // Kafka 3.0.
    DescribeTransactions DescribeTransactionsRequest DescribeTransactionsResponse DESCRIBE_TRANSACTIONS 0..=0;
    // Kafka 3.0. Later versions only filter more.
    ListTransactions ListTransactionsRequest ListTransactionsResponse LIST_TRANSACTIONS 0..=0;
    ListGroups ListGroupsRequest ListGroupsResponse LIST_GROUPS 0..=5;
    DescribeGroups DescribeGroupsRequest DescribeGroupsResponse DESCRIBE_GROUPS 0..=6;
    ConsumerGroupDescribe ConsumerGroupDescribeRequest ConsumerGroupDescribeResponse CONSUMER_GROUP_DESCRIBE 0..=1;
    DeleteGroups DeleteGroupsRequest DeleteGroupsResponse DELETE_GROUPS 0..=2;
    // Version 2 asks for all partitions of a group; version 10 names topics by id.
    OffsetFetch OffsetFetchRequest OffsetFetchResponse OFFSET_FETCH 2..=9;
    // Version 10 names topics by id.
    OffsetCommit OffsetCommitRequest OffsetCommitResponse OFFSET_COMMIT 2..=9;
    // Kafka 2.6.
    DescribeClientQuotas DescribeClientQuotasRequest DescribeClientQuotasResponse DESCRIBE_CLIENT_QUOTAS 0..=1;
    DescribeAcls DescribeAclsRequest DescribeAclsResponse DESCRIBE_ACLS 1..=3;
    CreateAcls CreateAclsRequest CreateAclsResponse CREATE_ACLS 1..=3;
    DeleteAcls DeleteAclsRequest DeleteAclsResponse DELETE_ACLS 1..=3;
}
