//! Fetch: what a reader gets of each partition, and when an answer is worth sending.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch,
    NodeEndpoint, PartitionData,
};
use kafka_protocol::messages::{BrokerId, FetchRequest, ProducerId, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::faults::Struck;
use super::sessions::{Answer, Opened, Want};
use super::state::{State, check_epoch};
use super::topics::Partition;

/// `fetch.max.bytes` of a default broker.
const MAX_BYTES: usize = 55 << 20;
/// From here on a follower serves consumers.
const FOLLOWERS: i16 = 11;
/// From here on readers say which epoch they read last.
const EPOCHS: i16 = 12;
/// From here on topics are named by id.
const BY_ID: i16 = 13;
/// From here on a broker says who leads (KIP-951).
const HINTS: i16 = 16;

/// One look at all partitions.
pub(super) struct Read {
    pub(super) answers: Vec<Answer>,
    /// Whether there is no use in waiting for more.
    pub(super) is_due: bool,
}

pub(super) fn read(
    state: &State,
    node: i32,
    version: i16,
    request: &FetchRequest,
    wants: &[Want],
    struck: &Struck,
) -> Read {
    let mut left = usize::try_from(request.max_bytes).unwrap_or(0).min(MAX_BYTES);
    let mut any = false;
    let mut bytes = 0;
    let mut is_due = wants.is_empty();
    let mut answers = Vec::new();
    for want in wants {
        let refused = want.topic.as_ref().and_then(|topic| struck.refusal(topic, want.partition.partition));
        let found = match refused {
            Some(code) => Err(code),
            None => one(state, node, version, request, want, (left, !any)),
        };
        let data = found.unwrap_or_else(|code| refusal(state, version, want, code));
        let read = data.records.as_ref().map_or(0, bytes::Bytes::len);
        any |= read > 0;
        left = left.saturating_sub(read);
        bytes += read;
        is_due |=
            data.error_code != 0 || data.diverging_epoch.epoch >= 0 || data.preferred_read_replica.0 >= 0;
        answers.push(Answer { want: want.clone(), data });
    }
    is_due |= bytes >= usize::try_from(request.min_bytes).unwrap_or(0);
    Read { answers, is_due }
}

fn one(
    state: &State,
    node: i32,
    version: i16,
    request: &FetchRequest,
    want: &Want,
    (left, at_least_one): (usize, bool),
) -> Result<PartitionData, ResponseError> {
    let name = want.topic.as_deref().ok_or(ResponseError::UnknownTopicId)?;
    let asked = &want.partition;
    let topic = state.topics.get(name).ok_or(ResponseError::UnknownTopicOrPartition)?;
    if version >= BY_ID && topic.id != want.id {
        return Err(ResponseError::InconsistentTopicId);
    }
    let partition = topic.partition(asked.partition).ok_or(ResponseError::UnknownTopicOrPartition)?;
    let follows = version >= FOLLOWERS && partition.replicas.contains(&node);
    if partition.leader != Some(node) && !follows {
        return Err(ResponseError::NotLeaderOrFollower);
    }
    check_epoch(partition, asked.current_leader_epoch)?;
    let log = &partition.log;
    let mut data = PartitionData::default()
        .with_partition_index(asked.partition)
        .with_high_watermark(log.high_watermark())
        .with_last_stable_offset(log.last_stable())
        .with_aborted_transactions(None);
    if version >= 5 {
        data.log_start_offset = log.start();
    }
    if version >= EPOCHS && asked.last_fetched_epoch >= 0 {
        let end = log.epochs.end_of(asked.last_fetched_epoch, log.end());
        let (epoch, end) = end.ok_or(ResponseError::OffsetOutOfRange)?;
        if epoch < asked.last_fetched_epoch || end < asked.fetch_offset {
            data.diverging_epoch = EpochEndOffset::default().with_epoch(epoch).with_end_offset(end);
            return Ok(data);
        }
    }
    if !(log.start()..=log.end()).contains(&asked.fetch_offset) {
        return Err(ResponseError::OffsetOutOfRange);
    }
    if let Some(replica) = preferred(state, node, request, partition) {
        data.preferred_read_replica = BrokerId(replica);
        return Ok(data);
    }
    let committed = request.isolation_level == 1;
    let limit = if committed { log.last_stable() } else { log.high_watermark() };
    let most = usize::try_from(asked.partition_max_bytes).unwrap_or(0).min(left);
    data.records = Some(log.read(asked.fetch_offset, limit, most, at_least_one));
    if committed {
        let aborted = log.aborted(asked.fetch_offset, limit);
        data.aborted_transactions = Some(aborted.into_iter().map(aborted_transaction).collect());
    }
    Ok(data)
}

fn aborted_transaction((producer, first): (i64, i64)) -> AbortedTransaction {
    AbortedTransaction::default().with_producer_id(ProducerId(producer)).with_first_offset(first)
}

/// The replica in the reader's rack, if the leader is in another (KIP-392).
fn preferred(state: &State, node: i32, request: &FetchRequest, partition: &Partition) -> Option<i32> {
    let rack = request.rack_id.as_str();
    let is_there = |id: i32| state.node(id).is_some_and(|node| node.up && node.rack.as_deref() == Some(rack));
    if rack.is_empty() || partition.leader != Some(node) || is_there(node) {
        return None;
    }
    partition.in_sync.iter().copied().find(|id| is_there(*id))
}

fn refusal(state: &State, version: i16, want: &Want, code: ResponseError) -> PartitionData {
    let mut data = PartitionData::default()
        .with_partition_index(want.partition.partition)
        .with_error_code(code.code())
        .with_high_watermark(-1)
        .with_aborted_transactions(None);
    let moved = matches!(code, ResponseError::NotLeaderOrFollower | ResponseError::FencedLeaderEpoch);
    let leader = want.topic.as_ref().and_then(|topic| state.leader(topic, want.partition.partition));
    if let Some(leader) = leader.filter(|_| moved && version >= HINTS) {
        data.current_leader =
            LeaderIdAndEpoch::default().with_leader_id(BrokerId(leader.node)).with_leader_epoch(leader.epoch);
    }
    data
}

/// Closes the session's round and writes the answer.
pub(super) fn respond(
    state: &mut State,
    node: i32,
    version: i16,
    opened: &Opened,
    answers: Vec<Answer>,
) -> FetchResponse {
    let Some(at) = state.node_mut(node) else { return FetchResponse::default() };
    let (session, answers) = at.sessions.close(opened, answers);
    let mut response = FetchResponse::default();
    if version >= 7 {
        response.session_id = session;
    }
    for Answer { want, data } in answers {
        if data.current_leader.leader_id.0 >= 0 {
            hint(state, &mut response, data.current_leader.leader_id.0);
        }
        let name = TopicName(StrBytes::from_string(want.topic.unwrap_or_default()));
        let last = response.responses.last_mut();
        let same = last.filter(|t| if version >= BY_ID { t.topic_id == want.id } else { t.topic == name });
        if let Some(topic) = same {
            topic.partitions.push(data);
            continue;
        }
        let mut topic = FetchableTopicResponse::default().with_partitions(vec![data]);
        if version >= BY_ID {
            topic.topic_id = want.id;
        } else {
            topic.topic = name;
        }
        response.responses.push(topic);
    }
    response
}

fn hint(state: &State, response: &mut FetchResponse, node: i32) {
    let Some((id, port)) = state.endpoint(node) else { return };
    if response.node_endpoints.iter().all(|endpoint| endpoint.node_id != id) {
        response.node_endpoints.push(
            NodeEndpoint::default()
                .with_node_id(id)
                .with_host(StrBytes::from_static_str("127.0.0.1"))
                .with_port(port)
                .with_rack(None),
        );
    }
}
