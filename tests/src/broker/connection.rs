//! One client's connection to one broker: requests are served one after another, as a real broker does, through whatever faults wait for them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};

use super::faults::{Fault, Met, Struck};
use super::produce::{Produced, Waiting, late, produce};
use super::request::{Message, Request};
use super::shared::Shared;
use super::state::State;
use super::{admin, fetch, metadata, offsets, transactions};
use kafka_protocol::messages::{FetchRequest, FetchResponse, ProduceRequest, ResponseHeader};
use kafka_protocol::protocol::{Encodable, HeaderVersion};

/// `socket.request.max.bytes` of a default broker.
const MAX_REQUEST_BYTES: u32 = 100 << 20;
/// Between the decision to end a transaction and its markers: long enough that a hasty client meets CONCURRENT_TRANSACTIONS.
const MARKERS_AFTER: Duration = Duration::from_millis(2);

/// Serves until the client leaves, does what no broker bears, or a fault ends it.
pub(super) async fn serve(node: i32, mut stream: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let release = shared.look(|state| state.release);
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length).await?;
        let length = u32::from_be_bytes(length);
        if length > MAX_REQUEST_BYTES {
            return Ok(());
        }
        let mut frame = BytesMut::zeroed(length as usize);
        stream.read_exact(&mut frame).await?;
        let Some(request) = Request::read(frame.freeze(), release) else { return Ok(()) };
        shared.count(request.api);
        let places = shared.look(|state| request.places(state));
        let met = Met { node, api: request.api, places: &places };
        let struck = shared.look(|state| state.faults.strike(&met));
        if struck.faults().any(|fault| matches!(fault, Fault::Close)) {
            return Ok(());
        }
        before(&shared, &struck, &places).await;
        let answer = answer(node, &request, &struck, &shared).await;
        for (fault, place) in struck.placed(&places) {
            if let (Fault::MoveLeaderAfter, Some((topic, index))) = (fault, place) {
                shared.change(|state| state.move_leader(topic, *index));
            }
        }
        if struck.faults().any(|fault| matches!(fault, Fault::LoseAnswer)) {
            return Ok(());
        }
        match answer {
            Answer::Bytes(bytes) => {
                if !send(&mut stream, bytes, &struck).await? {
                    return Ok(());
                }
            }
            Answer::Silence => {}
            Answer::Close => return Ok(()),
        }
        if let Some(time) = struck.throttle() {
            sleep(time).await;
        }
    }
}

enum Answer {
    Bytes(Bytes),
    /// With acks=0.
    Silence,
    Close,
}

async fn before(shared: &Shared, struck: &Struck, places: &[(String, i32)]) {
    for (fault, place) in struck.placed(places) {
        match (fault, place) {
            (Fault::Delay(time), _) => sleep(*time).await,
            (Fault::MoveLeader, Some((topic, index))) => {
                shared.change(|state| state.move_leader(topic, *index));
            }
            (Fault::ForgetProducers, Some((topic, index))) => shared.change(|state| {
                if let Some(partition) = state.topics.partition_mut(topic, *index) {
                    partition.log.producers = super::producers::Producers::default();
                }
            }),
            _ => {}
        }
    }
}

/// Writes the answer; gives whether the connection may go on.
async fn send(stream: &mut TcpStream, mut answer: Bytes, struck: &Struck) -> io::Result<bool> {
    let mut pieces = None;
    let mut cut = None;
    for fault in struck.faults() {
        match fault {
            Fault::DelayAnswer(time) => sleep(*time).await,
            Fault::Pieces(size, pause) => pieces = Some(((*size).max(1), *pause)),
            Fault::Cut(at) => cut = Some(*at),
            Fault::Claim(length) => {
                let mut lying = BytesMut::from(&answer[..]);
                lying[..4].copy_from_slice(&length.to_be_bytes());
                answer = lying.freeze();
            }
            Fault::Answer(bytes) => answer = bytes.clone(),
            _ => {}
        }
    }
    if let Some(at) = cut {
        answer.truncate(at);
    }
    match pieces {
        Some((size, pause)) => {
            for piece in answer.chunks(size) {
                stream.write_all(piece).await?;
                sleep(pause).await;
            }
        }
        None => stream.write_all(&answer).await?,
    }
    Ok(cut.is_none())
}

