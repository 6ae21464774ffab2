//! Which partition of the target a record goes to.

use rand::Rng;

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
            return (murmur2(key) & 0x7fff_ffff) as i32 % *partitions;
        }
        if *bytes >= STICKY_BYTES {
            let step = if *partitions > 1 { rand::rng().random_range(1..*partitions) } else { 0 };
            (*sticky, *bytes) = ((*sticky + step) % *partitions, 0);
        }
        *bytes += size;
        *sticky
    }
}

/// Kafka's hash of keys (`org.apache.kafka.common.utils.Utils.murmur2`).
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let mut hash = SEED ^ data.len() as u32;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_kafkas_own_tests() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

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
