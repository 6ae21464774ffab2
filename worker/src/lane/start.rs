//! Where a partition starts, decided from its progress and what the clusters say now. Pure: the facts are gathered elsewhere.
//!
//! A position is never moved silently. What is lost is named, recorded as a gap, and handled as the mirror's policy says.

use std::time::SystemTime;

use twinlog_proto::id::{SourceOffset, TargetOffset};
use twinlog_proto::model::{GapPolicy, OntoExisting};
use twinlog_proto::reason::Reason;

use crate::cause::Cause;
use crate::offset_map::Chunk;
use crate::progress::{Gap, GapKind, PartitionProgress};

mod copy;
mod left;

pub(crate) use left::Left;

/// What the clusters say about a partition now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// First offset that exists, and the high watermark, of the source.
    pub(crate) earliest: i64,
    pub(crate) latest: i64,
    /// UUID text; empty where the broker has no topic ids.
    pub(crate) topic_id: String,
    /// Where the leader epoch of the last copied record ended, if it is known.
    pub(crate) epoch_end: Option<i64>,
    /// From here on the source's records are not those that were copied, though there are as many or more.
    pub(crate) others_from: Option<i64>,
    /// Where the mirror's start setting leads, for a partition without progress.
    pub(crate) start: i64,
    /// First offset that exists, and the high watermark, of the target; 0 where copies are spread by key.
    pub(crate) target_start: i64,
    pub(crate) target_end: i64,
    /// Where a record was stored that should have been further on: what was copied there before is gone.
    pub(crate) target_kept: Option<i64>,
    /// UUID text; empty where the broker has no topic ids.
    pub(crate) target_topic_id: String,
    /// What the copy holds that a partition without progress would be appended to, offsets.
    pub(crate) holds: i64,
    /// The first batch on the target that is not known and that another producer wrote.
    pub(crate) foreign: Option<Foreign>,
}

impl Facts {
    /// Below this the source still has what was copied, as far as is known.
    pub(crate) fn kept(&self) -> i64 {
        let epoch_end = self.epoch_end.filter(|end| *end >= 0);
        [epoch_end, self.others_from].into_iter().flatten().fold(self.latest, i64::min)
    }
}

/// A batch that no owner of the range wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Foreign {
    pub(crate) offset: i64,
    /// -1: a producer that is not idempotent.
    pub(crate) producer_id: i64,
}

/// Whether and where to run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    Run(PartitionProgress),
    /// Someone must decide; the progress stays as it is.
    Halt(Cause),
}

/// The question for one partition.
pub(crate) struct Question<'a> {
    /// For messages.
    pub(crate) mirror: &'a str,
    pub(crate) source: &'a str,
    pub(crate) target: &'a str,
    pub(crate) partition: i32,
    pub(crate) before: Option<&'a PartitionProgress>,
    /// Where another copied until now, if the mirror continues that.
    pub(crate) left: Option<Left>,
    pub(crate) facts: &'a Facts,
    pub(crate) policy: GapPolicy,
    pub(crate) onto: OntoExisting,
    pub(crate) allow_foreign: bool,
    /// There was progress of this range once.
    pub(crate) began: bool,
    /// By key no copy is mapped.
    pub(crate) by_key: bool,
    pub(crate) now: SystemTime,
}

