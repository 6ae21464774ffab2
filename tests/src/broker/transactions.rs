//! Transactions: InitProducerId, AddPartitionsToTxn, EndTxn, what is told of them, and the markers that end a transaction in its partitions.
//!
//! An answer to EndTxn says that the end is decided. The markers follow a moment later, and until they are there the id is busy.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnRequest;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResponse, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::describe_transactions_request::DescribeTransactionsRequest;
use kafka_protocol::messages::describe_transactions_response::{
    DescribeTransactionsResponse, TopicData, TransactionState,
};
use kafka_protocol::messages::end_txn_request::EndTxnRequest;
use kafka_protocol::messages::end_txn_response::EndTxnResponse;
use kafka_protocol::messages::init_producer_id_request::InitProducerIdRequest;
use kafka_protocol::messages::init_producer_id_response::InitProducerIdResponse;
use kafka_protocol::messages::list_transactions_request::ListTransactionsRequest;
use kafka_protocol::messages::list_transactions_response::{self, ListTransactionsResponse};
use kafka_protocol::messages::{ProducerId, TopicName, TransactionalId};
use kafka_protocol::protocol::StrBytes;

use super::coordinator::{Init, Place, Stage, Transaction};
use super::faults::Struck;
use super::log::Marker;
use super::state::State;
use super::topics::Release;

/// Of the only coordinator that there ever was.
const COORDINATOR_EPOCH: i32 = 0;

pub(super) fn init(
    state: &mut State,
    node: i32,
    version: i16,
    request: &InitProducerIdRequest,
    struck: &Struck,
) -> InitProducerIdResponse {
    let done =
        guarded(state, node, request.transactional_id.as_ref().map(|id| &***id), struck, |state, id| {
            let Some(id) = id else { return Ok((state.coordinator.new_producer_id(), 0)) };
            let timeout_ms = request.transaction_timeout_ms;
            let (producer_id, epoch) = (request.producer_id.0, request.producer_epoch);
            state.coordinator.init(id, &Init { timeout_ms, producer_id, epoch })
        });
    let mut response =
        InitProducerIdResponse::default().with_producer_id(ProducerId(-1)).with_producer_epoch(-1);
    match done {
        Ok((id, epoch)) => {
            (response.producer_id, response.producer_epoch) = (ProducerId(id), epoch);
        }
        Err(ResponseError::ProducerFenced) if version < 4 => {
            response.error_code = ResponseError::InvalidProducerEpoch.code();
        }
        Err(code) => response.error_code = code.code(),
    }
    response
}

/// Does what a coordinator does, unless a fault or the wrong broker comes first.
fn guarded<T>(
    state: &mut State,
    node: i32,
    id: Option<&str>,
    struck: &Struck,
    act: impl FnOnce(&mut State, Option<&str>) -> Result<T, ResponseError>,
) -> Result<T, ResponseError> {
    if let Some(code) = struck.refused() {
        return Err(code);
    }
    if id.is_some_and(|id| state.coordinator_of(id) != Some(node)) {
        return Err(ResponseError::NotCoordinator);
    }
    let done = act(state, id)?;
    struck.refused_after().map_or(Ok(done), Err)
}

pub(super) fn add_partitions(
    state: &mut State,
    node: i32,
    version: i16,
    request: &AddPartitionsToTxnRequest,
    struck: &Struck,
) -> AddPartitionsToTxnResponse {
    let topics = &request.v3_and_below_topics;
    let places: Vec<Place> =
        topics.iter().flat_map(|t| t.partitions.iter().map(|p| (t.name.to_string(), *p))).collect();
    let unknown: Vec<bool> =
        places.iter().map(|(topic, index)| state.topics.partition(topic, *index).is_none()).collect();
    let all_known = unknown.iter().all(|unknown| !unknown);
    let (producer, epoch) = (request.v3_and_below_producer_id.0, request.v3_and_below_producer_epoch);
    let done = if all_known {
        let id = Some(&**request.v3_and_below_transactional_id);
        guarded(state, node, id, struck, |state, id| {
            state.coordinator.add(id.unwrap_or_default(), producer, epoch, places.clone())
        })
    } else {
        Err(ResponseError::OperationNotAttempted)
    };
    let code = match done {
        Ok(()) => 0,
        Err(ResponseError::ProducerFenced) if version < 2 => ResponseError::InvalidProducerEpoch.code(),
        Err(code) => code.code(),
    };
    let mut unknown = unknown.into_iter();
    let results = topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|index| {
            let missing = unknown.next().unwrap_or_default();
            let code = if missing { ResponseError::UnknownTopicOrPartition.code() } else { code };
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*index)
                .with_partition_error_code(code)
        });
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name.clone())
            .with_results_by_partition(partitions.collect())
    });
    let results = results.collect();
    AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results)
}

