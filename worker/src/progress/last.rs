//! What is remembered of the last record that was copied. A source that was restored from a backup and has grown since has another
//! record there, under the same topic id, in the same leader epoch.

use twinlog_proto::id::SourceOffset;
use twinlog_proto::storage;

/// One record of the source, recognisable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastCopied {
    pub offset: SourceOffset,
    /// Milliseconds since 1970, as the source has it; -1 none.
    pub timestamp: i64,
    /// Of key and value.
    pub crc: u32,
}

impl LastCopied {
    /// The number for a record's content: stored, so it stays what it is.
    pub fn crc_of(key: Option<&[u8]>, value: Option<&[u8]>) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        for part in [key, value].into_iter().flatten() {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize()
    }

    /// Whether a record at the same offset, as it is read now, may be this one. A missing timestamp reads as -1 or 0, depending on the
    /// reader.
    pub fn is(&self, timestamp: i64, crc: u32) -> bool {
        let known = self.timestamp > 0 && timestamp > 0;
        self.crc == crc && (!known || self.timestamp == timestamp)
    }

    pub(super) fn to_stored(self) -> storage::LastCopied {
        storage::LastCopied { source_offset: self.offset.0, timestamp_ms: self.timestamp, crc: self.crc }
    }

    pub(super) fn from_stored(stored: &storage::LastCopied) -> Self {
        Self { offset: SourceOffset(stored.source_offset), timestamp: stored.timestamp_ms, crc: stored.crc }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_record_is_told_by_its_time_or_its_content() {
        let crc = LastCopied::crc_of(Some(b"key"), Some(b"value"));
        let last = LastCopied { offset: SourceOffset(7), timestamp: 1_000, crc };
        assert!(
            last.is(1_000, crc) && last.is(-1, crc) && LastCopied { timestamp: 0, ..last }.is(1_000, crc)
        );
        assert!(!last.is(1_001, crc));
        for (key, value) in
            [(None, Some(&b"keyvalue"[..])), (Some(&b"key"[..]), None), (Some(b"value"), Some(b"key"))]
        {
            assert!(!last.is(1_000, LastCopied::crc_of(key, value)));
        }
        assert_eq!(LastCopied::from_stored(&last.to_stored()), last);
        // A tombstone and a value without bytes are two things.
        assert_ne!(LastCopied::crc_of(Some(b"k"), None), LastCopied::crc_of(Some(b"k"), Some(b"")));
    }
}
