use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;

const LIMIT: usize = 1 << 20;
const GZIP: u8 = 1;
const SNAPPY: u8 = 2;
const LZ4: u8 = 3;

type Field<'a> = Option<&'a [u8]>;

fn message(
    magic: u8,
    offset: i64,
    attributes: u8,
    timestamp: i64,
    key: Field<'_>,
    value: Field<'_>,
) -> Vec<u8> {
    let mut body = vec![magic, attributes];
    if magic == 1 {
        body.extend(timestamp.to_be_bytes());
    }
    for field in [key, value] {
        body.extend(field.map_or(-1, |f| f.len() as i32).to_be_bytes());
        body.extend(field.unwrap_or_default());
    }
    let mut message = offset.to_be_bytes().to_vec();
    message.extend((body.len() as i32 + 4).to_be_bytes());
    message.extend(crc32fast::hash(&body).to_be_bytes());
    message.extend(body);
    message
}

/// A message of magic 1 with a value that tells its place.
fn plain(offset: i64) -> Vec<u8> {
    message(1, offset, 0, 1000 + offset, Some(b"k"), Some(format!("value {offset}").as_bytes()))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

fn xerial(bytes: &[u8], block: usize) -> Vec<u8> {
    let mut packed = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for block in bytes.chunks(block) {
        let block = snappy(block);
        packed.extend((block.len() as u32).to_be_bytes());
        packed.extend(block);
    }
    packed
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    let mut packed = lz4_flex::frame::FrameEncoder::new(Vec::new());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// As writers of magic 0 left it: the header's checksum covers the frame's magic, too.
fn lz4_of_old(bytes: &[u8]) -> Vec<u8> {
    let mut packed = lz4(bytes);
    let wrong = (twox_hash::XxHash32::oneshot(0, &packed[..6]) >> 8) as u8;
    let right = std::mem::replace(&mut packed[6], wrong);
    assert_ne!(right, packed[6], "the wrong checksum is another one");
    packed
}

fn entries(bytes: &[u8], from: i64, limit: usize) -> Result<Vec<Entry>, Damaged> {
    let mut set = MessageSet::new(Bytes::copy_from_slice(bytes), from);
    std::iter::from_fn(|| set.next(limit).transpose()).collect()
}

fn messages(bytes: &[u8], from: i64) -> Vec<OldMessage> {
    let of = |entry| match entry {
        Entry::Messages(messages) => messages,
        Entry::Batch { .. } => panic!("a batch"),
    };
    entries(bytes, from, LIMIT).unwrap().into_iter().flat_map(of).collect()
}

fn offsets(bytes: &[u8], from: i64) -> Vec<i64> {
    messages(bytes, from).iter().map(|m| m.offset).collect()
}

fn read(offset: i64, timestamp: i64, key: Field<'_>, value: Field<'_>) -> OldMessage {
    let field = |f: Field<'_>| f.map(Bytes::copy_from_slice);
    OldMessage { offset, timestamp, is_log_append_time: false, key: field(key), value: field(value) }
}

fn failure(bytes: &[u8]) -> String {
    entries(bytes, 0, LIMIT).unwrap_err().to_string()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Bytes that another program made (Python's zlib and gzip).
#[test]
fn foreign_bytes_are_read() {
    let alone = "0000000000000007000000162356c1370000000000036b65790000000576616c7565";
    assert_eq!(messages(&bytes_of(alone), 0), [read(7, -1, Some(b"key"), Some(b"value"))]);
    let packed = "000000000000002a0000004f476e76ef010100000000000003e9ffffffff000000391f8b080000000000020363608003f1aed497b98c500ef38bff400064302642454032e24b7eed990e57f212249a0d520700aa4181ec46000000";
    let wanted = [read(41, 1000, None, Some(b"a")), read(42, 1001, Some(b"k"), None)];
    assert_eq!(messages(&bytes_of(packed), 0), wanted);
}

#[test]
fn nothing_and_empty_are_two_things_in_both_formats() {
    let fields: [(Field<'_>, Field<'_>); 4] =
        [(None, None), (Some(b""), Some(b"")), (None, Some(b"v")), (Some(b"k"), None)];
    for (magic, timestamp) in [(0, -1), (1, 0), (1, -1), (1, 1234)] {
        let mut log = Vec::new();
        let mut wanted = Vec::new();
        for (offset, (key, value)) in fields.into_iter().enumerate() {
            log.extend(message(magic, offset as i64, 0, timestamp, key, value));
            wanted.push(read(offset as i64, timestamp, key, value));
        }
        assert_eq!(messages(&log, 0), wanted);
    }
}

#[test]
fn every_codec_is_unpacked_in_both_formats() {
    let of = |magic: u8, offset: i64| {
        let value = format!("value {offset} {}", "x".repeat(500));
        (message(magic, offset, 0, 1000 + offset, Some(b"k"), Some(value.as_bytes())), value)
    };
    for magic in [0, 1] {
        // Inside, magic 0 has the log's offsets and magic 1 counts from 0.
        let base = if magic == 0 { 70 } else { 0 };
        let inner: Vec<u8> = (0..300).flat_map(|n| of(magic, base + n).0).collect();
        let packed = [
            (GZIP, gzip(&inner)),
            (GZIP, [gzip(&inner[..1000]), gzip(&inner[1000..])].concat()),
            (SNAPPY, snappy(&inner)),
            (SNAPPY, xerial(&inner, 32 << 10)),
            (LZ4, lz4(&inner)),
            (LZ4, lz4_of_old(&inner)),
        ];
        for (codec, value) in packed {
            let log = message(magic, 369, codec, 5000, None, Some(&value));
            let found = messages(&log, 0);
            assert_eq!(found.len(), 300, "magic {magic}, codec {codec}");
            for (n, found) in found.iter().enumerate() {
                let n = n as i64;
                let timestamp = if magic == 0 { -1 } else { 1000 + n };
                let value = of(magic, base + n).1;
                assert_eq!(*found, read(70 + n, timestamp, Some(b"k"), Some(value.as_bytes())));
            }
        }
    }
}

#[test]
fn a_compacted_wrapper_keeps_its_holes() {
    for first in [0, 500] {
        // Counting from the set's first message, or absolute, as some old producers wrote them.
        let inner: Vec<u8> = [0, 2, 5].into_iter().flat_map(|n| plain(first + n)).collect();
        let log = message(1, 505, GZIP, 0, None, Some(&gzip(&inner)));
        assert_eq!(offsets(&log, 0), [500, 502, 505]);
        assert_eq!(offsets(&log, 501), [502, 505], "what lies below the position is left out");
        assert_eq!(offsets(&log, 506), [0; 0]);
    }
    // The first message is gone: the sum comes from the last one.
    let inner: Vec<u8> = [3, 4].into_iter().flat_map(plain).collect();
    assert_eq!(offsets(&message(1, 104, GZIP, 0, None, Some(&gzip(&inner))), 0), [103, 104]);
}

#[test]
fn a_wrapper_stamped_by_the_broker_stamps_what_it_holds() {
    let inner: Vec<u8> = [0, 1].into_iter().flat_map(plain).collect();
    for (attributes, wanted) in [(GZIP, [1000, 1001]), (GZIP | LOG_APPEND_TIME, [9000, 9000])] {
        let log = message(1, 1, attributes, 9000, None, Some(&gzip(&inner)));
        let found: Vec<i64> = messages(&log, 0).iter().map(|m| m.timestamp).collect();
        assert_eq!(found, wanted);
        let is_stamped = attributes & LOG_APPEND_TIME != 0;
        assert!(messages(&log, 0).iter().all(|m| m.is_log_append_time == is_stamped));
    }
    let inner = message(0, 3, 0, -1, None, None);
    let log = message(0, 3, GZIP | LOG_APPEND_TIME, -1, None, Some(&gzip(&inner)));
    assert_eq!(messages(&log, 0)[0].timestamp, -1, "magic 0 has no timestamps");
}

#[test]
fn one_answer_may_hold_every_format_and_ends_anywhere() {
    let mut log = message(0, 10, 0, -1, None, Some(b"oldest"));
    let first = log.len();
    log.extend(plain(11));
    let old = log.len();
    log.extend(12_i64.to_be_bytes());
    log.extend([0, 0, 0, 99, 0, 0, 0, 1, 2, 0]);
    for end in 0..=log.len() {
        let found = entries(&log[..end], 0, LIMIT).unwrap();
        let offsets: Vec<i64> = found
            .iter()
            .flat_map(|entry| match entry {
                Entry::Messages(messages) => messages.iter().map(|m| m.offset).collect(),
                Entry::Batch { base_offset } => vec![-base_offset],
            })
            .collect();
        let wanted: &[i64] = match end {
            end if end < first => &[],
            end if end < old => &[10],
            end if end < old + MAGIC_AT + 1 => &[10, 11],
            _ => &[10, 11, -12],
        };
        assert_eq!(offsets, wanted, "cut at {end}");
    }
    let mut set = MessageSet::new(Bytes::copy_from_slice(&log[..old]), 5);
    assert_eq!(set.next_offset(), 5);
    while set.next(LIMIT).unwrap().is_some() {}
    assert_eq!(set.next_offset(), 12);
    // A position inside a batch stays where it is.
    assert_eq!(entries(&log[old..], 40, LIMIT).unwrap(), [Entry::Batch { base_offset: 40 }]);
}

#[test]
fn damage_is_named_with_its_place() {
    let mut log = plain(77);
    *log.last_mut().unwrap() ^= 1;
    let error = failure(&log);
    assert!(error.contains("format 1 at offset 77") && error.contains("checksum"), "{error}");
    let inside = |inner: &[u8], wanted: &str| {
        let error = failure(&message(1, 9, GZIP, 0, None, Some(&gzip(inner))));
        assert!(error.contains("at offset 9") && error.contains(wanted), "{error}");
    };
    inside(&log, "holds damage: the message of format 1 at offset 77 has checksum");
    inside(&plain(1)[..30], "cut off");
    inside(&message(0, 1, 0, 0, None, None), "another format");
    inside(&message(1, 1, GZIP, 0, None, Some(&gzip(&plain(0)))), "compressed message");
    inside(&[plain(3), plain(2)].concat(), "not in order");
    inside(&plain(10), "not in order");
    inside(&[], "no messages");
    let wrapped = |codec, value: &[u8]| failure(&message(1, 9, codec, 0, None, Some(value)));
    for (codec, name) in [(GZIP, "gzip"), (SNAPPY, "snappy"), (LZ4, "lz4")] {
        let error = wrapped(codec, b"this is not packed at all");
        assert!(error.contains("can't be unpacked") && error.contains(name), "{error}");
    }
    assert!(wrapped(4, b"").contains("compression 4"));
    assert!(failure(&message(1, 9, GZIP, 0, None, None)).contains("has no value"));
    let mut short = plain(5);
    short[8..12].copy_from_slice(&21_i32.to_be_bytes());
    assert!(failure(&short).contains("21 bytes"), "{}", failure(&short));
    let mut strange = plain(5);
    strange[MAGIC_AT] = 3;
    assert!(failure(&strange).contains("format 3"), "{}", failure(&strange));
}

#[test]
fn a_length_beyond_the_message_is_damage() {
    let mut body = vec![0, 0];
    body.extend(99_i32.to_be_bytes());
    body.extend((-1_i32).to_be_bytes());
    let mut log = 3_i64.to_be_bytes().to_vec();
    log.extend((body.len() as i32 + 4).to_be_bytes());
    log.extend(crc32fast::hash(&body).to_be_bytes());
    log.extend(body);
    assert!(failure(&log).contains("beyond its end"), "{}", failure(&log));
}

#[test]
fn unpacking_has_a_limit() {
    let large = message(1, 0, 0, 0, None, Some(&[0; 100_000]));
    let packed =
        [(GZIP, gzip(&large)), (SNAPPY, snappy(&large)), (SNAPPY, xerial(&large, 9_000)), (LZ4, lz4(&large))];
    for (codec, value) in packed {
        let log = message(1, 0, codec, 0, None, Some(&value));
        assert_eq!(entries(&log, 0, large.len()).unwrap().len(), 1);
        let error = entries(&log, 0, large.len() - 1).unwrap_err();
        assert!(error.what.contains(&format!("more than {} bytes", large.len() - 1)), "{error}");
    }
}

fn field() -> impl Strategy<Value = Option<Vec<u8>>> {
    proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40))
}

proptest! {
    #[test]
    fn what_was_written_is_read(
        fields in proptest::collection::vec((field(), field(), 0_i64..5, any::<i64>()), 1..20),
        magic in 0_u8..=1,
        codec in 0_u8..=3,
    ) {
        let (mut log, mut wanted, mut offset) = (Vec::new(), Vec::new(), 1000);
        for (key, value, hole, timestamp) in &fields {
            offset += 1 + hole;
            // In a wrapper of magic 1 from its first message on.
            let stands = if codec == 0 || magic == 0 { offset } else { offset - 1000 };
            log.extend(message(magic, stands, 0, *timestamp, key.as_deref(), value.as_deref()));
            let timestamp = if magic == 0 { -1 } else { *timestamp };
            wanted.push(read(offset, timestamp, key.as_deref(), value.as_deref()));
        }
        let value = match codec { GZIP => gzip(&log), SNAPPY => snappy(&log), _ => lz4(&log) };
        if codec != 0 {
            log = message(magic, offset, codec, 0, None, Some(&value));
        }
        prop_assert_eq!(messages(&log, 0), wanted);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), magic in 0_u8..4) {
        let mut bytes = bytes;
        if let Some(at) = bytes.get_mut(MAGIC_AT) {
            *at = magic;
        }
        let _ = entries(&bytes, 0, LIMIT);
    }

    /// Garbage behind a right checksum, in a wrapper and inside what is unpacked.
    #[test]
    fn nested_garbage_never_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        (magic, attributes, offset) in (0_u8..2, any::<u8>(), any::<i64>()),
        inner in any::<i64>(),
    ) {
        let _ = entries(&message(magic, offset, attributes, 0, None, Some(&bytes)), 0, LIMIT);
        for packed in [xerial(&bytes, 100), bytes.clone()] {
            let _ = entries(&message(magic, offset, SNAPPY, 0, None, Some(&packed)), 0, LIMIT);
        }
        let framed = [message(magic, inner, attributes, 0, Some(&bytes), None), bytes].concat();
        let _ = entries(&message(magic, offset, GZIP, 0, None, Some(&gzip(&framed))), 0, LIMIT);
    }
}
