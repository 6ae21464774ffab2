//! Carrying over what an older version keeps under the former names, range by range.
//!
//! The new owner of a range reads both names, after its fence, and with its first commit, before it copies anything, writes: the closed
//! pieces of the map and the progress under the name of now, and under the former one a record that says so. What makes that safe:
//! - exactly once it is one transaction of the range's transactional id, which is the same in all versions. So it happens as a whole or
//!   not at all, and no older owner can commit under the former name later: to do so it needs a later epoch of the id, and with that it
//!   reads the former topic again, finds the record, and refuses it;
//! - at least once the three are written one after the other, the record last. Who dies between leaves a position that is not later than
//!   the last one, under one name or both;
//! - should both names have progress of a partition, the one with the later epoch of its owner counts, at a tie the name of now;
//! - nothing is deleted: readers that look at both names see every position at any time.

use std::collections::BTreeSet;
use std::time::SystemTime;

use prost::Message;
use twinlog_proto::storage;

use super::{RangeProgress, millis};

/// The former name's progress record of a range.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Left {
    Nothing,
    Progress(RangeProgress),
    /// All of it has been carried over.
    CarriedOver,
}

/// Whether this is what a range's progress record is replaced by when it has been carried over.
pub(crate) fn is_carried_over(value: &[u8]) -> bool {
    storage::Progress::decode(value).is_ok_and(|stored| !stored.continued_in.is_empty())
}

/// What replaces a range's progress record under the former name. An older version can't decode the partition without an open chunk: its
/// lane stops, as INTERNAL, until the range goes to a newer one.
pub(crate) fn carried_over(
    source_topic: &str,
    first_partition: i32,
    (epoch, worker): (i64, &str),
    continued_in: &str,
    now: SystemTime,
) -> Vec<u8> {
    storage::Progress {
        source_topic: source_topic.to_owned(),
        partitions: vec![storage::PartitionProgress { partition: first_partition, ..Default::default() }],
        epoch,
        worker: worker.to_owned(),
        time_ms: millis(now),
        continued_in: continued_in.to_owned(),
        ..Default::default()
    }
    .encode_to_vec()
}

/// Progress from both names, and the partitions whose progress is the former name's.
pub(crate) fn merge(
    now: Option<RangeProgress>,
    former: Option<RangeProgress>,
) -> (Option<RangeProgress>, BTreeSet<i32>) {
    let (mut later, earlier, former_is_later) = match (now, former) {
        (now, None) => return (now, BTreeSet::new()),
        (None, Some(former)) => {
            let partitions = former.partitions.keys().copied().collect();
            return (Some(former), partitions);
        }
        (Some(now), Some(former)) if former.epoch > now.epoch => (former, now, true),
        (Some(now), Some(former)) => (now, former, false),
    };
    let of_later: BTreeSet<i32> = later.partitions.keys().copied().collect();
    let mut of_earlier = BTreeSet::new();
    for (partition, progress) in earlier.partitions {
        if !of_later.contains(&partition) {
            later.partitions.insert(partition, progress);
            of_earlier.insert(partition);
        }
    }
    for (partition, ends) in earlier.ends {
        later.ends.entry(partition).or_insert(ends);
    }
    later.began |= earlier.began;
    (Some(later), if former_is_later { of_later } else { of_earlier })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use twinlog_proto::id::{SourceOffset, TargetOffset};

    use super::*;
    use crate::offset_map::Chunk;
    use crate::progress::PartitionProgress;

    fn progress(epoch: i64, positions: &[(i32, i64)]) -> RangeProgress {
        let partition = |position| PartitionProgress {
            position: SourceOffset(position),
            source_topic_id: "id".to_owned(),
            leader_epoch: 3,
            origin: SourceOffset(0),
            origin_is_log_start: true,
            gaps: Vec::new(),
            chunk: Chunk::anchored(SourceOffset(position), TargetOffset(position)),
            target_topic_id: String::new(),
            target_known: None,
            last: None,
        };
        RangeProgress {
            source_topic: "orders".to_owned(),
            epoch,
            worker: "w".to_owned(),
            partitions: positions.iter().map(|(number, position)| (*number, partition(*position))).collect(),
            began: true,
            source_cluster_id: String::new(),
            written: crate::progress::Written::default(),
            ends: BTreeMap::new(),
        }
    }

    fn positions(progress: &Option<RangeProgress>) -> Vec<(i32, i64)> {
        let progress = progress.as_ref().unwrap();
        progress.partitions.iter().map(|(number, p)| (*number, p.position.0)).collect()
    }

    #[test]
    fn the_later_owner_of_a_partition_counts() {
        assert_eq!(merge(None, None), (None, BTreeSet::new()));
        let now = progress(5, &[(0, 10), (1, 11)]);
        assert_eq!(merge(Some(now.clone()), None), (Some(now.clone()), BTreeSet::new()));
        let (merged, former) = merge(None, Some(now.clone()));
        assert_eq!((merged, former), (Some(now.clone()), BTreeSet::from([0, 1])));

        // As it is where a process died right after it had written progress under the new name, at least once.
        let (merged, former) = merge(Some(now.clone()), Some(progress(5, &[(0, 9), (1, 9)])));
        assert_eq!((merged, former), (Some(now.clone()), BTreeSet::new()), "a tie");
        let (merged, former) = merge(Some(now.clone()), Some(progress(4, &[(0, 9), (2, 9)])));
        assert_eq!(positions(&merged), [(0, 10), (1, 11), (2, 9)]);
        assert_eq!((merged.unwrap().epoch, former), (5, BTreeSet::from([2])));

        // An older version had the range meanwhile, and ran one of its partitions.
        let (merged, former) = merge(Some(now), Some(progress(6, &[(1, 30)])));
        assert_eq!(positions(&merged), [(0, 10), (1, 30)]);
        assert_eq!((merged.unwrap().epoch, former), (6, BTreeSet::from([1])));
    }

    /// What an older version makes of the record: `RangeProgress::decode` of then refused a partition without an open chunk, as it does
    /// now, and its lane stops then.
    #[test]
    fn an_older_version_refuses_what_was_carried_over() {
        let record = carried_over("orders", 4, (9, "w"), "__twinlog.m.progress", SystemTime::UNIX_EPOCH);
        assert!(is_carried_over(&record));
        let refused = RangeProgress::decode(&record).unwrap_err();
        assert_eq!(refused.0, "progress without an open chunk");
        // To a version that doesn't know the last field, the record is what it would be without it.
        let known = storage::Progress::decode(&*record).unwrap();
        let known = storage::Progress { continued_in: String::new(), ..known }.encode_to_vec();
        assert!(RangeProgress::decode(&known).is_err());

        assert!(!is_carried_over(&progress(5, &[(0, 10)]).encode(SystemTime::UNIX_EPOCH)));
        assert!(!is_carried_over(b"\xff\xff"));
    }
}
