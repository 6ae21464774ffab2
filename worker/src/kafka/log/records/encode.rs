//! From records to a batch, as a producer writes it.

use super::Record;
use super::codec::{self, Codec};
use super::varint;
use crate::kafka::log::batch::{CONTROL, HEADER_LEN, LENGTH_END, TIMESTAMP_TYPE, TRANSACTIONAL};

const MAGIC: u8 = 2;
/// Where the checksum stands, and where it begins to count.
const CRC_AT: usize = 17;
const CRC_END: usize = 21;
/// The broker fills it in.
const NO_LEADER_EPOCH: i32 = -1;

/// Who wrote a batch, and its first record's number among all that this producer wrote to the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    pub id: i64,
    pub epoch: i16,
    pub sequence: i32,
}

/// What a batch says of all of its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchOf {
    /// 0 where it goes to a broker.
    pub base_offset: i64,
    pub codec: Codec,
    pub producer: Option<Producer>,
    pub is_transactional: bool,
    /// A marker, which only brokers write.
    pub is_control: bool,
    /// The broker's time (LogAppendTime), which readers see instead of the records' own; only brokers write it.
    pub append_time: Option<i64>,
}

/// Why records don't become a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoBatch {
    #[error("a batch without records can't be written")]
    Empty,
    #[error("the record at offset {offset} doesn't follow in a batch that begins at offset {base}")]
    OutOfPlace { offset: i64, base: i64 },
    #[error(
        "the batch that begins at offset {base} would be larger than 2 GiB with the record at offset {offset}"
    )]
    TooLarge { offset: i64, base: i64 },
    #[error("the batch that begins at offset {base} {what}")]
    NotPacked { base: i64, what: String },
}

/// A batch that records are put into, one after another.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    of: BatchOf,
    plain: Vec<u8>,
    count: i32,
    last_delta: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl BatchBuilder {
    pub fn new(of: BatchOf) -> Self {
        let (base_timestamp, max_timestamp) = (0, i64::MIN);
        Self { of, plain: Vec::new(), count: 0, last_delta: -1, base_timestamp, max_timestamp }
    }

    /// How many records are in it.
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// Bytes of the batch before it is packed.
    pub fn size(&self) -> usize {
        HEADER_LEN + self.plain.len()
    }

    /// Puts a record in at its offset, which is above those that are in already. Where it is refused the batch stays as it was.
    ///
    /// # Errors
    /// Its offset isn't behind the last one's, or the batch would be too large.
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), NoBatch> {
        let (offset, base) = (record.offset, self.of.base_offset);
        let delta = offset.checked_sub(base).and_then(|delta| i32::try_from(delta).ok());
        let delta =
            delta.filter(|delta| *delta > self.last_delta).ok_or(NoBatch::OutOfPlace { offset, base })?;
        if self.count == 0 {
            self.base_timestamp = record.timestamp;
        }
        let time = record.timestamp.wrapping_sub(self.base_timestamp);
        let too_large = || NoBatch::TooLarge { offset, base };
        let length = |part: Option<&[u8]>| part.map_or(Some(-1), |part| i32::try_from(part.len()).ok());
        let key = length(record.key).ok_or_else(too_large)?;
        let value = length(record.value).ok_or_else(too_large)?;
        let size = 1
            + varint::length_i64(time)
            + varint::length_i32(delta)
            + varint::length_i32(key)
            + varint::length_i32(value)
            + record.size()
            + record.headers.length();
        let size = i32::try_from(size).map_err(|_| too_large())?;
        let all = self.size() + varint::length_i32(size) + size as usize;
        i32::try_from(all).map_err(|_| too_large())?;
        varint::put_i32(&mut self.plain, size);
        self.plain.push(record.attributes as u8);
        varint::put_i64(&mut self.plain, time);
        varint::put_i32(&mut self.plain, delta);
        varint::put_i32(&mut self.plain, key);
        self.plain.extend_from_slice(record.key.unwrap_or_default());
        varint::put_i32(&mut self.plain, value);
        self.plain.extend_from_slice(record.value.unwrap_or_default());
        record.headers.put(&mut self.plain);
        (self.count, self.last_delta) = (self.count + 1, delta);
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        Ok(())
    }

    /// The whole batch.
    ///
    /// # Errors
    /// It has no records, or can't be packed.
    pub fn finish(self) -> Result<Vec<u8>, NoBatch> {
        if self.count == 0 {
            return Err(NoBatch::Empty);
        }
        let base = self.of.base_offset;
        let mut batch = Vec::with_capacity(self.size());
        self.header(&mut batch);
        match self.of.codec {
            Codec::None => batch.extend_from_slice(&self.plain),
            codec => {
                let packed = codec::pack(codec, &self.plain);
                batch.extend_from_slice(&packed.map_err(|what| NoBatch::NotPacked { base, what })?);
            }
        }
        let too_large = |_| NoBatch::TooLarge { offset: base, base };
        let length = i32::try_from(batch.len() - LENGTH_END).map_err(too_large)?;
        batch[8..LENGTH_END].copy_from_slice(&length.to_be_bytes());
        let crc = crc32c::crc32c(&batch[CRC_END..]);
        batch[CRC_AT..CRC_END].copy_from_slice(&crc.to_be_bytes());
        Ok(batch)
    }

    /// Length and checksum are put in at the end.
    fn header(&self, batch: &mut Vec<u8>) {
        let of = &self.of;
        let producer = of.producer.unwrap_or(Producer { id: -1, epoch: -1, sequence: -1 });
        let bit = |is_set, bit| if is_set { bit } else { 0 };
        let attributes = i16::from(of.codec.number())
            | bit(of.append_time.is_some(), TIMESTAMP_TYPE)
            | bit(of.is_transactional, TRANSACTIONAL)
            | bit(of.is_control, CONTROL);
        batch.extend(of.base_offset.to_be_bytes());
        batch.extend([0; 4]);
        batch.extend(NO_LEADER_EPOCH.to_be_bytes());
        batch.push(MAGIC);
        batch.extend([0; 4]);
        batch.extend(attributes.to_be_bytes());
        batch.extend(self.last_delta.to_be_bytes());
        batch.extend(self.base_timestamp.to_be_bytes());
        batch.extend(of.append_time.unwrap_or(self.max_timestamp).to_be_bytes());
        batch.extend(producer.id.to_be_bytes());
        batch.extend(producer.epoch.to_be_bytes());
        batch.extend(producer.sequence.to_be_bytes());
        batch.extend(self.count.to_be_bytes());
    }
}
