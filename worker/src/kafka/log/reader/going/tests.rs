use bytes::Bytes;

use super::*;
use crate::fuzz::{Target, attack};
use crate::kafka::fuzz;
use crate::kafka::log::records::codec::Codec;
use crate::kafka::log::records::encode::{BatchBuilder, BatchOf, Producer};
use crate::kafka::log::records::{Headers, Record};
use crate::kafka::log::types::AbortedTransaction;

const ID: i64 = 7;

fn batch(of: BatchOf, offsets: &[i64]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOf { base_offset: offsets[0], ..of });
    for offset in offsets {
        let (key, headers) = (Some(&[0, 0, 0, 0][..]), Headers::default());
        let record = Record { offset: *offset, timestamp: 5, attributes: 0, key, value: None, headers };
        builder.push(&record).unwrap();
    }
    builder.finish().unwrap()
}

fn plain(offsets: &[i64]) -> Vec<u8> {
    batch(BatchOf { codec: Codec::Lz4, ..BatchOf::default() }, offsets)
}

fn transactional(offsets: &[i64], is_control: bool) -> Vec<u8> {
    let producer = Some(Producer { id: ID, epoch: 0, sequence: 0 });
    batch(BatchOf { producer, is_transactional: true, is_control, ..BatchOf::default() }, offsets)
}

fn log(pieces: &[Vec<u8>], (stable, high_watermark): (i64, i64)) -> FetchedLog {
    FetchedLog {
        records: Bytes::from(pieces.concat()),
        aborted: Vec::new(),
        log_start: 0,
        high_watermark,
        last_stable_offset: stable,
    }
}

fn going(from: i64, to: i64) -> Going {
    Going::new(Span { partition: 3, from, to })
}

/// What came, where the span goes on, and the offsets that were handed over.
fn take(going: &mut Going, log: FetchedLog) -> (Came, i64, Vec<i64>) {
    take_until(going, log, i64::MAX)
}

fn take_until(going: &mut Going, log: FetchedLog, enough: i64) -> (Came, i64, Vec<i64>) {
    let mut offsets = Vec::new();
    let came = going.take(log, Isolation::Committed, &mut |record| {
        assert_eq!(record.partition, 3);
        offsets.push(record.offset);
        if record.offset >= enough { Wanted::Enough } else { Wanted::More }
    });
    (came.unwrap(), going.span.from, offsets)
}

#[tokio::test]
async fn only_what_lies_in_the_span_is_handed_over() {
    let pieces = [plain(&[10, 11, 12]), plain(&[13, 17]), plain(&[18, 19])];
    let all = || log(&pieces, (20, 20));
    assert_eq!(take(&mut going(11, 20), all()), (Came::End, 20, vec![11, 12, 13, 17, 18, 19]));
    assert_eq!(take(&mut going(11, 30), all()), (Came::Further, 20, vec![11, 12, 13, 17, 18, 19]));
    assert_eq!(take(&mut going(10, 12), all()), (Came::End, 12, vec![10, 11]));
    // It ends in a hole, and at a batch's begin.
    assert_eq!(take(&mut going(13, 15), all()), (Came::End, 15, vec![13]));
    assert_eq!(take(&mut going(16, 18), all()), (Came::End, 18, vec![17]));
    assert_eq!(take_until(&mut going(11, 20), all(), 13), (Came::End, 14, vec![11, 12, 13]));
    let cut = FetchedLog { records: all().records.slice(..all().records.len() - 1), ..all() };
    assert_eq!(take(&mut going(11, 20), cut), (Came::Further, 18, vec![11, 12, 13, 17]));
}

#[tokio::test]
async fn a_tail_of_what_is_hidden_is_an_end() {
    let pieces = [plain(&[0]), transactional(&[1, 2], false), transactional(&[3], true)];
    let aborted = AbortedTransaction { producer_id: ID, first_offset: 1 };
    let hidden = FetchedLog { aborted: vec![aborted], ..log(&pieces, (4, 4)) };
    assert_eq!(take(&mut going(0, 4), hidden), (Came::End, 4, vec![0]));
    assert_eq!(take(&mut going(0, 4), log(&pieces, (4, 4))), (Came::End, 4, vec![0, 1, 2]));
    // What compaction leaves of a batch whose records are all gone.
    let mut empty = plain(&[5, 9])[..61].to_vec();
    empty[8..12].copy_from_slice(&49_i32.to_be_bytes());
    empty[57..61].copy_from_slice(&0_i32.to_be_bytes());
    assert_eq!(take(&mut going(5, 10), log(&[empty], (10, 10))), (Came::End, 10, vec![]));
}

