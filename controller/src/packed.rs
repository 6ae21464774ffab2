//! Large messages in the store: what is small stays plain protobuf, which never begins like gzip; the rest is compressed.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use prost::Message;

/// Smaller values are stored as they are.
const PLAIN_BYTES: usize = 16 << 10;
/// A stored value that unpacks to more than this is refused.
const MAX_UNPACKED_BYTES: u64 = 256 << 20;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The value to store.
pub(crate) fn encode(message: &impl Message) -> Bytes {
    let plain = message.encode_to_vec();
    if plain.len() <= PLAIN_BYTES {
        return plain.into();
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let packed = encoder.write_all(&plain).and_then(|()| encoder.finish());
    packed.expect("writing to memory does not fail").into()
}

/// Parses a stored value.
pub(crate) fn decode<M: Message + Default>(value: &[u8]) -> Result<M, String> {
    if !value.starts_with(&GZIP_MAGIC) {
        return M::decode(value).map_err(|e| e.to_string());
    }
    let mut plain = Vec::new();
    let read = GzDecoder::new(value).take(MAX_UNPACKED_BYTES).read_to_end(&mut plain);
    read.map_err(|e| e.to_string())?;
    M::decode(plain.as_slice()).map_err(|e| e.to_string())
}
