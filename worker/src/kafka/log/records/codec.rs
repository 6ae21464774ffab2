//! How the records of a batch, or the messages of a wrapper, are packed: five ways, with one bound on what comes out.
//!
//! Whoever unpacks has verified the checksum over the packed bytes: those are what was written, which may be anything. Memory grows with
//! what really comes out, never with what a header claims, and ends at the limit.

mod lz4;
mod snappy;
mod zstd;

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// How a payload is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Codec {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Codec {
    /// By its number in a batch's or message's attributes; `None` where there is none of that number.
    pub fn of(number: u8) -> Option<Self> {
        [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd].get(usize::from(number)).copied()
    }

    /// Its number in the attributes.
    pub fn number(self) -> u8 {
        self as u8
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// Why bytes can't be unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Failure {
    /// More comes out than was allowed.
    TooLarge,
    /// They are not what the codec writes.
    Broken(String),
}

fn broken(what: impl ToString) -> Failure {
    Failure::Broken(what.to_string())
}

/// Unpacks into at most `limit` bytes.
///
/// # Errors
/// Completes "the message ...".
pub(in crate::kafka::log) fn unpack(codec: Codec, packed: &[u8], limit: usize) -> Result<Vec<u8>, String> {
    let plain = match codec {
        Codec::None => unwrap_none(packed, limit),
        Codec::Gzip => gzip(packed, limit),
        Codec::Snappy => snappy::unpack(packed, limit),
        Codec::Lz4 => lz4::unpack(packed, limit),
        Codec::Zstd => zstd::unpack(packed, limit),
    };
    let name = codec.name();
    plain.map_err(|failure| match failure {
        Failure::TooLarge => {
            format!("holds more than {limit} bytes when unpacked ({name}), the most that is read here")
        }
        Failure::Broken(what) => format!("can't be unpacked ({name}): {what}"),
    })
}

/// Packs as Kafka's own producer does by default. Every reader of Kafka's understands it.
///
/// # Errors
/// The codec's own library failed, which it has no reason to.
pub(in crate::kafka::log) fn pack(codec: Codec, plain: &[u8]) -> Result<Vec<u8>, String> {
    let packed = match codec {
        Codec::None => Ok(plain.to_vec()),
        Codec::Gzip => {
            let mut packed = GzEncoder::new(Vec::new(), Compression::default());
            packed.write_all(plain).and_then(|()| packed.finish()).map_err(broken)
        }
        Codec::Snappy => snappy::pack(plain),
        Codec::Lz4 => lz4::pack(plain),
        Codec::Zstd => zstd::pack(plain),
    };
    packed.map_err(|failure| format!("can't be packed ({}): {failure:?}", codec.name()))
}

fn unwrap_none(packed: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    if packed.len() > limit { Err(Failure::TooLarge) } else { Ok(packed.to_vec()) }
}

fn gzip(packed: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    let mut plain = Vec::new();
    let more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(packed).take(more).read_to_end(&mut plain).map_err(broken)?;
    if plain.len() > limit { Err(Failure::TooLarge) } else { Ok(plain) }
}

#[cfg(test)]
mod tests;
