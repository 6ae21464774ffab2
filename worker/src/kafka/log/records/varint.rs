//! Zig-zag numbers of one to ten bytes, as records use them.

/// Bytes of the longest 32-bit number.
const MAX_32: usize = 5;
/// Bytes of the longest 64-bit number.
const MAX_64: usize = 10;
const MORE: u8 = 0x80;

/// Takes a number off the front of `bytes`; `None` where it is cut off or goes on for more than five bytes.
pub(super) fn take_i32(bytes: &mut &[u8]) -> Option<i32> {
    // What lies beyond 32 bits is dropped, as Kafka's own reader does.
    let raw = take(bytes, MAX_32)? as u32;
    Some((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

/// As `take_i32`, of at most ten bytes.
pub(super) fn take_i64(bytes: &mut &[u8]) -> Option<i64> {
    let raw = take(bytes, MAX_64)?;
    Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

pub(super) fn put_i32(to: &mut Vec<u8>, value: i32) {
    put(to, u64::from(((value << 1) ^ (value >> 31)) as u32));
}

pub(super) fn put_i64(to: &mut Vec<u8>, value: i64) {
    put(to, ((value << 1) ^ (value >> 63)) as u64);
}

/// How many bytes `put_i32` writes.
pub(super) fn length_i32(value: i32) -> usize {
    length(u64::from(((value << 1) ^ (value >> 31)) as u32))
}

/// How many bytes `put_i64` writes.
pub(super) fn length_i64(value: i64) -> usize {
    length(((value << 1) ^ (value >> 63)) as u64)
}

fn take(bytes: &mut &[u8], most: usize) -> Option<u64> {
    let mut raw = 0;
    for at in 0..most.min(bytes.len()) {
        let byte = bytes[at];
        raw |= u64::from(byte & !MORE) << (7 * at);
        if byte & MORE == 0 {
            *bytes = &bytes[at + 1..];
            return Some(raw);
        }
    }
    None
}

fn put(to: &mut Vec<u8>, mut raw: u64) {
    while raw >= u64::from(MORE) {
        to.push(raw as u8 | MORE);
        raw >>= 7;
    }
    to.push(raw as u8);
}

fn length(raw: u64) -> usize {
    (u64::BITS - (raw | 1).leading_zeros()).div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_have_the_bytes_that_kafka_gives_them() {
        for (value, bytes) in [
            (0, &[0][..]),
            (-1, &[1]),
            (1, &[2]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 1]),
            (i32::MAX, &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i32::MIN, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            let mut written = Vec::new();
            put_i32(&mut written, value);
            assert_eq!(written, bytes);
        }
    }

    #[test]
    fn a_number_that_runs_on_is_none() {
        assert_eq!(take_i32(&mut &[0xff; 9][..]), None);
        assert_eq!(take_i64(&mut &[0xff; 20][..]), None);
        assert_eq!(take_i64(&mut &[][..]), None);
        assert_eq!(take_i32(&mut &[0x80][..]), None, "cut off");
    }

    proptest! {
        #[test]
        fn what_was_put_is_taken(small in any::<i32>(), large in any::<i64>(), shift in 0..63_u32) {
            let large = large >> shift;
            let mut bytes = Vec::new();
            put_i32(&mut bytes, small);
            prop_assert_eq!(bytes.len(), length_i32(small));
            put_i64(&mut bytes, large);
            prop_assert_eq!(bytes.len(), length_i32(small) + length_i64(large));
            let mut rest = bytes.as_slice();
            prop_assert_eq!((take_i32(&mut rest), take_i64(&mut rest)), (Some(small), Some(large)));
            prop_assert!(rest.is_empty());
        }
    }
}
