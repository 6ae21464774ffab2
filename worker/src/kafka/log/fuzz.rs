//! What a broker's log may hold, under attack: batches, what they pack, messages of before 0.11, and answers about them.

use bytes::Bytes;
use kafka_protocol::messages::{FetchResponse, ProduceResponse};
use uuid::Uuid;

use super::aborted::Aborted;
use super::batch::{FetchedBatch, HEADER_LEN, LENGTH_END, format_of, split, take};
use super::fetch_session::{Changes, FetchSession, From, Spot, Terms};
use super::produce::{Parcel, receipts};
use super::records::codec::{Codec, pack, unpack};
use super::records::encode::{BatchBuilder, BatchOf, Producer};
use super::records::legacy::MessageSet;
use super::records::{Headers, HeadersOf, Record};
use super::types::AbortedTransaction;
use crate::fuzz::{Random, Target, attack, dream};
use crate::kafka::wire::shapes;

/// Nothing that is unpacked may become larger, bytes.
const LIMIT: usize = 128 << 10;
/// What unpacks grows by doubling, and has buffers of its own.
const UNPACKING: usize = 3 * LIMIT + (256 << 10);
const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
/// Where a batch's checksum stands, and where it begins to count.
const CRC: std::ops::Range<usize> = 17..21;

/// Ten records with keys, tombstones and headers, a hole after the third where that is wanted.
pub(crate) fn batch(of: BatchOf, has_hole: bool) -> Vec<u8> {
    let mut builder = BatchBuilder::new(of);
    let mut headers = HeadersOf::default();
    headers.push((b"name", Some(b"value")));
    headers.push((b"name", None));
    for number in 0..10 {
        let offset = of.base_offset + number + i64::from(has_hole && number > 3);
        let (key, value) = ([0, 0, 0, number as u8], vec![b'v'; 20 * number as usize]);
        let record = Record {
            offset,
            timestamp: 1_700_000_000_000 + number * 7,
            attributes: 0,
            key: Some(&key[..]).filter(|_| number % 3 > 0),
            value: Some(&value[..]).filter(|_| number != 5),
            headers: if number % 2 == 0 { Headers::default() } else { headers.view() },
        };
        builder.push(&record).unwrap();
    }
    builder.finish().unwrap()
}

/// In every codec, by every kind of producer, with either time, as compaction leaves them, and with a delete horizon.
pub(crate) fn batches() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for codec in CODECS {
        let of = BatchOf { codec, base_offset: 1_000, ..BatchOf::default() };
        let producer = Some(Producer { id: 7, epoch: 1, sequence: 40 });
        all.push(batch(of, false));
        all.push(batch(of, true));
        all.push(batch(BatchOf { producer, ..of }, false));
        all.push(batch(BatchOf { producer, is_transactional: true, ..of }, false));
        all.push(batch(BatchOf { append_time: Some(1_800_000_000_000), ..of }, false));
        let mut horizon = batch(of, true);
        horizon[22] |= 1 << 6;
        repair_batches(&mut horizon);
        all.push(horizon);
    }
    let marker = BatchOf {
        producer: Some(Producer { id: 7, epoch: 1, sequence: -1 }),
        is_transactional: true,
        is_control: true,
        ..BatchOf::default()
    };
    all.push(batch(marker, false));
    all.push(batches_of(&all[..4]));
    all
}

fn batches_of(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.concat()
}

/// Makes the checksum of each batch right, as far as lengths lead.
pub(crate) fn repair_batches(bytes: &mut [u8]) {
    let mut rest = bytes;
    while rest.len() >= HEADER_LEN {
        let length = i32::from_be_bytes(rest[8..LENGTH_END].try_into().unwrap());
        let whole = usize::try_from(length).map_or(rest.len(), |length| length.saturating_add(LENGTH_END));
        let (batch, after) = rest.split_at_mut(whole.clamp(HEADER_LEN, rest.len()));
        let crc = crc32c::crc32c(&batch[CRC.end..]);
        batch[CRC].copy_from_slice(&crc.to_be_bytes());
        rest = after;
    }
}

fn walk(batch: &FetchedBatch) -> String {
    let header = &batch.header;
    let marker = batch.marker();
    let unpacked = match batch.unpack(LIMIT) {
        Ok(unpacked) => unpacked,
        Err(damaged) => return format!("{marker:?} {damaged}"),
    };
    let mut next = header.base_offset;
    for record in unpacked.records() {
        let record = match record {
            Ok(record) => record,
            Err(damaged) => return damaged.to_string(),
        };
        assert!(record.offset >= next && record.offset <= header.last_offset(), "offsets are in their place");
        assert_eq!(record.headers.iter().count(), record.headers.count());
        next = record.offset + 1;
    }
    format!("{marker:?} {} {:?}", header.has_holes(), header.size().map(usize::ilog2))
}

#[test]
fn fuzz_batches() {
    let memory = |bytes: usize| UNPACKING + bytes * 16;
    let target = Target { name: "batches", seeds: batches(), memory, repair: Some(repair_batches) };
    attack(target, |input| {
        let bytes = Bytes::copy_from_slice(input);
        let mut said = format!("{:?} {:?}", format_of(&bytes), split(&bytes).map(|all| all.len()));
        let mut aborted = Aborted::new(vec![AbortedTransaction { producer_id: 7, first_offset: 900 }]);
        let mut rest = bytes;
        while let Ok(Some(batch)) = take(&mut rest) {
            said += &format!(" {} {}", aborted.hides(&batch), walk(&batch));
        }
        said
    });
}

