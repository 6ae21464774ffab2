//! A piece of the offset map: consecutive segments, in memory and as stored.

use prost::Message;
use twinlog_proto::id::{SourceOffset, TargetOffset};
use twinlog_proto::storage::OffsetMapChunk;

/// Source offsets `[source, source + len)` lie at target offsets `[target, target + len)`. A length of 0 is an anchor: the
/// next record goes to `target` or beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    pub source: i64,
    pub target: i64,
    pub len: i64,
}

impl Segment {
    pub fn source_end(&self) -> i64 {
        self.source + self.len
    }

    pub fn target_end(&self) -> i64 {
        self.target + self.len
    }
}

/// Where a position leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The record at or after the position is copied to exactly here.
    At(TargetOffset),
    /// No record is mapped at or after the position: what comes next goes here or, over markers, beyond.
    End(TargetOffset),
    /// The position lies before the first segment, which starts here.
    Before(TargetOffset),
}

/// Adding would go backwards on one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "source {source_offset} at target {target_offset} can't follow source {source_end} at target {target_end}"
)]
pub struct OutOfOrder {
    pub source_offset: i64,
    pub target_offset: i64,
    pub source_end: i64,
    pub target_end: i64,
}

/// A stored chunk that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a piece of the offset map is damaged: {0}")]
pub struct Damaged(pub String);

/// Segments in order, at least one; ordered and not overlapping on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    segments: Vec<Segment>,
}

impl Chunk {
    /// A map that begins here and holds nothing yet.
    pub fn anchored(source: SourceOffset, target: TargetOffset) -> Self {
        Self { segments: vec![Segment { source: source.0, target: target.0, len: 0 }] }
    }

    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    fn first(&self) -> Segment {
        self.segments[0]
    }

    fn last(&self) -> Segment {
        self.segments[self.segments.len() - 1]
    }

    pub fn source_start(&self) -> SourceOffset {
        SourceOffset(self.first().source)
    }

    /// One past the last source offset that is mapped.
    pub fn source_end(&self) -> SourceOffset {
        SourceOffset(self.last().source_end())
    }

    /// Source offset of the first mapped record.
    pub fn first_record(&self) -> SourceOffset {
        let first = self.segments.iter().find(|s| s.len > 0);
        SourceOffset(first.unwrap_or(&self.first()).source)
    }

    /// Where the map begins on the target: the first mapped record lies here or beyond.
    pub fn target_anchor(&self) -> TargetOffset {
        TargetOffset(self.first().target)
    }

    /// Where the first mapped record lies.
    pub fn target_start(&self) -> TargetOffset {
        let first = self.segments.iter().find(|s| s.len > 0);
        TargetOffset(first.unwrap_or(&self.first()).target)
    }

    /// One past the last target offset that is mapped.
    pub fn target_end(&self) -> TargetOffset {
        TargetOffset(self.last().target_end())
    }

    /// `count` records from `source` on were stored from `target` on. Goes on with the last segment where both sides do.
    pub fn add(&mut self, source: SourceOffset, target: TargetOffset, count: i64) -> Result<(), OutOfOrder> {
        let last = self.segments.last_mut().expect("a chunk has at least one segment");
        let (source, target) = (source.0, target.0);
        if source < last.source_end() || target < last.target_end() {
            return Err(OutOfOrder {
                source_offset: source,
                target_offset: target,
                source_end: last.source_end(),
                target_end: last.target_end(),
            });
        }
        if source == last.source_end() && target == last.target_end() {
            last.len += count;
        } else {
            self.segments.push(Segment { source, target, len: count });
        }
        Ok(())
    }

    /// Splits off everything but the last segment, which may still grow; `None` if no record is mapped there.
    pub fn close(&mut self) -> Option<Self> {
        let split = self.segments.len() - 1;
        if !self.segments[..split].iter().any(|s| s.len > 0) {
            return None;
        }
        let open = self.segments.split_off(split);
        Some(Self { segments: std::mem::replace(&mut self.segments, open) })
    }

    /// The same map in chunks of at most `max` segments.
    pub fn pieces(self, max: usize) -> Vec<Self> {
        self.segments.chunks(max.max(1)).map(|segments| Self { segments: segments.to_vec() }).collect()
    }

    /// The map up to `source`; from there on nothing that was known counts, and the next copy goes to `target` or beyond.
    pub fn restart(&self, source: SourceOffset, target: TargetOffset) -> Self {
        let (source, target) = (source.0, target.0);
        let mut segments: Vec<Segment> =
            self.segments.iter().copied().take_while(|s| s.source < source).collect();
        if let Some(last) = segments.last_mut() {
            last.len = last.len.min(source - last.source);
        }
        // A target that lost records ends inside the map.
        segments.retain(|s| s.target_end() <= target);
        segments.push(Segment { source, target, len: 0 });
        Self { segments }
    }

