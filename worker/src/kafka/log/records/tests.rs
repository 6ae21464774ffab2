use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as other;
use proptest::prelude::*;

use super::codec::Codec;
use super::decode::Marker;
use super::encode::{BatchBuilder, BatchOf, NoBatch, Producer};
use super::*;
use crate::kafka::log::batch::{FetchedBatch, split};

const LIMIT: usize = 1 << 20;
const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

/// A record that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Own {
    offset: i64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Own {
    fn headers(&self) -> HeadersOf {
        let mut headers = HeadersOf::default();
        self.headers.iter().for_each(|(name, value)| headers.push((name, value.as_deref())));
        headers
    }

    fn of(record: &Record<'_>) -> Self {
        let own = |part: &[u8]| part.to_vec();
        Self {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(own),
            value: record.value.map(own),
            headers: record.headers.iter().map(|(name, value)| (own(name), value.map(own))).collect(),
        }
    }
}

fn record(offset: i64, value: &str) -> Own {
    let key = Some(b"k".to_vec());
    Own { offset, timestamp: 1000 + offset, key, value: Some(value.as_bytes().to_vec()), headers: vec![] }
}

fn write(of: BatchOf, records: &[Own]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(of);
    for own in records {
        let headers = own.headers();
        let (key, value) = (own.key.as_deref(), own.value.as_deref());
        let (offset, timestamp, headers) = (own.offset, own.timestamp, headers.view());
        builder.push(&Record { offset, timestamp, attributes: 0, key, value, headers }).unwrap();
    }
    assert_eq!(builder.count(), records.len());
    let size = builder.size();
    let batch = builder.finish().unwrap();
    assert!(of.codec != Codec::None || batch.len() == size);
    batch
}

fn batch(bytes: Vec<u8>) -> FetchedBatch {
    let mut batches = split(&Bytes::from(bytes)).unwrap();
    assert_eq!(batches.len(), 1);
    batches.remove(0)
}

fn read(batch: &FetchedBatch, limit: usize) -> Result<Vec<Own>, Damaged> {
    batch.unpack(limit)?.records().map(|found| found.map(|record| Own::of(&record))).collect()
}

