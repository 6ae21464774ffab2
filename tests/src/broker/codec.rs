//! The five codecs of a batch's payload, in Kafka's framings.

use std::io::{self, Read, Write};

use bytes::Bytes;

/// By its number in a batch's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Codec {
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

pub const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

/// What snappy-java writes in front of its blocks: name, version, oldest version that can read it.
const XERIAL: &[u8; 16] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// Block size of snappy-java.
const XERIAL_BLOCK: usize = 32 << 10;

impl Codec {
    /// `None` for the numbers 5-7, which stand for nothing.
    pub fn of(attributes: i16) -> Option<Self> {
        CODECS.into_iter().find(|codec| *codec as i16 == attributes & super::batch::CODEC_MASK)
    }

    /// As a topic's `compression.type` names it; `None` for "producer" and for what isn't known.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "uncompressed" | "none" => Self::None,
            "gzip" => Self::Gzip,
            "snappy" => Self::Snappy,
            "lz4" => Self::Lz4,
            "zstd" => Self::Zstd,
            _ => return None,
        })
    }

    pub fn pack(self, payload: &[u8]) -> Vec<u8> {
        let packed = match self {
            Self::None => return payload.to_vec(),
            Self::Gzip => gzip(payload),
            Self::Snappy => snappy(payload),
            Self::Lz4 => lz4(payload),
            Self::Zstd => zstd::stream::encode_all(payload, zstd::DEFAULT_COMPRESSION_LEVEL),
        };
        packed.expect("writing to memory doesn't fail")
    }

    /// # Errors
    /// The payload isn't of this codec, or has more than `limit` bytes.
    pub fn unpack(self, payload: &Bytes, limit: u64) -> io::Result<Bytes> {
        let mut out = Vec::new();
        let mut bounded: Box<dyn Read + '_> = match self {
            Self::None => return Ok(payload.clone()),
            Self::Snappy => return unsnappy(payload, limit),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(&payload[..])),
            Self::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(&payload[..])),
            Self::Zstd => Box::new(zstd::stream::Decoder::new(&payload[..])?),
        };
        bounded.by_ref().take(limit + 1).read_to_end(&mut out)?;
        within(out, limit)
    }
}

fn within(out: Vec<u8>, limit: u64) -> io::Result<Bytes> {
    if out.len() as u64 > limit {
        return Err(io::Error::other("the payload unpacks to more than the fake takes"));
    }
    Ok(out.into())
}

fn gzip(payload: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(payload)?;
    out.finish()
}

fn lz4(payload: &[u8]) -> io::Result<Vec<u8>> {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut out = FrameEncoder::with_frame_info(info, Vec::new());
    out.write_all(payload)?;
    out.finish().map_err(io::Error::other)
}

fn snappy(payload: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = XERIAL.to_vec();
    for block in payload.chunks(XERIAL_BLOCK) {
        let packed = snap::raw::Encoder::new().compress_vec(block)?;
        out.extend(u32::try_from(packed.len()).expect("a small block").to_be_bytes());
        out.extend(packed);
    }
    Ok(out)
}

/// In snappy-java's blocks, or one block without a frame, as librdkafka writes it.
fn unsnappy(payload: &[u8], limit: u64) -> io::Result<Bytes> {
    let block = |block: &[u8]| {
        if snap::raw::decompress_len(block)? as u64 > limit {
            return Err(io::Error::other("the payload unpacks to more than the fake takes"));
        }
        snap::raw::Decoder::new().decompress_vec(block).map_err(io::Error::other)
    };
    if payload.get(..8) != Some(&XERIAL[..8]) {
        return block(payload).map(Bytes::from);
    }
    let mut rest = payload.get(XERIAL.len()..).ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>().ok_or(io::ErrorKind::UnexpectedEof)?;
        let length = u32::from_be_bytes(*length) as usize;
        out.extend(block(after.get(..length).ok_or(io::ErrorKind::UnexpectedEof)?)?);
        if out.len() as u64 > limit {
            break;
        }
        rest = &after[length..];
    }
    within(out, limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_unpacks_and_no_further_than_the_limit() {
        let text = Bytes::from(b"so it goes, ".repeat(10_000));
        for codec in CODECS {
            let packed = Bytes::from(codec.pack(&text));
            assert_eq!(codec.unpack(&packed, 1 << 20).unwrap(), text, "{codec:?}");
            if codec != Codec::None {
                assert!(packed.len() < text.len() / 10);
                assert!(codec.unpack(&packed, 1000).is_err(), "{codec:?}");
                assert!(codec.unpack(&packed.slice(..packed.len() - 9), 1 << 20).is_err(), "{codec:?}");
            }
        }
    }
}
