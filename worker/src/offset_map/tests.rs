use proptest::prelude::*;
use twinlog_proto::id::{SourceOffset, TargetOffset};
use twinlog_proto::storage::OffsetMapChunk;

use super::history::{History, Lookup};
use super::{Chunk, Found, Segment};

fn chunk(start: (i64, i64), runs: &[(i64, i64, i64)]) -> Chunk {
    let mut chunk = Chunk::anchored(SourceOffset(start.0), TargetOffset(start.1));
    for (source, target, count) in runs {
        chunk.add(SourceOffset(*source), TargetOffset(*target), *count).unwrap();
    }
    chunk
}

#[test]
fn runs_that_go_on_on_both_sides_are_one_segment() {
    let chunk = chunk((0, 0), &[(0, 0, 10), (10, 10, 5), (15, 16, 1), (20, 17, 1)]);
    let expected = [(0, 0, 15), (15, 16, 1), (20, 17, 1)];
    let expected = expected.map(|(source, target, len)| Segment { source, target, len });
    assert_eq!(chunk.segments(), expected);
}

#[test]
fn going_backwards_on_either_side_is_refused() {
    let mut chunk = chunk((0, 0), &[(0, 0, 10)]);
    assert!(chunk.add(SourceOffset(9), TargetOffset(10), 1).is_err());
    assert!(chunk.add(SourceOffset(10), TargetOffset(9), 1).is_err());
    assert_eq!(chunk.source_end(), SourceOffset(10), "a refused run changes nothing");
}

#[test]
fn positions_lead_to_the_record_that_follows() {
    let chunk = chunk((5, 100), &[(7, 101, 3), (20, 110, 2)]);
    let found = |at| chunk.find(SourceOffset(at));
    assert_eq!(found(4), Found::Before(TargetOffset(101)));
    assert_eq!(found(5), Found::At(TargetOffset(101)), "from the anchor to the first record");
    assert_eq!(found(8), Found::At(TargetOffset(102)));
    assert_eq!(found(10), Found::At(TargetOffset(110)), "between segments");
    assert_eq!(found(21), Found::At(TargetOffset(111)));
    assert_eq!(found(22), Found::End(TargetOffset(112)));
    assert_eq!(found(1000), Found::End(TargetOffset(112)));
}

#[test]
fn a_map_that_holds_nothing_leads_to_its_anchor() {
    assert_eq!(chunk((0, 7), &[]).find(SourceOffset(0)), Found::End(TargetOffset(7)));
}

#[test]
fn what_was_copied_is_found_from_the_target_side() {
    let chunk = chunk((0, 0), &[(0, 0, 10), (12, 11, 5)]);
    let source_of = |at| chunk.source_of(TargetOffset(at)).map(|s| s.0);
    assert_eq!(source_of(9), Some(9));
    assert_eq!(source_of(10), Some(12), "on a marker: the next record");
    assert_eq!(source_of(12), Some(13));
    assert_eq!(source_of(16), Some(17), "behind the last record");
}

#[test]
fn a_restart_forgets_what_no_longer_counts() {
    let before = chunk((0, 0), &[(0, 0, 10), (12, 11, 5)]);
    let after = before.restart(SourceOffset(5), TargetOffset(20));
    assert_eq!(after.find(SourceOffset(4)), Found::At(TargetOffset(4)));
    assert_eq!(after.find(SourceOffset(5)), Found::End(TargetOffset(20)));
    let before_its_start = before.restart(SourceOffset(-1), TargetOffset(20));
    assert_eq!(before_its_start.segments().len(), 1);
}

#[test]
fn damaged_chunks_are_refused_and_never_panic() {
    let good = chunk((0, 0), &[(0, 0, 10), (12, 11, 5)]).to_stored();
    let spoils: [fn(&mut OffsetMapChunk); 6] = [
        |c| c.len.clear(),
        |c| c.len.push(1),
        |c| c.target_skip[0] = -5,
        |c| c.source_skip[0] = u64::MAX,
        |c| c.len[0] = u64::MAX,
        |c| c.source_start = i64::MAX,
    ];
    for spoil in spoils {
        let mut bad = good.clone();
        spoil(&mut bad);
        assert!(Chunk::from_stored(&bad).is_err(), "{bad:?}");
    }
}

