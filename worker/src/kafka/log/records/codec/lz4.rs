//! LZ4 frames, read block by block. Checksums inside a frame are passed over: the message's own, over the same bytes, has been verified.
//! And writers of magic 0 put a wrong one into the frame's header (KAFKA-3160).

use std::io::Write;

use lz4_flex::block;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

use super::{Failure, broken};

const MAGIC: &[u8] = &0x184d_2204_u32.to_le_bytes();
const VERSION: u8 = 0b1100_0000;
const VERSION_1: u8 = 0b0100_0000;
const INDEPENDENT: u8 = 1 << 5;
const BLOCK_CHECKSUM: u8 = 1 << 4;
const CONTENT_SIZE: u8 = 1 << 3;
const DICTIONARY: u8 = 1;
/// In a block's length: the block isn't packed.
const PLAIN: u32 = 1 << 31;
/// How far back a block may refer to earlier ones.
const WINDOW: usize = 64 << 10;
/// A block becomes at most so many times as long: a byte adds 255 to the length of a copy.
const MAX_GROWTH: usize = 255;

struct Frame {
    has_block_checksums: bool,
    is_linked: bool,
    max_block: usize,
}

pub(super) fn unpack(packed: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    let (frame, mut rest) = header(packed)?;
    let mut plain = Vec::new();
    loop {
        let cut_off = || broken("a block is cut off");
        let length = u32::from_le_bytes(*chunk(&mut rest).ok_or_else(cut_off)?);
        if length == 0 {
            return Ok(plain);
        }
        let is_packed = length & PLAIN == 0;
        let length = usize::try_from(length & !PLAIN).unwrap_or(usize::MAX);
        let (data, after) = rest.split_at_checked(length).ok_or_else(cut_off)?;
        rest = after;
        if frame.has_block_checksums {
            chunk::<4>(&mut rest).ok_or_else(cut_off)?;
        }
        match is_packed {
            true => frame.block(data, &mut plain, limit)?,
            false if plain.len().saturating_add(data.len()) > limit => return Err(Failure::TooLarge),
            false => plain.extend_from_slice(data),
        }
    }
}

impl Frame {
    fn block(&self, data: &[u8], plain: &mut Vec<u8>, limit: usize) -> Result<(), Failure> {
        let begin = plain.len();
        let most = self.max_block.min(data.len().saturating_mul(MAX_GROWTH));
        // One byte more than is allowed: what needs it is too large, and what is broken is told from that.
        let room = most.min(limit - begin + 1);
        plain.resize(begin + room, 0);
        let (before, out) = plain.split_at_mut(begin);
        let window = &before[begin.saturating_sub(WINDOW)..];
        let written = match self.is_linked {
            true => block::decompress_into_with_dict(data, out, window),
            false => block::decompress_into(data, out),
        };
        let written = match written {
            Err(block::DecompressError::OutputTooSmall { .. }) if room < most => {
                return Err(Failure::TooLarge);
            }
            written => written.map_err(broken)?,
        };
        plain.truncate(begin + written);
        if plain.len() > limit { Err(Failure::TooLarge) } else { Ok(()) }
    }
}

fn header(packed: &[u8]) -> Result<(Frame, &[u8]), Failure> {
    let cut_off = || broken("the frame's header is cut off");
    let mut rest = packed.strip_prefix(MAGIC).ok_or_else(|| broken("it is no frame"))?;
    let [flags, descriptor] = *chunk(&mut rest).ok_or_else(cut_off)?;
    if flags & VERSION != VERSION_1 || flags & DICTIONARY != 0 {
        return Err(broken("the frame is of a later version, or needs a dictionary"));
    }
    let max_block = match (descriptor >> 4) & 0b111 {
        size @ 4..=7 => 1 << (8 + 2 * size),
        other => return Err(broken(format!("the frame has blocks of size {other}, which lz4 doesn't know"))),
    };
    if flags & CONTENT_SIZE != 0 {
        chunk::<8>(&mut rest).ok_or_else(cut_off)?;
    }
    chunk::<1>(&mut rest).ok_or_else(cut_off)?;
    let has_block_checksums = flags & BLOCK_CHECKSUM != 0;
    Ok((Frame { has_block_checksums, is_linked: flags & INDEPENDENT == 0, max_block }, rest))
}

fn chunk<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (chunk, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(chunk)
}

/// Kafka's own reader wants blocks that don't refer to earlier ones.
pub(super) fn pack(plain: &[u8]) -> Result<Vec<u8>, Failure> {
    let frame = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut packed = FrameEncoder::with_frame_info(frame, Vec::new());
    packed.write_all(plain).map_err(broken)?;
    packed.finish().map_err(broken)
}