fn frame<R: Encodable + HeaderVersion>(request: &Request, response: &R) -> Answer {
    let header = ResponseHeader::default().with_correlation_id(request.correlation);
    let mut out = BytesMut::new();
    out.put_u32(0);
    let written = header
        .encode(&mut out, R::header_version(request.version))
        .and_then(|()| response.encode(&mut out, request.version));
    if let Err(error) = written {
        // A defect of the fake: its client sees a closed connection, and its author this.
        eprintln!("fake broker: an answer to {:?} version {}: {error}", request.api, request.version);
        return Answer::Close;
    }
    let length = u32::try_from(out.len() - 4).expect("answers are bounded by fetch.max.bytes");
    out[..4].copy_from_slice(&length.to_be_bytes());
    Answer::Bytes(out.freeze())
}

async fn answer(node: i32, request: &Request, struck: &Struck, shared: &Arc<Shared>) -> Answer {
    let throttle = struck.throttle().map_or(0, |time| i32::try_from(time.as_millis()).unwrap_or(i32::MAX));
    match &request.message {
        Message::Produce(asked) => return produced(node, request, asked, struck, throttle, shared).await,
        Message::Fetch(asked) => {
            let mut said = fetched(node, request.version, asked, struck, shared).await;
            said.throttle_time_ms = throttle;
            return frame(request, &said);
        }
        Message::InitProducerId(_) | Message::AddPartitions(_) | Message::EndTxn(_) => {
            return coordinated(node, request, struck, throttle, shared);
        }
        _ => {}
    }
    shared.change(|state| match &request.message {
        Message::CreateTopics(_)
        | Message::DeleteTopics(_)
        | Message::CreatePartitions(_)
        | Message::DescribeConfigs(_)
        | Message::AlterConfigs(_)
        | Message::DeleteRecords(_) => administered(state, node, request, throttle),
        _ => told(state, node, request, struck, throttle),
    })
}

fn told(state: &State, node: i32, request: &Request, struck: &Struck, throttle: i32) -> Answer {
    let version = request.version;
    match &request.message {
        Message::ApiVersions => {
            frame(request, &metadata::api_versions(state, version).with_throttle_time_ms(throttle))
        }
        Message::ApiVersionsUnknown => frame(request, &metadata::api_versions_unknown(state)),
        Message::Metadata(asked) => {
            let said = metadata::metadata(state, version, asked, struck);
            frame(request, &said.with_throttle_time_ms(throttle))
        }
        Message::FindCoordinator(asked) => {
            let said = metadata::find_coordinator(state, version, asked, struck);
            frame(request, &said.with_throttle_time_ms(throttle))
        }
        Message::ListOffsets(asked) => {
            let said = offsets::list(state, node, version, asked, struck);
            frame(request, &said.with_throttle_time_ms(throttle))
        }
        Message::EpochEnds(asked) => {
            let said = offsets::epoch_ends(state, node, asked, struck);
            frame(request, &said.with_throttle_time_ms(throttle))
        }
        Message::Producers(asked) => {
            let said = offsets::producers(state, node, asked, struck);
            frame(request, &said.with_throttle_time_ms(throttle))
        }
        Message::ListTransactions(asked) => {
            frame(request, &transactions::list(state, node, asked).with_throttle_time_ms(throttle))
        }
        Message::DescribeTransactions(asked) => {
            frame(request, &transactions::describe(state, node, asked).with_throttle_time_ms(throttle))
        }
        // Answered elsewhere.
        _ => Answer::Close,
    }
}

fn administered(state: &mut State, node: i32, request: &Request, throttle: i32) -> Answer {
    let version = request.version;
    match &request.message {
        Message::CreateTopics(asked) => {
            frame(request, &admin::create(state, version, asked).with_throttle_time_ms(throttle))
        }
        Message::DeleteTopics(asked) => {
            frame(request, &admin::delete(state, version, asked).with_throttle_time_ms(throttle))
        }
        Message::CreatePartitions(asked) => {
            frame(request, &admin::create_partitions(state, asked).with_throttle_time_ms(throttle))
        }
        Message::DescribeConfigs(asked) => {
            frame(request, &admin::describe_configs(state, asked).with_throttle_time_ms(throttle))
        }
        Message::AlterConfigs(asked) => {
            frame(request, &admin::alter_configs(state, asked).with_throttle_time_ms(throttle))
        }
        Message::DeleteRecords(asked) => {
            frame(request, &admin::delete_records(state, node, asked).with_throttle_time_ms(throttle))
        }
        // Answered elsewhere.
        _ => Answer::Close,
    }
}

