//! What the copy on the target says: that it holds records which nobody asked to append to, that it is another topic than it was, or
//! that others have written to it.

use twinlog_proto::id::{SourceOffset, TargetOffset};
use twinlog_proto::model::{GapPolicy, OntoExisting};
use twinlog_proto::reason::Reason;

use super::{Foreign, Question, Verdict};
use crate::cause::Cause;
use crate::offset_map::Chunk;
use crate::progress::{GapKind, PartitionProgress};

impl Question<'_> {
    /// A partition without progress: a copy that isn't empty is not filled from the start unasked.
    pub(super) fn first(&self) -> Verdict {
        let facts = self.facts;
        let start = self.start();
        // Whoever had progress of his own doesn't go back to where another stopped.
        if let Some(left) = self.left.filter(|_| !self.began) {
            return self.after(left);
        }
        let onto = facts.holds > 0 && start < facts.latest;
        // Without its position the start setting leads past what was not copied yet.
        let past = self.began && start > facts.earliest;
        if self.onto == OntoExisting::Append || !(onto || past) {
            return Verdict::Run(self.begin(start));
        }
        Verdict::Halt(if self.began { self.progress_lost() } else { self.not_empty() })
    }

    /// Where a partition without progress begins.
    pub(super) fn start(&self) -> i64 {
        self.facts.start.max(self.facts.earliest)
    }

    /// `None`: the copy is the one that was written, and nobody else wrote to it.
    pub(super) fn copy_is_another(&self, before: &PartitionProgress) -> Option<Verdict> {
        let facts = self.facts;
        let ids_known = !before.target_topic_id.is_empty() && !facts.target_topic_id.is_empty();
        // Of what nothing was copied to, nothing is missing.
        let recreated =
            ids_known && before.target_topic_id != facts.target_topic_id && before.position != before.origin;
        if recreated && self.policy == GapPolicy::Halt {
            return Some(Verdict::Halt(self.copy_recreated(before)));
        }
        if let Some(foreign) = facts.foreign.filter(|_| !self.allow_foreign) {
            let from = if recreated { self.first_missing(before) } else { before.position.0 };
            return Some(Verdict::Halt(self.foreign_writes(from, foreign)));
        }
        // A source that is another one, too, is for its own rule.
        (recreated && before.source_topic_id == facts.topic_id).then(|| Verdict::Run(self.fill_again(before)))
    }

    /// Into the new copy goes everything that the mirror is responsible for, as far as the source still has it.
    fn fill_again(&self, before: &PartitionProgress) -> PartitionProgress {
        let facts = self.facts;
        let (origin, start) = (before.origin.0, before.origin.0.max(facts.earliest));
        let mut progress = PartitionProgress {
            position: SourceOffset(start),
            source_topic_id: facts.topic_id.clone(),
            leader_epoch: -1,
            origin: SourceOffset(start),
            origin_is_log_start: before.origin_is_log_start || start > origin,
            gaps: before.gaps.iter().filter(|gap| gap.end.0 > start).cloned().collect(),
            chunk: Chunk::anchored(SourceOffset(start), TargetOffset(facts.target_end)),
            target_topic_id: facts.target_topic_id.clone(),
            target_known: self.target_known(),
            last: None,
        };
        if start > origin {
            progress.record(self.gap(origin, start, GapKind::Retention));
        }
        progress
    }

    /// Of a copy that was made anew.
    fn first_missing(&self, before: &PartitionProgress) -> i64 {
        let facts = self.facts;
        match before.source_topic_id == facts.topic_id {
            true => before.origin.0.max(facts.earliest),
            false => facts.earliest,
        }
    }

    fn copy_recreated(&self, before: &PartitionProgress) -> Cause {
        let Self { mirror, source, target, partition, .. } = self;
        let (old, new) = (&before.target_topic_id, &self.facts.target_topic_id);
        let (position, first) = (before.position, self.first_missing(before));
        Cause::new(
            Reason::TARGET_TOPIC_RECREATED,
            format!(
                "{target} was deleted and created again on the target: topic id {old} held the copies of {source} partition {partition} up to \
                 offset {position}, now it is {new}. Set the mirror's gap_policy to RESUME to copy everything again that the source still has, \
                 from offset {first} on, and to record what it has no more: twinlog mirror update {mirror} --gap-policy resume"
            ),
        )
    }

    /// `from`: the first offset of the source that is not there.
    fn foreign_writes(&self, from: i64, foreign: Foreign) -> Cause {
        let Self { mirror, target, partition, .. } = self;
        let Foreign { offset, producer_id } = foreign;
        let end = self.facts.target_end;
        let who = match producer_id {
            -1 => "a producer without an id".to_owned(),
            id => format!("producer id {id}"),
        };
        Cause::new(
            Reason::TARGET_FOREIGN_WRITES,
            format!(
                "{target} partition {partition} on the target was written to by others, from its offset {offset} on ({who}; it ends at {end}): what \
                 the source has from offset {from} on is not copied behind that. If it is to be: twinlog mirror update {mirror} \
                 --allow-foreign-writes true (and false again once it is copied, to be told of the next)"
            ),
        )
    }

    fn not_empty(&self) -> Cause {
        let Self { mirror, source, target, partition, .. } = self;
        let (holds, start) = (self.facts.holds, self.start());
        Cause::new(
            Reason::TARGET_NOT_EMPTY,
            format!(
                "{target} {} holds {holds} records on the target, and mirror {mirror} has no position in it: {source} partition {partition} is not \
                 copied behind them unasked.{} If it is to be copied from offset {start} on, behind what is there: twinlog mirror update {mirror} \
                 --onto-existing=append",
                self.whole(),
                self.align()
            ),
        )
    }

    fn progress_lost(&self) -> Cause {
        let Self { mirror, source, target, partition, .. } = self;
        let (holds, start) = (self.facts.holds, self.start());
        Cause::new(
            Reason::PROGRESS_LOST,
            format!(
                "the progress of mirror {mirror} in {source} partition {partition} is gone: its topic on the target was deleted, emptied or made \
                 anew, and {target} {} holds {holds} records.{} To copy from offset {start} on, behind what is there: twinlog mirror update \
                 {mirror} --onto-existing=append",
                self.whole(),
                self.align()
            ),
        )
    }

    /// By key the copies of one partition are in all of the target's.
    fn whole(&self) -> String {
        if self.by_key { "as a whole".to_owned() } else { format!("partition {}", self.partition) }
    }

    fn align(&self) -> String {
        match (self.by_key, self.onto) {
            (true, _) => String::new(),
            (_, OntoExisting::Align) => {
                format!(
                    " It was compared with the source: the end of the copy was not found in {} (records differ, or there are too many to tell).",
                    self.source
                )
            }
            _ => format!(
                " If these are copies of it, continue where they end: twinlog mirror update {} --onto-existing=align.",
                self.mirror
            ),
        }
    }
}
