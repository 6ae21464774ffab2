//! Progress: the source positions of a range that are durably on the target, with the open piece of the offset map. One
//! record per range in `__twinlog.<mirror>.progress`, rewritten with every commit; closed pieces of the map go to
//! `__twinlog.<mirror>.offsets`. Both topics are compacted, and the records of one range lie in one partition of each.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use prost::Message;
use twinlog_proto::id::{SourceOffset, TargetOffset, stable_hash};
use twinlog_proto::lag::Ends;
use twinlog_proto::storage;

use crate::offset_map::{Chunk, Damaged};

pub(crate) mod former;
mod last;
mod topics;
mod written;

pub use last::LastCopied;
pub use topics::{Former, FormerTopics, StorageTopics};
pub use written::{Engine, Mode, Written};

/// Of the records that are written here, see `storage::Progress`.
const FORMAT_VERSION: i32 = 1;

/// Progress of one range.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeProgress {
    pub source_topic: String,
    /// Assignment epoch of the writer.
    pub epoch: i64,
    pub worker: String,
    pub partitions: BTreeMap<i32, PartitionProgress>,
    /// It is noted elsewhere that there is progress of the range.
    pub began: bool,
    /// Kafka's id; empty where it isn't known.
    pub source_cluster_id: String,
    /// How the source's partitions ended when that was last seen.
    pub ends: BTreeMap<i32, Ends>,
    pub written: Written,
}

/// Progress of one partition.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionProgress {
    /// Everything below is on the target or a recorded gap.
    pub position: SourceOffset,
    /// UUID text; empty where the broker has no topic ids.
    pub source_topic_id: String,
    /// Of the last record copied; -1 unknown.
    pub leader_epoch: i32,
    /// First offset this mirror was responsible for.
    pub origin: SourceOffset,
    /// Nothing existed below `origin` when the mirror began.
    pub origin_is_log_start: bool,
    pub gaps: Vec<Gap>,
    pub chunk: Chunk,
    /// The topic that holds the copies: UUID text; empty where the broker has no ids, or nobody has looked yet.
    pub target_topic_id: String,
    /// Below this the target's log is known: copies, markers of their transactions, and what was there before. `None` where
    /// nobody has looked yet, or copies are spread by key.
    pub target_known: Option<TargetOffset>,
    /// The last record that was copied, or one shortly before it; `None` where nobody has noted it.
    pub last: Option<LastCopied>,
}

/// Source offsets `[first, end)` that were gone before they were copied, or that the source took back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    pub first: SourceOffset,
    pub end: SourceOffset,
    pub kind: GapKind,
    pub time: SystemTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapKind {
    /// Deleted at the source (retention, DeleteRecords) before they were copied.
    Retention,
    /// The source lost them after they were copied (unclean election).
    Truncation,
    /// The topic was deleted and created again.
    Recreated,
}

impl GapKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retention => "RETENTION",
            Self::Truncation => "TRUNCATION",
            Self::Recreated => "RECREATED",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "TRUNCATION" => Self::Truncation,
            "RECREATED" => Self::Recreated,
            _ => Self::Retention,
        }
    }
}

/// Gaps kept per partition; of more, the oldest are forgotten.
pub const MAX_GAPS: usize = 16;

impl RangeProgress {
    pub fn encode(&self, now: SystemTime) -> Vec<u8> {
        let partitions = self.partitions.iter().map(|(number, p)| {
            let ends = self.ends.get(number);
            storage::PartitionProgress {
                source_high_watermark: ends.map(|ends| ends.high_watermark),
                source_last_stable_offset: ends.and_then(|ends| ends.last_stable),
                source_seen_ms: ends.map_or(0, |ends| millis(ends.seen)),
                ..p.to_stored(*number)
            }
        });
        let partitions = partitions.collect();
        let mut stored = storage::Progress {
            source_topic: self.source_topic.clone(),
            partitions,
            epoch: self.epoch,
            worker: self.worker.clone(),
            time_ms: millis(now),
            began: self.began,
            source_cluster_id: self.source_cluster_id.clone(),
            format_version: FORMAT_VERSION,
            ..Default::default()
        };
        self.written.store(&mut stored);
        stored.encode_to_vec()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        let stored = storage::Progress::decode(bytes).map_err(|e| Damaged(e.to_string()))?;
        if stored.format_version > FORMAT_VERSION {
            let version = stored.format_version;
            return Err(Damaged(format!(
                "progress of format {version}, {FORMAT_VERSION} is the latest known here"
            )));
        }
        let written = Written::from_stored(&stored);
        let ends = stored.partitions.iter().filter_map(|p| Some((p.partition, ends(p)?))).collect();
        let partitions = stored
            .partitions
            .into_iter()
            .map(|p| Ok((p.partition, PartitionProgress::from_stored(p)?)))
            .collect::<Result<_, Damaged>>()?;
        Ok(Self {
            source_topic: stored.source_topic,
            epoch: stored.epoch,
            worker: stored.worker,
            partitions,
            began: stored.began,
            source_cluster_id: stored.source_cluster_id,
            ends,
            written,
        })
    }
}

