//! Who is there and who leads what: ApiVersions, Metadata, FindCoordinator.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::{
    ApiVersion, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use kafka_protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use kafka_protocol::messages::find_coordinator_response::{Coordinator, FindCoordinatorResponse};
use kafka_protocol::messages::metadata_request::MetadataRequest;
use kafka_protocol::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{ApiKey, BrokerId, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::faults::Struck;
use super::state::{Leader, State};
use super::topics::{Release, Topic};

/// Where all brokers are.
const HOST: StrBytes = StrBytes::from_static_str("127.0.0.1");
/// What a client gets that doesn't ask for what it may do.
const NOT_ASKED: i32 = i32::MIN;

/// What a broker of that release answers to: (request, lowest and highest version). Left out of what real ones have: AddPartitionsToTxn from 4 on,
/// which is for brokers, and EndTxn 5, which raises the epoch with every transaction and which no client here sends.
pub(super) fn versions(release: Release) -> Vec<(ApiKey, i16, i16)> {
    let newer = |old: i16, new: i16| if release == Release::V4_3 { new } else { old };
    vec![
        (ApiKey::Produce, 3, newer(11, 13)),
        (ApiKey::Fetch, 4, newer(17, 18)),
        (ApiKey::ListOffsets, 1, newer(9, 10)),
        (ApiKey::Metadata, 0, newer(12, 13)),
        (ApiKey::FindCoordinator, 0, 6),
        (ApiKey::ApiVersions, 0, 4),
        (ApiKey::CreateTopics, 2, 7),
        (ApiKey::DeleteTopics, 1, 6),
        (ApiKey::InitProducerId, 0, 5),
        (ApiKey::OffsetForLeaderEpoch, 2, 4),
        (ApiKey::AddPartitionsToTxn, 0, 3),
        (ApiKey::EndTxn, 0, 4),
        (ApiKey::DescribeConfigs, 1, 4),
        (ApiKey::DescribeProducers, 0, 0),
        (ApiKey::IncrementalAlterConfigs, 0, 1),
        (ApiKey::CreatePartitions, 0, 3),
        (ApiKey::DeleteRecords, 0, 2),
        (ApiKey::ListTransactions, 0, newer(1, 2)),
        (ApiKey::DescribeTransactions, 0, 0),
    ]
}

pub(super) fn api_versions(state: &State, version: i16) -> ApiVersionsResponse {
    let key = |(key, min, max): (ApiKey, i16, i16)| {
        ApiVersion::default().with_api_key(key as i16).with_min_version(min).with_max_version(max)
    };
    let mut response =
        ApiVersionsResponse::default().with_api_keys(versions(state.release).into_iter().map(key).collect());
    if version < 3 {
        return response;
    }
    let level = if state.release == Release::V4_3 { 2 } else { 1 };
    let name = StrBytes::from_static_str("transaction.version");
    response.supported_features =
        vec![SupportedFeatureKey::default().with_name(name.clone()).with_max_version(level)];
    response.finalized_features = vec![
        FinalizedFeatureKey::default()
            .with_name(name)
            .with_max_version_level(level)
            .with_min_version_level(level),
    ];
    response.finalized_features_epoch = 1;
    response
}

/// A version of ApiVersions that isn't known is answered in version 0, with what there is.
pub(super) fn api_versions_unknown(state: &State) -> ApiVersionsResponse {
    api_versions(state, 0).with_error_code(ResponseError::UnsupportedVersion.code())
}

pub(super) fn metadata(
    state: &State,
    version: i16,
    request: &MetadataRequest,
    struck: &Struck,
) -> MetadataResponse {
    let brokers = state.up().map(|node| {
        let rack = node.rack.clone().map(StrBytes::from_string).filter(|_| version >= 1);
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(node.id))
            .with_host(HOST)
            .with_port(i32::from(node.port))
            .with_rack(rack)
    });
    let mut response = MetadataResponse::default().with_brokers(brokers.collect());
    if version >= 1 {
        response.controller_id = state.up().next().map_or(BrokerId(-1), |node| BrokerId(node.id));
    }
    if version >= 2 {
        response.cluster_id = Some(StrBytes::from_string(state.cluster_id.clone()));
    }
    let all =
        request.topics.is_none() || (version == 0 && request.topics.as_ref().is_some_and(Vec::is_empty));
    if all {
        response.topics = state.topics.iter().map(|topic| described(state, version, topic)).collect();
    } else {
        for asked in request.topics.iter().flatten() {
            let by_name = asked.name.as_ref().map(|name| name.to_string());
            let name = by_name.clone().or_else(|| state.topics.name_of(asked.topic_id).map(str::to_owned));
            let topic = name.as_ref().and_then(|name| state.topics.get(name));
            let refused =
                name.as_ref().and_then(|name| struck.refusal(name, -1)).or_else(|| struck.refused());
            let missing = if by_name.is_some() {
                ResponseError::UnknownTopicOrPartition
            } else {
                ResponseError::UnknownTopicId
            };
            response.topics.push(match (topic, refused) {
                (Some(topic), None) => described(state, version, topic),
                (_, refused) => {
                    let code = refused.unwrap_or(missing);
                    unknown(version, by_name, asked.topic_id, code)
                }
            });
        }
    }
    response
}