    /// The source offset whose copy lies at the target offset, or is the first after it; `None` where the map begins later.
    pub fn source_of(&self, target: TargetOffset) -> Option<SourceOffset> {
        let after = self.segments.partition_point(|s| s.target <= target.0);
        let segment = self.segments[..after].last()?;
        let inside = target.0 - segment.target;
        if inside < segment.len {
            return Some(SourceOffset(segment.source + inside));
        }
        Some(SourceOffset(self.segments.get(after).map_or(segment.source_end(), |next| next.source)))
    }

    /// The record whose copy is the first at or after the target offset, if one below `limit` is mapped there.
    pub fn find_copy(&self, target: TargetOffset, limit: SourceOffset) -> Option<SourceOffset> {
        let after = self.segments.partition_point(|s| s.target_end() <= target.0);
        let next = self.segments[after..].iter().find(|s| s.len > 0)?;
        let inside = (target.0 - next.target).max(0);
        Some(SourceOffset(next.source + inside)).filter(|found| *found < limit)
    }

    pub fn find(&self, position: SourceOffset) -> Found {
        let after = self.segments.partition_point(|s| s.source <= position.0);
        let next = self.segments[after..].iter().find(|s| s.len > 0);
        let Some(segment) = self.segments[..after].last() else {
            return Found::Before(self.target_start());
        };
        let inside = position.0 - segment.source;
        if inside < segment.len {
            return Found::At(TargetOffset(segment.target + inside));
        }
        match next {
            Some(next) => Found::At(TargetOffset(next.target)),
            None => Found::End(self.target_end()),
        }
    }

    /// As `find` in the part of the map below `limit`.
    pub fn find_below(&self, position: SourceOffset, limit: SourceOffset) -> Found {
        let end = Found::End(self.target_end());
        if position >= limit {
            return end;
        }
        let after = self.segments.partition_point(|s| s.source <= position.0);
        let holds = after.checked_sub(1).is_some_and(|i| position.0 < self.segments[i].source_end());
        let next = self.segments[after..].iter().find(|s| s.len > 0);
        if !holds && next.is_none_or(|next| next.source >= limit.0) {
            return end;
        }
        self.find(position)
    }

    pub fn to_stored(&self) -> OffsetMapChunk {
        let pairs = || self.segments.iter().zip(&self.segments[1..]);
        OffsetMapChunk {
            source_start: self.first().source,
            target_start: self.first().target,
            len: self.segments.iter().map(|s| s.len.unsigned_abs()).collect(),
            source_skip: pairs().map(|(a, b)| (b.source - a.source_end()).unsigned_abs()).collect(),
            target_skip: pairs().map(|(a, b)| b.target - a.target_end()).collect(),
        }
    }

    pub fn from_stored(stored: &OffsetMapChunk) -> Result<Self, Damaged> {
        let damaged = |what: &str| Damaged(format!("{what}, starting at source {}", stored.source_start));
        let gaps = stored.len.len().checked_sub(1).ok_or_else(|| damaged("no segments"))?;
        if stored.source_skip.len() != gaps || stored.target_skip.len() != gaps {
            return Err(damaged("segments and gaps don't match"));
        }
        let add = |a: i64, b: u64| {
            i64::try_from(b).ok().and_then(|b| a.checked_add(b)).ok_or_else(|| damaged("offsets overflow"))
        };
        let (mut source, mut target) = (stored.source_start, stored.target_start);
        if source < 0 || target < 0 {
            return Err(damaged("it begins before every log"));
        }
        let mut segments = Vec::with_capacity(stored.len.len());
        for (i, len) in stored.len.iter().enumerate() {
            if i > 0 {
                source = add(source, stored.source_skip[i - 1])?;
                let skip =
                    u64::try_from(stored.target_skip[i - 1]).map_err(|_| damaged("it goes backwards"))?;
                target = add(target, skip)?;
            }
            let (source_end, target_end) = (add(source, *len)?, add(target, *len)?);
            segments.push(Segment { source, target, len: source_end - source });
            (source, target) = (source_end, target_end);
        }
        Ok(Self { segments })
    }

    /// Stored bytes.
    pub fn encode(&self) -> Vec<u8> {
        self.to_stored().encode_to_vec()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        let stored = OffsetMapChunk::decode(bytes).map_err(|e| Damaged(e.to_string()))?;
        Self::from_stored(&stored)
    }
}
