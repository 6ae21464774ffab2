//! The judge must be able to say no.

use proptest::prelude::*;

use super::*;

pub(super) fn dump(values: &[&str]) -> Dump {
    let records: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(i, value)| Record {
            offset: i as i64,
            timestamp: 1_000 + i as i64,
            timestamp_type: "CreateTime".into(),
            key: format!("{i:02x}"),
            value: (*value).into(),
            headers: "61=62;".into(),
        })
        .collect();
    let end = records.len() as i64;
    Dump { partitions: BTreeMap::from([(0, Partition { begin: 0, end, records })]) }
}

fn records(dump: &mut Dump) -> &mut Vec<Record> {
    &mut dump.partitions.get_mut(&0).unwrap().records
}

/// The difference after `spoil` was done to a copy of four records.
fn found(spoil: impl FnOnce(&mut Vec<Record>)) -> Option<Difference> {
    let source = dump(&["aa", "bb", "cc", "dd"]);
    let mut target = source.clone();
    spoil(records(&mut target));
    let verdict = compare(&source, &target);
    assert_eq!(verdict.is_exact(), verdict.require_exact("test").is_ok());
    verdict.differences.into_iter().next()
}

#[test]
fn equal_dumps_are_exact_whatever_their_offsets() {
    assert_eq!(found(|_| ()), None);
    assert_eq!(found(|r| r.iter_mut().for_each(|record| record.offset += 7)), None);
}

#[test]
fn a_missing_record_is_found_anywhere() {
    for place in 0..4 {
        let difference = found(|r| drop(r.remove(place)));
        assert!(
            matches!(difference, Some(Difference::Missing { place: p, .. }) if p == place),
            "{difference:?}"
        );
    }
}

#[test]
fn a_repeated_record_is_found_anywhere() {
    for (place, at) in [(0, 1), (1, 2), (3, 4), (0, 4)] {
        let difference = found(|r| r.insert(at, r[place].clone()));
        assert!(
            matches!(difference, Some(Difference::Duplicate { place: p, .. }) if p == at),
            "{difference:?}"
        );
    }
}

#[test]
fn a_record_from_nowhere_is_found() {
    let difference = found(|r| {
        let mut alien = r[0].clone();
        alien.value = "ee".into();
        r.insert(2, alien);
    });
    assert!(matches!(difference, Some(Difference::Unexpected { place: 2, .. })), "{difference:?}");
}

#[test]
fn neighbours_that_changed_places_are_found() {
    let difference = found(|r| r.swap(1, 2));
    assert!(matches!(difference, Some(Difference::Reordered { place: 1, .. })), "{difference:?}");
}

#[test]
fn every_changed_field_is_named() {
    let changed = |spoil: fn(&mut Record)| match found(|r| spoil(&mut r[2])) {
        Some(Difference::Changed { fields, place: 2, .. }) => fields,
        other => panic!("{other:?}"),
    };
    assert_eq!(changed(|r| r.key = "-".into()), ["key"]);
    assert_eq!(changed(|r| r.value = "-".into()), ["value"]);
    assert_eq!(changed(|r| r.value = String::new()), ["value"], "empty is not null");
    assert_eq!(changed(|r| r.headers = "61=62;61=62;".into()), ["headers"]);
    assert_eq!(changed(|r| r.timestamp = 0), ["timestamp"]);
}

#[test]
fn a_partition_on_one_side_only_is_found() {
    let source = dump(&["aa"]);
    let mut target = source.clone();
    target.partitions.insert(1, Partition::default());
    let on = |verdict: Verdict| match verdict.differences.as_slice() {
        [Difference::NoPartition { partition: 1, on }] => *on,
        other => panic!("{other:?}"),
    };
    assert_eq!(on(compare(&source, &target)), "source");
    assert_eq!(on(compare(&target, &source)), "target");
}

#[test]
fn a_record_in_the_wrong_partition_is_found() {
    let mut source = dump(&["aa", "bb"]);
    source.partitions.insert(1, Partition::default());
    let mut target = source.clone();
    let moved = records(&mut target).remove(1);
    target.partitions.get_mut(&1).unwrap().records.push(moved);
    let verdict = compare(&source, &target);
    assert_eq!(verdict.differences.len(), 2, "{verdict}");
    assert!(!verdict.is_exact());
}

#[test]
fn a_dump_file_is_read_and_a_cut_one_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump");
    std::fs::write(&file, "0\t4\t0\tCreateTime\t-\t00ff\t\n0\t6\t1\tCreateTime\t\t-\t61=-;61=;\n").unwrap();
    let read = Dump::read(&file, &serde_json::json!({"0": [4, 8, 2], "1": [0, 0, 0]})).unwrap();
    assert_eq!(read.records(), 2);
    assert_eq!(read.partitions[&0].records[1].headers, "61=-;61=;");
    assert!(Dump::read(&file, &serde_json::json!({"0": [4, 8, 3]})).is_err());
}

proptest! {
    /// Whatever single thing is done to a copy, the judge sees it.
    #[test]
    fn no_single_change_goes_unseen(values in prop::collection::vec("[ab]{0,2}", 1..8), at: usize, what in 0..4) {
        let values: Vec<_> = values.iter().map(String::as_str).collect();
        let source = dump(&values);
        let mut target = source.clone();
        let list = records(&mut target);
        let at = at % list.len();
        match what {
            0 => drop(list.remove(at)),
            1 => list.insert(at, list[at].clone()),
            2 => list[at].value.push('c'),
            _ => list[at].timestamp += 1,
        }
        prop_assert!(!compare(&source, &target).is_exact());
    }
}
