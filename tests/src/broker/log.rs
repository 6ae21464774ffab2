//! The log of one partition: batches, its marks, what is not stable in it, and its producers.

use bytes::{Bytes, BytesMut};

use super::batch::{CODEC_MASK, CONTROL, HEADER_LEN, Header, LENGTH_END, TRANSACTIONAL, checksum};
use super::codec::Codec;
use super::epochs::Epochs;
use super::producers::Producers;
use super::record::{self, Malformed, Record};

/// One batch as it lies there.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) header: Header,
    pub(super) bytes: Bytes,
}

/// What a batch may unpack to in the fake.
pub(super) const MAX_UNPACKED: u64 = 1 << 30;

impl Stored {
    /// # Errors
    /// A test put something else there.
    pub(super) fn records(&self) -> Result<Vec<Record>, Malformed> {
        let codec = Codec::of(self.header.attributes).ok_or(Malformed("an unknown codec"))?;
        let payload = self.bytes.slice(HEADER_LEN.min(self.bytes.len())..);
        let payload = codec
            .unpack(&payload, MAX_UNPACKED)
            .map_err(|_| Malformed("a payload that can't be unpacked"))?;
        record::read(&payload, self.header.count)
    }

    /// As a consumer sees it.
    pub(super) fn timestamp_of(&self, record: &Record) -> i64 {
        if self.header.is_log_append_time() {
            self.header.max_timestamp
        } else {
            self.header.base_timestamp + record.timestamp_delta
        }
    }
}

/// A transaction that has ended, and had data here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ended {
    producer: i64,
    first: i64,
    marker: i64,
    aborted: bool,
}

/// What ends a transaction in a partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marker {
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
    pub(super) commit: bool,
    pub(super) coordinator_epoch: i32,
    pub(super) timestamp: i64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    batches: Vec<Stored>,
    start: i64,
    end: i64,
    /// Below the end while a test holds the followers back.
    held: Option<i64>,
    ended: Vec<Ended>,
    pub(super) epochs: Epochs,
    pub(super) producers: Producers,
}

impl Log {
    pub(super) fn start(&self) -> i64 {
        self.start
    }

    pub(super) fn end(&self) -> i64 {
        self.end
    }

    pub(super) fn batches(&self) -> &[Stored] {
        &self.batches
    }

    pub(super) fn high_watermark(&self) -> i64 {
        self.held.map_or(self.end, |held| held.min(self.end))
    }

    /// From here on nothing counts as replicated, until it is released.
    pub(super) fn hold_high_watermark(&mut self, hold: bool) {
        self.held = hold.then(|| self.high_watermark());
    }

    /// Where the first transaction begins that isn't known to have ended.
    pub(super) fn last_stable(&self) -> i64 {
        let mark = self.high_watermark();
        let hanging = self.ended.iter().filter(|ended| ended.marker >= mark).map(|ended| ended.first);
        hanging.chain(self.producers.first_open()).fold(mark, i64::min)
    }

    /// Appends a batch that was found right; gives its base offset.
    pub(super) fn append(&mut self, mut batch: Vec<u8>, leader_epoch: i32) -> i64 {
        let mut header = Header::read(&batch).expect("a batch that was checked has a header");
        let base = self.end;
        header.base_offset = base;
        header.leader_epoch = leader_epoch;
        header.write(&mut batch);
        if header.has_producer() && !header.is_control() {
            self.producers.append(&header);
        }
        self.end = header.last_offset() + 1;
        self.batches.push(Stored { header, bytes: batch.into() });
        base
    }

    /// Whatever bytes a test wants to have read, at the log's end, which moves on by `offsets`.
    pub(super) fn append_raw(&mut self, bytes: Bytes, offsets: i64) {
        let mut header = Header::read(&bytes).expect("there are the 61 bytes of a header at least");
        header.base_offset = self.end;
        header.last_offset_delta = i32::try_from(offsets - 1).expect("a batch spans 2^31 offsets at most");
        self.end += offsets;
        self.batches.push(Stored { header, bytes });
    }

    pub(super) fn mark(&mut self, marker: Marker, leader_epoch: i32) {
        let offset = self.append(marker_batch(marker), leader_epoch);
        let Marker { producer_id, epoch, coordinator_epoch, timestamp, .. } = marker;
        let first = self.producers.mark(producer_id, epoch, coordinator_epoch, timestamp);
        if let Some(first) = first {
            let aborted = !marker.commit;
            self.ended.push(Ended { producer: producer_id, first, marker: offset, aborted });
        }
    }

    /// Whole batches from the one that holds `offset`, below `limit`; the last may be cut off, as a real broker cuts it. The first comes whole
    /// or not at all: `at_least_one` says whether it may be larger than `max_bytes`.
    pub(super) fn read(&self, offset: i64, limit: i64, max_bytes: usize, at_least_one: bool) -> Bytes {
        let from = self.batches.partition_point(|batch| batch.header.last_offset() < offset);
        let readable = self.batches[from..].iter().take_while(|batch| batch.header.base_offset < limit);
        let mut out = BytesMut::new();
        for batch in readable {
            if out.is_empty() {
                if batch.bytes.len() > max_bytes {
                    return if at_least_one { batch.bytes.clone() } else { Bytes::new() };
                }
            } else if out.len() >= max_bytes {
                break;
            }
            let room = max_bytes - out.len();
            out.extend_from_slice(&batch.bytes[..batch.bytes.len().min(room)]);
        }
        out.freeze()
    }

