use proptest::prelude::*;

use super::*;

/// A batch of `count` offsets from `base` with a payload of `payload` bytes; the CRC is not computed.
fn batch(base: i64, count: i32, attributes: i16, payload: usize) -> Vec<u8> {
    let mut b = Vec::new();
    b.extend_from_slice(&base.to_be_bytes());
    b.extend_from_slice(&((MIN_BATCH_LENGTH + payload) as i32).to_be_bytes());
    b.extend_from_slice(&7_i32.to_be_bytes());
    b.push(2);
    b.extend_from_slice(&0xdead_beef_u32.to_be_bytes());
    b.extend_from_slice(&attributes.to_be_bytes());
    b.extend_from_slice(&(count - 1).to_be_bytes());
    b.extend_from_slice(&1000_i64.to_be_bytes());
    b.extend_from_slice(&2000_i64.to_be_bytes());
    b.extend_from_slice(&42_i64.to_be_bytes());
    b.extend_from_slice(&3_i16.to_be_bytes());
    b.extend_from_slice(&9_i32.to_be_bytes());
    b.extend_from_slice(&count.to_be_bytes());
    b.resize(b.len() + payload, 0xaa);
    b
}

#[test]
fn every_field_is_read_from_its_place() {
    let header = BatchHeader::parse(&batch(100, 5, TRANSACTIONAL | 4, 10)).unwrap();
    assert_eq!(
        header,
        BatchHeader {
            base_offset: 100,
            batch_length: 59,
            leader_epoch: 7,
            crc: 0xdead_beef,
            attributes: TRANSACTIONAL | 4,
            last_offset_delta: 4,
            base_timestamp: 1000,
            max_timestamp: 2000,
            producer_id: 42,
            producer_epoch: 3,
            base_sequence: 9,
            count: 5,
        }
    );
    assert_eq!((header.last_offset(), header.codec()), (104, 4));
    assert!(header.is_transactional() && !header.is_control() && !header.has_holes());
}

#[test]
fn a_cut_off_last_batch_is_left_out() {
    let mut bytes = batch(0, 3, 0, 20);
    bytes.extend_from_slice(&batch(3, 1, CONTROL | TRANSACTIONAL, 8));
    let whole = bytes.len();
    bytes.extend_from_slice(&batch(4, 9, 0, 500)[..70]);
    for end in whole..=bytes.len() {
        let batches = split(&Bytes::copy_from_slice(&bytes[..end])).unwrap();
        assert_eq!(batches.iter().map(|b| b.header.base_offset).collect::<Vec<_>>(), [0, 3]);
        assert!(batches[1].header.is_control());
    }
}

#[test]
fn old_formats_and_nonsense_lengths_are_named() {
    let mut old = batch(77, 1, 0, 0);
    old[16] = 1;
    let error = split(&Bytes::from(old)).unwrap_err();
    assert!(error.message.contains("offset 77") && error.message.contains("format 1"), "{error}");
    assert_eq!(error.reason, twinlog_proto::reason::Reason::UNSUPPORTED_VERSION);
    let mut short = batch(0, 1, 0, 0);
    short[8..12].copy_from_slice(&(-5_i32).to_be_bytes());
    assert!(split(&Bytes::from(short)).unwrap_err().message.contains("-5"));
}

#[test]
fn the_format_of_a_place_is_told() {
    let new = batch(40, 3, 0, 9);
    assert_eq!(format_of(&new), LogFormat::Batch { below: 43 });
    assert_eq!(format_of(&new[..HEADER_LEN - 1]), LogFormat::End, "cut off before it can be told");
    for magic in [0, 1] {
        let mut old = new.clone();
        old[MAGIC_AT] = magic;
        assert_eq!(format_of(&old[..=MAGIC_AT]), LogFormat::Old);
    }
    assert_eq!(format_of(&[]), LogFormat::End);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = split(&Bytes::from(bytes));
    }
}
