//! What a broker checks in a batch before it appends it, and what it makes of it: Kafka's LogValidator, for magic 2.

use bytes::Bytes;
use kafka_protocol::ResponseError;

use super::batch::{
    CODEC_MASK, HEADER_LEN, Header, LENGTH_END, LOG_APPEND_TIME, TRANSACTIONAL, checksum, with_header,
};
use super::codec::Codec;
use super::log::MAX_UNPACKED;
use super::record::{self, Malformed, Record};
use super::topics::Topic;

/// Attributes that survive a broker's writing them anew.
const KNOWN: i16 = 0x7f;

/// Why a batch isn't taken; a real broker gives a text only where single records are to blame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: ResponseError,
    pub(super) message: Option<String>,
    /// Index of a record in the batch, and what is wrong with it.
    pub(super) records: Vec<(i32, String)>,
}

impl From<ResponseError> for Refusal {
    fn from(code: ResponseError) -> Self {
        Self { code, message: None, records: Vec::new() }
    }
}

impl From<Malformed> for Refusal {
    fn from(_: Malformed) -> Self {
        ResponseError::InvalidRecord.into()
    }
}

/// The rules of `ProduceRequest.validateRecords`: exactly one batch, of magic 2.
///
/// # Errors
/// The broker's refusal.
pub(super) fn check_framing(records: &Bytes, version: i16) -> Result<(), Refusal> {
    let Some(first) = frame(records)? else { return Err(ResponseError::InvalidRecord.into()) };
    if magic(&first) != 2 {
        return Err(ResponseError::InvalidRecord.into());
    }
    let header = Header::read(&first).ok_or(ResponseError::CorruptMessage)?;
    if version < 7 && header.codec() == Codec::Zstd as i16 {
        return Err(ResponseError::UnsupportedCompressionType.into());
    }
    if frame(&records.slice(first.len()..))?.is_some() {
        return Err(ResponseError::InvalidRecord.into());
    }
    Ok(())
}

/// The first whole batch. What is cut off is nothing.
///
/// # Errors
/// CORRUPT_MESSAGE for a length or a magic that can't be.
pub(super) fn frame(records: &Bytes) -> Result<Option<Bytes>, Refusal> {
    /// Of the oldest format's header.
    const MIN_LENGTH: i32 = 14;
    if records.len() <= 16 {
        return Ok(None);
    }
    let length = i32::from_be_bytes(records[8..LENGTH_END].try_into().expect("4 bytes"));
    if length < MIN_LENGTH || !(0..=2).contains(&magic(records)) {
        return Err(ResponseError::CorruptMessage.into());
    }
    let whole = usize::try_from(length).expect("not negative") + LENGTH_END;
    Ok((whole <= records.len()).then(|| records.slice(..whole)))
}

fn magic(batch: &[u8]) -> i8 {
    i8::from_be_bytes([batch[16]])
}

/// The batch as it is to be stored, but for its offset and leader epoch.
///
/// # Errors
/// The broker's refusal.
pub(super) fn validate(batch: &Bytes, topic: &Topic, now: i64) -> Result<Vec<u8>, Refusal> {
    let header = Header::read(batch).ok_or(ResponseError::CorruptMessage)?;
    if header.base_offset != 0 {
        return Err(ResponseError::InvalidRecord.into());
    }
    check_size(batch.len(), topic.max_message_bytes(), ResponseError::MessageTooLarge)?;
    if checksum(batch) != header.crc {
        return Err(ResponseError::CorruptMessage.into());
    }
    let source = Codec::of(header.attributes).ok_or(ResponseError::UnknownServerError)?;
    let target = topic.codec().unwrap_or(source);
    let counts = header.last_offset_delta >= 0
        && header.count > 0
        && i64::from(header.count) == i64::from(header.last_offset_delta) + 1;
    if !counts || header.is_control() || (header.has_producer() && header.base_sequence < 0) {
        return Err(ResponseError::InvalidRecord.into());
    }
    let payload = source.unpack(&batch.slice(HEADER_LEN..), MAX_UNPACKED);
    let records = record::read(&payload.map_err(|_| ResponseError::UnknownServerError)?, header.count)?;
    check_records(&records, &header, topic, now)?;
    let stored = if source == target {
        // Nobody looks at the places of records that aren't compressed: what lies is stored.
        let renumber = records.iter().zip(0..).any(|(record, place)| record.offset_delta != place);
        if renumber && source != Codec::None {
            // The broker read the records without keys and values, and stumbles as it writes them anew.
            return Err(ResponseError::UnknownServerError.into());
        }
        in_place(batch, &header, &records, topic, now)
    } else {
        encoded_anew(records, header, target, topic, now)
    };
    check_size(stored.len(), topic.max_message_bytes(), ResponseError::MessageTooLarge)?;
    check_size(stored.len(), topic.segment_bytes(), ResponseError::RecordListTooLarge)?;
    Ok(stored)
}