/// What the coordinator decides now, and the markers that follow.
fn coordinated(node: i32, request: &Request, struck: &Struck, throttle: i32, shared: &Arc<Shared>) -> Answer {
    let version = request.version;
    let (answer, ends) = shared.change(|state| {
        let answer = match &request.message {
            Message::InitProducerId(asked) => {
                let said = transactions::init(state, node, version, asked, struck);
                frame(request, &said.with_throttle_time_ms(throttle))
            }
            Message::AddPartitions(asked) => {
                let said = transactions::add_partitions(state, node, version, asked, struck);
                frame(request, &said.with_throttle_time_ms(throttle))
            }
            Message::EndTxn(asked) => {
                let said = transactions::end(state, node, version, asked, struck);
                frame(request, &said.with_throttle_time_ms(throttle))
            }
            _ => Answer::Close,
        };
        (answer, !state.coordinator.preparing().is_empty())
    });
    if ends {
        let shared = shared.clone();
        tokio::spawn(async move {
            sleep(MARKERS_AFTER).await;
            shared.change(transactions::write_markers);
        });
    }
    answer
}

async fn produced(
    node: i32,
    request: &Request,
    asked: &ProduceRequest,
    struck: &Struck,
    throttle: i32,
    shared: &Shared,
) -> Answer {
    let mut changes = shared.changes();
    let done = shared.change(|state| produce(state, node, request.version, asked, struck));
    let Produced { mut response, mut waiting } = done;
    let wait = Duration::from_millis(u64::try_from(asked.timeout_ms).unwrap_or(0));
    let deadline = Instant::now() + wait;
    let arrived = |waiting: &mut Vec<Waiting>| {
        shared.look(|state| {
            waiting.retain(|w| {
                let partition = state.topics.partition(&w.topic, w.index);
                partition.is_some_and(|partition| partition.log.high_watermark() < w.until)
            });
        });
    };
    arrived(&mut waiting);
    while !waiting.is_empty() && Instant::now() < deadline {
        tokio::select! {
            _ = changes.changed() => {}
            () = sleep_until(deadline) => {}
        }
        arrived(&mut waiting);
    }
    shared.look(|state| late(&mut response, state, &waiting));
    if asked.acks == 0 {
        let failed =
            response.responses.iter().flat_map(|t| &t.partition_responses).any(|p| p.error_code != 0);
        return if failed { Answer::Close } else { Answer::Silence };
    }
    response.throttle_time_ms = throttle;
    frame(request, &response)
}

async fn fetched(
    node: i32,
    version: i16,
    asked: &FetchRequest,
    struck: &Struck,
    shared: &Shared,
) -> FetchResponse {
    let mut changes = shared.changes();
    let opened = shared.look(|state| {
        let State { nodes, topics, .. } = state;
        let node = nodes.iter_mut().find(|at| at.id == node).expect("a broker that serves is known");
        node.sessions.open(asked, version, topics)
    });
    let opened = match opened {
        Ok(opened) => opened,
        Err(code) => return FetchResponse::default().with_error_code(code.code()),
    };
    if struck.throttle().is_some() {
        let session = if version >= 7 { opened.session() } else { 0 };
        return FetchResponse::default().with_session_id(session);
    }
    let wait = Duration::from_millis(u64::try_from(asked.max_wait_ms).unwrap_or(0));
    let deadline = Instant::now() + wait;
    loop {
        let read = shared.look(|state| fetch::read(state, node, version, asked, &opened.wants, struck));
        if read.is_due || Instant::now() >= deadline {
            return shared.look(|state| fetch::respond(state, node, version, &opened, read.answers));
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = sleep_until(deadline) => {}
        }
    }
}
