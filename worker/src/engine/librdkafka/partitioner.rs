//! Which partition of the target a record goes to.

use rand::Rng;

use crate::key_partition::key_partition;

/// Records without a key stay with one partition for so many bytes, as with Kafka's own producer (its `batch.size`).
const STICKY_BYTES: usize = 16 << 10;

pub(crate) enum Partitioner {
    /// Partition N of the source to partition N.
    Preserve,
    ByKey {
        partitions: i32,
        /// Where records without a key go now, and how many bytes have gone there.
        sticky: i32,
        bytes: usize,
    },
}

impl Partitioner {
    /// By key into so many partitions, as Kafka's Java producer chooses them.
    pub(crate) fn by_key(partitions: i32) -> Self {
        let partitions = partitions.max(1);
        Self::ByKey { partitions, sticky: rand::rng().random_range(0..partitions), bytes: 0 }
    }

    pub(crate) fn is_by_key(&self) -> bool {
        matches!(self, Self::ByKey { .. })
    }

    pub(crate) fn partition(&mut self, source: i32, key: Option<&[u8]>, size: usize) -> i32 {
        let Self::ByKey { partitions, sticky, bytes } = self else { return source };
        if let Some(key) = key {
            return key_partition(key, *partitions);
        }
        if *bytes >= STICKY_BYTES {
            let step = if *partitions > 1 { rand::rng().random_range(1..*partitions) } else { 0 };
            (*sticky, *bytes) = ((*sticky + step) % *partitions, 0);
        }
        *bytes += size;
        *sticky
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_partition_and_records_without_one_visit_all() {
        let mut partitioner = Partitioner::by_key(5);
        let of = |p: &mut Partitioner, key| p.partition(9, key, 1000);
        let first = of(&mut partitioner, Some(b"k"));
        assert!((0..5).contains(&first));
        let mut seen = std::collections::BTreeSet::new();
        let mut moves = 0;
        let mut last = None;
        for _ in 0..1000 {
            let sticky = of(&mut partitioner, None);
            moves += usize::from(last.replace(sticky).is_some_and(|last| last != sticky));
            seen.insert(sticky);
            assert_eq!(of(&mut partitioner, Some(b"k")), first);
        }
        assert_eq!(seen.len(), 5);
        assert!((50..70).contains(&moves), "{moves} moves in a million bytes");
        assert_eq!(Partitioner::Preserve.partition(9, Some(b"k"), 1), 9);
        assert_eq!(Partitioner::by_key(1).partition(9, None, 1 << 20), 0);
    }
}
