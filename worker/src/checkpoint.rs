//! One shard of a mirror's consumer groups: their offsets on the source, translated exactly, as MM2 checkpoint records on
//! the target and, where the mirror asks for it, as committed offsets of groups that are idle there. Where it is asked for, too,
//! what groups have read on the target comes back to the source: see `to_source`.
//!
//! Promises: an offset that can't be translated exactly is not written; a committed offset never goes
//! backwards and is never written for a group that is used there or whose state isn't known; nothing is ever deleted.
//! A checkpoint goes back only when the group did so on the source. A group that the source doesn't list (it may still be
//! loading) is simply not touched.

mod decide;
mod history;
mod sync;
mod to_source;
mod writer;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::{Instant, MissedTickBehavior};
use twinlog_proto::id::{SourceOffset, stable_hash};
use twinlog_proto::model::Mirror;
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;

use crate::assignments::Shard;
use crate::board::{StatusCell, TaskStatus, state_of};
use crate::cause::Cause;
use crate::kafka::{GroupListing, KafkaError};
use crate::lane::Translator;
use crate::metrics;
use crate::mm2::CheckpointKey;
use crate::supervisor::Ends;
use crate::survey::internal;

use decide::{GroupOffsets, Place, Previous, Side, Translated};
use to_source::Reached;
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
            Ok(Round { groups, undone }) => {
                metrics::checkpoint_groups(&task.mirror.id, shard.index, &groups);
                let state = undone.as_ref().map_or(v1::State::Active, state_of);
                let blind = task.ready.as_ref().and_then(|ready| ready.records.as_ref()?.blind.clone());
                let cause = undone.map(Cause::from).or(blind);
                status.set(TaskStatus { groups: groups.into(), ..TaskStatus::new(state, cause) });
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
    /// Opened by the first round that can.
    records: Option<Records>,
    /// How far groups are known to have been on the source. Kept where their offsets come back there.
    reached: Reached,
}

/// What came of a round.
struct Round {
    groups: Vec<v1::GroupStatus>,
    /// Why checkpoint records could not be written, or nothing could be brought back to the source.
    undone: Option<KafkaError>,
}

/// The checkpoints topic.
struct Records {
    writer: Writer,
    /// The last checkpoint per group and target partition.
    previous: HashMap<CheckpointKey, Previous>,
    /// Why it isn't known what was written before this task started.
    blind: Option<Cause>,
}

impl Checkpoints {
    async fn round(&mut self) -> Result<Round, KafkaError> {
        let mirror = &self.mirror;
        if !mirror.checkpoints && !mirror.sync_group_offsets && !mirror.sync_group_offsets_to_source {
            return Ok(Round { groups: Vec::new(), undone: None });
        }
        let Groups { translated: groups, others } = self.groups().await?;
        let fetched_at = SystemTime::now();
        let committed = self.committed(&groups).await?;
        let mut ready = match self.ready.take() {
            Some(ready) => ready,
            None => self.open().await?,
        };
        let result = self.translate_and_write(&mut ready, committed, fetched_at, others).await;
        self.ready = Some(ready);
        result
    }

    async fn open(&self) -> Result<Ready, KafkaError> {
        let (mirror, ends) = (&self.mirror, &self.ends);
        let translator = Translator::open(mirror.clone(), ends.source.clone(), ends.target.clone()).await?;
        Ok(Ready { translator, records: None, reached: Reached::default() })
    }

    async fn open_records(&self) -> Result<Records, KafkaError> {
        let target = &self.ends.target;
        let topic = internal::checkpoints(&self.mirror);
        internal::ensure_topic(&target.client, &topic).await?;
        let read = history::read(target, &topic.name, |group| self.is_ours(group)).await;
        let (previous, blind) = match read {
            Ok(previous) => (previous, None),
            // Writing everything once more does no harm, and offsets of groups can be synced without it.
            Err(error) if error.reason == Reason::MISSING_PERMISSION => (HashMap::new(), Some(error.into())),
            Err(error) => return Err(error),
        };
        Ok(Records { writer: Writer::new(target, topic.name), previous, blind })
    }

