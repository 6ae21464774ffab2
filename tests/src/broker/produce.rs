//! Produce: which batches are appended, and what is said of the others. The checks stand in the order in which a broker makes them.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::ProduceRequest;
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, ProduceResponse,
    TopicProduceResponse,
};
use kafka_protocol::messages::{BrokerId, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::batch::Header;
use super::faults::Struck;
use super::state::State;
use super::topics::Release;
use super::validator::{self, Refusal};

/// From here on topics are named by id.
const BY_ID: i16 = 13;
/// From here on a broker says who leads (KIP-951).
const HINTS: i16 = 10;
/// From here on a transaction's partitions are added by producing to them, where the cluster has transaction version 2.
const ADDS: i16 = 12;
/// From here on a client knows TRANSACTION_ABORTABLE.
const ABORTABLE: i16 = 11;

/// One partition of a request.
struct Entry {
    topic: String,
    id: Uuid,
    index: i32,
    records: Bytes,
}

/// An append that counts when it is replicated.
pub(super) struct Waiting {
    pub(super) topic: String,
    pub(super) index: i32,
    /// The high watermark must reach it.
    pub(super) until: i64,
}

pub(super) struct Produced {
    pub(super) response: ProduceResponse,
    pub(super) waiting: Vec<Waiting>,
}

#[derive(Clone, Copy)]
struct Appended {
    base_offset: i64,
    log_append_time: i64,
    log_start: i64,
    end: i64,
}

pub(super) fn produce(
    state: &mut State,
    node: i32,
    version: i16,
    request: &ProduceRequest,
    struck: &Struck,
) -> Produced {
    let entries = entries(state, version, request);
    let transactional: Vec<Header> =
        entries.iter().filter_map(|e| Header::read(&e.records)).filter(Header::is_transactional).collect();
    let whole = if !transactional.is_empty() && request.transactional_id.is_none() {
        Some(ResponseError::TransactionalIdAuthorizationFailed)
    } else if transactional.iter().any(|h| {
        (h.producer_id, h.producer_epoch) != (transactional[0].producer_id, transactional[0].producer_epoch)
    }) {
        Some(ResponseError::InvalidProducerIdMapping)
    } else if !(-1..=1).contains(&request.acks) {
        Some(ResponseError::InvalidRequiredAcks)
    } else {
        None
    };
    let transactional_id = request.transactional_id.as_ref().map(|id| id.to_string());
    let mut response = ProduceResponse::default();
    let mut waiting = Vec::new();
    for entry in entries {
        let done = match whole.or_else(|| struck.refusal(&entry.topic, entry.index)) {
            Some(code) => Err(code.into()),
            None => one(state, node, version, &entry, request.acks, transactional_id.as_deref()),
        };
        let done = match (done, struck.refusal_after(&entry.topic, entry.index)) {
            (Ok(_), Some(code)) => Err(code.into()),
            (done, _) => done,
        };
        if let Ok(appended) = &done
            && request.acks == -1
        {
            waiting.push(Waiting { topic: entry.topic.clone(), index: entry.index, until: appended.end });
        }
        answer(state, &mut response, version, &entry, done);
    }
    Produced { response, waiting }
}

/// The same partition twice: the earlier entry is dropped without a word.
fn entries(state: &State, version: i16, request: &ProduceRequest) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for topic in &request.topic_data {
        let name = if version >= BY_ID {
            state.topics.name_of(topic.topic_id).unwrap_or_default().to_owned()
        } else {
            topic.name.to_string()
        };
        for partition in &topic.partition_data {
            let (id, index) = (topic.topic_id, partition.index);
            entries.retain(|e| (&e.topic, e.id, e.index) != (&name, id, index));
            let records = partition.records.clone().unwrap_or_default();
            entries.push(Entry { topic: name.clone(), id, index, records });
        }
    }
    entries
}

fn one(
    state: &mut State,
    node: i32,
    version: i16,
    entry: &Entry,
    acks: i16,
    transactional_id: Option<&str>,
) -> Result<Appended, Refusal> {
    if version >= BY_ID && entry.topic.is_empty() {
        return Err(ResponseError::UnknownTopicId.into());
    }
    if state.topics.partition(&entry.topic, entry.index).is_none() {
        return Err(ResponseError::UnknownTopicOrPartition.into());
    }
    validator::check_framing(&entry.records, version)?;
    let batch = validator::frame(&entry.records)?.ok_or(ResponseError::InvalidRecord)?;
    let header = Header::read(&batch).ok_or(ResponseError::CorruptMessage)?;
    let mut begins = false;
    if header.is_transactional()
        && header.has_producer()
        && let Some(id) = transactional_id
    {
        begins = join(state, node, version, id, entry, &header)?;
    }
    append(state, node, &batch, entry, acks, begins)
}

