use proptest::prelude::*;
use twinlog_proto::id::{SourceOffset, TargetOffset};
use twinlog_proto::storage::OffsetMapChunk;

use super::history::{FoundCopy, History, Lookup, StoredAt};
use super::{Chunk, Found, Segment};
use crate::fuzz::{Target, attack};

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

    /// The record whose copy is the first at or after a target offset.
    fn find_copy(&self, at: i64, end: i64) -> FoundCopy {
        let next = self.pairs.iter().find(|(_, target)| *target >= at);
        next.map_or(FoundCopy::End(TargetOffset(end)), |(source, _)| FoundCopy::Of(SourceOffset(*source)))
    }
}

/// What a lane has written, as a reader of it sees it.
struct Written {
    source: i64,
    target: i64,
    open: Chunk,
    history: History,
    stored: Vec<Vec<u8>>,
    model: Model,
}

const ORIGIN: i64 = 3;
const TARGET_ORIGIN: i64 = 40;

impl Written {
    fn by(steps: Vec<Step>) -> Self {
        let open = Chunk::anchored(SourceOffset(ORIGIN), TargetOffset(TARGET_ORIGIN));
        let mut written = Self {
            source: ORIGIN,
            target: TARGET_ORIGIN,
            open,
            history: History::default(),
            stored: Vec::new(),
            model: Model { pairs: Vec::new(), origin: ORIGIN },
        };
        for step in steps {
            written.step(step);
            written.history.set_open(written.open.clone());
        }
        written
    }

    fn step(&mut self, step: Step) {
        let Self { source, target, open, history, stored, model } = self;
        match step {
            Step::Copy { source_hole, target_hole, count } => {
                (*source, *target) = (*source + source_hole, *target + target_hole);
                open.add(SourceOffset(*source), TargetOffset(*target), count).unwrap();
                model.pairs.extend((0..count).map(|i| (*source + i, *target + i)));
                (*source, *target) = (*source + count, *target + count);
            }
            Step::Close => {
                if let Some(closed) = open.close() {
                    let bytes = closed.encode();
                    let at = StoredAt { former: false, partition: 0, offset: stored.len() as i64 };
                    history.close(&closed, at, &bytes);
                    stored.push(bytes);
                }
            }
            Step::Truncate { back } => {
                *source = (*source - back).max(ORIGIN);
                *open = open.restart(SourceOffset(*source), TargetOffset(*target));
                model.pairs.retain(|(s, _)| *s < *source);
            }
            Step::Shed => history.shed(),
        }
    }

    /// What was dropped from memory is read back.
    fn ask<F: Copy>(&mut self, look: impl Fn(&mut History) -> Lookup<F>) -> F {
        if let Lookup::Missing { stored_at } = look(&mut self.history) {
            self.history.restore(stored_at, &self.stored[usize::try_from(stored_at.offset).unwrap()]);
        }
        match look(&mut self.history) {
            Lookup::Found(found) => found,
            Lookup::Missing { .. } | Lookup::Unknown => panic!("it is there"),
        }
    }

    fn forth(&mut self, at: i64) -> Found {
        self.ask(|history| history.find(SourceOffset(at)).unwrap())
    }

    fn back(&mut self, at: i64) -> FoundCopy {
        self.ask(|history| history.find_copy(TargetOffset(at)).unwrap())
    }
}

proptest! {
    #[test]
    fn a_history_answers_like_the_list_of_all_pairs(steps in prop::collection::vec(step(), 1..60)) {
        let mut written = Written::by(steps);
        let end = written.open.target_end().0;
        for at in ORIGIN - 2..written.source + 3 {
            match (written.forth(at), written.model.find(at, end)) {
                // Before the start only "before" matters; the target is taken from a second question.
                (Found::Before(_), _) => prop_assert!(at < ORIGIN),
                (found, expected) => prop_assert_eq!(found, expected, "at {}", at),
            }
        }
    }

    /// W4: back, any offset of the target leads to the record whose copy comes next: over markers, what others wrote, and copies
    /// that no longer count.
    #[test]
    fn back_a_history_answers_like_the_list_of_all_pairs(steps in prop::collection::vec(step(), 1..60)) {
        let mut written = Written::by(steps);
        let end = written.open.target_end().0;
        prop_assert!(written.history.begins().unwrap() <= TargetOffset(written.model.pairs.first().map_or(end, |p| p.1)));
        let mut before = SourceOffset(0);
        for at in TARGET_ORIGIN - 2..written.target + 3 {
            let found = written.back(at);
            prop_assert_eq!(found, written.model.find_copy(at, end), "at {}", at);
            let position = match found {
                FoundCopy::Of(source) => source,
                FoundCopy::End(_) => SourceOffset(written.source),
            };
            prop_assert!(position >= before, "never backwards, at {}", at);
            before = position;
        }
    }

    /// W4: there and back is the first record at or after the position; back and there is the place itself.
    #[test]
    fn there_and_back_is_where_one_was(steps in prop::collection::vec(step(), 1..60)) {
        let mut written = Written::by(steps);
        for at in ORIGIN..written.source + 3 {
            let first = written.model.pairs.iter().find(|(source, _)| *source >= at).map(|(source, _)| *source);
            let (Found::At(there) | Found::End(there) | Found::Before(there)) = written.forth(at);
            let back = match written.back(there.0) {
                FoundCopy::Of(source) => Some(source.0),
                FoundCopy::End(_) => None,
            };
            prop_assert_eq!(back, first, "from {} by {}", at, there);
        }
        for (source, target) in written.model.pairs.clone() {
            prop_assert_eq!(written.back(target), FoundCopy::Of(SourceOffset(source)));
            prop_assert_eq!(written.forth(source), Found::At(TargetOffset(target)));
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

/// Pieces of a map in any order, as anybody might write them: a length and a piece, the last one open.
#[test]
fn fuzz_maps() {
    let piece = |chunk: Chunk| {
        let bytes = chunk.encode();
        [&[u8::try_from(bytes.len()).unwrap()][..], &bytes].concat()
    };
    let pieces = [
        piece(chunk((0, 0), &[(0, 0, 10), (12, 11, 5)])),
        piece(chunk((17, 16), &[(17, 20, 100)])),
        piece(chunk((117, 120), &[(117, 120, 1), (130, 121, 7)])),
    ];
    let seeds = vec![pieces[0].clone(), pieces.concat(), [&pieces[1][..], &pieces[0], &pieces[2]].concat()];
    let memory = |bytes: usize| (64 << 10) + bytes * 200;
    attack(Target { name: "maps", seeds, memory, repair: None }, |input| {
        let (mut rest, mut history, mut said) = (input, History::default(), String::new());
        while let Some((length, after)) = rest.split_first() {
            let (bytes, after) = after.split_at(after.len().min((*length).into()));
            rest = after;
            match Chunk::decode(bytes) {
                Ok(chunk) if rest.is_empty() => history.set_open(chunk),
                Ok(chunk) => {
                    let stored_at = StoredAt { former: false, partition: 0, offset: rest.len() as i64 };
                    history.close(&chunk, stored_at, bytes);
                    let middle = chunk.source_start().0.saturating_add(5);
                    let again = chunk.restart(SourceOffset(middle), TargetOffset(3));
                    assert_eq!(Chunk::decode(&again.encode()), Ok(again));
                }
                Err(damaged) => said += &damaged.to_string(),
            }
        }
        for at in [0, 1, 15, 117, i64::MAX] {
            said += &format!(" {:?}", history.find(SourceOffset(at)));
            said += &format!(" {:?}", history.find_copy(TargetOffset(at)));
        }
        said
    });
}