/// With a right checksum, whatever was changed.
fn summed(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn failure(bytes: Vec<u8>) -> String {
    read(&batch(summed(bytes)), LIMIT).unwrap_err().to_string()
}

/// Another's encoder writes what this one writes, and the other way round.
#[test]
fn bytes_are_those_of_another_encoder() {
    let mine = [
        Own {
            headers: vec![(b"h".to_vec(), Some(b"1".to_vec())), (b"n".to_vec(), None)],
            ..record(0, "first")
        },
        Own { key: None, value: None, timestamp: 900, ..record(1, "") },
        Own { key: Some(vec![]), value: Some(vec![]), ..record(2, "") },
        Own { value: Some(vec![7; 5000]), ..record(3, "") },
    ];
    let theirs: Vec<other::Record> = mine
        .iter()
        .map(|own| other::Record {
            transactional: true,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: 42,
            producer_epoch: 3,
            timestamp_type: other::TimestampType::Creation,
            offset: own.offset,
            sequence: 9 + own.offset as i32,
            timestamp: own.timestamp,
            key: own.key.clone().map(Bytes::from),
            value: own.value.clone().map(Bytes::from),
            headers: own
                .headers
                .iter()
                .map(|(n, v)| {
                    (StrBytes::from_string(String::from_utf8(n.clone()).unwrap()), v.clone().map(Bytes::from))
                })
                .collect::<IndexMap<_, _>>(),
        })
        .collect();
    let mut expected = BytesMut::new();
    let options = other::RecordEncodeOptions { version: 2, compression: other::Compression::None };
    other::RecordBatchEncoder::encode(&mut expected, theirs.iter(), &options).unwrap();
    assert_eq!(read(&batch(expected.to_vec()), LIMIT).unwrap(), mine);
    let producer = Some(Producer { id: 42, epoch: 3, sequence: 9 });
    let written = write(BatchOf { producer, is_transactional: true, ..BatchOf::default() }, &mine);
    let mut again = Bytes::from(written);
    let decoded = other::RecordBatchDecoder::decode(&mut again).unwrap();
    assert_eq!(decoded.records, theirs);
}

#[test]
fn what_a_reader_sees_of_time() {
    let records = [record(5, "a"), Own { timestamp: -1, ..record(6, "b") }];
    let of = BatchOf { base_offset: 5, ..BatchOf::default() };
    assert_eq!(read(&batch(write(of, &records)), LIMIT).unwrap(), records);
    let stamped = batch(write(BatchOf { append_time: Some(7777), ..of }, &records));
    assert!(stamped.header.is_log_append_time());
    let times: Vec<i64> = read(&stamped, LIMIT).unwrap().iter().map(|r| r.timestamp).collect();
    assert_eq!(times, [7777, 7777]);
    let extremes =
        [Own { timestamp: i64::MIN, ..record(5, "a") }, Own { timestamp: i64::MAX, ..record(6, "b") }];
    assert_eq!(read(&batch(write(of, &extremes)), LIMIT).unwrap(), extremes);
}

#[test]
fn headers_may_share_a_name_and_hold_any_bytes() {
    let headers = vec![
        (b"same".to_vec(), Some(b"1".to_vec())),
        (b"same".to_vec(), Some(b"2".to_vec())),
        (b"same".to_vec(), None),
        (vec![0xff, 0xfe, 0], Some(vec![0x80; 300])),
        (vec![], Some(vec![])),
    ];
    for codec in ALL {
        let records = [Own { headers: headers.clone(), ..record(0, "v") }];
        let written = batch(write(BatchOf { codec, ..BatchOf::default() }, &records));
        assert_eq!(read(&written, LIMIT).unwrap(), records);
        let unpacked = written.unpack(LIMIT).unwrap();
        let found = unpacked.records().next().unwrap().unwrap();
        assert_eq!((found.headers.count(), found.headers.is_empty()), (5, false));
    }
}

#[test]
fn compaction_leaves_holes_and_empty_batches() {
    let records = [record(12, "a"), record(19, "b")];
    let of = BatchOf { base_offset: 10, codec: Codec::Gzip, ..BatchOf::default() };
    let mut written = write(of, &records);
    // The last record was removed, too.
    written[23..27].copy_from_slice(&30_i32.to_be_bytes());
    let found = batch(summed(written.clone()));
    assert!(found.header.has_holes());
    assert_eq!((found.header.last_offset(), read(&found, LIMIT).unwrap()), (40, records.to_vec()));
    for codec in ALL {
        let mut empty = written[..61].to_vec();
        empty[8..12].copy_from_slice(&49_i32.to_be_bytes());
        empty[22] = codec.number();
        empty[57..61].copy_from_slice(&0_i32.to_be_bytes());
        assert_eq!(read(&batch(summed(empty)), LIMIT).unwrap(), []);
    }
}

#[test]
fn markers_are_told() {
    let of = BatchOf { is_control: true, is_transactional: true, ..BatchOf::default() };
    for (key, marker) in [
        (&[0, 0, 0, 0][..], Some(Marker::Abort)),
        (&[0, 0, 0, 1], Some(Marker::Commit)),
        (&[0, 1, 0, 1, 9], Some(Marker::Commit)),
        (&[0, 0, 0, 2], None),
        (&[0], None),
    ] {
        let own = Own { key: Some(key.to_vec()), ..record(0, "") };
        assert_eq!(batch(write(of, &[own])).marker(), marker);
    }
    assert_eq!(batch(write(BatchOf::default(), &[record(0, "v")])).marker(), None);
}

#[test]
fn damage_is_named_with_its_place_and_without_content() {
    let records = [record(70, "secret"), record(71, "secret")];
    let of = BatchOf { base_offset: 70, ..BatchOf::default() };
    let whole = write(of, &records);
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let error = read(&batch(flipped), LIMIT).unwrap_err();
    assert_eq!((error.offset, error.magic), (70, 2));
    assert!(error.what.contains("checksum"), "{error}");
    let changed = |at: usize, bytes: &[u8], wanted: &str| {
        let mut changed = whole.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        let error = failure(changed);
        assert!(error.contains("at offset 70") && error.contains(wanted), "{error}");
        assert!(!error.contains("secret"), "{error}");
    };
    changed(
        57,
        &i32::MAX.to_be_bytes(),
        "2147483647 records, of which the one at offset 72 or after it is missing",
    );
    changed(57, &1_i32.to_be_bytes(), "more than the 1 records");
    changed(57, &(-1_i32).to_be_bytes(), "more than the -1 records");
    changed(22, &[5], "compression 5");
    changed(61, &[0xff; 14], "is missing");
    changed(61, &[1], "a size below 0");
    changed(61, &[0x7e], "is cut off");
    changed(61, &[0], "is empty");
    changed(63, &[0xff; 12], "a time that runs on");
    changed(64, &[0xff; 8], "an offset that runs on");
    changed(64, &[0x20], "not in its place");
    changed(64, &[1], "not in its place");
    changed(65, &[0x70], "a key that reaches beyond");
    changed(67, &[0x70], "a value that reaches beyond");
    changed(74, &[2], "headers that reach beyond");
    changed(74, &[1], "fewer headers than none");
    changed(67, &[0xa], "has headers that reach beyond");
    let mut last = whole.clone();
    last[..8].copy_from_slice(&i64::MAX.to_be_bytes());
    assert!(failure(last).contains("an offset beyond all"));
}

#[test]
fn what_cant_be_a_batch_is_refused_and_leaves_it_as_it_was() {
    assert_eq!(BatchBuilder::new(BatchOf::default()).finish(), Err(NoBatch::Empty));
    let mut builder = BatchBuilder::new(BatchOf { base_offset: 100, ..BatchOf::default() });
    let value = Some(&b"v"[..]);
    let one = |offset| Record {
        offset,
        timestamp: 0,
        attributes: 0,
        key: None,
        value,
        headers: Headers::default(),
    };
    builder.push(&one(100)).unwrap();
    for offset in [99, 100, 100 + (1 << 31), i64::MIN, i64::MAX] {
        assert_eq!(builder.push(&one(offset)), Err(NoBatch::OutOfPlace { offset, base: 100 }));
    }
    builder.push(&one(101)).unwrap();
    let offsets: Vec<i64> =
        read(&batch(builder.finish().unwrap()), LIMIT).unwrap().iter().map(|r| r.offset).collect();
    assert_eq!(offsets, [100, 101]);
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..60)
}

