//! Small batches that wait, made one: a broker takes one batch of a partition with each request, so many small ones would cost more
//! time than they cost bytes. Only where a backlog shows that, and only those that are small for how long the target takes to acknowledge:
//! writing records anew costs many times what forwarding them does. A batch that is alone goes on as it is.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::load::{Content, Load, Mirrored};
use super::window::REMEMBERED;
use crate::kafka::{BatchBuilder, BatchHeader, BatchOf, Codec, FetchedBatch, Record};

/// Fewer batches that wait are sent one by one.
const BACKLOG: usize = 4;
/// What a partition is to carry whatever the size of its batches, bytes per second.
const RATE: u128 = 8 << 20;
/// Batches that are smaller cost more to forward than to write anew, bytes.
const LEAST: usize = 2 << 10;
/// What one batch is made of, unpacked, bytes.
const TOGETHER: usize = 512 << 10;

/// How fast the target acknowledges a partition's batches where nothing holds it up: the shortest time lately.
#[derive(Debug, Default)]
pub(super) struct Acknowledged(Option<Duration>);

impl Acknowledged {
    pub(super) fn after(&mut self, took: Duration) {
        // A shorter time is known at once, a longer one believed when it comes again and again.
        let known = self.0.unwrap_or(took);
        self.0 = Some(if took < known { took } else { known + (took - known) / 64 });
    }

    /// Batches that are not larger are small, bytes: a window of them carries less than `RATE`.
    pub(super) fn small(&self) -> usize {
        let took = self.0.unwrap_or_default();
        let bytes = RATE * took.as_micros() / 1_000_000 / REMEMBERED as u128;
        usize::try_from(bytes).unwrap_or(TOGETHER).clamp(LEAST, TOGETHER)
    }
}

/// The next batch to send: the first that waits, with those behind it that are small and fit. `max` is what the target takes, bytes.
pub(super) fn next(queue: &mut VecDeque<Load>, max: usize, small: usize) -> Option<Load> {
    if queue.len() < BACKLOG || queue.front().is_some_and(|first| first.bytes.len() > small) {
        return queue.pop_front();
    }
    match merge(queue, max, small) {
        Some((bytes, count, loads)) => joined(queue, bytes, count, loads),
        None => queue.pop_front(),
    }
}

/// The first ones as one batch: its bytes, its records, and how many loads it is made of. `None` where there is nothing to gain.
fn merge(queue: &VecDeque<Load>, max: usize, small: usize) -> Option<(Vec<u8>, i32, usize)> {
    let codec = Codec::of(BatchHeader::parse(&queue.front()?.bytes)?.codec())?;
    let mut builder = BatchBuilder::new(BatchOf { codec, ..BatchOf::default() });
    let (mut packed, mut plain, mut loads) = (0, 0, 0);
    for load in queue {
        packed += load.bytes.len();
        let is_mirrored = matches!(load.content, Content::Mirrored(_));
        if !is_mirrored || load.bytes.len() > small || packed > max {
            break;
        }
        // What is damaged, or unpacks to more than fits, goes by itself.
        let header = BatchHeader::parse(&load.bytes)?;
        let batch = FetchedBatch { header, bytes: load.bytes.clone() };
        let Ok(unpacked) = batch.unpack(TOGETHER) else { break };
        let Ok(records) = unpacked.records().collect::<Result<Vec<_>, _>>() else { break };
        plain += unpacked.size();
        if plain > TOGETHER {
            break;
        }
        for record in records {
            let offset = i64::try_from(builder.count()).ok()?;
            builder.push(&Record { offset, ..record }).ok()?;
        }
        loads += 1;
    }
    if loads < 2 {
        return None;
    }
    let count = i32::try_from(builder.count()).ok()?;
    let bytes = builder.finish().ok().filter(|bytes| bytes.len() <= max)?;
    Some((bytes, count, loads))
}