pub(super) fn end(
    state: &mut State,
    node: i32,
    version: i16,
    request: &EndTxnRequest,
    struck: &Struck,
) -> EndTxnResponse {
    let (producer, epoch) = (request.producer_id.0, request.producer_epoch);
    let done = guarded(state, node, Some(&request.transactional_id), struck, |state, id| {
        state.coordinator.end(id.unwrap_or_default(), producer, epoch, request.committed)
    });
    let code = match done {
        Ok(()) => 0,
        Err(ResponseError::ProducerFenced) if version < 2 => ResponseError::InvalidProducerEpoch.code(),
        Err(code) => code.code(),
    };
    EndTxnResponse::default().with_error_code(code)
}

pub(super) fn list(state: &State, node: i32, request: &ListTransactionsRequest) -> ListTransactionsResponse {
    let mut response = ListTransactionsResponse::default();
    for (id, transaction) in state.coordinator.iter() {
        let name = transaction.stage.name();
        let wanted =
            request.state_filters.is_empty() || request.state_filters.iter().any(|filter| filter == name);
        if wanted && state.coordinator_of(id) == Some(node) {
            response.transaction_states.push(
                list_transactions_response::TransactionState::default()
                    .with_transactional_id(TransactionalId(StrBytes::from_string(id.to_owned())))
                    .with_producer_id(ProducerId(transaction.producer_id))
                    .with_transaction_state(StrBytes::from_static_str(name)),
            );
        }
    }
    response
}

pub(super) fn describe(
    state: &State,
    node: i32,
    request: &DescribeTransactionsRequest,
) -> DescribeTransactionsResponse {
    let mut response = DescribeTransactionsResponse::default();
    for id in &request.transactional_ids {
        let mut said = TransactionState::default().with_transactional_id(id.clone());
        match state.coordinator.get(id) {
            _ if state.coordinator_of(id) != Some(node) => {
                said.error_code = ResponseError::NotCoordinator.code();
            }
            None => said.error_code = ResponseError::TransactionalIdNotFound.code(),
            Some(transaction) => {
                said.transaction_state = StrBytes::from_static_str(transaction.stage.name());
                said.transaction_timeout_ms = transaction.timeout_ms;
                said.producer_id = ProducerId(transaction.producer_id);
                said.producer_epoch = transaction.epoch;
                said.topics = topics_of(transaction);
            }
        }
        response.transaction_states.push(said);
    }
    response
}

fn topics_of(transaction: &Transaction) -> Vec<TopicData> {
    let mut topics: Vec<TopicData> = Vec::new();
    for (topic, index) in &transaction.partitions {
        match topics.last_mut().filter(|last| *last.topic == **topic) {
            Some(last) => last.partitions.push(*index),
            None => topics.push(
                TopicData::default()
                    .with_topic(TopicName(StrBytes::from_string(topic.clone())))
                    .with_partitions(vec![*index]),
            ),
        }
    }
    topics
}

/// Writes the markers of every transaction whose end is decided, as far as their partitions have a leader: release 3.9 waits for the others, 4.3
/// forgets them.
pub(super) fn write_markers(state: &mut State) {
    if state.hold_markers {
        return;
    }
    let timestamp = state.now();
    for id in state.coordinator.preparing() {
        let Some(transaction) = state.coordinator.get_mut(&id) else { continue };
        let commit = transaction.stage == Stage::PrepareCommit;
        let (producer_id, epoch) = (transaction.producer_id, transaction.epoch);
        let mut left = std::mem::take(&mut transaction.partitions);
        left.retain(|(topic, index)| {
            let Some(partition) = state.topics.partition_mut(topic, *index) else { return false };
            if partition.leader.is_none() {
                return state.release == Release::V3_9;
            }
            let coordinator_epoch = COORDINATOR_EPOCH;
            let marker = Marker { producer_id, epoch, commit, coordinator_epoch, timestamp };
            partition.log.mark(marker, partition.leader_epoch);
            false
        });
        if left.is_empty() {
            transaction.stage = if commit { Stage::CompleteCommit } else { Stage::CompleteAbort };
        }
        transaction.partitions = left;
    }
}
