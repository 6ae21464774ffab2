//! The header of a record batch (magic 2), read without touching the payload.
//!
//! A fetch answer holds whole batches one after another and often a last one that is cut off: `split` gives the whole ones.
//! It never trusts a length from the wire beyond the bytes that are there.

use bytes::Bytes;
use twinlog_proto::reason::Reason;

use crate::kafka::wire::error::KafkaError;

/// Bytes before the first record.
pub const HEADER_LEN: usize = 61;
/// Base offset and batch length: what stands before the bytes that the length counts.
pub(super) const LENGTH_END: usize = 12;
/// Smallest batch length that holds a header.
const MIN_BATCH_LENGTH: usize = HEADER_LEN - LENGTH_END;

/// In every format.
pub(super) const MAGIC_AT: usize = 16;

pub(super) const TIMESTAMP_TYPE: i16 = 1 << 3;
pub(super) const TRANSACTIONAL: i16 = 1 << 4;
pub(super) const CONTROL: i16 = 1 << 5;

#[derive(Debug, Clone)]
pub struct FetchedBatch {
    pub header: BatchHeader,
    /// The whole batch, header included.
    pub bytes: Bytes,
}

/// What a log holds at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Nothing yet.
    End,
    /// A message as brokers before 0.11 wrote them.
    Old,
    /// A batch, which spans the offsets below `below`.
    Batch { below: i64 },
}

/// What the 61 bytes before the records say. Offsets are the log's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: i64,
    /// Bytes after the length field; the whole batch has 12 more.
    pub batch_length: i32,
    pub leader_epoch: i32,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    /// Records in the batch. Compaction makes it smaller than the offsets that the batch spans, even 0.
    pub count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`; `None` if there are fewer than 61 bytes or the magic isn't 2.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let h: &[u8; HEADER_LEN] = bytes.get(..HEADER_LEN)?.try_into().ok()?;
        (h[MAGIC_AT] == 2).then(|| Self {
            base_offset: i64::from_be_bytes(field(h, 0)),
            batch_length: i32::from_be_bytes(field(h, 8)),
            leader_epoch: i32::from_be_bytes(field(h, 12)),
            crc: u32::from_be_bytes(field(h, 17)),
            attributes: i16::from_be_bytes(field(h, 21)),
            last_offset_delta: i32::from_be_bytes(field(h, 23)),
            base_timestamp: i64::from_be_bytes(field(h, 27)),
            max_timestamp: i64::from_be_bytes(field(h, 35)),
            producer_id: i64::from_be_bytes(field(h, 43)),
            producer_epoch: i16::from_be_bytes(field(h, 51)),
            base_sequence: i32::from_be_bytes(field(h, 53)),
            count: i32::from_be_bytes(field(h, 57)),
        })
    }

    /// Bytes of the whole batch; `None` where the length can't be right.
    pub fn size(&self) -> Option<usize> {
        usize::try_from(self.batch_length).ok().filter(|n| *n >= MIN_BATCH_LENGTH).map(|n| n + LENGTH_END)
    }

    /// The last offset that the batch spans, also where compaction has removed that record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// A transaction marker: an offset, but not a record.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether the broker stamped the records (LogAppendTime).
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & TIMESTAMP_TYPE != 0
    }

    /// 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub fn codec(&self) -> u8 {
        (self.attributes & 0b111) as u8
    }

    /// Whether compaction has removed records inside the batch.
    pub fn has_holes(&self) -> bool {
        i64::from(self.count) <= i64::from(self.last_offset_delta)
    }
}

fn field<const N: usize>(header: &[u8; HEADER_LEN], at: usize) -> [u8; N] {
    std::array::from_fn(|i| header[at + i])
}

/// Cuts the records of a fetch answer into whole batches; a cut-off last one is left out. The slices share `records`.
///
/// # Errors
/// UNSUPPORTED_VERSION for the old message formats, KAFKA_ERROR for other bytes that are not batches of magic 2 (topics written with
/// `log.message.format.version` below 0.11) or garbage.
pub(super) fn split(records: &Bytes) -> Result<Vec<FetchedBatch>, KafkaError> {
    let (mut batches, mut rest) = (Vec::new(), records.clone());
    while let Some(batch) = take(&mut rest)? {
        batches.push(batch);
    }
    Ok(batches)
}

/// Takes the first batch off; `None` where it is cut off.
///
/// # Errors
/// As `split`.
pub(crate) fn take(rest: &mut Bytes) -> Result<Option<FetchedBatch>, KafkaError> {
    if rest.len() <= LENGTH_END {
        return Ok(None);
    }
    let length = i32::from_be_bytes([rest[8], rest[9], rest[10], rest[11]]);
    let magic = rest.get(MAGIC_AT).copied();
    if magic.is_some_and(|m| m != 2) {
        let offset = i64::from_be_bytes(rest[..8].try_into().expect("8 bytes"));
        return Err(old_format(magic.unwrap_or_default(), offset));
    }
    let whole = usize::try_from(length).ok().filter(|n| *n >= MIN_BATCH_LENGTH).map(|n| n + LENGTH_END);
    let Some(whole) = whole else {
        return Err(KafkaError::new(
            Reason::KAFKA_ERROR,
            format!(
                "a fetched batch claims a length of {length} bytes, below the {MIN_BATCH_LENGTH} of its header"
            ),
        ));
    };
    if rest.len() < whole {
        return Ok(None);
    }
    let bytes = rest.split_to(whole);
    let header = BatchHeader::parse(&bytes).expect("61 bytes and magic 2 were checked");
    Ok(Some(FetchedBatch { header, bytes }))
}

/// The offset of what the bytes begin with, in every format; 0 where that is cut off.
pub(super) fn offset_of(records: &[u8]) -> i64 {
    records.first_chunk().map_or(0, |offset| i64::from_be_bytes(*offset))
}

/// The format of what the bytes begin with. What is cut off before it tells its format counts as nothing.
pub(super) fn format_of(records: &[u8]) -> LogFormat {
    match (records.get(MAGIC_AT), BatchHeader::parse(records)) {
        (Some(0 | 1), _) => LogFormat::Old,
        (_, Some(header)) => LogFormat::Batch { below: header.last_offset().saturating_add(1) },
        _ => LogFormat::End,
    }
}

fn old_format(magic: u8, offset: i64) -> KafkaError {
    let reason = if magic < 2 { Reason::UNSUPPORTED_VERSION } else { Reason::KAFKA_ERROR };
    KafkaError::new(
        reason,
        format!(
            "the batch at offset {offset} has the old message format {magic}: only format 2 (Kafka 0.11 and later) is read here"
        ),
    )
}

#[cfg(test)]
mod tests;