    fn is_ours(&self, group: &str) -> bool {
        stable_hash(group.as_bytes()) % u64::from(self.shard.count) == u64::from(self.shard.index)
    }

    /// Groups of this shard that the mirror selects: those listed now, and those known from before.
    async fn groups(&self) -> Result<Groups, KafkaError> {
        let listed = self.ends.source.client.list_groups().await?;
        let mut groups = Groups { translated: self.known.clone(), others: Vec::new() };
        let selected =
            |group: &GroupListing| self.is_ours(&group.group) && self.mirror.groups.matches(&group.group);
        for group in listed.into_iter().filter(selected) {
            match decide::not_translated(&group) {
                None => {
                    groups.translated.insert(group.group);
                }
                Some(status) => groups.others.push(status),
            }
        }
        Ok(groups)
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
                let offsets = result.map(|offsets| decide::of_mirror(&self.mirror, offsets));
                if offsets.as_ref().is_ok_and(Vec::is_empty) {
                    continue;
                }
                self.known.insert(group.clone());
                all.push(GroupOffsets { group, offsets });
            }
        }
        Ok(all)
    }

    async fn translate_and_write(
        &self,
        ready: &mut Ready,
        committed: Vec<GroupOffsets>,
        fetched_at: SystemTime,
        others: Vec<v1::GroupStatus>,
    ) -> Result<Round, KafkaError> {
        ready.translator.refresh().await?;
        let wanted: Vec<(String, i32, SourceOffset)> = committed
            .iter()
            .flat_map(|group| group.offsets.iter().flatten())
            .map(|o| (o.topic.clone(), o.partition, SourceOffset(o.offset)))
            .collect();
        let translations = ready.translator.translate(&wanted).await;
        let translated = decide::assemble(&self.mirror, committed, translations);
        // Each works without the other: a topic that can't be written to keeps no group from being synced.
        let written = self.write(ready, &translated, fetched_at).await;
        let states = if self.mirror.sync_group_offsets {
            let places = |group: &Translated| group.checkpoints.iter().map(Place::from).collect();
            let wanted = translated.iter().map(|group| (group.group.clone(), places(group))).collect();
            sync::sync(Side::Target, &self.ends.target.client, wanted).await?
        } else {
            HashMap::new()
        };
        let forth = translated.iter().map(|group| decide::status(group, states.get(&group.group)));
        let mut groups: Vec<_> = forth.chain(others).collect();
        let mut undone = written.err();
        if self.mirror.sync_group_offsets_to_source {
            match self.to_source(ready, &translated).await {
                Ok(back) => to_source::attach(&mut groups, back),
                Err(error) => undone = undone.or(Some(error)),
            }
        }
        Ok(Round { groups, undone })
    }

    /// Writes what is more recent than what was written before, and remembers it once it is acknowledged.
    async fn write(
        &self,
        ready: &mut Ready,
        translated: &[Translated],
        fetched_at: SystemTime,
    ) -> Result<(), KafkaError> {
        if !self.mirror.checkpoints {
            return Ok(());
        }
        let records = match &mut ready.records {
            Some(records) => records,
            closed => closed.insert(self.open_records().await?),
        };
        let due: Vec<_> = translated
            .iter()
            .flat_map(|group| &group.checkpoints)
            .filter(|checkpoint| {
                decide::is_more_recent(records.previous.get(&checkpoint.key).copied(), checkpoint)
            })
            .cloned()
            .collect();
        records.writer.write(&due, fetched_at).await?;
        metrics::checkpoint_records(&self.mirror, due.len(), fetched_at.elapsed().unwrap_or_default());
        for checkpoint in due {
            let previous = Previous { upstream: checkpoint.upstream, downstream: checkpoint.downstream };
            if let Some(before) = records.previous.insert(checkpoint.key.clone(), previous)
                && self.mirror.sync_group_offsets_to_source
            {
                ready.reached.note(&checkpoint.key, before.downstream);
            }
        }
        Ok(())
    }
}

/// What the mirror selects of a shard's groups.
struct Groups {
    translated: BTreeSet<String>,
    /// Groups whose positions are not committed offsets, with why they are left out.
    others: Vec<v1::GroupStatus>,
}
