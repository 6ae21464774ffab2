//! Snappy: one raw block, or the blocks with a header that snappy-java writes ("xerial"), which is what most of Kafka holds.

use super::{Failure, broken};

/// What snappy-java puts before its blocks: magic, version, oldest compatible version.
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
const XERIAL_VERSIONS: &[u8] = &[0, 0, 0, 1, 0, 0, 0, 1];
const XERIAL_HEADER: usize = 16;
/// Bytes that go into a block, as snappy-java has it by default.
const BLOCK: usize = 32 << 10;
/// A raw block becomes at most so many times as long: a copy of 64 bytes takes 3, and of 11 bytes 2.
const MAX_GROWTH: usize = 22;

pub(super) fn unpack(packed: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    let mut plain = Vec::new();
    let Some(mut rest) = after_header(packed) else {
        block(packed, &mut plain, limit)?;
        return Ok(plain);
    };
    while !rest.is_empty() {
        // Streams that were written one after another have a header each.
        if let Some(after) = after_header(rest) {
            rest = after;
            continue;
        }
        let cut_off = || broken("a block is cut off");
        let (length, after) = rest.split_first_chunk().ok_or_else(cut_off)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        block(after.get(..length).ok_or_else(cut_off)?, &mut plain, limit)?;
        rest = &after[length..];
    }
    Ok(plain)
}

fn after_header(packed: &[u8]) -> Option<&[u8]> {
    packed.strip_prefix(XERIAL_MAGIC).and_then(|_| packed.get(XERIAL_HEADER..))
}

fn block(packed: &[u8], plain: &mut Vec<u8>, limit: usize) -> Result<(), Failure> {
    let (begin, length) = (plain.len(), snap::raw::decompress_len(packed).map_err(broken)?);
    if begin.saturating_add(length) > limit {
        return Err(Failure::TooLarge);
    }
    if length > packed.len().saturating_mul(MAX_GROWTH) {
        return Err(broken(format!("a block of {} bytes claims to hold {length}", packed.len())));
    }
    plain.resize(begin + length, 0);
    let written = snap::raw::Decoder::new().decompress(packed, &mut plain[begin..]).map_err(broken)?;
    plain.truncate(begin + written);
    Ok(())
}

pub(super) fn pack(plain: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut packed = [XERIAL_MAGIC, XERIAL_VERSIONS].concat();
    let mut encoder = snap::raw::Encoder::new();
    for block in plain.chunks(BLOCK) {
        let begin = packed.len();
        packed.resize(begin + 4 + snap::raw::max_compress_len(block.len()), 0);
        let length = encoder.compress(block, &mut packed[begin + 4..]).map_err(broken)?;
        let told = u32::try_from(length).map_err(broken)?;
        packed[begin..begin + 4].copy_from_slice(&told.to_be_bytes());
        packed.truncate(begin + 4 + length);
    }
    Ok(packed)
}