impl Question<'_> {
    pub(crate) fn decide(&self) -> Verdict {
        let Some(before) = self.before else { return self.first() };
        let facts = self.facts;
        if let Some(verdict) = self.copy_is_another(before) {
            return verdict;
        }
        let ids_known = !before.source_topic_id.is_empty() && !facts.topic_id.is_empty();
        if ids_known && before.source_topic_id != facts.topic_id {
            return self.recreated(before);
        }
        let kept = facts.target_kept.unwrap_or(facts.target_end).min(facts.target_end);
        if kept < before.chunk.target_end().0 {
            return self.target_truncated(before, kept);
        }
        let kept = facts.kept();
        let copied_end = if self.by_key { before.position } else { before.chunk.source_end() };
        if kept < copied_end.0 {
            return self.source_truncated(before, kept);
        }
        // Behind the last copy only markers and aborted records were passed over, whose epoch nobody noted: what stands there now
        // is read again, as it may be something else.
        let position = before.position.min(SourceOffset(kept));
        let progress = PartitionProgress {
            position,
            source_topic_id: facts.topic_id.clone(),
            target_topic_id: facts.target_topic_id.clone(),
            target_known: self.target_known(),
            ..before.clone()
        };
        match facts.earliest > position.0 {
            true => self.retention(&progress),
            false => Verdict::Run(progress),
        }
    }

    /// Progress of a mirror that is responsible for all from here on.
    fn begin(&self, origin: i64) -> PartitionProgress {
        let facts = self.facts;
        let origin = SourceOffset(origin);
        PartitionProgress {
            position: origin,
            source_topic_id: facts.topic_id.clone(),
            leader_epoch: -1,
            origin,
            origin_is_log_start: origin.0 == facts.earliest,
            gaps: Vec::new(),
            chunk: Chunk::anchored(origin, TargetOffset(facts.target_end)),
            target_topic_id: facts.target_topic_id.clone(),
            target_known: self.target_known(),
            last: None,
        }
    }

    /// What lies on the target now has been looked at.
    fn target_known(&self) -> Option<TargetOffset> {
        (!self.by_key).then_some(TargetOffset(self.facts.target_end))
    }

    fn place(&self) -> String {
        format!("{} partition {}", self.source, self.partition)
    }

    fn halt(&self, reason: Reason, what: &str, then: &str) -> Verdict {
        let remedy = format!("Set the mirror's gap_policy to RESUME to record this and {then}.");
        Verdict::Halt(Cause::new(reason, format!("{what}. {remedy}")))
    }

    /// Goes on at `position`; from there on nothing that was known counts, and copies go behind what is on the target now.
    fn go_on(&self, before: &PartitionProgress, position: i64, gap: Gap) -> Verdict {
        let at = SourceOffset(position);
        let chunk = before.chunk.restart(at, TargetOffset(self.facts.target_end));
        let origin = before.origin.min(at);
        let mut progress = PartitionProgress {
            position: at,
            leader_epoch: -1,
            origin,
            chunk,
            target_topic_id: self.facts.target_topic_id.clone(),
            target_known: self.target_known(),
            last: None,
            ..before.clone()
        };
        progress.record(gap);
        Verdict::Run(progress)
    }

    fn gap(&self, first: i64, end: i64, kind: GapKind) -> Gap {
        Gap { first: SourceOffset(first), end: SourceOffset(end), kind, time: self.now }
    }

    fn recreated(&self, before: &PartitionProgress) -> Verdict {
        let (facts, old) = (self.facts, before.position.0);
        if self.policy == GapPolicy::Halt {
            let what = format!(
                "{} was deleted and created again: topic id {} was copied up to offset {old}, now it is {}",
                self.place(),
                before.source_topic_id,
                facts.topic_id
            );
            return self.halt(
                Reason::SOURCE_TOPIC_RECREATED,
                &what,
                &format!(
                    "copy the new topic from its start, behind the old records. If the new topic begins with what the copy holds (it was mirrored back), continue where they meet: twinlog mirror update {} --onto-existing=align",
                    self.mirror
                ),
            );
        }
        let start = SourceOffset(facts.earliest);
        let mut progress = PartitionProgress {
            position: start,
            source_topic_id: facts.topic_id.clone(),
            leader_epoch: -1,
            origin: start,
            origin_is_log_start: true,
            gaps: before.gaps.clone(),
            chunk: Chunk::anchored(start, TargetOffset(facts.target_end)),
            target_topic_id: facts.target_topic_id.clone(),
            target_known: self.target_known(),
            last: None,
        };
        progress.record(self.gap(old, old, GapKind::Recreated));
        Verdict::Run(progress)
    }

    /// `end`: below it the target has what was copied.
    fn target_truncated(&self, before: &PartitionProgress, end: i64) -> Verdict {
        let known = before.chunk.target_end().0;
        let (target, partition) = (self.target, self.partition);
        if self.policy == GapPolicy::Halt {
            let what = format!(
                "{target} partition {partition} on the target ends at {end}, but was copied up to {known}: it lost records"
            );
            return self.halt(Reason::TARGET_TRUNCATED, &what, "copy what was lost again");
        }
        let known = before.chunk.source_of(TargetOffset(end));
        let again = SourceOffset(known.unwrap_or(before.origin).0.max(self.facts.earliest));
        let chunk = before.chunk.restart(again, TargetOffset(self.facts.target_end));
        let mut progress = PartitionProgress {
            position: again,
            leader_epoch: -1,
            chunk,
            target_topic_id: self.facts.target_topic_id.clone(),
            target_known: self.target_known(),
            last: None,
            ..before.clone()
        };
        if known.is_none() && again > before.origin {
            // Closed pieces of the map may lead to copies that are gone: the mirror begins here, with all that the source still has.
            (progress.origin, progress.origin_is_log_start) = (again, true);
        }
        Verdict::Run(progress)
    }

    fn source_truncated(&self, before: &PartitionProgress, kept: i64) -> Verdict {
        let position = before.position.0;
        if self.policy == GapPolicy::Halt {
            let place = self.place();
            let what = match self.facts.others_from == Some(kept) {
                true => format!(
                    "{place}: what the source has from offset {kept} on is not what was copied up to {position} (was it restored from a backup?)"
                ),
                false => format!(
                    "{place} was truncated at the source to offset {kept} (unclean leader election?) after it was copied up to {position}"
                ),
            };
            return self.halt(Reason::SOURCE_TRUNCATED, &what, "go on with what the source has now");
        }
        let resume = kept.max(self.facts.earliest);
        self.go_on(before, resume, self.gap(kept, position, GapKind::Truncation))
    }

    fn retention(&self, before: &PartitionProgress) -> Verdict {
        let (position, earliest) = (before.position.0, self.facts.earliest);
        if self.policy == GapPolicy::Halt {
            let what = format!(
                "{}: offsets {position} to {} were deleted at the source before they were copied (retention outran the mirror)",
                self.place(),
                earliest - 1
            );
            return self.halt(Reason::SOURCE_OFFSETS_LOST, &what, "go on at the first record that exists");
        }
        self.go_on(before, earliest, self.gap(position, earliest, GapKind::Retention))
    }
}

#[cfg(test)]
mod tests;
