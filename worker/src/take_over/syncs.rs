//! MM2's offset syncs, as places that are known on both sides (mirrormaker2 reference 3.1).

use std::collections::HashMap;

use crate::cluster::ClusterHandle;
use crate::kafka::KafkaError;
use crate::scan::{self, Span, Wanted};

/// Syncs kept per partition; of more, every second of the older ones is forgotten.
const MAX_SYNCS: usize = 64;

/// A source offset and where its copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sync {
    pub(crate) source: i64,
    pub(crate) target: i64,
}

/// Syncs of every partition, as far as the topic was read.
#[derive(Debug, Default)]
pub(crate) struct Syncs {
    next: i64,
    of: HashMap<(String, i32), Vec<Sync>>,
}

impl Syncs {
    /// Reads on to the topic's present end. A topic that doesn't exist is an empty one.
    pub(crate) async fn read(mut self, cluster: &ClusterHandle, topic: &str) -> Result<Self, KafkaError> {
        let Some((start, end)) = scan::bounds(cluster, topic).await?.remove(&0) else { return Ok(self) };
        let span = Span { partition: 0, from: self.next.max(start), to: end };
        self.next = span.from.max(end);
        scan::scan(cluster, topic, vec![span], self, |syncs, record| {
            if let Some((place, sync)) = record.key.and_then(place).zip(record.value.and_then(sync)) {
                syncs.add(place, sync);
            }
            Wanted::More
        })
        .await
    }

    fn add(&mut self, place: (String, i32), sync: Sync) {
        let known = self.of.entry(place).or_default();
        // After a step back what was known is worth nothing: the target, or MM2's position, is another one.
        if known.last().is_some_and(|last| sync.source < last.source || sync.target < last.target) {
            known.clear();
        }
        if known.last() != Some(&sync) {
            known.push(sync);
        }
        if known.len() > MAX_SYNCS {
            let mut at = 0;
            known.retain(|_| {
                at += 1;
                at % 2 == 1 || at > MAX_SYNCS / 2
            });
        }
    }

    /// The newest sync of a partition.
    pub(crate) fn newest(&self, topic: &str, partition: i32) -> Option<Sync> {
        self.all(topic, partition).last().copied()
    }

    /// Syncs of a partition, in order.
    pub(crate) fn all(&self, topic: &str, partition: i32) -> &[Sync] {
        self.of.get(&(topic.to_owned(), partition)).map_or(&[], Vec::as_slice)
    }
}

fn place(bytes: &[u8]) -> Option<(String, i32)> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (topic, rest) = rest.split_at_checked(usize::try_from(i16::from_be_bytes(*length)).ok()?)?;
    let (partition, _) = rest.split_first_chunk()?;
    Some((String::from_utf8(topic.to_vec()).ok()?, i32::from_be_bytes(*partition)))
}

fn sync(bytes: &[u8]) -> Option<Sync> {
    let (source, rest) = bytes.split_first_chunk()?;
    let (target, _) = rest.split_first_chunk()?;
    let (source, target) = (i64::from_be_bytes(*source), i64::from_be_bytes(*target));
    (source >= 0 && target >= 0).then_some(Sync { source, target })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(source: i64, target: i64) -> Sync {
        Sync { source, target }
    }

    #[test]
    fn a_sync_is_read_as_kafka_writes_it() {
        let key = [&[0, 7][..], b"topic-1", &[0, 0, 0, 2]].concat();
        assert_eq!(place(&key), Some(("topic-1".into(), 2)));
        let value = [0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4];
        assert_eq!(sync(&value), Some(pair(3, 4)));
        for cut in 0..key.len() {
            assert_eq!(place(&key[..cut]), None);
        }
        assert_eq!(sync(&value[..15]), None);
    }

    #[test]
    fn syncs_are_kept_in_order_and_few() {
        let mut syncs = Syncs::default();
        for i in 0..10_000 {
            syncs.add(("t".into(), 0), pair(i * 100, i * 90));
        }
        let all = syncs.all("t", 0);
        assert!(all.len() <= MAX_SYNCS && all.is_sorted_by_key(|s| s.source), "{}", all.len());
        assert_eq!(syncs.newest("t", 0), Some(pair(999_900, 899_910)));
        assert_eq!(syncs.newest("t", 1), None);
    }

    #[test]
    fn a_step_back_forgets_what_was() {
        let mut syncs = Syncs::default();
        for sync in [pair(10, 10), pair(20, 20), pair(5, 30)] {
            syncs.add(("t".into(), 0), sync);
        }
        assert_eq!(syncs.all("t", 0), [pair(5, 30)]);
    }

    /// What stands in topics of MM2's: syncs, checkpoints, heartbeats, positions. The first byte is the length of the key.
    #[test]
    fn fuzz_mm2_records() {
        use crate::mm2::{self, Checkpoint, CheckpointKey};
        use crate::mm2_offsets::{self, Key, Offsets};

        let record =
            |key: &[u8], value: &[u8]| [&[u8::try_from(key.len()).unwrap()][..], key, value].concat();
        let key =
            CheckpointKey { group: "g".into(), target_topic: "t".into(), partition: 3 }.encode().unwrap();
        let checkpoint = [&[0; 18][..], &[0, 1, b'm']].concat();
        let heartbeat = mm2::heartbeat_key("a", "b").unwrap();
        let place = Key { connector: "c".into(), cluster: "S".into(), topic: "t".into(), partition: 1 };
        let seeds = vec![
            record(&[0, 1, b't', 0, 0, 0, 2], &[1; 16]),
            record(&key, &checkpoint),
            record(&heartbeat, &mm2::heartbeat_value(7)),
            record(&place.encode(), b"{\"offset\":123}"),
            record(&place.encode(), b"null"),
        ];
        let memory = |bytes: usize| (64 << 10) + bytes * 200;
        crate::fuzz::attack(crate::fuzz::Target { name: "mm2", seeds, memory, repair: None }, |input| {
            let Some((length, rest)) = input.split_first() else { return String::new() };
            let (key, value) = rest.split_at(rest.len().min((*length).into()));
            let (mut syncs, mut offsets) = (Syncs::default(), Offsets::new("S"));
            let (place, sync) = (super::place(key), super::sync(value));
            if let Some((place, sync)) = place.clone().zip(sync) {
                syncs.add(place, sync);
            }
            offsets.apply(1, 2, Some(key), Some(value));
            let checkpoint =
                Checkpoint::decode(key, value).map(|checkpoint| checkpoint.encode_value().is_ok());
            let heartbeat = mm2::decode_heartbeat(key, value);
            let position =
                (Key::decode(key).map(|key| key.partition_of(25)), mm2_offsets::decode_value(value));
            format!("{} {checkpoint:?} {} {}", place.is_some(), heartbeat.is_some(), position.0.is_some())
        });
    }
}
