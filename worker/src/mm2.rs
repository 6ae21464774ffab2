//! MirrorMaker 2's checkpoint and heartbeat records, byte for byte (mirrormaker2 reference 3.2 and 3.3): big-endian integers,
//! strings as a 16-bit length and UTF-8.

use twinlog_proto::id::{SourceOffset, TargetOffset};

/// The only version there is.
const VERSION: i16 = 0;

/// Longer than the format's 16-bit length can say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a text of {0} bytes does not fit MM2's records, which hold at most 32767")]
pub struct TooLong(pub usize);

/// Where a group would go on, on the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub key: CheckpointKey,
    pub upstream: SourceOffset,
    pub downstream: TargetOffset,
    /// What the group committed along with its offset.
    pub metadata: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CheckpointKey {
    pub group: String,
    pub target_topic: String,
    pub partition: i32,
}

impl CheckpointKey {
    pub fn encode(&self) -> Result<Vec<u8>, TooLong> {
        let mut out = Vec::new();
        put_text(&mut out, &self.group)?;
        put_text(&mut out, &self.target_topic)?;
        out.extend(self.partition.to_be_bytes());
        Ok(out)
    }

    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let group = take_text(&mut bytes)?;
        let target_topic = take_text(&mut bytes)?;
        let partition = i32::from_be_bytes(take(&mut bytes)?);
        Some(Self { group, target_topic, partition })
    }
}

impl Checkpoint {
    pub fn encode_value(&self) -> Result<Vec<u8>, TooLong> {
        let mut out = Vec::from(VERSION.to_be_bytes());
        out.extend(self.upstream.0.to_be_bytes());
        out.extend(self.downstream.0.to_be_bytes());
        put_text(&mut out, &self.metadata)?;
        Ok(out)
    }

    /// `None` for what is not a checkpoint. Like MM2, reads every version as 0.
    pub fn decode(key: &[u8], mut value: &[u8]) -> Option<Self> {
        let key = CheckpointKey::decode(key)?;
        let _version = i16::from_be_bytes(take(&mut value)?);
        let upstream = SourceOffset(i64::from_be_bytes(take(&mut value)?));
        let downstream = TargetOffset(i64::from_be_bytes(take(&mut value)?));
        let metadata = take_text(&mut value)?;
        Some(Self { key, upstream, downstream, metadata })
    }
}

/// Key of a heartbeat: the flow that emits it.
pub fn heartbeat_key(source: &str, target: &str) -> Result<Vec<u8>, TooLong> {
    let mut out = Vec::new();
    put_text(&mut out, source)?;
    put_text(&mut out, target)?;
    Ok(out)
}

/// Value of a heartbeat, milliseconds since 1970.
pub fn heartbeat_value(timestamp_ms: i64) -> Vec<u8> {
    let mut out = Vec::from(VERSION.to_be_bytes());
    out.extend(timestamp_ms.to_be_bytes());
    out
}

/// The flow that a heartbeat is of; `None` for what is none.
pub fn decode_heartbeat(mut key: &[u8], mut value: &[u8]) -> Option<(String, String)> {
    let flow = (take_text(&mut key)?, take_text(&mut key)?);
    let _version = i16::from_be_bytes(take(&mut value)?);
    let _timestamp = i64::from_be_bytes(take(&mut value)?);
    (key.is_empty() && value.is_empty()).then_some(flow)
}

fn put_text(out: &mut Vec<u8>, text: &str) -> Result<(), TooLong> {
    let length = i16::try_from(text.len()).map_err(|_| TooLong(text.len()))?;
    out.extend(length.to_be_bytes());
    out.extend(text.as_bytes());
    Ok(())
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

fn take_text(bytes: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(i16::from_be_bytes(take(bytes)?)).ok()?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: String = text.split_whitespace().collect();
        (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
    }

    fn checkpoint(group: &str) -> Checkpoint {
        let key = CheckpointKey { group: group.into(), target_topic: "topic-2".into(), partition: 3 };
        Checkpoint {
            key,
            upstream: SourceOffset(4),
            downstream: TargetOffset(5),
            metadata: "metadata-6".into(),
        }
    }

    /// H3, K2: a checkpoint's bytes, and the group found again in its key.
    #[test]
    fn h3_a_checkpoint_has_the_bytes_that_kafka_writes() {
        let checkpoint = checkpoint("group-1");
        let key = hex("0007 67726f75702d31 0007 746f7069632d32 00000003");
        let value = hex("0000 0000000000000004 0000000000000005 000a 6d657461646174612d36");
        assert_eq!(checkpoint.key.encode().unwrap(), key);
        assert_eq!(checkpoint.encode_value().unwrap(), value);
        assert_eq!(Checkpoint::decode(&key, &value), Some(checkpoint));
    }

    /// H3: a heartbeat's bytes.
    #[test]
    fn h3_a_heartbeat_has_the_bytes_that_kafka_writes() {
        assert_eq!(
            heartbeat_key("source-1", "target-2").unwrap(),
            hex("0008 736f757263652d31 0008 7461726765742d32")
        );
        assert_eq!(heartbeat_value(1_234_567_890), hex("0000 00000000499602d2"));
        let key = heartbeat_key("source-1", "target-2").unwrap();
        let flow = Some(("source-1".to_owned(), "target-2".to_owned()));
        assert_eq!(decode_heartbeat(&key, &heartbeat_value(7)), flow);
        for (key, value) in
            [(&key[..3], &heartbeat_value(7)[..]), (&key, b"{\"temperature\": 21}"), (&key, b"")]
        {
            assert_eq!(decode_heartbeat(key, value), None);
        }
    }

    #[test]
    fn any_group_id_survives_and_what_does_not_fit_is_refused() {
        for group in ["a,b", "with space", "größe-日本", ""] {
            let checkpoint = checkpoint(group);
            let (key, value) = (checkpoint.key.encode().unwrap(), checkpoint.encode_value().unwrap());
            assert_eq!(Checkpoint::decode(&key, &value), Some(checkpoint));
        }
        assert_eq!(checkpoint(&"x".repeat(32768)).key.encode(), Err(TooLong(32768)));
    }

    #[test]
    fn what_is_not_a_checkpoint_is_none() {
        let good = checkpoint("g");
        let (key, value) = (good.key.encode().unwrap(), good.encode_value().unwrap());
        for cut in 0..key.len() {
            assert_eq!(Checkpoint::decode(&key[..cut], &value), None);
        }
        for cut in 0..value.len() {
            assert_eq!(Checkpoint::decode(&key, &value[..cut]), None);
        }
        assert_eq!(Checkpoint::decode(&[0xff; 40], &value), None);
    }
}