fn unknown(version: i16, name: Option<String>, id: Uuid, code: ResponseError) -> MetadataResponseTopic {
    let name = name.map(|name| TopicName(StrBytes::from_string(name)));
    let name = if version >= 12 { name } else { Some(name.unwrap_or_default()) };
    let mut topic = MetadataResponseTopic::default()
        .with_error_code(code.code())
        .with_name(name)
        .with_topic_authorized_operations(NOT_ASKED);
    if version >= 10 {
        topic.topic_id = id;
    }
    topic
}

fn described(state: &State, version: i16, topic: &Topic) -> MetadataResponseTopic {
    let mut said = MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_string(topic.name.clone()))))
        .with_topic_authorized_operations(NOT_ASKED);
    if version >= 10 {
        said.topic_id = topic.id;
    }
    for (partition, index) in topic.partitions.iter().zip(0..) {
        let leader = match &state.stale_leaders {
            Some(stale) => stale.get(&(topic.name.clone(), index)).copied(),
            None => partition.leader.map(|node| Leader { node, epoch: partition.leader_epoch }),
        };
        let offline = partition.replicas.iter().filter(|id| state.node(**id).is_none_or(|node| !node.up));
        let ids = |nodes: &[i32]| nodes.iter().map(|node| BrokerId(*node)).collect();
        let mut answer = MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(BrokerId(leader.map_or(-1, |leader| leader.node)))
            .with_replica_nodes(ids(&partition.replicas))
            .with_isr_nodes(ids(&partition.in_sync));
        if version >= 5 {
            answer.offline_replicas = offline.map(|node| BrokerId(*node)).collect();
        }
        if version >= 7 {
            answer.leader_epoch = leader.map_or(partition.leader_epoch, |leader| leader.epoch);
        }
        if leader.is_none() {
            answer.error_code = ResponseError::LeaderNotAvailable.code();
        }
        said.partitions.push(answer);
    }
    said
}

pub(super) fn find_coordinator(
    state: &State,
    version: i16,
    request: &FindCoordinatorRequest,
    struck: &Struck,
) -> FindCoordinatorResponse {
    let keys = if version >= 4 { request.coordinator_keys.clone() } else { vec![request.key.clone()] };
    let mut found = Vec::new();
    for key in keys {
        let node = match struck.refused() {
            Some(code) => Err(code),
            None => state.coordinator_of(&key).ok_or(ResponseError::CoordinatorNotAvailable),
        };
        let mut said = Coordinator::default().with_key(key).with_node_id(BrokerId(-1)).with_port(-1);
        said.error_message = None;
        match node.map(|node| state.endpoint(node).expect("a coordinator is a broker")) {
            Ok((id, port)) => (said.node_id, said.host, said.port) = (id, HOST, port),
            Err(code) => said.error_code = code.code(),
        }
        found.push(said);
    }
    if version >= 4 {
        return FindCoordinatorResponse::default().with_coordinators(found);
    }
    let first = found.remove(0);
    let mut response = FindCoordinatorResponse::default()
        .with_error_code(first.error_code)
        .with_node_id(first.node_id)
        .with_host(first.host)
        .with_port(first.port);
    if version >= 1 {
        response.error_message = None;
    }
    response
}
