//! Produce requests with batches that are forwarded as they are: only what stands around them is written, their bytes are not copied.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ProduceResponse;
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use uuid::Uuid;

use super::fetch_session::Spot;
use crate::kafka::wire::api::Versions;
use crate::kafka::wire::code;
use crate::kafka::wire::connection::link::Pieces;

/// In transactions versions from 12 on mean another protocol (KIP-890), which brokers have only where it is switched on.
pub(in crate::kafka) const IN_TRANSACTION: Versions = Versions { min: 3, max: 11 };
pub(in crate::kafka) const VERSIONS: Versions = Versions { min: 3, max: 13 };
/// Where the id of a topic isn't known.
pub(in crate::kafka) const BY_NAME: Versions = Versions { min: 3, max: 12 };
/// From this version on lengths are varints and structures end with tags.
const FLEXIBLE: i16 = 9;
/// From this version on topics are named by id.
const BY_ID: i16 = 13;
/// All replicas in sync have it before it is acknowledged.
const ACKS_ALL: i16 = -1;

/// One batch for one partition, in its parts: header and records.
#[derive(Debug, Clone)]
pub(crate) struct Parcel {
    pub(crate) spot: Spot,
    /// Nil where it isn't known.
    pub(crate) topic_id: Uuid,
    pub(crate) header: Bytes,
    pub(crate) payload: Bytes,
}

impl Parcel {
    pub(crate) fn len(&self) -> usize {
        self.header.len() + self.payload.len()
    }
}

/// What became of one parcel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) spot: Spot,
    /// Offset of its first record; or why it wasn't stored.
    pub(crate) outcome: Result<i64, Refused>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Kafka's error code.
    pub(crate) code: i16,
    /// The broker's words.
    pub(crate) text: Option<String>,
    /// The record that it has something against, counted within the batch.
    pub(crate) record: Option<i32>,
    /// Who leads now, with its epoch.
    pub(crate) leader: Option<(i32, i32)>,
}

impl Refused {
    /// The broker has left it out of its answer.
    pub(crate) fn unanswered() -> Self {
        Self { code: code::UNKNOWN_SERVER_ERROR, text: None, record: None, leader: None }
    }
}

/// The request's body for these parcels, of which no two may be for the same partition: a broker drops all but the last.
pub(in crate::kafka) fn body(
    version: i16,
    transactional_id: Option<&str>,
    timeout_ms: i32,
    parcels: &[Parcel],
) -> Pieces {
    let mut topics: BTreeMap<(&Arc<str>, Uuid), Vec<&Parcel>> = BTreeMap::new();
    for parcel in parcels {
        topics.entry((&parcel.spot.topic, parcel.topic_id)).or_default().push(parcel);
    }
    let mut out = Writer { version, pieces: Pieces::default(), open: BytesMut::new() };
    out.text(transactional_id);
    out.open.put_i16(ACKS_ALL);
    out.open.put_i32(timeout_ms);
    out.count(topics.len());
    for ((topic, id), parcels) in topics {
        match version >= BY_ID {
            true => out.open.put_slice(id.as_bytes()),
            false => out.text(Some(topic)),
        }
        out.count(parcels.len());
        for parcel in parcels {
            out.open.put_i32(parcel.spot.partition);
            out.length(parcel.len());
            out.piece(parcel.header.clone());
            out.piece(parcel.payload.clone());
            out.tags();
        }
        out.tags();
    }
    out.tags();
    out.done()
}

struct Writer {
    version: i16,
    pieces: Pieces,
    /// Written and not yet among the pieces.
    open: BytesMut,
}

impl Writer {
    fn is_flexible(&self) -> bool {
        self.version >= FLEXIBLE
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.open.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.open.put_u8(value as u8);
    }

    /// Of bytes; a flexible version counts from 1, as 0 means that there are none.
    fn length(&mut self, length: usize) {
        let length = u32::try_from(length).expect("batches are smaller");
        match self.is_flexible() {
            true => self.varint(length + 1),
            false => self.open.put_u32(length),
        }
    }

    fn count(&mut self, count: usize) {
        self.length(count);
    }

    fn text(&mut self, text: Option<&str>) {
        match (text, self.is_flexible()) {
            (None, true) => self.varint(0),
            (None, false) => self.open.put_i16(-1),
            (Some(text), true) => self.length(text.len()),
            (Some(text), false) => {
                self.open.put_i16(
                    i16::try_from(text.len()).expect("names have at most 249 characters, ids 32767"),
                );
            }
        }
        self.open.put_slice(text.unwrap_or_default().as_bytes());
    }