/// The first byte says which codec; the second that it is a small limit.
#[test]
fn fuzz_codecs() {
    let texts =
        [vec![0; 3 * LIMIT], b"some text, some text, some other text".repeat(30), b"a".to_vec(), Vec::new()];
    let packed = |codec: Codec| texts.iter().map(move |text| pack(codec, text).unwrap());
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for codec in CODECS {
        seeds.extend(packed(codec).map(|packed| [&[codec.number(), 0][..], &packed].concat()));
    }
    let raw = snap::raw::Encoder::new().compress_vec(&texts[1]).unwrap();
    seeds.push([&[Codec::Snappy.number(), 0][..], &raw].concat());
    seeds.retain(|seed| seed.len() < 64 << 10);
    let memory = |bytes: usize| UNPACKING + bytes * 2;
    attack(Target { name: "codecs", seeds, memory, repair: None }, |input| {
        let [codec, small, packed @ ..] = input else { return String::new() };
        let codec = CODECS[usize::from(*codec) % CODECS.len()];
        let limit = if *small % 2 == 0 { LIMIT } else { 100 };
        match unpack(codec, packed, limit) {
            Ok(plain) => {
                assert!(plain.len() <= limit);
                format!("{codec:?} {:?}", plain.len().checked_ilog2())
            }
            Err(what) => what,
        }
    });
}

/// A message of magic 1, and one of magic 0.
fn message(magic: u8, offset: i64, attributes: u8, value: &[u8]) -> Vec<u8> {
    let mut body = vec![magic, attributes];
    if magic == 1 {
        body.extend(1_000_i64.to_be_bytes());
    }
    body.extend((-1_i32).to_be_bytes());
    body.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
    body.extend(value);
    let size = i32::try_from(body.len() + 4).unwrap();
    [&offset.to_be_bytes()[..], &size.to_be_bytes(), &crc32fast::hash(&body).to_be_bytes(), &body].concat()
}

fn repair_messages(bytes: &mut [u8]) {
    let mut rest = bytes;
    while rest.len() > 16 {
        let length = i32::from_be_bytes(rest[8..12].try_into().unwrap());
        let whole = usize::try_from(length).map_or(rest.len(), |length| length.saturating_add(12));
        let (message, after) = rest.split_at_mut(whole.clamp(17, rest.len()));
        let crc = crc32fast::hash(&message[16..]);
        message[12..16].copy_from_slice(&crc.to_be_bytes());
        rest = after;
    }
}

#[test]
fn fuzz_old_messages() {
    let mut seeds = Vec::new();
    for magic in [0, 1] {
        let inner: Vec<u8> = (0..5).flat_map(|offset| message(magic, offset, 0, b"value")).collect();
        seeds.push(inner.clone());
        for codec in &CODECS[1..4] {
            seeds.push(message(magic, 4, codec.number(), &pack(*codec, &inner).unwrap()));
            seeds.push(message(magic, 104, codec.number() | 8, &pack(*codec, &inner).unwrap()));
        }
    }
    // A message of 26 bytes becomes an entry of about a hundred.
    let memory = |bytes: usize| UNPACKING + 8 * LIMIT + bytes * 16;
    attack(Target { name: "messages", seeds, memory, repair: Some(repair_messages) }, |input| {
        let mut set = MessageSet::new(Bytes::copy_from_slice(input), 2);
        let mut said = String::new();
        loop {
            match set.next(LIMIT) {
                Ok(Some(entry)) => {
                    said +=
                        if matches!(entry, super::records::legacy::Entry::Batch { .. }) { "b" } else { "m" }
                }
                Ok(None) => return said,
                Err(damaged) => return said + &damaged.to_string(),
            }
        }
    });
}

/// The first byte is the version of a fetch's answer, or beyond those of a produce request's.
#[test]
fn fuzz_what_answers_say() {
    let mut random = Random::new(3);
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for version in 4..=16_u8 {
        seeds.push([&[version][..], &dream::<FetchResponse>(version.into(), &mut random)].concat());
    }
    for version in 3..=13_u8 {
        seeds.push([&[100 + version][..], &dream::<ProduceResponse>(version.into(), &mut random)].concat());
    }
    let spot = Spot { topic: "a".into(), partition: 0 };
    let from = From { topic_id: Uuid::nil(), offset: 0, leader_epoch: 1, last_epoch: 1, max_bytes: 1 };
    let terms = Terms { max_wait_ms: 1, min_bytes: 1, max_bytes: 1, rack: String::new() };
    let parcel =
        Parcel { spot: spot.clone(), topic_id: Uuid::nil(), header: Bytes::new(), payload: Bytes::new() };
    let memory = |bytes: usize| (64 << 10) + bytes * 200;
    attack(Target { name: "parts", seeds, memory, repair: None }, |input| {
        let Some((version, body)) = input.split_first() else { return String::new() };
        let (version, body) = (i16::from(*version), Bytes::copy_from_slice(body));
        if version >= 100 {
            let version = (version - 100).clamp(3, 13);
            let answer = shapes::PRODUCE.read::<ProduceResponse>(body, version);
            return format!(
                "{:?}",
                answer.map(|answer| receipts(version, answer, std::slice::from_ref(&parcel)))
            );
        }
        let version = version.clamp(4, 16);
        let mut session = FetchSession::default();
        session.request(version, Changes::from([(spot.clone(), Some(from))]), &terms);
        let answer = shapes::FETCH.read::<FetchResponse>(body, version);
        answer.map_or_else(
            |what| what,
            |answer| format!("{:?}", session.answer(version, answer).map(|parts| parts.len())),
        )
    });
}