fn own() -> impl Strategy<Value = (i64, Own)> {
    let field = || proptest::option::of(bytes());
    let headers = proptest::collection::vec((bytes(), field()), 0..4);
    (0_i64..4, any::<i64>(), field(), field(), headers).prop_map(|(hole, timestamp, key, value, headers)| {
        (hole, Own { offset: 0, timestamp, key, value, headers })
    })
}

fn placed(base: i64, records: Vec<(i64, Own)>) -> Vec<Own> {
    let mut next = base;
    let place = |(hole, own)| {
        let offset = next + hole;
        next = offset + 1;
        Own { offset, ..own }
    };
    records.into_iter().map(place).collect()
}

proptest! {
    #[test]
    fn what_was_written_is_read(
        records in proptest::collection::vec(own(), 1..30),
        base_offset in 0..i64::MAX / 2,
        (id, epoch, sequence) in (any::<i64>(), any::<i16>(), any::<i32>()),
        is_transactional in any::<bool>(),
    ) {
        let records = placed(base_offset, records);
        let producer = Producer { id, epoch, sequence };
        for codec in ALL {
            let of = BatchOf { base_offset, codec, producer: Some(producer), is_transactional, ..BatchOf::default() };
            let written = batch(write(of, &records));
            let header = written.header;
            prop_assert_eq!(read(&written, LIMIT).unwrap(), records.clone());
            prop_assert_eq!(Producer { id: header.producer_id, epoch: header.producer_epoch, sequence: header.base_sequence }, producer);
            prop_assert_eq!((header.count as usize, header.codec()), (records.len(), codec.number()));
            prop_assert_eq!((header.base_offset, header.last_offset()), (base_offset, records.last().unwrap().offset));
            prop_assert_eq!(header.max_timestamp, records.iter().map(|r| r.timestamp).max().unwrap());
            prop_assert_eq!((header.is_transactional(), header.is_control()), (is_transactional, false));
            let size = written.unpack(LIMIT).unwrap().size();
            prop_assert!(codec == Codec::None || written.unpack(size - 1).is_err());
        }
    }

    /// Behind a right checksum, packed and not.
    #[test]
    fn garbage_never_panics(
        records in proptest::collection::vec(own(), 1..5),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        codec in proptest::sample::select(ALL.to_vec()),
    ) {
        let mut bytes = write(BatchOf { codec, ..BatchOf::default() }, &placed(0, records));
        for (at, byte) in changes {
            // Behind the length and the magic, which `split` looks at.
            let at = 17 + at.index(bytes.len() - 17);
            bytes[at] = byte;
        }
        let changed = batch(summed(bytes));
        let _ = (read(&changed, LIMIT), changed.marker());
    }
}
