//! A batch of the source as the target takes it: the header says who writes it, the records stay as they are.

use bytes::Bytes;

use super::crc;
use crate::kafka::{BatchHeader, HEADER_LEN};

/// Where the checksum stands, and where what it covers begins.
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
/// Bits of the attributes that are kept: the codec. The timestamp type is the target's own, and a delete horizon counts in one log only.
const KEPT_ATTRIBUTES: i16 = 0b111;
const TRANSACTIONAL: i16 = 1 << 4;

/// Who writes a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Writer {
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
    pub(super) in_transaction: bool,
}

/// The header for a batch whose first record has this sequence. `batch` is whole; its checksum is right afterwards if it was before.
pub(super) fn stamped(batch: &Bytes, writer: Writer, sequence: i32) -> Bytes {
    let mut header: [u8; HEADER_LEN] = batch[..HEADER_LEN].try_into().expect("a batch has a header");
    let crc = u32::from_be_bytes(header[CRC_AT..CRC_FROM].try_into().expect("4 bytes"));
    let attributes = i16::from_be_bytes([header[21], header[22]]) & KEPT_ATTRIBUTES;
    let attributes = if writer.in_transaction { attributes | TRANSACTIONAL } else { attributes };
    header[..8].copy_from_slice(&0_i64.to_be_bytes());
    header[12..16].copy_from_slice(&(-1_i32).to_be_bytes());
    header[21..23].copy_from_slice(&attributes.to_be_bytes());
    header[43..51].copy_from_slice(&writer.producer_id.to_be_bytes());
    header[51..53].copy_from_slice(&writer.epoch.to_be_bytes());
    header[53..57].copy_from_slice(&sequence.to_be_bytes());
    let old = &batch[CRC_FROM..HEADER_LEN];
    let crc = crc::patched(crc, old, &header[CRC_FROM..], batch.len() - HEADER_LEN);
    header[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    Bytes::copy_from_slice(&header)
}

/// The sequence after `count` more records.
pub(super) fn sequence_after(sequence: i32, count: i32) -> i32 {
    // From 2^31-1 on it begins at 0 again.
    sequence.wrapping_add(count) & i32::MAX
}

/// What a batch needs before the target takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing but another header.
    Nothing,
    /// It holds no record.
    Dropping,
    /// Its records must be written anew.
    Rebuilding,
}

/// By its header alone. Of the records below `from`, and of those from `before` on, none is to be sent; `max` is what the target takes.
pub(super) fn needs(header: &BatchHeader, size: usize, (from, before): (i64, i64), max: usize) -> Needs {
    if header.is_control() || header.count <= 0 || header.last_offset() < from || header.base_offset >= before
    {
        return Needs::Dropping;
    }
    let cut = header.base_offset < from || header.last_offset() >= before;
    // Readers of the source see the broker's time, and only in the header.
    if cut || header.has_holes() || header.is_log_append_time() || size > max {
        return Needs::Rebuilding;
    }
    Needs::Nothing
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch with random payload and the given attributes, its checksum right.
    fn batch(attributes: i16, count: i32) -> Bytes {
        let payload: Vec<u8> = (0..300_u32).map(|i| (i * 7 % 251) as u8).collect();
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&1234_i64.to_be_bytes());
        bytes.extend_from_slice(&(49 + payload.len() as i32).to_be_bytes());
        bytes.extend_from_slice(&5_i32.to_be_bytes());
        bytes.push(2);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&attributes.to_be_bytes());
        bytes.extend_from_slice(&(count - 1).to_be_bytes());
        bytes.extend_from_slice(&1_000_i64.to_be_bytes());
        bytes.extend_from_slice(&2_000_i64.to_be_bytes());
        bytes.extend_from_slice(&77_i64.to_be_bytes());
        bytes.extend_from_slice(&3_i16.to_be_bytes());
        bytes.extend_from_slice(&9_i32.to_be_bytes());
        bytes.extend_from_slice(&count.to_be_bytes());
        bytes.extend_from_slice(&payload);
        let crc = crc32c::crc32c(&bytes[CRC_FROM..]);
        bytes[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
        Bytes::from(bytes)
    }

    #[test]
    fn only_who_writes_it_changes_and_the_sum_is_right() {
        for attributes in [0, 3, 0b0100_1000 | 4, TRANSACTIONAL | 2, 0b1000_0000] {
            for in_transaction in [false, true] {
                let old = batch(attributes, 10);
                let writer = Writer { producer_id: 42, epoch: 6, in_transaction };
                let header = stamped(&old, writer, 100);
                let mut whole = header.to_vec();
                whole.extend_from_slice(&old[HEADER_LEN..]);
                let (was, is) = (BatchHeader::parse(&old).unwrap(), BatchHeader::parse(&whole).unwrap());
                assert_eq!(is.crc, crc32c::crc32c(&whole[CRC_FROM..]));
                let kept = attributes & 0b111 | if in_transaction { TRANSACTIONAL } else { 0 };
                let expected = BatchHeader {
                    base_offset: 0,
                    leader_epoch: -1,
                    crc: is.crc,
                    attributes: kept,
                    producer_id: 42,
                    producer_epoch: 6,
                    base_sequence: 100,
                    ..was
                };
                assert_eq!(is, expected);
            }
        }
    }

    #[test]
    fn a_damaged_batch_stays_damaged() {
        let mut bytes = batch(0, 10).to_vec();
        bytes[70] ^= 1;
        let old = Bytes::from(bytes);
        let writer = Writer { producer_id: 42, epoch: 6, in_transaction: false };
        let mut whole = stamped(&old, writer, 0).to_vec();
        whole.extend_from_slice(&old[HEADER_LEN..]);
        assert_ne!(BatchHeader::parse(&whole).unwrap().crc, crc32c::crc32c(&whole[CRC_FROM..]));
    }

    #[test]
    fn sequences_begin_again_as_the_brokers_count() {
        assert_eq!(sequence_after(5, 3), 8);
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(sequence_after(i32::MAX - 1, 5), 3);
    }

    #[test]
    fn what_can_not_be_forwarded_is_told_by_the_header() {
        let header = BatchHeader::parse(&batch(0, 10)).unwrap();
        let size = 361;
        let all = (1234, i64::MAX);
        assert_eq!(needs(&header, size, all, 1000), Needs::Nothing);
        assert_eq!(needs(&header, size, (0, 1244), 361), Needs::Nothing);
        for (from, before, max) in [(1235, i64::MAX, 1000), (0, 1243, 1000), (0, i64::MAX, 360)] {
            assert_eq!(needs(&header, size, (from, before), max), Needs::Rebuilding);
        }
        let holes = BatchHeader { count: 9, ..header };
        let stamped = BatchHeader { attributes: 8, ..header };
        let emptied = BatchHeader { count: 0, ..header };
        let marker = BatchHeader { attributes: 0b11_0000, ..header };
        assert_eq!(needs(&holes, size, all, 1000), Needs::Rebuilding);
        assert_eq!(needs(&stamped, size, all, 1000), Needs::Rebuilding);
        for dropped in [emptied, marker] {
            assert_eq!(needs(&dropped, size, all, 1000), Needs::Dropping);
        }
        assert_eq!(needs(&header, size, (1244, i64::MAX), 1000), Needs::Dropping);
    }
}
