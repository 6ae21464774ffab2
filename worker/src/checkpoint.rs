//! One shard of a mirror's consumer groups: their offsets on the source, translated exactly, as MM2 checkpoint records on
//! the target and, where the mirror asks for it, as committed offsets of groups that are idle there.
//!
//! Promises: an offset that can't be translated exactly is not written; a committed offset on the target never goes
//! backwards and is never written for a group that is used there or whose state isn't known; nothing is ever deleted.
//! A group that the source doesn't list (it may still be loading) is simply not touched.

mod decide;
mod history;
mod sync;
mod writer;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::{Instant, MissedTickBehavior};
use twinlog_proto::id::{SourceOffset, stable_hash};
use twinlog_proto::model::Mirror;
use twinlog_proto::v1;

use crate::assignments::Shard;
use crate::board::{StatusCell, TaskStatus};
use crate::kafka::{CommittedOffset, GroupListing, GroupType, KafkaError};
use crate::lane::Translator;
use crate::metrics;
use crate::mm2::CheckpointKey;
use crate::supervisor::Ends;

use decide::{GroupOffsets, Previous, Translated};
use writer::Writer;

/// Groups whose offsets are fetched in one call.
const GROUPS_BATCH: usize = 500;

/// Translates until it is dropped.
pub async fn run(shard: Shard, mirror: Arc<Mirror>, ends: Ends, status: &StatusCell) {
    let mut ticks = tokio::time::interval(mirror.refresh_groups);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut task = Checkpoints { shard, mirror, ends, ready: None, known: BTreeSet::new() };
    loop {
        ticks.tick().await;
        let begin = Instant::now();
        let result = task.round().await;
        metrics::checkpoint_round(&task.mirror.id, begin.elapsed(), result.as_ref().err().map(|e| e.reason));
        match result {
            Ok(groups) => {
                metrics::checkpoint_groups(&task.mirror.id, shard.index, &groups);
                status.set(TaskStatus { groups, ..TaskStatus::new(v1::State::Active, None) });
            }
            Err(error) => {
                tracing::warn!(mirror = %task.mirror.id, shard = shard.index, reason = %error.reason, error = %error,
                    "checkpoints failed; they are tried again");
                status.failed(error);
            }
        }
    }
}

struct Checkpoints {
    shard: Shard,
    mirror: Arc<Mirror>,
    ends: Ends,
    /// Opened by the first round that can.
    ready: Option<Ready>,
    /// Groups seen before: asked for even when a list leaves them out.
    known: BTreeSet<String>,
}

/// What a round needs besides the clusters.
struct Ready {
    translator: Arc<Translator>,
    writer: Writer,
    /// The last checkpoint per group and target partition.
    previous: HashMap<CheckpointKey, Previous>,
}

impl Checkpoints {
    async fn round(&mut self) -> Result<Vec<v1::GroupStatus>, KafkaError> {
        let groups = self.groups().await?;
        let fetched_at = SystemTime::now();
        let committed = self.committed(&groups).await?;
        let mut ready = match self.ready.take() {
            Some(ready) => ready,
            None => self.open().await?,
        };
        let result = self.translate_and_write(&mut ready, committed, fetched_at).await;
        self.ready = Some(ready);
        result
    }

    async fn open(&self) -> Result<Ready, KafkaError> {
        let (mirror, ends) = (&self.mirror, &self.ends);
        let translator = Translator::open(mirror.clone(), ends.source.clone(), ends.target.clone()).await?;
        let topic = mirror.policy.checkpoints_topic();
        ends.target.client.ensure_topic(&crate::survey::internal::compacted(mirror, topic.clone())).await?;
        let previous = history::read(&ends.target, &topic, |group| self.is_ours(group)).await?;
        let writer = Writer::new(&ends.target, topic);
        Ok(Ready { translator, writer, previous })
    }

