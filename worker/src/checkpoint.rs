//! One shard of a mirror's consumer groups: their offsets on the source, translated exactly, as MM2 checkpoint records on
//! the target and, where the mirror asks for it, as committed offsets of groups that are idle there. Where it is asked for, too,
//! what groups have read on the target comes back to the source: see `to_source`.
//!
//! Promises: an offset that can't be translated exactly is not written; a committed offset never goes
//! backwards and is never written for a group that is used there or whose state isn't known; nothing is ever deleted.
//! A checkpoint goes back only when the group did so on the source. A group that the source doesn't list (it may still be
//! loading) is simply not touched.
//!
//! A group that is ahead of the copy stands where the copy ends, in every round; and when the source is gone, what was read of it
//! last goes on to be translated until everything that came over is counted.

mod decide;
mod history;
mod reach;
mod sync;
mod to_source;
mod writer;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, MissedTickBehavior};
use twinlog_proto::id::{SourceOffset, stable_hash};
use twinlog_proto::model::Mirror;
use twinlog_proto::reason::Reason;

use crate::assignments::Shard;
use crate::board::{StatusCell, TaskStatus, state_of};
use crate::cause::Cause;
use crate::cluster::ClusterHandle;
use crate::flow::Ends;
use crate::kafka::{GroupListing, Isolation, KafkaError, ListedOffset, OffsetSpec};
use crate::lane::Translator;
use crate::metrics;
use crate::mm2::{Checkpoint, CheckpointKey};
use crate::said::Said;
use crate::status::{GroupStatus, State};
use crate::survey::internal;
use crate::topic::TopicPartition;

use decide::{GroupOffsets, Place, Previous, Side, Synced, Translated};
use reach::{Facts, Lives};
use to_source::Reached;
use writer::Writer;

/// Groups whose offsets are fetched in one call.
const GROUPS_BATCH: usize = 500;
/// How long a call to the source may take: when it is gone, what came over before is to be counted soon.
const SOURCE_PATIENCE: Duration = Duration::from_secs(5);

/// The last checkpoints of a group on the target, each with its time, milliseconds since 1970.
///
/// # Errors
/// The target can't be read.
pub(crate) async fn last_of(
    mirror: &Mirror,
    target: &ClusterHandle,
    group: &str,
) -> Result<Vec<(Checkpoint, i64)>, KafkaError> {
    history::last_of(target, &internal::checkpoints(mirror).name, group).await
}

