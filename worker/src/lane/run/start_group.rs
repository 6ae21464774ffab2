//! A lane of a mirror that continues what a consumer group of the source has copied: it waits until the group has no members, and
//! begins where that has left its partitions.

use std::collections::BTreeMap;

use twinlog_proto::model::Partitioning;

use super::{Runner, Step};
use crate::lane::Range;
use crate::lane::start::{Facts, Left};
use crate::progress::RangeProgress;
use crate::start_group;
use crate::take_over::CopiedBy;

impl Runner {
    /// What the start group has committed of the range's topic; nothing where no partition asks for it. Waits for the group's end: what
    /// it commits last counts.
    pub(super) async fn committed_by_group(
        &mut self,
        range: &Range,
        before: Option<&RangeProgress>,
    ) -> Step<BTreeMap<i32, i64>> {
        let open = |p: i32| !before.is_some_and(|before| before.partitions.contains_key(&p));
        let group = self.spec.mirror.start_group.clone().filter(|_| range.partitions().any(open));
        let Some(group) = group else { return Ok(BTreeMap::new()) };
        let source = self.spec.source.clone();
        self.wait_for_end(|| start_group::active(&source, &group)).await?;
        let mut committed = self.ask(Box::pin(start_group::committed(&source, &group))).await?;
        let committed = committed.remove(&range.source_topic).unwrap_or_default();
        if committed.is_empty() {
            tracing::info!(task = %self.spec.task, group, topic = range.source_topic, "the group has no offset in this topic: none of its");
        }
        Ok(committed)
    }

    /// Where partitions begin that the mirror has no progress in, of a topic that the group has offsets in.
    pub(super) async fn left_by_group(
        &self,
        range: &Range,
        before: Option<&RangeProgress>,
        committed: &BTreeMap<i32, i64>,
        facts: &[Facts],
    ) -> Step<BTreeMap<i32, Left>> {
        let mut left = BTreeMap::new();
        for (partition, facts) in range.partitions().zip(facts) {
            let own = before.is_some_and(|before| before.partitions.contains_key(&partition));
            // One that joins a range which runs has come later than the group's copy, unless that says otherwise.
            let known = committed.contains_key(&partition) || before.is_none();
            if !committed.is_empty() && !own && known {
                left.insert(partition, Left::of(committed.get(&partition).copied(), facts));
            }
        }
        // What a killed MirrorMaker copied after its last commit is found where partitions are the source's.
        let inside = left.iter().filter(|(_, left)| !matches!(left, Left::Outside(_)));
        let inside: BTreeMap<i32, Option<i64>> = inside.map(|(partition, _)| (*partition, None)).collect();
        if !inside.is_empty() && self.spec.mirror.partitioning == Partitioning::Preserve {
            let found = self.copied(range, CopiedBy::Group(committed), &inside).await?;
            left.extend(found.into_iter().map(|(partition, position)| (partition, Left::At(position))));
        }
        for (partition, facts) in range.partitions().zip(facts) {
            if let Some(left) = left.get(&partition) {
                self.say(partition, *left, committed.get(&partition).copied(), facts);
            }
        }
        Ok(left)
    }

    fn say(&self, partition: i32, left: Left, committed: Option<i64>, facts: &Facts) {
        let (task, start) = (&self.spec.task, facts.start.max(facts.earliest));
        let (earliest, latest) = (facts.earliest, facts.latest);
        match left {
            Left::At(position) => {
                tracing::info!(%task, partition, position, committed, "goes on where the group's copy ends");
            }
            Left::Nowhere => {
                tracing::warn!(%task, partition, start, "the group has no offset in this partition: it begins as the mirror's start says");
            }
            Left::Outside(committed) => {
                tracing::warn!(
                    %task, partition, committed, earliest, latest, start,
                    "the group's offset isn't in the log: the partition begins as the mirror's start says, and the gap is recorded"
                );
            }
        }
    }
}
