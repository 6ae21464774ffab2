//! Messages as brokers before 0.11 wrote them (magic 0 and 1), read exactly.
//!
//! A log's bytes hold messages one after another: offset (8 bytes), size (4), then what the size counts: CRC-32 of all that
//! follows (4), magic (1), attributes (1), with magic 1 a timestamp (8), key and value (length of 4 bytes, -1 is null). A
//! compressed message is a wrapper: its value holds such messages again. What is known of wrappers:
//! - their own offset is that of the last message inside, also where compaction has removed others;
//! - inside magic 1 offsets count from the first message of the set as it was written (or are absolute: that is the same sum);
//! - a wrapper that the broker stamped (LogAppendTime) stamps every message inside.
//!
//! Nothing from the wire is trusted beyond the bytes that are there.

use bytes::Bytes;

use super::codec::{self, Codec};
use super::{Damaged, Headers, Record};
use crate::kafka::log::batch::MAGIC_AT;

/// Offset and size.
const LENGTH_END: usize = 12;
/// Where the CRC begins to count.
const CRC_END: usize = 16;
/// CRC, magic, attributes, two lengths; magic 1 has a timestamp besides.
const MIN_SIZE: usize = 14;
const CODEC: u8 = 0b111;
const LOG_APPEND_TIME: u8 = 1 << 3;

/// One record in an old format. Key and value are slices of what they were read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldMessage {
    pub offset: i64,
    /// Milliseconds since 1970; -1: none, as all of magic 0.
    pub timestamp: i64,
    /// Whether the timestamp is the broker's.
    pub is_log_append_time: bool,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
}

impl OldMessage {
    pub fn record(&self) -> Record<'_> {
        let (key, value) = (self.key.as_deref(), self.value.as_deref());
        let (offset, timestamp) = (self.offset, self.timestamp);
        Record { offset, timestamp, attributes: 0, key, value, headers: Headers::default() }
    }

    /// Key and value, bytes.
    pub fn size(&self) -> usize {
        self.key.as_ref().map_or(0, Bytes::len) + self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// What comes next in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A message, or those of a wrapper; empty where all lie below the offset asked for.
    Messages(Vec<OldMessage>),
    /// A batch of the present format: whoever reads those goes on here.
    Batch { base_offset: i64 },
}

/// The records of a fetch answer, which may hold every format.
#[derive(Debug, Clone)]
pub struct MessageSet {
    bytes: Bytes,
    /// Messages below this are left out.
    next: i64,
}

impl MessageSet {
    pub fn new(bytes: Bytes, from: i64) -> Self {
        Self { bytes, next: from }
    }

    /// The offset to go on at when all that was given so far is taken.
    pub fn next_offset(&self) -> i64 {
        self.next
    }

    /// The next message, or the next wrapper's, unpacked into at most `limit` bytes; `None` at the end, where a cut-off last
    /// message may be left. After a `Batch` or an error there is nothing more.
    ///
    /// # Errors
    /// A checksum, a length, an offset, a codec that can't be right, or a wrapper that holds more than `limit` bytes.
    pub fn next(&mut self, limit: usize) -> Result<Option<Entry>, Damaged> {
        let mut bytes = std::mem::take(&mut self.bytes);
        if let (Some(2), Some(offset)) = (bytes.get(MAGIC_AT), i64_at(&bytes, 0)) {
            return Ok(Some(Entry::Batch { base_offset: offset.max(self.next) }));
        }
        let Some((last, messages)) = take(&mut bytes, limit)? else { return Ok(None) };
        self.bytes = bytes;
        let from = self.next;
        self.next = from.max(last.saturating_add(1));
        Ok(Some(Entry::Messages(messages.into_iter().filter(|m| m.offset >= from).collect())))
    }
}

/// Takes the first message or wrapper off, unpacked into at most `limit` bytes: its own offset, and what it holds. `None` where it is cut
/// off. What it begins with is no batch of the present format.
pub(in crate::kafka::log) fn take(
    bytes: &mut Bytes,
    limit: usize,
) -> Result<Option<(i64, Vec<OldMessage>)>, Damaged> {
    let Some((message, rest)) = Message::split(bytes)? else { return Ok(None) };
    *bytes = rest;
    let last = message.offset;
    let messages = match message.attributes & CODEC {
        0 => vec![message.into_record()],
        codec => message.unpack(codec, limit)?,
    };
    Ok(Some((last, messages)))
}

/// A message as it stands in the log or in a wrapper, its checksum verified.
struct Message {
    offset: i64,
    magic: u8,
    attributes: u8,
    timestamp: i64,
    key: Option<Bytes>,
    value: Option<Bytes>,
}

