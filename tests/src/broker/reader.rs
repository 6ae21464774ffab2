//! What a log holds, record by record: read from the bytes of its batches by code that shares nothing with what it judges.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;

use super::batch::{HEADER_LEN, Header, LENGTH_END, checksum};
use super::log::Stored;

/// One record of a log, as a consumer sees it and with who wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub offset: i64,
    /// Of the batch, where the broker stamped it.
    pub timestamp: i64,
    pub is_log_append_time: bool,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(Bytes, Option<Bytes>)>,
    /// -1 without one.
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// Of this record; -1 without a producer.
    pub sequence: i32,
    pub is_transactional: bool,
    /// For a marker: whether it commits.
    pub marker: Option<bool>,
}

impl Entry {
    /// What two copies of a record have in common wherever they lie.
    pub fn content(&self) -> Content {
        (self.key.clone(), self.value.clone(), self.headers.clone(), self.timestamp)
    }
}

/// Key, value, headers, timestamp.
pub type Content = (Option<Bytes>, Option<Bytes>, Vec<(Bytes, Option<Bytes>)>, i64);

/// The records of batches that lie one after another, as in a fetch's answer; a last one that is cut off is left out.
///
/// # Errors
/// A batch is damaged.
pub fn entries(mut bytes: Bytes) -> Result<Vec<Entry>> {
    let mut all = Vec::new();
    while let Some(header) = Header::read(&bytes) {
        ensure!(header.magic == 2, "a batch at {} has magic {}", header.base_offset, header.magic);
        let length = usize::try_from(header.batch_length).context("a negative length")? + LENGTH_END;
        ensure!(length >= HEADER_LEN, "a batch at {} has {length} bytes", header.base_offset);
        if bytes.len() < length {
            break;
        }
        let stored = Stored { header, bytes: bytes.split_to(length) };
        ensure!(checksum(&stored.bytes) == header.crc, "the checksum of the batch at {}", header.base_offset);
        of_batch(&stored, &mut all)?;
    }
    Ok(all)
}

fn of_batch(stored: &Stored, all: &mut Vec<Entry>) -> Result<()> {
    let header = &stored.header;
    let records = match stored.records() {
        Ok(records) => records,
        Err(wrong) => bail!("the batch at {}: {}", header.base_offset, wrong.0),
    };
    for record in records {
        let sequence = (i64::from(header.base_sequence) + i64::from(record.offset_delta)) % (1 << 31);
        let marker = record.key.as_ref().filter(|_| header.is_control()).map(|key| key.last() == Some(&1));
        all.push(Entry {
            offset: header.base_offset + i64::from(record.offset_delta),
            timestamp: stored.timestamp_of(&record),
            is_log_append_time: header.is_log_append_time(),
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            sequence: if header.base_sequence < 0 { -1 } else { i32::try_from(sequence)? },
            is_transactional: header.is_transactional(),
            marker,
            key: record.key,
            value: record.value,
            headers: record.headers,
        });
    }
    Ok(())
}

/// What a reader of committed records sees of a whole log: no markers, nothing aborted, nothing from the first open transaction on.
pub fn committed(entries: &[Entry]) -> Vec<Entry> {
    let mut seen = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        if entry.marker.is_some() {
            continue;
        }
        if !entry.is_transactional {
            seen.push(entry.clone());
            continue;
        }
        let ended = entries[at..].iter().find(|e| e.marker.is_some() && e.producer_id == entry.producer_id);
        match ended.and_then(|marker| marker.marker) {
            Some(true) => seen.push(entry.clone()),
            Some(false) => {}
            None => break,
        }
    }
    seen
}