    /// (producer id, first offset) of aborted transactions that a reader from `offset` may meet below `limit`, in the order in which they ended: more than it
    /// needs, as real brokers do.
    pub(super) fn aborted(&self, offset: i64, limit: i64) -> Vec<(i64, i64)> {
        let met = |e: &&Ended| e.aborted && e.marker >= offset && e.first < limit;
        self.ended.iter().filter(met).map(|e| (e.producer, e.first)).collect()
    }

    /// (offset, timestamp) of the first record at or after that time.
    pub(super) fn offset_at(&self, timestamp: i64) -> Option<(i64, i64)> {
        let data = self.batches.iter().filter(|batch| !batch.header.is_control());
        data.filter(|batch| batch.header.max_timestamp >= timestamp).find_map(|batch| {
            let records = batch.records().ok()?;
            let places = records
                .iter()
                .map(|r| (batch.header.base_offset + i64::from(r.offset_delta), batch.timestamp_of(r)));
            places.into_iter().find(|(offset, at)| *offset >= self.start && *at >= timestamp)
        })
    }

    /// The log ends at the batch that holds `offset`; what followed was never there.
    pub(super) fn truncate(&mut self, offset: i64) {
        self.batches.retain(|batch| batch.header.last_offset() < offset);
        self.end = self.batches.last().map_or(self.start, |last| last.header.last_offset() + 1);
        self.epochs.truncate(self.end);
        self.held = self.held.map(|held| held.min(self.end));
        self.remember();
    }

    /// Records below `offset` are gone, as after DeleteRecords.
    pub(super) fn delete_below(&mut self, offset: i64) {
        self.start = self.start.max(offset.min(self.end));
        self.batches.retain(|batch| batch.header.last_offset() >= self.start);
        self.ended.retain(|ended| ended.marker >= self.start);
    }

    /// Takes records out as compaction does. A batch without any left stays as an empty one if `keep_empty`; markers stay.
    pub(super) fn compact(&mut self, keep: impl Fn(i64, &Record) -> bool, keep_empty: bool) {
        let batches = std::mem::take(&mut self.batches);
        self.batches = batches.into_iter().filter_map(|batch| compacted(batch, &keep, keep_empty)).collect();
    }

    /// Learns the producers anew from what is there.
    fn remember(&mut self) {
        self.producers = Producers::default();
        self.ended.retain(|ended| ended.marker < self.end);
        for batch in &self.batches {
            let header = &batch.header;
            if !header.has_producer() {
                continue;
            }
            if header.is_control() {
                self.producers.mark(header.producer_id, header.producer_epoch, -1, header.max_timestamp);
            } else {
                self.producers.append(header);
            }
        }
    }
}

/// 78 bytes: one control record.
fn marker_batch(marker: Marker) -> Vec<u8> {
    let key = [0, 0, 0, i16::from(marker.commit).to_be_bytes()[1]];
    let mut value = vec![0, 0];
    value.extend(marker.coordinator_epoch.to_be_bytes());
    let record =
        Record { key: Some(Bytes::copy_from_slice(&key)), value: Some(value.into()), ..Record::default() };
    let payload = record::write(&[record]);
    let header = Header {
        base_offset: 0,
        batch_length: i32::try_from(HEADER_LEN - LENGTH_END + payload.len()).expect("a small batch"),
        leader_epoch: -1,
        magic: 2,
        crc: 0,
        attributes: TRANSACTIONAL | CONTROL,
        last_offset_delta: 0,
        base_timestamp: marker.timestamp,
        max_timestamp: marker.timestamp,
        producer_id: marker.producer_id,
        producer_epoch: marker.epoch,
        base_sequence: -1,
        count: 1,
    };
    let mut batch = vec![0; HEADER_LEN];
    batch.extend(payload);
    seal(&mut batch, header);
    batch
}

fn seal(batch: &mut [u8], mut header: Header) {
    header.write(batch);
    header.crc = checksum(batch);
    header.write(batch);
}

fn compacted(batch: Stored, keep: &impl Fn(i64, &Record) -> bool, keep_empty: bool) -> Option<Stored> {
    let mut header = batch.header;
    if header.is_control() || header.count == 0 {
        return Some(batch);
    }
    let codec = Codec::of(header.attributes).expect("a codec that was checked");
    let mut records = batch.records().expect("they were checked");
    records.retain(|record| keep(header.base_offset + i64::from(record.offset_delta), record));
    if records.len() == usize::try_from(header.count).expect("it was checked") {
        return Some(batch);
    }
    if records.is_empty() && !keep_empty {
        return None;
    }
    // An empty batch is a header alone, without a codec.
    let payload = if records.is_empty() { Vec::new() } else { codec.pack(&record::write(&records)) };
    if records.is_empty() {
        header.attributes &= !CODEC_MASK;
    }
    header.count = i32::try_from(records.len()).expect("fewer than before");
    header.batch_length = i32::try_from(HEADER_LEN - LENGTH_END + payload.len()).expect("a small batch");
    let mut bytes = vec![0; HEADER_LEN];
    bytes.extend(payload);
    seal(&mut bytes, header);
    header = Header::read(&bytes).expect("61 bytes");
    Some(Stored { header, bytes: bytes.into() })
}