#[tokio::test]
async fn old_messages_and_batches_are_read_from_one_answer() {
    let old = |offset: i64| {
        let body = [&[1, 0][..], &9_i64.to_be_bytes(), &[0xff; 4], &[0, 0, 0, 1, b'v']].concat();
        let size = (body.len() as i32 + 4).to_be_bytes();
        let crc = crc32fast::hash(&body).to_be_bytes();
        [&offset.to_be_bytes()[..], &size, &crc, &body].concat()
    };
    let pieces = [old(1), old(2), plain(&[3, 4]), old(5)];
    assert_eq!(take(&mut going(2, 6), log(&pieces, (6, 6))), (Came::End, 6, vec![2, 3, 4, 5]));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_has_nothing_more_ends_and_one_that_hides_something_does_not() {
    let mut compacted = going(5, 10);
    let mut hidden = going(5, 10);
    for _ in 0..3 {
        assert_eq!(take(&mut compacted, log(&[], (10, 10))), (Came::Nothing, 5, vec![]));
        assert_eq!(take(&mut hidden, log(&[], (5, 10))), (Came::Nothing, 5, vec![]));
        sleep(GONE_AFTER / 3).await;
        let waits = [&compacted, &hidden].map(|going| going.how(Isolation::Committed).max_wait_ms);
        assert_eq!(waits, [TIERED_WAIT_MS, 0]);
    }
    assert_eq!(take(&mut compacted, log(&[], (10, 10))), (Came::End, 10, vec![]));
    sleep(GONE_AFTER * 100).await;
    assert_eq!(take(&mut hidden, log(&[], (5, 10))), (Came::Nothing, 5, vec![]));
    // An interruption in between: it counts anew.
    let mut interrupted = going(5, 10);
    assert_eq!(take(&mut interrupted, log(&[], (10, 10))).0, Came::Nothing);
    sleep(GONE_AFTER).await;
    interrupted.nothing();
    assert_eq!(take(&mut interrupted, log(&[], (10, 10))).0, Came::Nothing);
}

#[tokio::test]
async fn damage_ends_it_where_it_lies() {
    let mut damaged = plain(&[3, 4]);
    *damaged.last_mut().unwrap() ^= 1;
    let mut going = going(0, 9);
    let mut offsets = Vec::new();
    let taken = going.take(log(&[plain(&[0, 1]), damaged], (9, 9)), Isolation::Committed, &mut |record| {
        offsets.push(record.offset);
        Wanted::More
    });
    let error = taken.unwrap_err();
    assert!(error.offset == 3 && error.what.contains("checksum"), "{error}");
    assert_eq!((going.span.from, offsets), (2, vec![0, 1]));
}

#[tokio::test]
async fn fuzz_what_is_read() {
    let mut seeds = fuzz::batches();
    seeds.push([plain(&[1_000, 1_002]), transactional(&[1_003], true)].concat());
    let memory = |bytes: usize| (256 << 20) + bytes * 16;
    let target = Target { name: "reader", seeds, memory, repair: Some(fuzz::repair_batches) };
    attack(target, |input| {
        let aborted = vec![AbortedTransaction { producer_id: ID, first_offset: 5 }];
        let log = FetchedLog { aborted, ..log(&[input.to_vec()], (2_000, 2_000)) };
        let (mut going, mut last) = (going(1_001, 1_500), 1_000);
        let came = going.take(log, Isolation::Committed, &mut |record| {
            assert!(record.offset > last && record.offset < 1_500);
            last = record.offset;
            Wanted::More
        });
        assert!(going.span.from > last && going.span.from <= 1_500, "{} after {last}", going.span.from);
        format!("{came:?}")
    });
}
