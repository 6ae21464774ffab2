//! Reading the offsets topic: the last position of every partition of one source, kept up to date by reading on.

use std::collections::{BTreeMap, HashMap};

use twinlog_proto::id::SourceOffset;

use super::{Key, decode_value};
use crate::cluster::ClusterHandle;
use crate::kafka::KafkaError;
use crate::scan::{self, Span, Wanted};

/// What the topic says about a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Everything up to here is on the target.
    Copied(SourceOffset),
    /// Somebody reset the position: MM2 would begin anew.
    Reset,
}

/// The last record of a key.
#[derive(Debug, Clone, Copy)]
struct Last {
    known: Known,
    timestamp: i64,
    /// Partition of the offsets topic: the same key goes there again.
    home: i32,
}

/// Positions of the partitions of one source cluster, as far as the topic was read. One entry per key.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    cluster: String,
    next: BTreeMap<i32, i64>,
    last: HashMap<Key, Last>,
}

impl Offsets {
    pub(crate) fn new(cluster: &str) -> Self {
        Self { cluster: cluster.to_owned(), ..Self::default() }
    }

    /// Reads on to the topic's present end; open transactions are waited for. A topic that doesn't exist is an empty one.
    pub(crate) async fn read(mut self, target: &ClusterHandle, topic: &str) -> Result<Self, KafkaError> {
        let ends = scan::bounds(target, topic).await?;
        let spans = ends.into_iter().map(|(partition, (start, end))| {
            let from = self.next.get(&partition).copied().unwrap_or(start).max(start);
            self.next.insert(partition, from.max(end));
            Span { partition, from, to: end }
        });
        let spans = spans.collect();
        scan::scan(target, topic, spans, self, |offsets, record| {
            offsets.apply(record.partition, record.timestamp, record.key, record.value);
            Wanted::More
        })
        .await
    }

    pub(crate) fn apply(&mut self, home: i32, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        let Some(key) = key.and_then(Key::decode).filter(|key| key.cluster == self.cluster) else { return };
        let known = match value {
            None | Some(b"null") => Known::Reset,
            Some(value) => match decode_value(value) {
                Some(offset) => Known::Copied(offset),
                None => Known::Reset,
            },
        };
        // The same key in two partitions has no order but time.
        if self.last.get(&key).is_none_or(|last| last.home == home || last.timestamp <= timestamp) {
            self.last.insert(key, Last { known, timestamp, home });
        }
    }

    /// What is known of a source partition; with no connector named, of any source connector: the furthest.
    pub(crate) fn get(&self, connector: Option<&str>, topic: &str, partition: i32) -> Option<Known> {
        self.find(connector, topic, partition).map(|(_, last)| last.known)
    }

    /// The key under which the position of a partition stands, and the partition of the offsets topic that it is in.
    pub(crate) fn place(&self, connector: Option<&str>, topic: &str, partition: i32) -> Option<(&Key, i32)> {
        self.find(connector, topic, partition).map(|(key, last)| (key, last.home))
    }

    fn find(&self, connector: Option<&str>, topic: &str, partition: i32) -> Option<(&Key, &Last)> {
        let of_partition = |key: &Key| key.partition == partition && key.topic == topic;
        let named = |key: &Key| match connector {
            Some(name) => key.connector == name,
            None => key.connector.ends_with(super::DEFAULT_CONNECTOR),
        };
        let found = self.last.iter().filter(|(key, _)| of_partition(key) && named(key));
        found.max_by_key(|(_, last)| match last.known {
            Known::Copied(offset) => offset.0,
            Known::Reset => -1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(offsets: &mut Offsets, home: i32, at: i64, key: &str, value: Option<&str>) {
        offsets.apply(home, at, Some(key.as_bytes()), value.map(str::as_bytes));
    }

    const FOO: &str = r#"["MirrorSourceConnector",{"cluster":"S","partition":0,"topic":"foo"}]"#;

    #[test]
    fn the_last_position_counts_and_null_is_a_reset() {
        let mut offsets = Offsets::new("S");
        assert_eq!(offsets.get(None, "foo", 0), None);
        put(&mut offsets, 3, 1, FOO, Some(r#"{"offset":5}"#));
        put(&mut offsets, 3, 2, FOO, Some(r#"{"offset":9}"#));
        assert_eq!(offsets.get(None, "foo", 0), Some(Known::Copied(SourceOffset(9))));
        assert_eq!(offsets.place(None, "foo", 0).unwrap().1, 3);
        put(&mut offsets, 3, 3, FOO, None);
        assert_eq!(offsets.get(None, "foo", 0), Some(Known::Reset));
        assert_eq!(offsets.get(None, "foo", 1), None);
    }

    #[test]
    fn other_flows_and_other_connectors_are_not_ours() {
        let mut offsets = Offsets::new("S");
        let other = r#"["MirrorSourceConnector",{"cluster":"X","partition":0,"topic":"foo"}]"#;
        put(&mut offsets, 0, 1, other, Some(r#"{"offset":5}"#));
        let strimzi = r#"["S->T.MirrorSourceConnector",{"cluster":"S","partition":0,"topic":"foo"}]"#;
        put(&mut offsets, 0, 1, strimzi, Some(r#"{"offset":7}"#));
        let jdbc = r#"["jdbc",{"cluster":"S","partition":0,"topic":"foo"}]"#;
        put(&mut offsets, 0, 1, jdbc, Some(r#"{"offset":99}"#));
        assert_eq!(offsets.get(None, "foo", 0), Some(Known::Copied(SourceOffset(7))));
        assert_eq!(offsets.get(Some("jdbc"), "foo", 0), Some(Known::Copied(SourceOffset(99))));
        assert_eq!(offsets.get(Some("MirrorSourceConnector"), "foo", 0), None);
    }

    #[test]
    fn a_key_in_two_partitions_goes_by_time() {
        let mut offsets = Offsets::new("S");
        put(&mut offsets, 3, 20, FOO, Some(r#"{"offset":9}"#));
        put(&mut offsets, 4, 10, FOO, Some(r#"{"offset":5}"#));
        assert_eq!(offsets.get(None, "foo", 0), Some(Known::Copied(SourceOffset(9))));
        put(&mut offsets, 4, 30, FOO, Some(r#"{"offset":6}"#));
        assert_eq!(offsets.get(None, "foo", 0), Some(Known::Copied(SourceOffset(6))));
    }
}