/// Sees to it that the partition belongs to the transaction; gives whether this is its first batch here.
fn join(
    state: &mut State,
    node: i32,
    version: i16,
    id: &str,
    entry: &Entry,
    header: &Header,
) -> Result<bool, ResponseError> {
    let (producer, epoch) = (header.producer_id, header.producer_epoch);
    if state.led(node, &entry.topic, entry.index, -1)?.log.producers.is_open(producer, epoch) {
        return Ok(false);
    }
    let partition = state.topics.partition_mut(&entry.topic, entry.index).expect("it is led");
    partition.log.producers.ask(header);
    let place = (entry.topic.clone(), entry.index);
    let implicit = version >= ADDS && state.release == Release::V4_3;
    let fresh = partition.log.producers.get(producer).is_none();
    let joined = if implicit {
        state.coordinator.add(id, producer, epoch, [place])
    } else {
        state.coordinator.verify(id, producer, epoch, &place)
    };
    joined.map_err(|code| match code {
        ResponseError::TransactionAbortable if version < ABORTABLE => ResponseError::InvalidTxnState,
        ResponseError::ProducerFenced => ResponseError::InvalidProducerEpoch,
        // What an old client may repeat without asking for metadata first.
        ResponseError::ConcurrentTransactions => ResponseError::NotEnoughReplicas,
        other => other,
    })?;
    if implicit && fresh && header.base_sequence != 0 {
        return Err(ResponseError::OutOfOrderSequenceNumber);
    }
    Ok(true)
}

fn append(
    state: &mut State,
    node: i32,
    batch: &Bytes,
    entry: &Entry,
    acks: i16,
    begins: bool,
) -> Result<Appended, Refusal> {
    let now = state.now();
    let partition = state.led(node, &entry.topic, entry.index, -1)?;
    let topic = state.topics.get(&entry.topic).expect("it has the partition");
    if acks == -1 && partition.in_sync.len() < topic.min_in_sync() {
        return Err(ResponseError::NotEnoughReplicas.into());
    }
    let stored = validator::validate(batch, topic, now)?;
    let stamped = topic.is_log_append_time();
    let partition = state.topics.partition_mut(&entry.topic, entry.index).expect("it was there a moment ago");
    let (epoch, log) = (partition.leader_epoch, &mut partition.log);
    let header = Header::read(&stored).expect("it was validated");
    if header.has_producer() {
        if let Some(repeat) = log.producers.repeat(&header) {
            let (base_offset, log_start) = (repeat.base_offset, log.start());
            let end = base_offset + i64::from(header.count);
            return Ok(Appended { base_offset, log_append_time: repeat.timestamp, log_start, end });
        }
        let open = log.producers.is_open(header.producer_id, header.producer_epoch);
        if header.is_transactional() && !open && !begins {
            return Err(ResponseError::InvalidTxnState.into());
        }
        log.producers.check(&header)?;
    }
    let base_offset = log.append(stored, epoch);
    let log_append_time = if stamped { now } else { -1 };
    Ok(Appended { base_offset, log_append_time, log_start: log.start(), end: log.end() })
}

fn answer(
    state: &State,
    response: &mut ProduceResponse,
    version: i16,
    entry: &Entry,
    done: Result<Appended, Refusal>,
) {
    let mut said = PartitionProduceResponse::default()
        .with_index(entry.index)
        .with_base_offset(-1)
        .with_error_message(None);
    match done {
        Ok(appended) => {
            said.base_offset = appended.base_offset;
            said.log_append_time_ms = appended.log_append_time;
            if version >= 5 {
                said.log_start_offset = appended.log_start;
            }
        }
        Err(refusal) => {
            refuse(&mut said, version, &refusal);
            let moved = matches!(refusal.code, ResponseError::NotLeaderOrFollower);
            if let Some(leader) =
                state.leader(&entry.topic, entry.index).filter(|_| moved && version >= HINTS)
            {
                said.current_leader = LeaderIdAndEpoch::default()
                    .with_leader_id(BrokerId(leader.node))
                    .with_leader_epoch(leader.epoch);
                hint(state, response, leader.node);
            }
        }
    }
    let name = TopicName(StrBytes::from_string(entry.topic.clone()));
    let same = |t: &&mut TopicProduceResponse| {
        if version >= BY_ID { t.topic_id == entry.id } else { t.name == name }
    };
    if let Some(topic) = response.responses.iter_mut().find(same) {
        topic.partition_responses.push(said);
        return;
    }
    let mut topic = TopicProduceResponse::default().with_partition_responses(vec![said]);
    if version >= BY_ID {
        topic.topic_id = entry.id;
    } else {
        topic.name = name;
    }
    response.responses.push(topic);
}

fn refuse(said: &mut PartitionProduceResponse, version: i16, refusal: &Refusal) {
    said.error_code = refusal.code.code();
    if version < 8 {
        return;
    }
    said.error_message = refusal.message.clone().map(StrBytes::from_string);
    let error = |(index, why): &(i32, String)| {
        BatchIndexAndErrorMessage::default()
            .with_batch_index(*index)
            .with_batch_index_error_message(Some(StrBytes::from_string(why.clone())))
    };
    said.record_errors = refusal.records.iter().map(error).collect();
}

fn hint(state: &State, response: &mut ProduceResponse, node: i32) {
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

/// What is said of an append that wasn't replicated in time.
pub(super) fn late(response: &mut ProduceResponse, state: &State, waiting: &[Waiting]) {
    for waiting in waiting {
        let topic = response.responses.iter_mut().find(|topic| {
            *topic.name == *waiting.topic || state.topics.name_of(topic.topic_id) == Some(&waiting.topic)
        });
        let said = topic.and_then(|t| t.partition_responses.iter_mut().find(|p| p.index == waiting.index));
        if let Some(said) = said.filter(|said| said.error_code == 0) {
            said.error_code = ResponseError::RequestTimedOut.code();
        }
    }
}
