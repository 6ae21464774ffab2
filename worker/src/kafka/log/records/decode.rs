//! From a batch to its records: checksum, then the codec, then one record after another.

use bytes::Bytes;

use super::codec::{self, Codec};
use super::headers::{self, Headers};
use super::varint;
use super::{Damaged, Record};
use crate::kafka::log::batch::{BatchHeader, FetchedBatch, HEADER_LEN};

/// Where the checksum begins to count.
const CRC_END: usize = 21;
/// Version and type, before what else may come in a marker's key.
const MARKER_KEY: usize = 4;

/// A batch whose records can be read.
#[derive(Debug, Clone)]
pub struct Unpacked {
    header: BatchHeader,
    /// A slice of the batch where it wasn't packed.
    payload: Bytes,
}

impl FetchedBatch {
    /// Verifies the checksum and unpacks the records into at most `limit` bytes.
    ///
    /// # Errors
    /// A checksum or a codec that can't be right, or a batch that holds more than `limit` bytes.
    pub fn unpack(&self, limit: usize) -> Result<Unpacked, Damaged> {
        self.verify()?;
        let header = self.header;
        let packed = self.bytes.slice(HEADER_LEN..);
        let unknown = || format!("has compression {}, which its format doesn't know", header.codec());
        let codec = Codec::of(header.codec()).ok_or_else(unknown);
        let plain = codec.and_then(|codec| match codec {
            Codec::None => Ok(packed),
            // What compaction leaves of a batch to remember its producer.
            _ if packed.is_empty() && header.count == 0 => Ok(packed),
            codec => codec::unpack(codec, &packed, limit).map(Bytes::from),
        });
        let payload = plain.map_err(|what| damaged(&header, format!("lies in a batch that {what}")))?;
        Ok(Unpacked { header, payload })
    }

    /// Whether the bytes are those that were written.
    ///
    /// # Errors
    /// They have another checksum.
    pub fn verify(&self) -> Result<(), Damaged> {
        let told = self.header.crc;
        let found = crc32c::crc32c(self.bytes.get(CRC_END..).unwrap_or_default());
        if told == found {
            return Ok(());
        }
        let what = format!("lies in a batch with checksum {found:08x} where its header says {told:08x}");
        Err(damaged(&self.header, what))
    }

    /// Which end of a transaction the batch marks; `None` where it is no such marker.
    pub fn marker(&self) -> Option<Marker> {
        if !self.header.is_control() {
            return None;
        }
        let unpacked = Unpacked { header: self.header, payload: self.bytes.slice(HEADER_LEN..) };
        let record = unpacked.records().next()?.ok()?;
        match record.key?.first_chunk::<MARKER_KEY>()? {
            [_, _, 0, 0] => Some(Marker::Abort),
            [_, _, 0, 1] => Some(Marker::Commit),
            _ => None,
        }
    }
}

/// How a transaction ended in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    Abort,
    Commit,
}

impl Unpacked {
    /// Bytes of all records, unpacked.
    pub fn size(&self) -> usize {
        self.payload.len()
    }

    /// Every record that is in the batch, markers too. After an error there is nothing more.
    pub fn records(&self) -> Records<'_> {
        Records { header: &self.header, rest: &self.payload, left: self.header.count, least: 0 }
    }
}

/// The records of a batch, in order.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    header: &'a BatchHeader,
    rest: &'a [u8],
    left: i32,
    /// Distance from the batch's first offset that the next record has at least.
    least: i32,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 && self.rest.is_empty() {
            return None;
        }
        let base = self.header.base_offset;
        let (least, count) = (self.least, self.header.count);
        let read = match self.left {
            ..=0 => Err(format!("lies in a batch that holds more than the {count} records of its header")),
            _ => self.read().map_err(|what| {
                format!(
                    "lies in a batch of {count} records, of which the one at offset {} or after it {what}",
                    base.saturating_add(i64::from(least))
                )
            }),
        };
        Some(read.map_err(|what| {
            (self.left, self.rest) = (0, &[]);
            damaged(self.header, what)
        }))
    }
}

impl<'a> Records<'a> {
    /// The error completes "the record ...".
    fn read(&mut self) -> Result<Record<'a>, &'static str> {
        let size = varint::take_i32(&mut self.rest).ok_or("is missing")?;
        let size = usize::try_from(size).map_err(|_| "claims a size below 0")?;
        let (mut body, rest) = self.rest.split_at_checked(size).ok_or("is cut off")?;
        let (attributes, after) = body.split_first().ok_or("is empty")?;
        body = after;
        let time = varint::take_i64(&mut body).ok_or("has a time that runs on")?;
        let delta = varint::take_i32(&mut body).ok_or("has an offset that runs on")?;
        if delta < self.least || delta > self.header.last_offset_delta {
            return Err("has an offset that is not in its place");
        }
        let offset =
            self.header.base_offset.checked_add(i64::from(delta)).ok_or("has an offset beyond all")?;
        let key = headers::bytes(&mut body).ok_or("has a key that reaches beyond its end")?;
        let value = headers::bytes(&mut body).ok_or("has a value that reaches beyond its end")?;
        let headers = Headers::read(body)?;
        let timestamp = match self.header.is_log_append_time() {
            true => self.header.max_timestamp,
            // Kafka's own reader wraps, too.
            false => self.header.base_timestamp.wrapping_add(time),
        };
        (self.rest, self.left, self.least) = (rest, self.left - 1, delta.saturating_add(1));
        Ok(Record { offset, timestamp, attributes: *attributes as i8, key, value, headers })
    }
}

/// Whoever is to leave the batch behind must know where it ends.
fn damaged(header: &BatchHeader, what: String) -> Damaged {
    let what = format!("{what}; the batch ends at offset {}", header.last_offset());
    Damaged { offset: header.base_offset, magic: 2, what }
}
