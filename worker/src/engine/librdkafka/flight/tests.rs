use std::collections::BTreeMap;

use twinlog_proto::id::TargetOffset;

use super::*;
use crate::offset_map::{Chunk, Found};
use crate::progress::{LastCopied, PartitionProgress, RangeProgress};

fn ledger() -> Ledger {
    let progress = PartitionProgress {
        position: SourceOffset(0),
        source_topic_id: String::new(),
        leader_epoch: -1,
        origin: SourceOffset(0),
        origin_is_log_start: true,
        gaps: Vec::new(),
        chunk: Chunk::anchored(SourceOffset(0), TargetOffset(0)),
        target_topic_id: String::new(),
        target_known: None,
        last: None,
    };
    let range = RangeProgress {
        ends: Default::default(),
        source_topic: "t".to_owned(),
        epoch: 1,
        worker: "w".to_owned(),
        began: false,
        source_cluster_id: String::new(),
        written: crate::progress::Written::default(),
        partitions: BTreeMap::from([(0, progress)]),
    };
    Ledger::new(range, &[0], false, Instant::now())
}

fn send(flight: &mut Flight, offsets: impl IntoIterator<Item = i64>, now: Instant) {
    for offset in offsets {
        flight.sent(Sent { offset, size: 10, cost: 100, timestamp: offset, crc: 5, epoch: 0 }, now);
    }
}

#[test]
fn acknowledgements_move_the_position_in_parts() {
    let (mut flight, mut ledger, now) = (Flight::new(0), ledger(), Instant::now());
    send(&mut flight, 0..10, now);
    send(&mut flight, 15..20, now);
    assert_eq!(flight.acknowledged(0, 4, 100, &mut ledger, Now::read()), Ok(400));
    assert_eq!(ledger.accounts[0].progress.position, SourceOffset(4));
    assert_eq!(ledger.accounts[0].progress.last, None, "of a part nobody knows the last record");
    assert_eq!(flight.source_of(4), Some(SourceOffset(4)));
    assert_eq!(flight.source_of(10), Some(SourceOffset(15)));
    assert_eq!(
        flight.acknowledged(4, 11, 104, &mut ledger, Now::read()),
        Ok(1100),
        "over the hole at the source"
    );
    let account = &ledger.accounts[0];
    assert_eq!(account.progress.position, SourceOffset(20));
    let last = LastCopied { offset: SourceOffset(19), timestamp: 19, crc: 5 };
    assert_eq!(account.progress.last, Some(last));
    assert_eq!((account.meter.records, account.meter.bytes), (15, 150));
    assert_eq!(account.progress.chunk.find(SourceOffset(12)), Found::At(TargetOffset(110)));
    assert!(flight.oldest().is_none());
}

#[test]
fn the_end_of_the_partition_waits_for_the_records_before_it() {
    let (mut flight, mut ledger, now) = (Flight::new(0), ledger(), Instant::now());
    flight.passed(3, &mut ledger);
    assert_eq!(ledger.accounts[0].progress.position, SourceOffset(3), "nothing was in flight");
    send(&mut flight, 3..5, now);
    flight.passed(7, &mut ledger);
    flight.passed(8, &mut ledger);
    assert_eq!(ledger.accounts[0].progress.position, SourceOffset(3));
    flight.acknowledged(0, 1, 0, &mut ledger, Now::read()).unwrap();
    assert_eq!(ledger.accounts[0].progress.position, SourceOffset(4));
    flight.acknowledged(1, 1, 1, &mut ledger, Now::read()).unwrap();
    assert_eq!(ledger.accounts[0].progress.position, SourceOffset(8));
}

#[test]
fn acknowledgements_that_cannot_be_right_are_refused() {
    let (mut flight, mut ledger, now) = (Flight::new(0), ledger(), Instant::now());
    send(&mut flight, 0..3, now);
    assert_eq!(
        flight.acknowledged(1, 1, 0, &mut ledger, Now::read()),
        Err(BadAck::OutOfTurn { got: 1, expected: 0 })
    );
    assert_eq!(flight.acknowledged(0, 1, -1001, &mut ledger, Now::read()), Err(BadAck::NoOffset));
    flight.acknowledged(0, 1, 50, &mut ledger, Now::read()).unwrap();
    assert!(matches!(
        flight.acknowledged(1, 1, 20, &mut ledger, Now::read()),
        Err(BadAck::Misplaced(Misplaced::Backwards(_)))
    ));
}
