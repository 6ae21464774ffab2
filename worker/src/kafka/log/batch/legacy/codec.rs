//! Unpacking what wraps old messages. The message's checksum has been verified: these bytes are what was written.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use lz4_flex::frame::FrameDecoder;
use twox_hash::XxHash32;

/// What snappy-java puts before its blocks: magic, version, oldest compatible version.
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
const XERIAL_HEADER: usize = 16;
/// LZ4 frame: magic, flags, block descriptor.
const LZ4_DESCRIPTOR: usize = 4;
const LZ4_CONTENT_SIZE: u8 = 1 << 3;
const LZ4_DICTIONARY_ID: u8 = 1;

/// # Errors
/// Completes "the message ...".
pub(super) fn unpack(codec: u8, packed: &[u8], limit: usize) -> Result<Vec<u8>, String> {
    match codec {
        1 => read(MultiGzDecoder::new(packed), "gzip", limit),
        2 => snappy(packed, limit),
        3 => lz4(packed, limit),
        other => Err(format!("has compression {other}, which its format doesn't know")),
    }
}

fn read(unpacked: impl Read, codec: &str, limit: usize) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    let more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    unpacked.take(more).read_to_end(&mut plain).map_err(|e| format!("can't be unpacked ({codec}): {e}"))?;
    if plain.len() > limit { Err(too_large(codec, limit)) } else { Ok(plain) }
}

fn too_large(codec: &str, limit: usize) -> String {
    format!("holds more than {limit} bytes when unpacked ({codec}), the most that is read here")
}

/// The blocks of snappy-java, or one block as other clients write it.
fn snappy(packed: &[u8], limit: usize) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    let Some(mut rest) = packed.strip_prefix(XERIAL_MAGIC).and_then(|_| packed.get(XERIAL_HEADER..)) else {
        snappy_block(packed, &mut plain, limit)?;
        return Ok(plain);
    };
    while !rest.is_empty() {
        let (length, after) =
            rest.split_first_chunk().ok_or("can't be unpacked (snappy): a block is cut off")?;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let block = after.get(..length).ok_or("can't be unpacked (snappy): a block is cut off")?;
        snappy_block(block, &mut plain, limit)?;
        rest = &after[length..];
    }
    Ok(plain)
}

fn snappy_block(block: &[u8], plain: &mut Vec<u8>, limit: usize) -> Result<(), String> {
    let failed = |e| format!("can't be unpacked (snappy): {e}");
    let (begin, length) = (plain.len(), snap::raw::decompress_len(block).map_err(failed)?);
    if begin.saturating_add(length) > limit {
        return Err(too_large("snappy", limit));
    }
    plain.resize(begin + length, 0);
    let written = snap::raw::Decoder::new().decompress(block, &mut plain[begin..]).map_err(failed)?;
    plain.truncate(begin + written);
    Ok(())
}

/// Writers of magic 0 put a checksum into the frame's header that covers the frame's magic as well (KAFKA-3160). It adds
/// nothing to the message's own, so the right one is written over whatever is there.
fn lz4(packed: &[u8], limit: usize) -> Result<Vec<u8>, String> {
    let cut_off = || "can't be unpacked (lz4): the frame's header is cut off".to_owned();
    let flags = *packed.get(LZ4_DESCRIPTOR).ok_or_else(cut_off)?;
    let content_size = if flags & LZ4_CONTENT_SIZE != 0 { 8 } else { 0 };
    let dictionary = if flags & LZ4_DICTIONARY_ID != 0 { 4 } else { 0 };
    let end = LZ4_DESCRIPTOR + 2 + content_size + dictionary;
    let blocks = packed.get(end + 1..).ok_or_else(cut_off)?;
    let mut header = packed[..end].to_vec();
    let checksum = XxHash32::oneshot(0, &header[LZ4_DESCRIPTOR..]);
    header.push((checksum >> 8) as u8);
    read(FrameDecoder::new(header.as_slice().chain(blocks)), "lz4", limit)
}
