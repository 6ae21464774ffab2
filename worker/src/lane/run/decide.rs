//! Where every partition of the range goes on, or why it doesn't: from what is known of it and what the clusters say.

use std::collections::BTreeMap;
use std::time::SystemTime;

use twinlog_proto::model::Partitioning;

use super::{Runner, take_over};
use crate::cause::Cause;
use crate::lane::start::{Facts, Left, Question, Verdict};
use crate::lane::{Range, missing};
use crate::progress::{PartitionProgress, RangeProgress};

/// What is known of a range's partitions besides its progress.
pub(super) struct Known {
    /// There was progress once.
    pub(super) began: bool,
    /// Where MirrorMaker 2, or whoever made the copy, has come further.
    pub(super) taken: BTreeMap<i32, i64>,
    /// Where the start group has left those without progress.
    pub(super) left: BTreeMap<i32, Left>,
}

impl Runner {
    /// Progress to run with. Partitions that must not run are noted on the board.
    pub(super) fn decide(
        &mut self,
        range: &Range,
        before: Option<RangeProgress>,
        known: &Known,
        facts: &[Facts],
    ) -> RangeProgress {
        let mut progress = before.unwrap_or_else(|| RangeProgress {
            source_topic: range.source_topic.clone(),
            epoch: 0,
            worker: String::new(),
            partitions: BTreeMap::new(),
            began: false,
            source_cluster_id: String::new(),
            written: crate::progress::Written::default(),
            ends: BTreeMap::new(),
        });
        progress.epoch = self.spec.epoch.0;
        progress.worker = self.spec.worker.to_string();
        let halted_before = std::mem::take(&mut self.board().halted);
        self.board().missing_from.clear();
        for (partition, facts) in range.partitions().zip(facts) {
            let mut facts = Facts { target_kept: self.kept.get(&partition).copied(), ..facts.clone() };
            if let Some(position) = known.taken.get(&partition) {
                let before = progress.partitions.get(&partition);
                let taken = take_over::progress_at(*position, &facts, before);
                progress.partitions.insert(partition, taken);
                facts.foreign = None;
            }
            let question = Question {
                mirror: self.spec.mirror.id.as_str(),
                source: &range.source_topic,
                target: &range.target_topic,
                partition,
                before: progress.partitions.get(&partition),
                left: known.left.get(&partition).copied(),
                facts: &facts,
                policy: self.spec.mirror.gap_policy,
                onto: self.spec.mirror.onto_existing,
                allow_foreign: self.spec.mirror.allow_foreign_writes,
                began: known.began,
                by_key: self.spec.mirror.partitioning == Partitioning::ByKey,
                now: SystemTime::now(),
            };
            match question.decide() {
                Verdict::Run(decided) => self.note_start(partition, &mut progress, decided),
                Verdict::Halt(cause) => {
                    let own = progress.partitions.get(&partition);
                    self.note_halt(partition, cause, halted_before.get(&partition), own, &facts);
                }
            }
        }
        progress
    }

    /// `before`: what it halted for until now.
    fn note_halt(
        &self,
        partition: i32,
        cause: Cause,
        before: Option<&Cause>,
        own: Option<&PartitionProgress>,
        facts: &Facts,
    ) {
        if before.is_none_or(|before| before.reason != cause.reason) {
            tracing::error!(task = %self.spec.task, partition, reason = %cause.reason, "{}", cause.message);
        }
        let mut board = self.board();
        if let Some(from) = own.and_then(|own| missing::missing_from(own, facts)) {
            board.missing_from.insert(partition, from);
        }
        board.halted.insert(partition, cause);
    }
}
