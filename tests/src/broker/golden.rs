//! Batches to send, right in every detail, or wrong in one that a test chooses; and the golden ones, one of every kind that a source may hold.

use bytes::Bytes;

use super::batch::{
    DELETE_HORIZON, HEADER_LEN, Header, LENGTH_END, LOG_APPEND_TIME, TRANSACTIONAL, checksum,
};
use super::codec::{CODECS, Codec};
use super::record::{self, Record};

/// Who wrote a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Writer {
    #[default]
    Plain,
    Idempotent {
        id: i64,
        epoch: i16,
        sequence: i32,
    },
    Transactional {
        id: i64,
        epoch: i16,
        sequence: i32,
    },
}

/// A batch that a broker takes.
#[derive(Debug, Clone)]
pub struct Spec {
    pub codec: Codec,
    pub writer: Writer,
    pub base_offset: i64,
    pub base_timestamp: i64,
    pub log_append_time: bool,
    pub delete_horizon: bool,
    pub records: Vec<Record>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            codec: Codec::None,
            writer: Writer::Plain,
            base_offset: 0,
            base_timestamp: 0,
            log_append_time: false,
            delete_horizon: false,
            records: Vec::new(),
        }
    }
}

impl Spec {
    /// `count` keyed records at `timestamp`; `mark` tells them from those of other batches.
    pub fn numbered(mark: &str, count: i32, timestamp: i64) -> Self {
        let record = |i: i32| Record {
            timestamp_delta: i64::from(i),
            offset_delta: i,
            key: Some(Bytes::from(format!("{mark}-{i}"))),
            value: Some(Bytes::from(format!("value of {mark}, number {i}"))),
            headers: vec![],
        };
        Self { base_timestamp: timestamp, records: (0..count).map(record).collect(), ..Self::default() }
    }

    #[must_use]
    pub fn codec(self, codec: Codec) -> Self {
        Self { codec, ..self }
    }

    #[must_use]
    pub fn writer(self, writer: Writer) -> Self {
        Self { writer, ..self }
    }

    pub fn batch(&self) -> Bytes {
        self.batch_with(|_| {})
    }

    /// With a header that says something else; its checksum is right all the same.
    pub fn batch_with(&self, change: impl FnOnce(&mut Header)) -> Bytes {
        let payload = self.codec.pack(&record::write(&self.records));
        let count = i32::try_from(self.records.len()).expect("few records");
        let times = self.records.iter().map(|r| self.base_timestamp + r.timestamp_delta);
        let mut header = Header {
            base_offset: self.base_offset,
            batch_length: i32::try_from(HEADER_LEN - LENGTH_END + payload.len()).expect("a small batch"),
            leader_epoch: -1,
            magic: 2,
            crc: 0,
            attributes: self.codec as i16,
            last_offset_delta: self.records.last().map_or(0, |last| last.offset_delta),
            base_timestamp: self.base_timestamp,
            max_timestamp: times.max().unwrap_or(-1),
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            count,
        };
        if let Writer::Idempotent { id, epoch, sequence } | Writer::Transactional { id, epoch, sequence } =
            self.writer
        {
            (header.producer_id, header.producer_epoch, header.base_sequence) = (id, epoch, sequence);
        }
        if matches!(self.writer, Writer::Transactional { .. }) {
            header.attributes |= TRANSACTIONAL;
        }
        if self.log_append_time {
            header.attributes |= LOG_APPEND_TIME;
        }
        if self.delete_horizon {
            header.attributes |= DELETE_HORIZON;
        }
        change(&mut header);
        let mut batch = vec![0; HEADER_LEN];
        batch.extend(payload);
        header.write(&mut batch);
        header.crc = checksum(&batch);
        header.write(&mut batch);
        batch.into()
    }
}

/// One of every kind that a source may hold: five codecs, three writers, both timestamp types, delete horizon or not.
pub fn all(timestamp: i64) -> Vec<Spec> {
    let writers = [
        Writer::Plain,
        Writer::Idempotent { id: 4711, epoch: 3, sequence: 12 },
        Writer::Transactional { id: 4712, epoch: 0, sequence: i32::MAX - 1 },
    ];
    let mut all = Vec::new();
    for codec in CODECS {
        for writer in writers {
            for (log_append_time, delete_horizon) in
                [(false, false), (false, true), (true, false), (true, true)]
            {
                let records = every_kind_of_record();
                let base_timestamp = timestamp;
                all.push(Spec {
                    codec,
                    writer,
                    base_offset: 0,
                    base_timestamp,
                    log_append_time,
                    delete_horizon,
                    records,
                });
            }
        }
    }
    all
}

/// Keys and values that are there, empty and missing; headers that repeat, are empty, have no value, are no text; times that go back.
fn every_kind_of_record() -> Vec<Record> {
    let text = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    let twice = vec![
        (Bytes::from("trace"), text("1")),
        (Bytes::from("trace"), text("2")),
        (Bytes::from(""), None),
        (Bytes::from(&[0xc3, 0x28][..]), Some(Bytes::from(&[0, 0xff][..]))),
    ];
    let long = Some(Bytes::from(b"0123456789abcdef".repeat(64)));
    let mut records = vec![
        Record { key: text("k"), value: text("v"), headers: twice, ..Record::default() },
        Record { timestamp_delta: -5, key: text("k"), ..Record::default() },
        Record { timestamp_delta: 300, key: text(""), value: text(""), ..Record::default() },
        Record { timestamp_delta: 7, key: text("long"), value: long, ..Record::default() },
        Record { value: text("without a key"), ..Record::default() },
    ];
    for (record, delta) in records.iter_mut().zip(0..) {
        record.offset_delta = delta;
    }
    records
}
