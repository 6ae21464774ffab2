//! Topics made, grown, deleted, configured, described, shortened.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsRequest;
use kafka_protocol::messages::create_partitions_response::{
    CreatePartitionsResponse, CreatePartitionsTopicResult,
};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use kafka_protocol::messages::create_topics_response::{CreatableTopicResult, CreateTopicsResponse};
use kafka_protocol::messages::delete_records_request::DeleteRecordsRequest;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicsRequest;
use kafka_protocol::messages::delete_topics_response::{DeletableTopicResult, DeleteTopicsResponse};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsRequest;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult,
};
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterableConfig, IncrementalAlterConfigsRequest,
};
use kafka_protocol::messages::incremental_alter_configs_response::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::state::State;
use super::topics::Topic;

/// As DescribeConfigs numbers them.
const TOPIC: i8 = 2;
/// Where a config's value comes from: set on the topic, or the broker's default.
const ON_TOPIC: i8 = 1;
const BY_DEFAULT: i8 = 5;
/// What IncrementalAlterConfigs may do; a list's parts can't be added or taken out here.
const SET: i8 = 0;
const UNSET: i8 = 1;
/// In DeleteRecords: all that there is.
const TO_THE_END: i64 = -1;

/// Makes a topic whose partitions are spread over the brokers.
///
/// # Errors
/// It is there already, or can't be.
pub(super) fn add_topic(
    state: &mut State,
    name: &str,
    partitions: usize,
    replicas: usize,
    configs: BTreeMap<String, String>,
) -> Result<(), ResponseError> {
    if name.is_empty() {
        return Err(ResponseError::InvalidTopicException);
    }
    if state.topics.get(name).is_some() {
        return Err(ResponseError::TopicAlreadyExists);
    }
    if partitions == 0 {
        return Err(ResponseError::InvalidPartitions);
    }
    if replicas == 0 || replicas > state.nodes.len() {
        return Err(ResponseError::InvalidReplicationFactor);
    }
    let spread = (0..partitions).map(|index| spread(state, index, replicas)).collect();
    state.topics.add(Topic::new(name, spread, configs, state.release));
    Ok(())
}

/// Where the replicas of a partition lie.
fn spread(state: &State, index: usize, replicas: usize) -> Vec<i32> {
    (0..replicas).map(|i| state.nodes[(index + i) % state.nodes.len()].id).collect()
}

pub(super) fn create_partitions(
    state: &mut State,
    request: &CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut response = CreatePartitionsResponse::default();
    for asked in &request.topics {
        let grown = grow(state, &asked.name, asked.count, request.validate_only);
        let said = CreatePartitionsTopicResult::default()
            .with_name(asked.name.clone())
            .with_error_code(grown.err().map_or(0, |code| code.code()))
            .with_error_message(None);
        response.results.push(said);
    }
    response
}

fn grow(state: &mut State, name: &str, count: i32, validate_only: bool) -> Result<(), ResponseError> {
    let topic = state.topics.get(name).ok_or(ResponseError::UnknownTopicOrPartition)?;
    let has = topic.partitions.len();
    let count = usize::try_from(count).ok().filter(|count| *count > has);
    let count = count.ok_or(ResponseError::InvalidPartitions)?;
    let replicas = topic.partitions.first().map_or(1, |partition| partition.replicas.len());
    let new: Vec<_> = (has..count).map(|index| spread(state, index, replicas)).collect();
    if !validate_only {
        state.topics.get_mut(name).expect("it was there a moment ago").grow(new);
    }
    Ok(())
}

pub(super) fn create(state: &mut State, version: i16, request: &CreateTopicsRequest) -> CreateTopicsResponse {
    let mut response = CreateTopicsResponse::default();
    for asked in &request.topics {
        let configs = asked
            .configs
            .iter()
            .filter_map(|c| Some((c.name.to_string(), c.value.as_ref()?.to_string())))
            .collect();
        let (partitions, replicas) = size(asked);
        let made = if request.validate_only {
            Ok(())
        } else {
            add_topic(state, &asked.name, partitions, replicas, configs)
        };
        let mut said = CreatableTopicResult::default().with_name(asked.name.clone()).with_error_message(None);
        if version >= 5 {
            said.num_partitions = i32::try_from(partitions).unwrap_or(-1);
            said.replication_factor = i16::try_from(replicas).unwrap_or(-1);
            said.configs = Some(Vec::new());
        }
        match made {
            Ok(()) if version >= 7 => {
                said.topic_id = state.topics.get(&asked.name).map_or(uuid::Uuid::nil(), |topic| topic.id);
            }
            Ok(()) => {}
            Err(code) => said.error_code = code.code(),
        }
        response.topics.push(said);
    }
    response
}