/// Translates until it is dropped.
pub async fn run(shard: Shard, mirror: Arc<Mirror>, ends: Ends, status: &StatusCell) {
    let mut ticks = tokio::time::interval(mirror.refresh_groups);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let source = Arc::new(ends.source.with_deadline(SOURCE_PATIENCE));
    let ends = Ends { source, ..ends };
    let mut said = Said::default();
    let mut task = Checkpoints { shard, mirror, ends, ready: None, known: BTreeSet::new() };
    loop {
        ticks.tick().await;
        let begin = Instant::now();
        let result = Box::pin(task.round()).await;
        metrics::checkpoint_round(&task.mirror.id, begin.elapsed(), result.as_ref().err().map(|e| e.reason));
        match result {
            Ok(Round { groups, synced, undone }) => {
                if said.over() {
                    tracing::info!(mirror = %task.mirror.id, shard = shard.index, "checkpoints work again");
                }
                metrics::checkpoint_groups(&task.mirror.id, shard.index, &groups);
                let state = undone.as_ref().map_or(State::Active, state_of);
                let blind = task.ready.as_ref().and_then(|ready| ready.records.as_ref()?.blind.clone());
                let cause = undone.map(Cause::from).or(blind);
                let groups = groups.into();
                status.set(TaskStatus { groups, groups_synced: synced, ..TaskStatus::new(state, cause) });
            }
            Err(error) => {
                if said.trouble(error.reason) {
                    tracing::warn!(mirror = %task.mirror.id, shard = shard.index, reason = %error.reason, error = %error,
                        "checkpoints failed; they are tried again");
                }
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
    lives: Lives,
    /// What was read of the source last: it stands in while the source can't be asked.
    last: Option<Fetched>,
    /// When the offsets that each group has on the target were read on the source.
    synced: HashMap<String, SystemTime>,
}

/// What a round reads of the source.
#[derive(Clone)]
struct Fetched {
    at: SystemTime,
    committed: Vec<GroupOffsets>,
    others: Vec<GroupStatus>,
    /// Of partitions in which some group is ahead of the copy.
    ends: HashMap<TopicPartition, SourceOffset>,
}

/// What came of a round.
struct Round {
    groups: Vec<GroupStatus>,
    /// When the offsets of groups that are in step were read.
    synced: Option<SystemTime>,
    /// Why the source could not be read, checkpoint records could not be written, or nothing could be brought back to the source.
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
            return Ok(Round { groups: Vec::new(), synced: None, undone: None });
        }
        let mut ready = match self.ready.take() {
            Some(ready) => ready,
            None => self.open().await?,
        };
        let result = self.read_and_write(&mut ready).await;
        self.ready = Some(ready);
        result
    }

    /// With what was read last, where the source can't be read now.
    async fn read_and_write(&mut self, ready: &mut Ready) -> Result<Round, KafkaError> {
        let read = self.read_source(ready).await;
        ready.translator.refresh().await?;
        let copied = ready.translator.positions().await;
        let copied = copied.into_iter().collect();
        let read = match read {
            Ok(fetched) => self.with_ends(fetched, &copied).await,
            Err(error) => Err(error),
        };
        let (mut fetched, away) = match read {
            Ok(fetched) => (ready.last.insert(fetched).clone(), None),
            Err(error) => match &ready.last {
                Some(last) => (last.clone(), Some(error)),
                None => return Err(error),
            },
        };
        let facts = Facts { copied, ends: std::mem::take(&mut fetched.ends) };
        reach::bring_back(&mut fetched.committed, &facts);
        self.translate_and_write(ready, fetched, away).await
    }

    /// The groups' offsets, without those that are of an earlier topic.
    async fn read_source(&mut self, ready: &mut Ready) -> Result<Fetched, KafkaError> {
        let Groups { translated: groups, others } = self.groups().await?;
        let at = SystemTime::now();
        let mut committed = self.committed(&groups).await?;
        let offsets = committed.iter().flat_map(|group| group.offsets.iter().flatten());
        let topics = offsets.map(|offset| offset.topic.clone()).collect();
        // Asked after the offsets: what the topics are now, the offsets are of, or of one before.
        let ids = ready.translator.look(&self.ends.source.client, topics).await?;
        ready.lives.sort_out(&mut committed, &ids);
        Ok(Fetched { at, committed, others, ends: HashMap::new() })
    }

    async fn with_ends(
        &self,
        fetched: Fetched,
        copied: &HashMap<TopicPartition, SourceOffset>,
    ) -> Result<Fetched, KafkaError> {
        let ahead = reach::ahead(&fetched.committed, copied);
        if ahead.is_empty() {
            return Ok(fetched);
        }
        let ends: Vec<_> = ahead.into_iter().map(|at| (at.topic, at.partition, OffsetSpec::Latest)).collect();
        let listed = self.ends.source.client.list_offsets(&ends, Isolation::Uncommitted).await?;
        let end = |(at, end): ((String, i32), Result<ListedOffset, _>)| {
            Some((TopicPartition::from(at), SourceOffset(end.ok()?.offset)))
        };
        let ends = listed.into_iter().filter_map(end).collect();
        Ok(Fetched { ends, ..fetched })
    }

    async fn open(&self) -> Result<Ready, KafkaError> {
        let (mirror, ends) = (&self.mirror, &self.ends);
        let translator = Translator::open(mirror.clone(), ends.source.clone(), ends.target.clone()).await?;
        Ok(Ready {
            translator,
            records: None,
            reached: Reached::default(),
            lives: Lives::default(),
            last: None,
            synced: HashMap::new(),
        })
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
                all.push(GroupOffsets::new(group, offsets));
            }
        }
        Ok(all)
    }

    /// `away`: why the source can't be asked.
    async fn translate_and_write(
        &self,
        ready: &mut Ready,
        Fetched { at, committed, others, .. }: Fetched,
        away: Option<KafkaError>,
    ) -> Result<Round, KafkaError> {
        let wanted: Vec<(TopicPartition, SourceOffset)> = committed
            .iter()
            .flat_map(|group| group.offsets.iter().flatten())
            .map(|o| (TopicPartition::new(&o.topic, o.partition), SourceOffset(o.offset)))
            .collect();
        let source = away.as_ref().map_or(Ok(()), Err);
        let translations = ready.translator.translate(&wanted, source).await;
        let translated = decide::assemble(&self.mirror, committed, translations);
        // Each works without the other: a topic that can't be written to keeps no group from being synced.
        let written = self.write(ready, &translated, at).await;
        let states = if self.mirror.sync_group_offsets {
            let places = |group: &Translated| group.checkpoints.iter().map(Place::from).collect();
            let wanted = translated.iter().map(|group| (group.group.clone(), places(group))).collect();
            sync::sync(Side::Target, &self.ends.target.client, wanted).await?
        } else {
            HashMap::new()
        };
        let forth = statuses(&translated, &states, &mut ready.synced, at);
        let mut groups: Vec<_> = forth.into_iter().chain(others).collect();
        let synced = self.mirror.sync_group_offsets.then_some(at);
        let is_away = away.is_some();
        let mut undone = away.or(written.err());
        if self.mirror.sync_group_offsets_to_source && !is_away {
            match self.to_source(ready, &translated).await {
                Ok(back) => to_source::attach(&mut groups, back),
                Err(error) => undone = undone.or(Some(error)),
            }
        }
        Ok(Round { groups, synced, undone })
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

/// How each group is doing. `synced` remembers when those were in step that are not any more.
fn statuses(
    translated: &[Translated],
    states: &HashMap<String, Synced>,
    synced: &mut HashMap<String, SystemTime>,
    at: SystemTime,
) -> Vec<GroupStatus> {
    let before = std::mem::take(synced);
    let one = |group: &Translated| {
        let state = states.get(&group.group);
        let in_step = decide::is_in_step(group, state);
        let since = if in_step { Some(at) } else { before.get(&group.group).copied() };
        synced.extend(since.map(|since| (group.group.clone(), since)));
        // That of those in step is said once for all.
        let sync_time = since.filter(|_| !in_step);
        GroupStatus { sync_time, ..decide::status(group, state) }
    };
    translated.iter().map(one).collect()
}

/// What the mirror selects of a shard's groups.
struct Groups {
    translated: BTreeSet<String>,
    /// Groups whose positions are not committed offsets, with why they are left out.
    others: Vec<GroupStatus>,
}
