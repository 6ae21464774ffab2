//! Where a MirrorMaker 2 keeps its positions: Connect's offsets topic (mirrormaker2 reference 3.5). Key and value are compact JSON;
//! MM2 looks its positions up by the key's bytes, so a writer must produce exactly those.

mod follow;

use serde_json::Value;
use twinlog_proto::id::SourceOffset;

pub(crate) use follow::{Known, Offsets};

use crate::key_partition::key_partition;

/// What MM2's source connector is called where nobody named it.
pub const DEFAULT_CONNECTOR: &str = "MirrorSourceConnector";
/// As Connect creates the topic.
pub const TOPIC_PARTITIONS: i32 = 25;

/// Whose position it is: one partition of one flow's source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub connector: String,
    /// Alias of the source cluster.
    pub cluster: String,
    pub topic: String,
    pub partition: i32,
}

impl Key {
    /// The bytes that MM2 looks for: its members come in the order of Java's hash map.
    pub fn encode(&self) -> Vec<u8> {
        let text = |text: &str| Value::from(text).to_string();
        format!(
            r#"[{},{{"cluster":{},"partition":{},"topic":{}}}]"#,
            text(&self.connector),
            text(&self.cluster),
            self.partition,
            text(&self.topic)
        )
        .into_bytes()
    }

    /// Reads members in any order: positions that were altered through Connect's REST interface may have another. `None` for what is
    /// not the position of a source connector.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let key: (String, serde_json::Map<String, Value>) = serde_json::from_slice(bytes).ok()?;
        let (connector, place) = key;
        let text = |name| place.get(name).and_then(Value::as_str).map(str::to_owned);
        let partition = i32::try_from(place.get("partition")?.as_i64()?).ok().filter(|p| *p >= 0)?;
        Some(Self { connector, cluster: text("cluster")?, topic: text("topic")?, partition })
    }

    /// Where Java's producer puts the key.
    pub fn partition_of(&self, partitions: i32) -> i32 {
        key_partition(&self.encode(), partitions)
    }
}

/// The value that says: everything up to this source offset is on the target.
pub fn encode_value(last_copied: SourceOffset) -> Vec<u8> {
    format!(r#"{{"offset":{last_copied}}}"#).into_bytes()
}

/// The last one that was copied; `None` for what isn't one. MM2 takes negative ones for none, too.
pub fn decode_value(bytes: &[u8]) -> Option<SourceOffset> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    value.get("offset")?.as_i64().filter(|offset| *offset >= 0).map(SourceOffset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(connector: &str, cluster: &str, topic: &str, partition: i32) -> Key {
        let (connector, cluster, topic) = (connector.into(), cluster.into(), topic.into());
        Key { connector, cluster, topic, partition }
    }

    #[test]
    fn a_position_has_the_bytes_that_connect_writes() {
        let foo = key("MirrorSourceConnector", "S", "foo", 0);
        let bytes = br#"["MirrorSourceConnector",{"cluster":"S","partition":0,"topic":"foo"}]"#;
        assert_eq!(foo.encode(), bytes);
        assert_eq!(Key::decode(bytes), Some(foo));
        assert_eq!(encode_value(SourceOffset(123)), br#"{"offset":123}"#);
        assert_eq!(decode_value(br#"{"offset":123}"#), Some(SourceOffset(123)));
        assert_eq!(decode_value(br#"{"offset":0}"#), Some(SourceOffset(0)));
    }

    #[test]
    fn members_are_read_in_any_order() {
        let bytes = br#"["S->T.MirrorSourceConnector", {"topic":"a.b","partition":7,"cluster":"S"}]"#;
        assert_eq!(Key::decode(bytes), Some(key("S->T.MirrorSourceConnector", "S", "a.b", 7)));
    }

    #[test]
    fn awkward_names_survive() {
        for name in [r#"B- ._~:/?#[]@!$&'()*+;="<>%{}|\^`618"#, "größe", "a,b"] {
            let key = key(name, name, "t", 3);
            assert_eq!(Key::decode(&key.encode()), Some(key));
        }
    }

    #[test]
    fn what_is_no_position_of_a_source_is_none() {
        for bytes in [
            &br#"["MirrorCheckpointConnector",{"partition":0,"topic":"S.foo","group":"g"}]"#[..],
            br#"["MirrorHeartbeatConnector",{"sourceClusterAlias":"S","targetClusterAlias":"T"}]"#,
            br#"["MirrorSourceConnector",{"cluster":"S","partition":-1,"topic":"foo"}]"#,
            br#"["MirrorSourceConnector",{"cluster":"S","partition":4294967296,"topic":"foo"}]"#,
            br#"["MirrorSourceConnector"]"#,
            b"",
            b"\xff",
        ] {
            assert_eq!(Key::decode(bytes), None, "{}", String::from_utf8_lossy(bytes));
        }
        for bytes in [&br#"{"offset":-1}"#[..], br#"{"offset":"1"}"#, br#"{"offset":3.14}"#, b"null", b""] {
            assert_eq!(decode_value(bytes), None, "{}", String::from_utf8_lossy(bytes));
        }
    }
}