    fn tags(&mut self) {
        if self.is_flexible() {
            self.open.put_u8(0);
        }
    }

    fn piece(&mut self, piece: Bytes) {
        self.pieces.push(self.open.split().freeze());
        self.pieces.push(piece);
    }

    fn done(mut self) -> Pieces {
        self.pieces.push(self.open.freeze());
        self.pieces
    }
}

/// What became of each parcel, by topic name where the version has names, else by id.
pub(in crate::kafka) fn receipts(version: i16, answer: ProduceResponse, parcels: &[Parcel]) -> Vec<Receipt> {
    let mut receipts = Vec::with_capacity(parcels.len());
    for topic in answer.responses {
        let of = |parcel: &&Parcel| match version >= BY_ID {
            true => parcel.topic_id == topic.topic_id,
            false => *parcel.spot.topic == **topic.name,
        };
        let Some(name) = parcels.iter().find(of).map(|parcel| parcel.spot.topic.clone()) else { continue };
        let receipt = |p: PartitionProduceResponse| Receipt {
            spot: Spot { topic: name.clone(), partition: p.index },
            outcome: outcome(p),
        };
        receipts.extend(topic.partition_responses.into_iter().map(receipt));
    }
    receipts
}

fn outcome(p: PartitionProduceResponse) -> Result<i64, Refused> {
    if p.error_code == 0 {
        return Ok(p.base_offset);
    }
    let blamed = p.record_errors.first();
    let leader = (p.current_leader.leader_id.0, p.current_leader.leader_epoch);
    let text =
        blamed.and_then(|record| record.batch_index_error_message.as_ref()).or(p.error_message.as_ref());
    Err(Refused {
        code: p.error_code,
        text: text.map(ToString::to_string),
        record: blamed.map(|record| record.batch_index),
        leader: Some(leader).filter(|(id, _)| *id >= 0),
    })
}

#[cfg(test)]
mod tests {
    use bytes::Buf;
    use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
    use kafka_protocol::messages::{ProduceRequest, TopicName, TransactionalId};
    use kafka_protocol::protocol::Encodable;

    use super::*;
    use crate::kafka::wire::types::text;

    fn parcel(topic: &str, partition: i32, payload: &'static [u8]) -> Parcel {
        Parcel {
            spot: Spot { topic: Arc::from(topic), partition },
            topic_id: Uuid::from_u128(topic.len() as u128),
            header: Bytes::from_static(b"header"),
            payload: Bytes::from_static(payload),
        }
    }

    /// As the library writes it.
    fn expected(version: i16, id: Option<&str>) -> Bytes {
        let partition = |index, records: &'static [u8]| {
            PartitionProduceData::default().with_index(index).with_records(Some(Bytes::from_static(records)))
        };
        let topic = |name: &str, partitions| {
            let topic = TopicProduceData::default().with_partition_data(partitions);
            match version >= BY_ID {
                true => topic.with_topic_id(Uuid::from_u128(name.len() as u128)),
                false => topic.with_name(TopicName(text(name))),
            }
        };
        let request = ProduceRequest::default()
            .with_transactional_id(id.map(|id| TransactionalId(text(id))))
            .with_acks(-1)
            .with_timeout_ms(30_000)
            .with_topic_data(vec![
                topic("t", vec![partition(0, b"headerone"), partition(3, b"header")]),
                topic("tt", vec![partition(5, b"headertwo")]),
            ]);
        let mut bytes = BytesMut::new();
        request.encode(&mut bytes, version).unwrap();
        bytes.freeze()
    }

    #[test]
    fn every_version_is_written_as_the_protocol_has_it() {
        let parcels = [parcel("t", 0, b"one"), parcel("tt", 5, b"two"), parcel("t", 3, b"")];
        for version in VERSIONS.min..=VERSIONS.max {
            for id in [None, Some("an id")] {
                let mut pieces = body(version, id, 30_000, &parcels);
                let written = pieces.copy_to_bytes(pieces.remaining());
                assert_eq!(written, expected(version, id), "version {version}");
            }
        }
    }

    #[test]
    fn bytes_are_not_copied() {
        let payload = Bytes::from(vec![7; 1000]);
        let one = Parcel { payload: payload.clone(), ..parcel("t", 0, b"") };
        let mut pieces = body(11, None, 1, &[one]);
        let mut seen = false;
        while pieces.has_remaining() {
            seen |= pieces.chunk().as_ptr() == payload.as_ptr();
            pieces.advance(pieces.chunk().len());
        }
        assert!(seen);
    }
}
