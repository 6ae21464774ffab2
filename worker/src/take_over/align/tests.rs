use super::*;

/// A record by its number; all have their own content.
pub(in crate::take_over) fn print(number: u64) -> Print {
    Print { content: number, timestamp: Some(1_000) }
}

/// Lays a target that ends with `copies` (first offset `at`) beside a source of `source`.
fn align(
    committed: Option<i64>,
    anchor: Anchor,
    (at, copies): (i64, &[u64]),
    source: &[(i64, u64)],
) -> Result<Option<i64>, NoAnchor> {
    let mut alignment = Alignment::new(committed, anchor);
    for (offset, number) in (at..).zip(copies) {
        alignment.copy(offset, print(*number));
    }
    for (offset, number) in source {
        if alignment.offer(*offset, print(*number)) == Wanted::Enough {
            break;
        }
    }
    alignment.position()
}

fn numbered(offsets: std::ops::Range<i64>) -> Vec<(i64, u64)> {
    offsets.map(|offset| (offset, offset.unsigned_abs())).collect()
}

fn sync(source: i64, target: i64) -> Anchor {
    Anchor::Sync { source, target }
}

#[test]
fn a_clean_stop_goes_on_behind_what_was_committed() {
    let position = align(Some(12), sync(10, 110), (110, &[10, 11, 12]), &numbered(10..20));
    assert_eq!(position, Ok(Some(13)));
}

#[test]
fn what_was_copied_after_the_commit_is_not_copied_again() {
    let position = align(Some(12), sync(10, 110), (110, &[10, 11, 12, 13, 14, 15]), &numbered(10..20));
    assert_eq!(position, Ok(Some(16)));
    let newer_sync = align(Some(12), sync(14, 114), (114, &[14, 15]), &numbered(14..20));
    assert_eq!(newer_sync, Ok(Some(16)));
    let all = align(Some(12), sync(14, 114), (114, &[14, 15]), &numbered(14..16));
    assert_eq!(all, Ok(Some(16)));
}

#[test]
fn nothing_was_committed_yet() {
    assert_eq!(align(None, sync(5, 0), (0, &[5, 6]), &numbered(5..20)), Ok(Some(7)));
    assert_eq!(align(None, Anchor::Start, (0, &[5, 6]), &numbered(5..20)), Ok(Some(7)));
    assert_eq!(align(None, Anchor::Start, (0, &[99, 5, 6]), &numbered(5..20)), Err(NoAnchor));
}

#[test]
fn markers_holes_and_strangers_are_passed() {
    // Source offsets 11 and 14 are markers; 900 and 901 on the target are aborted records that MM2 copied all the same.
    let source = [(10, 10), (12, 12), (13, 13), (15, 15), (16, 16)];
    let position = align(Some(10), sync(10, 110), (110, &[10, 900, 12, 13, 901, 15]), &source);
    assert_eq!(position, Ok(Some(16)));
}

#[test]
fn copies_that_an_earlier_crash_doubled_are_not_copied_a_third_time() {
    let position = align(Some(11), sync(10, 110), (110, &[10, 11, 12, 13, 11, 12]), &numbered(10..20));
    assert_eq!(position, Ok(Some(14)));
}

#[test]
fn a_record_that_compaction_took_from_the_source_is_passed() {
    let source = [(10, 10), (12, 12), (13, 13)];
    assert_eq!(align(Some(10), sync(10, 110), (110, &[10, 11, 12]), &source), Ok(Some(13)));
}

#[test]
fn a_sync_whose_record_can_not_be_seen_is_believed() {
    let position = align(Some(8), sync(10, 110), (110, &[900, 11]), &[(11, 11), (12, 12)]);
    assert_eq!(position, Ok(Some(12)));
}

#[test]
fn a_sync_that_does_not_fit_is_no_anchor() {
    assert_eq!(align(Some(12), sync(10, 110), (110, &[500, 501]), &numbered(10..20)), Err(NoAnchor));
}

#[test]
fn without_syncs_the_committed_record_is_searched() {
    let search = || Anchor::Search(VecDeque::new());
    let copies: Vec<u64> = (100..116).collect();
    let position = align(Some(112), search(), (7, &copies), &numbered(90..130));
    assert_eq!(position, Ok(Some(116)), "the target's log begins later than what is searched");
    let position = align(Some(112), search(), (7, &copies), &numbered(105..130));
    assert_eq!(position, Ok(Some(116)));
    let nothing_new = align(Some(112), search(), (7, &copies), &numbered(105..113));
    assert_eq!(nothing_new, Ok(Some(113)));
    let unknown = align(Some(112), search(), (7, &[1, 2, 3]), &numbered(105..130));
    assert_eq!(unknown, Err(NoAnchor));
}

#[test]
fn equal_records_are_told_apart_by_their_number() {
    let source: Vec<(i64, u64)> = (0..10).map(|offset| (offset, 7)).collect();
    assert_eq!(align(Some(2), sync(0, 0), (0, &[7, 7, 7, 7, 7]), &source), Ok(Some(5)));
    // Without a sync the latest place counts: rather twice than never.
    assert_eq!(align(Some(2), Anchor::Search(VecDeque::new()), (0, &[7; 5]), &source), Ok(Some(3)));
}

#[test]
fn the_brokers_own_time_is_not_compared() {
    let append = Print { content: 1, timestamp: None };
    assert!(append.same(print(1)) && print(1).same(append));
    assert!(!print(1).same(Print { content: 1, timestamp: Some(1_001) }));
}
