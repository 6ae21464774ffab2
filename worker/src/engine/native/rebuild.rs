//! A batch that the target would not take as it is, written anew from its records: where compaction has left holes, where only a part is
//! to be copied, where readers see the broker's time, where it is too large.

use std::ops::Range;

use bytes::Bytes;

use super::load::{Run, Runs};
use crate::kafka::{BatchBuilder, BatchOf, Codec, Damaged, FetchedBatch, Record, Unpacked};

/// Records of one batch take no more than this when they are unpacked, bytes: a batch is at most 2 GiB for Kafka itself, and a few
/// kilobytes may claim to hold that.
pub(super) const MAX_UNPACKED: usize = 128 << 20;
/// Records of one batch that are written anew: where each one stands alone at the source, each is an entry of the offset map.
const MAX_RECORDS: usize = 2 << 20;

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
    let origin = Origin { unpacked, from, before };
    let count = origin.count().map_err(Failure::Damaged)?;
    if count > MAX_RECORDS {
        let what =
            format!("lies in a batch of {count} records, of which at most {MAX_RECORDS} are written anew");
        return Err(Failure::Damaged(Damaged { offset: batch.header.base_offset, magic: 2, what }));
    }
    let codec = Codec::of(batch.header.codec()).unwrap_or_default();
    let mut parts = Vec::new();
    split(&origin, 0..count, (codec, max), &mut parts)?;
    Ok(parts)
}

/// What is written anew. Records are read where they lie, as often as it takes: a list of them may be many times as large as they are.
struct Origin {
    unpacked: Unpacked,
    from: i64,
    before: i64,
}

impl Origin {
    fn count(&self) -> Result<usize, Damaged> {
        let mut count = 0;
        for record in self.unpacked.records() {
            count += usize::from((self.from..self.before).contains(&record?.offset));
        }
        Ok(count)
    }

    /// All of them can be read: they were counted.
    fn part(&self, part: &Range<usize>) -> impl Iterator<Item = Record<'_>> {
        let wanted = self.from..self.before;
        let records = self.unpacked.records().filter_map(Result::ok);
        records.filter(move |record| wanted.contains(&record.offset)).skip(part.start).take(part.len())
    }
}

/// In halves, until each is small enough: how small a batch becomes is known only when it is packed.
fn split(
    origin: &Origin,
    part: Range<usize>,
    (codec, max): (Codec, usize),
    parts: &mut Vec<Rebuilt>,
) -> Result<(), Failure> {
    let Some(first) = origin.part(&part).next() else { return Ok(()) };
    match build(origin.part(&part), codec) {
        Some(bytes) if bytes.len() <= max => {
            let count = i32::try_from(part.len()).expect("a batch counts its records in 32 bits");
            let runs = origin.part(&part).map(|record| Run { source: record.offset, count: 1 }).collect();
            parts.push(Rebuilt { bytes: Bytes::from(bytes), count, runs });
            Ok(())
        }
        _ if part.len() > 1 => {
            let middle = part.start + part.len() / 2;
            split(origin, part.start..middle, (codec, max), parts)?;
            split(origin, middle..part.end, (codec, max), parts)
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
fn build<'a>(records: impl Iterator<Item = Record<'a>>, codec: Codec) -> Option<Vec<u8>> {
    let mut builder = BatchBuilder::new(BatchOf { codec, ..BatchOf::default() });
    for (offset, record) in (0..).zip(records) {
        builder.push(&Record { offset, ..record }).ok()?;
    }
    builder.finish().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::{BatchHeader, Headers};

    /// Records of these offsets, each with a value of so many bytes.
    fn batch(offsets: impl Iterator<Item = i64>, size: usize, codec: Codec) -> FetchedBatch {
        let mut builder = BatchBuilder::new(BatchOf { codec, ..BatchOf::default() });
        let value: Vec<u8> = (0..size).map(|at| (at * 7 % 251) as u8).collect();
        for offset in offsets {
            let (attributes, headers) = (0, Headers::default());
            let record =
                Record { offset, timestamp: offset, attributes, key: None, value: Some(&value), headers };
            builder.push(&record).unwrap();
        }
        let bytes = Bytes::from(builder.finish().unwrap());
        FetchedBatch { header: BatchHeader::parse(&bytes).unwrap(), bytes }
    }

    #[test]
    fn holes_are_closed_and_only_what_is_wanted_is_there() {
        let batch = batch((0..100).filter(|offset| offset % 10 != 3), 5, Codec::Lz4);
        let parts = rebuild(&batch, (12, 24), 1 << 20).unwrap();
        let [part] = &parts[..] else { panic!("{} parts", parts.len()) };
        let runs = [Run { source: 12, count: 1 }, Run { source: 14, count: 9 }];
        assert_eq!((part.count, part.runs.all()), (10, &runs[..]));
        assert_eq!(rebuild(&batch, (3, 4), 1 << 20).unwrap().len(), 0, "nothing but a hole");
    }

    #[test]
    fn what_is_too_large_becomes_several_in_order() {
        let batch = batch(0..64, 1000, Codec::None);
        let parts = rebuild(&batch, (0, 64), 10_000).unwrap();
        assert!(parts.len() > 6 && parts.iter().all(|part| part.bytes.len() <= 10_000));
        let runs: Vec<Run> = parts.iter().flat_map(|part| part.runs.all()).copied().collect();
        let mut next = 0;
        for run in runs {
            assert_eq!(run.source, next);
            next += i64::from(run.count);
        }
        assert_eq!(next, 64);
        let failure = rebuild(&batch, (7, 64), 900).unwrap_err();
        assert!(matches!(failure, Failure::TooLarge { offset: 7, size: 1000, .. }), "{failure:?}");
    }

    #[test]
    fn a_bomb_is_named() {
        // 160 MB that pack to some kilobytes; and records of nothing, more than anybody writes.
        let large = batch((0..20).map(|n| n * 2), 8 << 20, Codec::Zstd);
        let failure = rebuild(&large, (0, 64), 1 << 20).unwrap_err();
        assert!(
            matches!(&failure, Failure::Damaged(damaged) if damaged.what.contains("more than")),
            "{failure:?}"
        );
        let many = batch((0..i64::try_from(MAX_RECORDS).unwrap() + 1).map(|n| n * 2), 0, Codec::Zstd);
        let failure = rebuild(&many, (0, i64::MAX), 1 << 20).unwrap_err();
        assert!(
            matches!(&failure, Failure::Damaged(damaged) if damaged.what.contains("records")),
            "{failure:?}"
        );
    }
}