    fn is_ours(&self, group: &str) -> bool {
        stable_hash(group.as_bytes()) % u64::from(self.shard.count) == u64::from(self.shard.index)
    }

    /// Groups of this shard that the mirror selects: those listed now, and those known from before.
    async fn groups(&self) -> Result<BTreeSet<String>, KafkaError> {
        let listed = self.ends.source.client.list_groups().await?;
        let selected = listed
            .into_iter()
            .filter(|group| consumes(group) && self.mirror.groups.matches(&group.group))
            .map(|group| group.group)
            .filter(|group| self.is_ours(group));
        Ok(selected.chain(self.known.iter().cloned()).collect())
    }

    /// What each group has committed for topics of this mirror. A group with nothing is left out, and no longer known.
    async fn committed(&mut self, groups: &BTreeSet<String>) -> Result<Vec<GroupOffsets>, KafkaError> {
        let names: Vec<String> = groups.iter().cloned().collect();
        let mut all = Vec::new();
        self.known.clear();
        for batch in names.chunks(GROUPS_BATCH) {
            let fetched: BTreeMap<_, _> =
                self.ends.source.client.fetch_offsets(batch).await?.into_iter().collect();
            for (group, result) in fetched {
                let offsets = result.map(|offsets| self.of_mirror(offsets));
                if offsets.as_ref().is_ok_and(Vec::is_empty) {
                    continue;
                }
                self.known.insert(group.clone());
                all.push(GroupOffsets { group, offsets });
            }
        }
        Ok(all)
    }

    fn of_mirror(&self, offsets: Vec<CommittedOffset>) -> Vec<CommittedOffset> {
        let ours = |o: &CommittedOffset| {
            o.offset >= 0
                && self.mirror.selects(&o.topic)
                && self.mirror.policy.remote_topic(&o.topic).is_some()
        };
        offsets.into_iter().filter(ours).collect()
    }

    async fn translate_and_write(
        &self,
        ready: &mut Ready,
        committed: Vec<GroupOffsets>,
        fetched_at: SystemTime,
    ) -> Result<Vec<v1::GroupStatus>, KafkaError> {
        ready.translator.refresh().await?;
        let wanted: Vec<(String, i32, SourceOffset)> = committed
            .iter()
            .flat_map(|group| group.offsets.iter().flatten())
            .map(|o| (o.topic.clone(), o.partition, SourceOffset(o.offset)))
            .collect();
        let translations = ready.translator.translate(&wanted).await;
        let translated = decide::assemble(&self.mirror, committed, translations);
        self.write(ready, &translated, fetched_at).await?;
        let states = if self.mirror.sync_group_offsets {
            sync::sync(&self.ends.target.client, &translated).await?
        } else {
            HashMap::new()
        };
        Ok(translated.iter().map(|group| decide::status(group, states.get(&group.group))).collect())
    }

    /// Writes what is more recent than what was written before, and remembers it once it is acknowledged.
    async fn write(
        &self,
        ready: &mut Ready,
        translated: &[Translated],
        fetched_at: SystemTime,
    ) -> Result<(), KafkaError> {
        let due: Vec<_> = translated
            .iter()
            .flat_map(|group| &group.checkpoints)
            .filter(|checkpoint| {
                decide::is_more_recent(ready.previous.get(&checkpoint.key).copied(), checkpoint)
            })
            .cloned()
            .collect();
        ready.writer.write(&due, fetched_at).await?;
        metrics::checkpoint_records(&self.mirror.id, due.len());
        for checkpoint in due {
            let previous = Previous { upstream: checkpoint.upstream, downstream: checkpoint.downstream };
            ready.previous.insert(checkpoint.key, previous);
        }
        Ok(())
    }
}

/// Share and streams groups keep their positions elsewhere. A group that only commits offsets has no protocol type.
fn consumes(group: &GroupListing) -> bool {
    matches!(group.protocol_type.as_str(), "" | "consumer")
        && !matches!(group.group_type, GroupType::Share | GroupType::Streams)
}
