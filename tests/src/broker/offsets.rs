//! Questions about logs: ListOffsets, OffsetForLeaderEpoch, DescribeProducers.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_producers_response::{
    DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderEpochRequest;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{DescribeProducersRequest, ProducerId};

use super::faults::Struck;
use super::log::Log;
use super::state::State;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// The record with the highest timestamp.
const HIGHEST: i64 = -3;

pub(super) fn list(
    state: &State,
    node: i32,
    version: i16,
    request: &ListOffsetsRequest,
    struck: &Struck,
) -> ListOffsetsResponse {
    let mut response = ListOffsetsResponse::default();
    for topic in &request.topics {
        let mut said = ListOffsetsTopicResponse::default().with_name(topic.name.clone());
        for asked in &topic.partitions {
            let found = match struck.refusal(&topic.name, asked.partition_index) {
                Some(code) => Err(code),
                None => found(state, node, &topic.name, asked, request.isolation_level == 1),
            };
            let mut answer = ListOffsetsPartitionResponse::default()
                .with_partition_index(asked.partition_index)
                .with_timestamp(-1)
                .with_offset(-1)
                .with_leader_epoch(-1);
            match found {
                Ok((offset, timestamp, epoch)) => {
                    (answer.offset, answer.timestamp) = (offset, timestamp);
                    if version >= 4 {
                        answer.leader_epoch = epoch;
                    }
                }
                Err(code) => answer.error_code = code.code(),
            }
            said.partitions.push(answer);
        }
        response.topics.push(said);
    }
    response
}

/// (offset, timestamp, leader epoch); -1 for what isn't there.
fn found(
    state: &State,
    node: i32,
    topic: &str,
    asked: &ListOffsetsPartition,
    committed: bool,
) -> Result<(i64, i64, i32), ResponseError> {
    let partition = state.led(node, topic, asked.partition_index, asked.current_leader_epoch)?;
    let log = &partition.log;
    let limit = if committed { log.last_stable() } else { log.high_watermark() };
    let by_time = match asked.timestamp {
        LATEST => return Ok((limit, -1, partition.leader_epoch)),
        EARLIEST => return Ok((log.start(), -1, epoch_at(log, log.start(), partition.leader_epoch))),
        HIGHEST => {
            let highest = log.batches().iter().map(|batch| batch.header.max_timestamp).max();
            highest.and_then(|highest| log.offset_at(highest))
        }
        timestamp => log.offset_at(timestamp),
    };
    let below = by_time.filter(|(offset, _)| *offset < limit);
    Ok(below.map_or((-1, -1, -1), |(offset, timestamp)| {
        (offset, timestamp, epoch_at(log, offset, partition.leader_epoch))
    }))
}

/// The epoch in which the batch at that offset was written.
fn epoch_at(log: &Log, offset: i64, current: i32) -> i32 {
    let batch = log.batches().iter().find(|batch| batch.header.last_offset() >= offset);
    batch.map_or(current, |batch| batch.header.leader_epoch)
}

pub(super) fn epoch_ends(
    state: &State,
    node: i32,
    request: &OffsetForLeaderEpochRequest,
    struck: &Struck,
) -> OffsetForLeaderEpochResponse {
    let mut response = OffsetForLeaderEpochResponse::default();
    for topic in &request.topics {
        let mut said = OffsetForLeaderTopicResult::default().with_topic(topic.topic.clone());
        for asked in &topic.partitions {
            let partition = match struck.refusal(&topic.topic, asked.partition) {
                Some(code) => Err(code),
                None => state.led(node, &topic.topic, asked.partition, asked.current_leader_epoch),
            };
            let mut answer = EpochEndOffset::default().with_partition(asked.partition);
            match partition {
                Ok(partition) => {
                    let log = &partition.log;
                    let end = log.epochs.end_of(asked.leader_epoch, log.end());
                    (answer.leader_epoch, answer.end_offset) = end.unwrap_or((-1, -1));
                }
                Err(code) => {
                    answer.error_code = code.code();
                    (answer.leader_epoch, answer.end_offset) = (-1, -1);
                }
            }
            said.partitions.push(answer);
        }
        response.topics.push(said);
    }
    response
}

pub(super) fn producers(
    state: &State,
    node: i32,
    request: &DescribeProducersRequest,
    struck: &Struck,
) -> DescribeProducersResponse {
    let mut response = DescribeProducersResponse::default();
    for topic in &request.topics {
        let mut said = TopicResponse::default().with_name(topic.name.clone());
        for index in &topic.partition_indexes {
            let partition = match struck.refusal(&topic.name, *index) {
                Some(code) => Err(code),
                None => state.led(node, &topic.name, *index, -1),
            };
            let mut answer =
                PartitionResponse::default().with_partition_index(*index).with_error_message(None);
            match partition {
                Ok(partition) => answer.active_producers = producer_states(&partition.log),
                Err(code) => answer.error_code = code.code(),
            }
            said.partitions.push(answer);
        }
        response.topics.push(said);
    }
    response
}

fn producer_states(log: &Log) -> Vec<ProducerState> {
    let states = log.producers.iter().map(|(id, producer)| {
        ProducerState::default()
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(i32::from(producer.epoch))
            .with_last_sequence(producer.last_sequence())
            .with_last_timestamp(producer.last_timestamp)
            .with_coordinator_epoch(producer.coordinator_epoch)
            .with_current_txn_start_offset(producer.open_since.unwrap_or(-1))
    });
    states.collect()
}
