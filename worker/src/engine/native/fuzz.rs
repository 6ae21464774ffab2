//! What the native engine does with batches that anybody may have written: those that it writes anew, and those that it joins.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::coalesce;
use super::forward::{Needs, Writer, needs, stamped};
use super::load::{Content, Load, Mirrored, Run, Runs};
use super::rebuild::rebuild;
use crate::fuzz::{Target, attack};
use crate::kafka::fuzz::{batch, batches, repair_batches};
use crate::kafka::{BatchHeader, BatchOf, FetchedBatch, Record, take};

/// As much as a batch may become when it is written anew, and what packs it.
const REBUILDING: usize = 512 << 20;
/// Joined batches are small.
const JOINING: usize = 32 << 20;

fn first_batch(input: &[u8]) -> Option<FetchedBatch> {
    take(&mut Bytes::copy_from_slice(input)).ok().flatten()
}

/// Key, value and time.
type Told = (Option<Vec<u8>>, Option<Vec<u8>>, i64);

/// Of every record, as far as they can be read.
fn contents(batch: &FetchedBatch, within: std::ops::Range<i64>) -> Vec<Told> {
    let unpacked = batch.unpack(1 << 20).expect("it was unpacked before");
    let of = |record: Record<'_>| {
        (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec), record.timestamp)
    };
    let records = unpacked.records().map(|record| record.expect("it was read before"));
    records.filter(|record| within.contains(&record.offset)).map(of).collect()
}

/// The first byte says how much the target takes, the second how much is cut off.
#[test]
fn fuzz_rebuilding() {
    let seeds = batches()
        .into_iter()
        .flat_map(|batch| [[&[20, 0][..], &batch].concat(), [&[2, 3][..], &batch].concat()]);
    let memory = |bytes: usize| REBUILDING + bytes * 64;
    let target = Target {
        name: "rebuilding",
        seeds: seeds.collect(),
        memory,
        repair: Some(|input| {
            if let Some(batch) = input.get_mut(2..) {
                repair_batches(batch);
            }
        }),
    };
    attack(target, |input| {
        let [max, cut, bytes @ ..] = input else { return String::new() };
        let Some(batch) = first_batch(bytes) else { return String::new() };
        let (max, from) = (100 * usize::from(*max), batch.header.base_offset.saturating_add((*cut).into()));
        let within = (from, from.saturating_add(100));
        let needed = needs(&batch.header, batch.bytes.len(), within, max);
        let header = stamped(&batch.bytes, Writer { producer_id: 5, epoch: 1, in_transaction: true }, 7);
        assert_eq!(BatchHeader::parse(&header).map(|header| header.base_sequence), Some(7));
        if needed == Needs::Dropping {
            return format!("{needed:?}");
        }
        let parts = match rebuild(&batch, within, max) {
            Ok(parts) => parts,
            Err(failure) => return format!("{failure:?}"),
        };
        let mut written = Vec::new();
        for part in &parts {
            assert!(part.bytes.len() <= max);
            let rebuilt = first_batch(&part.bytes).expect("a batch");
            assert_eq!((rebuilt.header.count, rebuilt.header.has_holes()), (part.count, false));
            assert_eq!(part.runs.all().iter().map(|run| run.count).sum::<u32>(), part.count as u32);
            written.extend(contents(&rebuilt, i64::MIN..i64::MAX));
        }
        if batch.unpack(1 << 20).is_ok() {
            assert!(written == contents(&batch, within.0..within.1), "the same records");
        }
        format!("{needed:?} {}", parts.len())
    });
}

#[test]
fn fuzz_joining() {
    let mut seeds = vec![batches()[..8].concat(), batches().concat()];
    // Just as much as is joined, and more, not packed.
    let plain = batch(BatchOf::default(), false);
    seeds.push(plain.repeat(50));
    let memory = |bytes: usize| JOINING + bytes * 64;
    attack(Target { name: "joining", seeds, memory, repair: Some(repair_batches) }, |input| {
        let mut rest = Bytes::copy_from_slice(input);
        let mut queue = VecDeque::new();
        while let Ok(Some(FetchedBatch { header, bytes })) = take(&mut rest) {
            let runs = Runs::One(Run { source: header.base_offset, count: header.count as u32 });
            let next = header.last_offset();
            let content = Content::Mirrored(Mirrored { runs, next, parts: Vec::new() });
            // Whoever counts less than one was dropped before.
            if (1..=1_000).contains(&header.count) && header.base_offset.checked_add(1_000).is_some() {
                queue.push_back(Load { bytes, count: header.count, since: Instant::now(), content });
            }
        }
        let (batches, mut sent) = (queue.len(), 0);
        while let Some(load) = coalesce::next(&mut queue, 1 << 20, 32 << 10) {
            let header = BatchHeader::parse(&load.bytes).expect("a batch");
            assert_eq!(header.count, load.count);
            sent += 1;
        }
        format!("{batches} {}", sent < batches)
    });
}
