//! Records: what a batch holds when it is unpacked, and batches made of records. Pure: bytes in, bytes out.
//!
//! A record is a view of bytes that are there; nothing is copied. `legacy` reads the formats of before Kafka 0.11. Nothing from the wire is
//! trusted: a length, a count, a codec that lies ends in `Damaged`, and memory is bounded by what the caller allows.

pub(in crate::kafka) mod codec;
pub(in crate::kafka) mod decode;
pub(in crate::kafka) mod encode;
mod headers;
pub(in crate::kafka) mod legacy;
mod varint;

pub use headers::{Headers, HeadersOf};

/// One record. Its fields are slices of what it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub offset: i64,
    /// As a consumer sees it: the producer's time, or the broker's where that stamped the batch; milliseconds since 1970, -1: none.
    pub timestamp: i64,
    /// Of the record itself. No version of Kafka uses any yet.
    pub attributes: i8,
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

impl Record<'_> {
    /// Key and value, bytes.
    pub fn size(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len)
    }
}

/// Bytes of a log that are not what was once written, or not readable within the limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the message of format {magic} at offset {offset} {what}")]
pub struct Damaged {
    /// Of the message as it stands in the log: of a wrapper that is its last one, of a batch its first.
    pub offset: i64,
    pub magic: u8,
    pub what: String,
}

#[cfg(test)]
mod tests;