impl Message {
    /// The first message of `bytes`, and what comes after it. `None` where it is cut off.
    fn split(bytes: &Bytes) -> Result<Option<(Self, Bytes)>, Damaged> {
        let (Some(offset), Some(size)) = (i64_at(bytes, 0), i32_at(bytes, 8)) else { return Ok(None) };
        let Some(magic) = bytes.get(MAGIC_AT).copied() else { return Ok(None) };
        let damaged = |what| Damaged { offset, magic, what };
        if magic > 1 {
            return Err(damaged("is of a format that is not known".to_owned()));
        }
        let least = MIN_SIZE + if magic == 1 { 8 } else { 0 };
        let whole = usize::try_from(size).ok().filter(|size| *size >= least).map(|size| LENGTH_END + size);
        let Some(whole) = whole else {
            return Err(damaged(format!("claims a size of {size} bytes, below the {least} of its header")));
        };
        if bytes.len() < whole {
            return Ok(None);
        }
        let message = bytes.slice(..whole);
        let told = u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
        let found = crc32fast::hash(&message[CRC_END..]);
        if told != found {
            return Err(damaged(format!("has checksum {found:08x} where its header says {told:08x}")));
        }
        let read = Self::fields(&message, offset, magic);
        let read =
            read.ok_or_else(|| damaged("has a key or value that reaches beyond its end".to_owned()))?;
        Ok(Some((read, bytes.slice(whole..))))
    }

    fn fields(message: &Bytes, offset: i64, magic: u8) -> Option<Self> {
        let attributes = *message.get(MAGIC_AT + 1)?;
        let body = MAGIC_AT + 2;
        let (timestamp, at) = if magic == 1 { (i64_at(message, body)?, body + 8) } else { (-1, body) };
        let (key, at) = nullable(message, at)?;
        let (value, _) = nullable(message, at)?;
        Some(Self { offset, magic, attributes, timestamp, key, value })
    }

    fn is_stamped(&self) -> bool {
        self.attributes & LOG_APPEND_TIME != 0 && self.magic == 1
    }

    fn into_record(self) -> OldMessage {
        let (offset, timestamp, is_log_append_time) = (self.offset, self.timestamp, self.is_stamped());
        OldMessage { offset, timestamp, is_log_append_time, key: self.key, value: self.value }
    }

    fn damaged(&self, what: impl Into<String>) -> Damaged {
        Damaged { offset: self.offset, magic: self.magic, what: what.into() }
    }

    /// The messages of a wrapper, with the offsets and timestamps that they have in the log.
    fn unpack(self, codec: u8, limit: usize) -> Result<Vec<OldMessage>, Damaged> {
        let packed = self.value.as_ref().ok_or_else(|| self.damaged("is compressed and has no value"))?;
        let known = Codec::of(codec).filter(|codec| *codec != Codec::Zstd);
        let unknown = || self.damaged(format!("has compression {codec}, which its format doesn't know"));
        let plain = codec::unpack(known.ok_or_else(unknown)?, packed, limit);
        let plain = plain.map_err(|what| self.damaged(what))?;
        let mut rest = Bytes::from(plain);
        let mut inside = Vec::new();
        while !rest.is_empty() {
            let found =
                Message::split(&rest).map_err(|inner| self.damaged(format!("holds damage: {inner}")))?;
            let Some((message, after)) = found else {
                return Err(self.damaged("holds a message that is cut off"));
            };
            if message.attributes & CODEC != 0 || message.magic != self.magic {
                return Err(self.damaged("holds a compressed message, or one of another format"));
            }
            inside.push(message.into_record());
            rest = after;
        }
        self.place(&mut inside)?;
        Ok(inside)
    }

    fn place(&self, inside: &mut [OldMessage]) -> Result<(), Damaged> {
        let Some(last) = inside.last().map(|m| m.offset) else {
            return Err(self.damaged("is compressed and holds no messages"));
        };
        // In magic 0 the broker wrote the log's own offsets.
        let base = if self.magic == 1 { self.offset.checked_sub(last) } else { Some(0) };
        let base = base.filter(|base| *base >= 0);
        let mut before = -1_i64;
        for message in inside.iter_mut() {
            let offset = base.and_then(|base| base.checked_add(message.offset));
            let offset = offset.filter(|offset| *offset > before && *offset <= self.offset);
            message.offset = offset.ok_or_else(|| self.damaged("holds offsets that are not in order"))?;
            before = message.offset;
            if self.is_stamped() {
                (message.timestamp, message.is_log_append_time) = (self.timestamp, true);
            }
        }
        Ok(())
    }
}

/// Bytes with a length before them, and where the next field begins.
fn nullable(message: &Bytes, at: usize) -> Option<(Option<Bytes>, usize)> {
    let begin = at + 4;
    let length = match i32_at(message, at)? {
        -1 => return Some((None, begin)),
        length => usize::try_from(length).ok()?,
    };
    let end = begin.checked_add(length).filter(|end| *end <= message.len())?;
    Some((Some(message.slice(begin..end)), end))
}

fn i64_at(bytes: &[u8], at: usize) -> Option<i64> {
    Some(i64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests;