/// What a lane does, in random order.
#[derive(Debug, Clone)]
enum Step {
    /// Records, after holes on both sides.
    Copy { source_hole: i64, target_hole: i64, count: i64 },
    /// The open chunk is closed and written.
    Close,
    /// The source was truncated: back by some records; old copies stay on the target.
    Truncate { back: i64 },
    /// A reader drops what it can read again.
    Shed,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_i64, 0..3_i64, 1..6_i64)
            .prop_map(|(source_hole, target_hole, count)| Step::Copy { source_hole, target_hole, count }),
        2 => Just(Step::Close),
        1 => (1..12_i64).prop_map(|back| Step::Truncate { back }),
        1 => Just(Step::Shed),
    ]
}

/// The same map as plain pairs.
struct Model {
    pairs: Vec<(i64, i64)>,
    origin: i64,
}

impl Model {
    fn find(&self, at: i64, end: i64) -> Found {
        let next = self.pairs.iter().find(|(source, _)| *source >= at);
        match next {
            Some((_, target)) if at < self.origin => Found::Before(TargetOffset(*target)),
            Some((_, target)) => Found::At(TargetOffset(*target)),
            None => Found::End(TargetOffset(end)),
        }
    }
}

proptest! {
    #[test]
    fn a_history_answers_like_the_list_of_all_pairs(steps in prop::collection::vec(step(), 1..60)) {
        let (origin, mut source, mut target) = (3, 3, 40);
        let mut open = Chunk::anchored(SourceOffset(origin), TargetOffset(target));
        let mut history = History::default();
        let mut stored: Vec<Vec<u8>> = Vec::new();
        let mut model = Model { pairs: Vec::new(), origin };
        for step in steps {
            match step {
                Step::Copy { source_hole, target_hole, count } => {
                    (source, target) = (source + source_hole, target + target_hole);
                    open.add(SourceOffset(source), TargetOffset(target), count).unwrap();
                    model.pairs.extend((0..count).map(|i| (source + i, target + i)));
                    (source, target) = (source + count, target + count);
                }
                Step::Close => {
                    if let Some(closed) = open.close() {
                        let bytes = closed.encode();
                        history.close(&closed, (0, stored.len() as i64), &bytes);
                        stored.push(bytes);
                    }
                }
                Step::Truncate { back } => {
                    source = (source - back).max(origin);
                    open = open.restart(SourceOffset(source), TargetOffset(target));
                    model.pairs.retain(|(s, _)| *s < source);
                }
                Step::Shed => history.shed(),
            }
            history.set_open(open.clone());
        }
        for at in origin - 2..source + 3 {
            let mut found = history.find(SourceOffset(at)).unwrap();
            if let Lookup::Missing { stored_at } = found {
                history.restore(stored_at, &stored[usize::try_from(stored_at.1).unwrap()]);
                found = history.find(SourceOffset(at)).unwrap();
            }
            let end = open.target_end().0;
            match (found, model.find(at, end)) {
                // Before the start only "before" matters; the target is taken from a second question.
                (Lookup::Found(Found::Before(_)), _) => prop_assert!(at < origin),
                (Lookup::Found(found), expected) => prop_assert_eq!(found, expected, "at {}", at),
                (other, _) => prop_assert!(false, "{other:?} at {at}"),
            }
        }
    }

    #[test]
    fn chunks_survive_storage(runs in prop::collection::vec((0..1000_i64, 0..1000_i64, 1..1_000_000_i64), 0..200)) {
        let mut chunk = Chunk::anchored(SourceOffset(5), TargetOffset(9));
        for (source_hole, target_hole, count) in runs {
            let (source, target) = (chunk.source_end().0 + source_hole, chunk.target_end().0 + target_hole);
            chunk.add(SourceOffset(source), TargetOffset(target), count).unwrap();
        }
        prop_assert_eq!(Chunk::decode(&chunk.encode()).unwrap(), chunk);
    }

    #[test]
    fn decoding_anything_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Chunk::decode(&bytes);
    }
}
