//! Where a partition without progress begins that a consumer group of the source has copied until now.

use twinlog_proto::id::SourceOffset;

use super::{Facts, Question, Verdict};
use crate::offset_map::Chunk;
use crate::progress::{GapKind, PartitionProgress};

/// Where the group has left a partition of a topic that it has offsets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// Everything below was copied.
    At(i64),
    /// At an offset that isn't in the source's log.
    Outside(i64),
    /// It has no offset in this partition.
    Nowhere,
}

impl Left {
    pub(crate) fn of(committed: Option<i64>, facts: &Facts) -> Self {
        match committed {
            None => Self::Nowhere,
            Some(offset) if (facts.earliest..=facts.latest).contains(&offset) => Self::At(offset),
            Some(offset) => Self::Outside(offset),
        }
    }
}

impl Question<'_> {
    pub(super) fn after(&self, left: Left) -> Verdict {
        Verdict::Run(match left {
            Left::At(position) => self.begin(position),
            Left::Nowhere => self.begin(self.start()),
            Left::Outside(committed) => self.begin_outside(committed),
        })
    }

    /// Where the start setting leads. What the source has deleted, or taken back, is a gap.
    fn begin_outside(&self, committed: i64) -> PartitionProgress {
        let (facts, start) = (self.facts, self.start());
        let mut progress = self.begin(start);
        if committed > facts.latest {
            progress.record(self.gap(facts.latest, committed, GapKind::Truncation));
            return progress;
        }
        // Someone who stands in the gap goes on behind it.
        progress.origin = SourceOffset(committed);
        progress.origin_is_log_start = false;
        let end = progress.chunk.target_end();
        progress.chunk = Chunk::anchored(progress.origin, end).restart(progress.position, end);
        progress.record(self.gap(committed, start, GapKind::Retention));
        progress
    }
}