fn check_size(size: usize, limit: i64, code: ResponseError) -> Result<(), Refusal> {
    if i64::try_from(size).is_ok_and(|size| size <= limit) { Ok(()) } else { Err(code.into()) }
}

fn timestamp(record: &Record, header: &Header) -> i64 {
    if header.is_log_append_time() {
        header.max_timestamp
    } else {
        header.base_timestamp.wrapping_add(record.timestamp_delta)
    }
}

fn check_records(records: &[Record], header: &Header, topic: &Topic, now: i64) -> Result<(), Refusal> {
    let (before, after) = topic.timestamp_bounds();
    let mut wrong: Vec<(i32, ResponseError, &str)> = Vec::new();
    for (record, index) in records.iter().zip(0..) {
        let at = timestamp(record, header);
        if topic.is_compacted() && record.key.is_none() {
            let why = "Compacted topic cannot accept message without key";
            wrong.push((index, ResponseError::InvalidRecord, why));
        } else if !topic.is_log_append_time() && at != -1 {
            if now.saturating_sub(at) > before || at.saturating_sub(now) > after {
                let why = "Timestamp of message is out of range";
                wrong.push((index, ResponseError::InvalidTimestamp, why));
            }
        } else if header.is_log_append_time() {
            let why = "producer should not set timestamp type to LogAppendTime";
            wrong.push((index, ResponseError::InvalidTimestamp, why));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let time = wrong.iter().any(|(_, code, _)| *code == ResponseError::InvalidTimestamp);
    let (code, message) = if time {
        (ResponseError::InvalidTimestamp, "One or more records have been rejected due to invalid timestamp")
    } else {
        (ResponseError::InvalidRecord, "One or more records have been rejected")
    };
    let records = wrong.into_iter().map(|(index, _, why)| (index, why.to_owned())).collect();
    Err(Refusal { code, message: Some(message.to_owned()), records })
}

/// The payload stays; the header changes only where it must, so that a right batch keeps its producer's checksum.
fn in_place(batch: &Bytes, header: &Header, records: &[Record], topic: &Topic, now: i64) -> Vec<u8> {
    if topic.is_log_append_time() {
        return with_header(batch, |header| {
            header.attributes = (header.attributes & KNOWN) | LOG_APPEND_TIME;
            header.max_timestamp = now;
        });
    }
    let highest = records.iter().map(|record| timestamp(record, header)).max().unwrap_or(-1);
    if header.is_log_append_time() || header.max_timestamp != highest {
        return with_header(batch, |header| {
            header.attributes &= KNOWN & !LOG_APPEND_TIME;
            header.max_timestamp = highest;
        });
    }
    batch.to_vec()
}

/// In another codec: numbered anew, and with the attributes that a broker knows.
fn encoded_anew(mut records: Vec<Record>, header: Header, target: Codec, topic: &Topic, now: i64) -> Vec<u8> {
    let highest = records.iter().map(|record| timestamp(record, &header)).max().unwrap_or(-1);
    let base = records.first().map_or(0, |first| timestamp(first, &header));
    for (record, place) in records.iter_mut().zip(0..) {
        record.timestamp_delta = timestamp(record, &header) - base;
        record.offset_delta = place;
    }
    let payload = target.pack(&record::write(&records));
    let mut batch = vec![0; HEADER_LEN];
    batch.extend(payload);
    let mut new = header;
    new.batch_length = i32::try_from(batch.len() - LENGTH_END).expect("a small batch");
    new.base_timestamp = base;
    new.attributes = (header.attributes & TRANSACTIONAL) | (target as i16 & CODEC_MASK);
    new.max_timestamp = if topic.is_log_append_time() { now } else { highest };
    if topic.is_log_append_time() {
        new.attributes |= LOG_APPEND_TIME;
    }
    new.write(&mut batch);
    with_header(&batch, |_| {})
}
