//! Where a committed source offset must point on the target, by content: found by counting records, not by any map.

use super::Dump;

/// The target offset of exactly the record that follows `offset` on the source; the target's end where none does.
/// `None` if a dump hasn't the partition, or the target hasn't the record yet. Both dumps must be alike (`compare`).
pub fn expected_offset(source: &Dump, target: &Dump, partition: i32, offset: i64) -> Option<i64> {
    let from = source.partitions.get(&partition)?;
    let to = target.partitions.get(&partition)?;
    let passed = from.records.partition_point(|record| record.offset < offset);
    if passed == from.records.len() {
        return (to.records.len() == passed).then_some(to.end);
    }
    to.records.get(passed).map(|record| record.offset)
}

/// The other way: the source offset of exactly the first record whose copy lies at or after `offset` on the target; the source's end
/// where there is none. `copies` holds the copies only, with nothing that others wrote between them. `None` as above.
pub fn expected_source(source: &Dump, copies: &Dump, partition: i32, offset: i64) -> Option<i64> {
    let from = copies.partitions.get(&partition)?;
    let to = source.partitions.get(&partition)?;
    let passed = from.records.partition_point(|record| record.offset < offset);
    if passed == to.records.len() {
        return Some(to.end);
    }
    to.records.get(passed).map(|record| record.offset)
}

#[cfg(test)]
mod tests {
    use super::super::tests::dump;
    use super::*;

    #[test]
    fn the_following_record_is_found_over_holes_markers_and_ends() {
        // Source offsets 5, 6, 9 (a hole at 7-8), end 12 (markers behind); target 0, 2, 3, end 5.
        let mut source = dump(&["a", "b", "c"]);
        let mut target = dump(&["a", "b", "c"]);
        for (at, offset) in [5, 6, 9].into_iter().enumerate() {
            source.partitions.get_mut(&0).unwrap().records[at].offset = offset;
        }
        for (at, offset) in [0, 2, 3].into_iter().enumerate() {
            target.partitions.get_mut(&0).unwrap().records[at].offset = offset;
        }
        source.partitions.get_mut(&0).unwrap().end = 12;
        target.partitions.get_mut(&0).unwrap().end = 5;
        let expected = |offset| expected_offset(&source, &target, 0, offset);
        assert_eq!(expected(0), Some(0), "below the log start");
        assert_eq!(expected(5), Some(0));
        assert_eq!(expected(6), Some(2));
        assert_eq!(expected(7), Some(3), "in a hole");
        assert_eq!(expected(9), Some(3));
        assert_eq!(expected(10), Some(5), "on a marker behind the last record");
        assert_eq!(expected(12), Some(5), "at the end");
        assert_eq!(expected_offset(&source, &target, 1, 0), None);
        let back = |offset| expected_source(&source, &target, 0, offset);
        assert_eq!([0, 1, 2, 3, 4, 5].map(back), [5, 6, 6, 9, 12, 12].map(Some), "and back");
    }

    #[test]
    fn an_incomplete_target_has_no_expected_offset() {
        let (source, target) = (dump(&["a", "b"]), dump(&["a"]));
        assert_eq!(expected_offset(&source, &target, 0, 1), None);
        assert_eq!(expected_offset(&source, &target, 0, 2), None);
    }
}