/// -1 is the broker's default, which is 1 here.
fn size(asked: &CreatableTopic) -> (usize, usize) {
    if !asked.assignments.is_empty() {
        return (asked.assignments.len(), asked.assignments[0].broker_ids.len());
    }
    let partitions = if asked.num_partitions == -1 { 1 } else { asked.num_partitions };
    let replicas = if asked.replication_factor == -1 { 1 } else { asked.replication_factor };
    (usize::try_from(partitions).unwrap_or(0), usize::try_from(replicas).unwrap_or(0))
}

pub(super) fn delete(state: &mut State, version: i16, request: &DeleteTopicsRequest) -> DeleteTopicsResponse {
    let by_name = request.topic_names.iter().map(|name| Some(name.to_string()));
    let by_state = request.topics.iter().map(|topic| match &topic.name {
        Some(name) => Some(name.to_string()),
        None => state.topics.name_of(topic.topic_id).map(str::to_owned),
    });
    let names: Vec<_> = by_name.chain(by_state).collect();
    let mut response = DeleteTopicsResponse::default();
    for name in names {
        let gone = name.as_ref().and_then(|name| state.topics.remove(name));
        let mut said = DeletableTopicResult::default()
            .with_name(name.map(|name| TopicName(StrBytes::from_string(name))))
            .with_error_message(None);
        match gone {
            Some(topic) if version >= 6 => said.topic_id = topic.id,
            Some(_) => {}
            None => said.error_code = ResponseError::UnknownTopicOrPartition.code(),
        }
        response.responses.push(said);
    }
    response
}

pub(super) fn describe_configs(state: &State, request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
    let mut response = DescribeConfigsResponse::default();
    for asked in &request.resources {
        let mut said = DescribeConfigsResult::default()
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name.clone())
            .with_error_message(None);
        let topic = state.topics.get(&asked.resource_name);
        match topic {
            Some(topic) if asked.resource_type == TOPIC => {
                let wanted = |name: &str| {
                    asked.configuration_keys.as_ref().is_none_or(|keys| keys.iter().any(|k| k == name))
                };
                for (name, value, set) in topic.described().into_iter().filter(|(name, ..)| wanted(name)) {
                    said.configs.push(
                        DescribeConfigsResourceResult::default()
                            .with_name(StrBytes::from_string(name))
                            .with_value(Some(StrBytes::from_string(value)))
                            .with_config_source(if set { ON_TOPIC } else { BY_DEFAULT }),
                    );
                }
            }
            None if asked.resource_type == TOPIC => {
                said.error_code = ResponseError::UnknownTopicOrPartition.code();
            }
            // A broker that tells nothing of its configs.
            _ => {}
        }
        response.results.push(said);
    }
    response
}

pub(super) fn alter_configs(
    state: &mut State,
    request: &IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut response = IncrementalAlterConfigsResponse::default();
    for asked in &request.resources {
        let code = match state.topics.get_mut(&asked.resource_name) {
            _ if asked.resource_type != TOPIC => ResponseError::InvalidRequest.code(),
            None => ResponseError::UnknownTopicOrPartition.code(),
            Some(topic) if !request.validate_only => {
                asked.configs.iter().find_map(|change| alter(topic, change).err()).map_or(0, |e| e.code())
            }
            Some(_) => 0,
        };
        let said = AlterConfigsResourceResponse::default()
            .with_error_code(code)
            .with_error_message(None)
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name.clone());
        response.responses.push(said);
    }
    response
}

fn alter(topic: &mut Topic, change: &AlterableConfig) -> Result<(), ResponseError> {
    let name = change.name.to_string();
    match (change.config_operation, &change.value) {
        (SET, Some(value)) => topic.configs.insert(name, value.to_string()),
        (UNSET, _) => topic.configs.remove(&name),
        _ => return Err(ResponseError::InvalidConfig),
    };
    Ok(())
}

pub(super) fn delete_records(
    state: &mut State,
    node: i32,
    request: &DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let mut response = DeleteRecordsResponse::default();
    for topic in &request.topics {
        let mut said = DeleteRecordsTopicResult::default().with_name(topic.name.clone());
        for asked in &topic.partitions {
            let mut answer =
                DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
            match shorten(state, node, &topic.name, asked.partition_index, asked.offset) {
                Ok(start) => answer.low_watermark = start,
                Err(code) => (answer.low_watermark, answer.error_code) = (-1, code.code()),
            }
            said.partitions.push(answer);
        }
        response.topics.push(said);
    }
    response
}

fn shorten(state: &mut State, node: i32, topic: &str, index: i32, below: i64) -> Result<i64, ResponseError> {
    let mark = state.led(node, topic, index, -1)?.log.high_watermark();
    let below = if below == TO_THE_END { mark } else { below };
    if !(0..=mark).contains(&below) {
        return Err(ResponseError::OffsetOutOfRange);
    }
    let partition = state.topics.partition_mut(topic, index).expect("it was there a moment ago");
    partition.log.delete_below(below);
    Ok(partition.log.start())
}
