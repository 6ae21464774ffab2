//! The stored form of an inventory, and when two of them say the same.
//!
//! An inventory of ten thousand topics is larger than etcd takes in one request; compressed it is a fifth of that. What is
//! small stays plain protobuf, which never begins like gzip.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use prost::Message;
use twinlog_proto::v1;

/// Smaller values are stored as they are.
const PLAIN_BYTES: usize = 16 << 10;
/// A stored value that unpacks to more than this is refused.
const MAX_UNPACKED_BYTES: u64 = 256 << 20;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The value to store.
pub fn encode(inventory: &v1::Inventory) -> Bytes {
    let plain = inventory.encode_to_vec();
    if plain.len() <= PLAIN_BYTES {
        return plain.into();
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let packed = encoder.write_all(&plain).and_then(|()| encoder.finish());
    packed.expect("writing to memory does not fail").into()
}

/// Parses a stored value.
pub fn decode(value: &[u8]) -> Result<v1::Inventory, String> {
    if !value.starts_with(&GZIP_MAGIC) {
        return v1::Inventory::decode(value).map_err(|e| e.to_string());
    }
    let mut plain = Vec::new();
    let read = GzDecoder::new(value).take(MAX_UNPACKED_BYTES).read_to_end(&mut plain);
    read.map_err(|e| e.to_string())?;
    v1::Inventory::decode(plain.as_slice()).map_err(|e| e.to_string())
}

/// Whether two inventories say the same, whenever they were made.
pub(crate) fn same(a: &v1::Inventory, b: &v1::Inventory) -> bool {
    let v1::Inventory {
        topics,
        blocked,
        warnings,
        groups,
        source_kafka_cluster_id,
        target_kafka_cluster_id,
        time: _,
    } = a;
    let cause = |cause: &Option<v1::Cause>| cause.as_ref().map(|c| (c.reason.clone(), c.message.clone()));
    cause(blocked) == cause(&b.blocked)
        && *topics == b.topics
        && *warnings == b.warnings
        && *groups == b.groups
        && *source_kafka_cluster_id == b.source_kafka_cluster_id
        && *target_kafka_cluster_id == b.target_kafka_cluster_id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inventory(topics: i32) -> v1::Inventory {
        let topic = |i: i32| v1::InventoryTopic {
            source_topic: format!("team-{}.orders.{i}", i % 40),
            source_topic_id: uuid::Uuid::from_u128(
                u128::from(i.unsigned_abs()).wrapping_mul(u128::MAX / 7919),
            )
            .to_string(),
            target_topic: format!("eu.team-{}.orders.{i}", i % 40),
            source_partitions: 12,
            partitions: 12,
            ..v1::InventoryTopic::default()
        };
        v1::Inventory { topics: (0..topics).map(topic).collect(), groups: 7, ..v1::Inventory::default() }
    }

    #[test]
    fn small_and_large_inventories_come_back_as_they_were() {
        for topics in [0, 1, 50, 10_000] {
            let inventory = inventory(topics);
            assert_eq!(decode(&encode(&inventory)).unwrap(), inventory);
        }
        assert!(decode(&[0x1f, 0x8b, 0]).is_err());
    }

    #[test]
    fn ten_thousand_topics_fit_into_a_transaction() {
        let size = encode(&inventory(10_000)).len();
        assert!(size < crate::store::MAX_TXN_BYTES / 2, "{size} bytes");
    }

    #[test]
    fn the_time_of_a_survey_is_no_difference() {
        let (mut a, mut b) = (inventory(2), inventory(2));
        a.time = Some(prost_types::Timestamp::default());
        assert!(same(&a, &b));
        b.topics[1].partitions += 1;
        assert!(!same(&a, &b));
    }
}