fn ends(stored: &storage::PartitionProgress) -> Option<Ends> {
    Some(Ends {
        high_watermark: stored.source_high_watermark?,
        last_stable: stored.source_last_stable_offset,
        seen: time(stored.source_seen_ms),
    })
}

impl PartitionProgress {
    fn to_stored(&self, partition: i32) -> storage::PartitionProgress {
        storage::PartitionProgress {
            partition,
            position: self.position.0,
            source_topic_id: self.source_topic_id.clone(),
            leader_epoch: self.leader_epoch,
            origin: self.origin.0,
            origin_is_log_start: self.origin_is_log_start,
            gaps: self
                .gaps
                .iter()
                .map(|gap| storage::GapRecord {
                    first_offset: gap.first.0,
                    end_offset: gap.end.0,
                    reason: gap.kind.as_str().to_owned(),
                    time_ms: millis(gap.time),
                })
                .collect(),
            open_chunk: Some(self.chunk.to_stored()),
            target_topic_id: self.target_topic_id.clone(),
            target_known: self.target_known.map(|offset| offset.0),
            last_copied: self.last.map(LastCopied::to_stored),
            ..Default::default()
        }
    }

    fn from_stored(stored: storage::PartitionProgress) -> Result<Self, Damaged> {
        let chunk = stored.open_chunk.ok_or_else(|| Damaged("progress without an open chunk".to_owned()))?;
        if let Some(offset) = [stored.position, stored.origin].into_iter().find(|offset| *offset < 0) {
            return Err(Damaged(format!("progress at offset {offset}")));
        }
        Ok(Self {
            position: SourceOffset(stored.position),
            source_topic_id: stored.source_topic_id,
            leader_epoch: stored.leader_epoch,
            origin: SourceOffset(stored.origin),
            origin_is_log_start: stored.origin_is_log_start,
            gaps: stored
                .gaps
                .iter()
                .map(|gap| Gap {
                    first: SourceOffset(gap.first_offset),
                    end: SourceOffset(gap.end_offset),
                    kind: GapKind::parse(&gap.reason),
                    time: time(gap.time_ms),
                })
                .collect(),
            chunk: Chunk::from_stored(&chunk)?,
            target_topic_id: stored.target_topic_id,
            target_known: stored.target_known.map(TargetOffset),
            last: stored.last_copied.as_ref().map(LastCopied::from_stored),
        })
    }

    /// Records a gap, forgetting the oldest beyond the limit.
    pub fn record(&mut self, gap: Gap) {
        self.gaps.push(gap);
        let surplus = self.gaps.len().saturating_sub(MAX_GAPS);
        self.gaps.drain(..surplus);
    }
}

pub(crate) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub(crate) fn time(millis: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// Key of a range's progress record.
pub fn progress_key(target_topic: &str, block: u32) -> Vec<u8> {
    storage::ProgressKey {
        target_topic: target_topic.to_owned(),
        block: i32::try_from(block).unwrap_or(i32::MAX),
    }
    .encode_to_vec()
}

/// Key of a closed chunk.
pub fn chunk_key(source_topic: &str, partition: i32, source_topic_id: &str, start: SourceOffset) -> Vec<u8> {
    storage::OffsetMapKey {
        source_topic: source_topic.to_owned(),
        partition,
        source_topic_id: source_topic_id.to_owned(),
        first_source_offset: start.0,
    }
    .encode_to_vec()
}

/// Key of the note that a range has begun.
pub fn began_key(target_topic: &str, block: u32) -> Vec<u8> {
    storage::OffsetMapKey {
        source_topic: target_topic.to_owned(),
        partition: i32::try_from(block).unwrap_or(i32::MAX),
        source_topic_id: String::new(),
        first_source_offset: NOT_A_CHUNK,
    }
    .encode_to_vec()
}

/// The note that a range has begun: should its progress ever be gone, it is missed.
pub fn began_value(now: SystemTime) -> Vec<u8> {
    storage::RangeBegan { time_ms: millis(now) }.encode_to_vec()
}

/// In place of a chunk's first source offset.
pub const NOT_A_CHUNK: i64 = -1;

/// Partition of both internal topics that holds a range's records.
pub fn storage_partition(target_topic: &str, block: u32, partitions: usize) -> i32 {
    let mut name = target_topic.as_bytes().to_vec();
    name.push(b'/');
    name.extend_from_slice(block.to_string().as_bytes());
    (stable_hash(&name) % partitions.max(1) as u64) as i32
}

#[cfg(test)]
mod tests;