fn joined(queue: &mut VecDeque<Load>, bytes: Vec<u8>, count: i32, loads: usize) -> Option<Load> {
    let since = queue.front()?.since;
    let (mut runs, mut next, mut parts) = (Vec::new(), 0, Vec::new());
    for load in queue.drain(..loads) {
        let Content::Mirrored(mirrored) = load.content else { continue };
        runs.extend_from_slice(mirrored.runs.all());
        next = mirrored.next;
        parts.extend(mirrored.parts);
    }
    let content = Content::Mirrored(Mirrored { runs: runs.into_iter().collect(), next, parts });
    Some(Load { bytes: Bytes::from(bytes), count, since, content })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::load::{Run, Runs};
    use super::*;
    use crate::kafka::Headers;

    const SMALL: usize = 32 << 10;

    /// A batch of one record for each value, the first at this offset of the source.
    fn load(offset: i64, values: &[&[u8]], codec: Codec) -> Load {
        let mut builder = BatchBuilder::new(BatchOf { codec, ..BatchOf::default() });
        for (at, value) in (0..).zip(values) {
            let (attributes, headers) = (0, Headers::default());
            let record = Record {
                offset: at,
                timestamp: offset + at,
                attributes,
                key: None,
                value: Some(value),
                headers,
            };
            builder.push(&record).unwrap();
        }
        let bytes = Bytes::from(builder.finish().unwrap());
        let count = values.len() as u32;
        let mirrored = Mirrored {
            runs: Runs::One(Run { source: offset, count }),
            next: offset + i64::from(count) + 1,
            parts: Vec::new(),
        };
        Load { bytes, count: count as i32, since: Instant::now(), content: Content::Mirrored(mirrored) }
    }

    fn records(load: &Load) -> Vec<(i64, i64, Vec<u8>)> {
        let header = BatchHeader::parse(&load.bytes).unwrap();
        let batch = FetchedBatch { header, bytes: load.bytes.clone() };
        let unpacked = batch.unpack(1 << 20).unwrap();
        let of = |record: Record<'_>| (record.offset, record.timestamp, record.value.unwrap().to_vec());
        unpacked.records().map(|record| of(record.unwrap())).collect()
    }

    #[test]
    fn a_backlog_of_small_batches_becomes_one_with_all_records_in_order() {
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let mut queue: VecDeque<Load> = [
                load(10, &[b"a", b"b"], codec),
                load(12, &[b"c"], codec),
                load(20, &[b"d"], Codec::None),
                load(21, &[b"e"], codec),
            ]
            .into();
            let one = next(&mut queue, 1 << 20, SMALL).unwrap();
            assert!(queue.is_empty());
            let value = |value: &[u8]| value.to_vec();
            let expected = [
                (0, 10, value(b"a")),
                (1, 11, value(b"b")),
                (2, 12, value(b"c")),
                (3, 20, value(b"d")),
                (4, 21, value(b"e")),
            ];
            assert_eq!(records(&one), expected);
            let Content::Mirrored(mirrored) = one.content else { panic!("mirrored records") };
            let runs = [Run { source: 10, count: 3 }, Run { source: 20, count: 2 }];
            assert_eq!((mirrored.runs.all(), mirrored.next, one.count), (&runs[..], 23, 5));
        }
    }

    #[test]
    fn few_or_large_ones_go_as_they_are() {
        let large = vec![7; SMALL + 1];
        let mut few: VecDeque<Load> = [load(0, &[b"a"], Codec::None), load(1, &[b"b"], Codec::None)].into();
        assert_eq!(next(&mut few, 1 << 20, SMALL).unwrap().count, 1);
        let mut behind: VecDeque<Load> = (0..5).map(|n| load(n, &[b"a"], Codec::None)).collect();
        behind.push_front(load(100, &[&large], Codec::None));
        assert_eq!(
            (next(&mut behind, 1 << 20, SMALL).unwrap().count, behind.len()),
            (1, 5),
            "a large one is first"
        );
        behind.insert(2, load(100, &[&large], Codec::None));
        assert_eq!(
            (next(&mut behind, 1 << 20, SMALL).unwrap().count, behind.len()),
            (2, 4),
            "up to the large one"
        );
    }

    #[test]
    fn what_is_small_follows_how_long_acknowledgements_take() {
        let mut acknowledged = Acknowledged::default();
        assert_eq!(acknowledged.small(), LEAST);
        acknowledged.after(Duration::from_millis(100));
        assert!((150 << 10..180 << 10).contains(&acknowledged.small()), "five of them in 100 ms");
        acknowledged.after(Duration::from_millis(1));
        acknowledged.after(Duration::from_millis(50));
        assert!(acknowledged.small() < 8 << 10, "one that was held up says little");
        (0..500).for_each(|_| acknowledged.after(Duration::from_secs(10)));
        assert_eq!(acknowledged.small(), TOGETHER);
    }

    #[test]
    fn no_more_than_the_target_takes() {
        let mut queue: VecDeque<Load> = (0..6).map(|n| load(n, &[&[1; 100]], Codec::None)).collect();
        let each = queue[0].bytes.len();
        assert_eq!(next(&mut queue, each * 3, SMALL).unwrap().count, 3);
        assert_eq!(queue.len(), 3);
    }

    #[test]
    fn what_becomes_one_is_bounded() {
        let value = vec![7; 30_000];
        let mut queue: VecDeque<Load> = (0..60).map(|n| load(n, &[&value], Codec::None)).collect();
        let count = next(&mut queue, 8 << 20, SMALL).unwrap().count;
        assert!((2..=17).contains(&count), "{count} of 30 kB each in {TOGETHER}");
        assert_eq!(queue.len(), 60 - count as usize);
    }

    #[test]
    fn a_damaged_one_goes_by_itself() {
        let mut queue: VecDeque<Load> = (0..5).map(|n| load(n, &[b"a"], Codec::None)).collect();
        let mut bytes = queue[2].bytes.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        queue[2].bytes = Bytes::from(bytes);
        assert_eq!(next(&mut queue, 1 << 20, SMALL).unwrap().count, 2);
        assert_eq!((next(&mut queue, 1 << 20, SMALL).unwrap().count, queue.len()), (1, 2));
    }
}
