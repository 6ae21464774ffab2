//! A lane of a mirror that takes over from MirrorMaker 2: it waits until that has ended, and begins where it stopped.

use std::collections::BTreeMap;
use std::time::Duration;

use twinlog_proto::id::{SourceOffset, TargetOffset};
use twinlog_proto::model::{OntoExisting, Partitioning, TakeOver};

use super::{End, Runner, Step};
use crate::cause::Cause;
use crate::lane::Range;
use crate::lane::start::Facts;
use crate::offset_map::Chunk;
use crate::progress::{PartitionProgress, RangeProgress};
use crate::status::State;
use crate::take_over::{self, CopiedBy};

/// A MirrorMaker 2 that still runs is looked for this often.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

impl Runner {
    /// Where partitions go on that MirrorMaker 2 copied further than this mirror did.
    pub(super) async fn taken_over(
        &mut self,
        range: &Range,
        before: Option<&RangeProgress>,
    ) -> Step<BTreeMap<i32, i64>> {
        let mirror = self.spec.mirror.clone();
        let Some(take_over) = &mirror.take_over else { return Ok(BTreeMap::new()) };
        let own = |p: &i32| before.and_then(|before| before.partitions.get(p)).map(|own| own.position.0);
        let partitions: BTreeMap<i32, Option<i64>> = range.partitions().map(|p| (p, own(&p))).collect();
        let target = self.spec.target.clone();
        self.wait_for_end(|| take_over::running(&target, take_over)).await?;
        self.end_what_is_open(take_over).await?;
        let positions = self.copied(range, CopiedBy::MirrorMaker2(take_over), &partitions).await?;
        for (partition, position) in &positions {
            tracing::info!(task = %self.spec.task, partition, position, "taken over from MirrorMaker 2");
        }
        Ok(positions)
    }

    /// Waits while whoever copied until now still does, as `running` says.
    pub(super) async fn wait_for_end<F>(&mut self, running: impl Fn() -> F) -> Step<()>
    where
        F: Future<Output = Result<Option<Cause>, Cause>>,
    {
        let version = self.control.version();
        while let Some(running) = self.ask(Box::pin(running())).await? {
            self.board().not_running(State::Waiting, running);
            self.control.pause(LOOK_AGAIN).await;
            if self.control.is_draining() || self.control.version() != version {
                return Err(End::Again);
            }
            if self.control.turn().is_over() {
                return Err(End::GiveWay);
            }
        }
        Ok(())
    }

    /// Source offsets at which the copies of these partitions end, where that is found.
    pub(super) async fn copied(
        &self,
        range: &Range,
        copied_by: CopiedBy<'_>,
        partitions: &BTreeMap<i32, Option<i64>>,
    ) -> Step<BTreeMap<i32, i64>> {
        let question = take_over::Question {
            mirror: &self.spec.mirror,
            copied_by,
            source: &self.spec.source,
            target: &self.spec.target,
            source_topic: &range.source_topic,
            target_topic: &range.target_topic,
            partitions,
        };
        self.ask(Box::pin(question.positions())).await
    }

    /// Also where partitions go on that hold copies which the mirror has no position in, or whose source was made anew, if it is to
    /// go on where source and copy meet.
    pub(super) async fn met(
        &mut self,
        range: &Range,
        before: Option<&RangeProgress>,
        mut taken: BTreeMap<i32, i64>,
        facts: &[Facts],
    ) -> Step<BTreeMap<i32, i64>> {
        let mirror = self.spec.mirror.clone();
        if mirror.onto_existing != OntoExisting::Align || mirror.partitioning == Partitioning::ByKey {
            return Ok(taken);
        }
        let open = |(partition, facts): (i32, &Facts)| {
            let own = before.and_then(|before| before.partitions.get(&partition));
            let open = own.is_none_or(|own| own.source_topic_id != facts.topic_id) && facts.holds > 0;
            let looked = self.apart.get(&partition) == Some(&facts.target_end);
            (open && !looked && !taken.contains_key(&partition)).then_some((partition, facts.target_end))
        };
        let open: BTreeMap<i32, i64> = range.partitions().zip(facts).filter_map(open).collect();
        if open.is_empty() {
            return Ok(taken);
        }
        let partitions: BTreeMap<i32, Option<i64>> =
            open.keys().map(|partition| (*partition, None)).collect();
        let positions = self.copied(range, CopiedBy::Anyone, &partitions).await?;
        for (partition, position) in &positions {
            tracing::info!(task = %self.spec.task, partition, position, "the copy ends here in the source: it is gone on from there");
        }
        self.apart = open.into_iter().filter(|(partition, _)| !positions.contains_key(partition)).collect();
        taken.extend(positions);
        Ok(taken)
    }

    /// What a killed MM2 left open hides the end of what it copied. Where it can't be ended it is waited for, and that is said.
    async fn end_what_is_open(&mut self, take_over: &TakeOver) -> Step<()> {
        let ended =
            async { Ok::<_, Cause>(take_over::end_open_transactions(&self.spec.target, take_over).await) };
        if let Err(waits) = self.ask(Box::pin(ended)).await? {
            tracing::info!(task = %self.spec.task, "{}", waits.message);
            self.board().not_running(State::Waiting, waits);
        }
        Ok(())
    }
}

/// Progress as if this mirror itself had copied up to `position`, so that what the source lost since is noticed. It has no map of
/// what lies below.
pub(super) fn progress_at(
    position: i64,
    facts: &Facts,
    before: Option<&PartitionProgress>,
) -> PartitionProgress {
    let origin = SourceOffset(position);
    PartitionProgress {
        position: origin,
        source_topic_id: facts.topic_id.clone(),
        leader_epoch: -1,
        origin,
        origin_is_log_start: false,
        gaps: before.map(|before| before.gaps.clone()).unwrap_or_default(),
        chunk: Chunk::anchored(origin, TargetOffset(facts.target_end)),
        target_topic_id: facts.target_topic_id.clone(),
        target_known: None,
        last: None,
    }
}
