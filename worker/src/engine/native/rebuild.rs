//! A batch that the target would not take as it is, written anew from its records: where compaction has left holes, where only a part is
//! to be copied, where readers see the broker's time, where it is too large.

use bytes::Bytes;

use super::load::{Run, Runs};
use crate::kafka::{BatchBuilder, BatchOf, Codec, Damaged, FetchedBatch, Record};

/// Records of one batch take no more than this when they are unpacked, bytes: a batch is at most 2 GiB for Kafka itself, and a few
/// kilobytes may claim to hold that.
pub(super) const MAX_UNPACKED: usize = 128 << 20;

/// A part of a batch, whole by itself: its offsets begin at 0.
#[derive(Debug)]
pub(super) struct Rebuilt {
    pub(super) bytes: Bytes,
    pub(super) count: i32,
    pub(super) runs: Runs,
}

/// Why a batch can't be written anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The source's log holds something that can't be right.
    Damaged(Damaged),
    /// One record alone is larger than the target takes.
    TooLarge { offset: i64, size: usize, has_key: bool, timestamp: i64 },
}

/// The records from `from` on and below `before`, in batches of at most `max` bytes. Nothing where it has none there.
pub(super) fn rebuild(
    batch: &FetchedBatch,
    (from, before): (i64, i64),
    max: usize,
) -> Result<Vec<Rebuilt>, Failure> {
    let unpacked = batch.unpack(MAX_UNPACKED).map_err(Failure::Damaged)?;
    let mut records = Vec::new();
    for record in unpacked.records() {
        let record = record.map_err(Failure::Damaged)?;
        if (from..before).contains(&record.offset) {
            records.push(record);
        }
    }
    let codec = Codec::of(batch.header.codec()).unwrap_or_default();
    let mut parts = Vec::new();
    split(&records, codec, max, &mut parts)?;
    Ok(parts)
}

/// In halves, until each is small enough: how small a batch becomes is known only when it is packed.
fn split(records: &[Record<'_>], codec: Codec, max: usize, parts: &mut Vec<Rebuilt>) -> Result<(), Failure> {
    let [first, ..] = records else { return Ok(()) };
    match build(records, codec) {
        Some(bytes) if bytes.len() <= max => {
            let count = i32::try_from(records.len()).expect("a batch counts its records in 32 bits");
            parts.push(Rebuilt { bytes: Bytes::from(bytes), count, runs: runs(records) });
            Ok(())
        }
        _ if records.len() > 1 => {
            let (left, right) = records.split_at(records.len() / 2);
            split(left, codec, max, parts)?;
            split(right, codec, max, parts)
        }
        _ => Err(Failure::TooLarge {
            offset: first.offset,
            size: first.size(),
            has_key: first.key.is_some(),
            timestamp: first.timestamp,
        }),
    }
}

/// `None`: too large for any batch.
fn build(records: &[Record<'_>], codec: Codec) -> Option<Vec<u8>> {
    let mut builder = BatchBuilder::new(BatchOf { codec, ..BatchOf::default() });
    for (offset, record) in (0..).zip(records) {
        builder.push(&Record { offset, ..*record }).ok()?;
    }
    builder.finish().ok()
}

/// Where the records were at the source.
fn runs(records: &[Record<'_>]) -> Runs {
    let mut runs: Vec<Run> = Vec::new();
    for record in records {
        match runs.last_mut() {
            Some(run) if run.source + i64::from(run.count) == record.offset => run.count += 1,
            _ => runs.push(Run { source: record.offset, count: 1 }),
        }
    }
    Runs::from(runs)
}
