//! From decisions to work: what is noted of a partition that starts, and what the engine is given.

use std::collections::BTreeSet;

use super::Runner;
use crate::engine::Assigned;
use crate::lane::start::Facts;
use crate::progress::{PartitionProgress, RangeProgress};

impl Runner {
    pub(super) fn note_start(
        &mut self,
        partition: i32,
        progress: &mut RangeProgress,
        decided: PartitionProgress,
    ) {
        self.kept.remove(&partition);
        self.others.remove(&partition);
        let before = progress.partitions.insert(partition, decided);
        let decided = &progress.partitions[&partition];
        let recorded = before.as_ref().map_or(0, |b| b.gaps.len());
        if let Some(gap) = decided.gaps.get(recorded..).and_then(|new| new.last()) {
            let (first, end, kind) = (gap.first.0, gap.end.0, gap.kind.as_str());
            tracing::warn!(task = %self.spec.task, partition, first, end, kind, "a gap is recorded, the range goes on");
        }
    }

    pub(super) fn assigned(
        &self,
        progress: &RangeProgress,
        old: &BTreeSet<i32>,
        facts: &[Facts],
    ) -> Vec<Assigned> {
        let mut board = self.board();
        board.blocked = self.refused.iter().map(|(p, (_, cause))| (*p, cause.clone())).collect();
        let running = self.spec.range.partitions().zip(facts).filter(|(p, _)| !board.halted.contains_key(p));
        running
            .filter_map(|(partition, facts)| {
                let progress = progress.partitions.get(&partition)?;
                // What the source has deleted since can't be recognised any more.
                let there = facts.earliest..progress.position.0;
                Some(Assigned {
                    partition,
                    position: progress.position,
                    last: progress.last.filter(|last| there.contains(&last.offset.0)),
                    stop_before: self.refused.get(&partition).map(|(offset, _)| *offset),
                    old: old.contains(&partition),
                })
            })
            .collect()
    }
}
