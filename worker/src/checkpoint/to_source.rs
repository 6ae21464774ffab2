//! Failing back: what groups have read of this mirror's copies on the target becomes their committed offsets on the source.
//!
//! As in the other direction nothing is written that isn't exact, nothing goes backwards, and groups that are used on the source, or
//! whose state isn't known, are left alone. Only news is brought: a place on the target that the group's offsets on the source
//! account for, now or before (it was set back there), is the echo of what came from there. So both directions can be on at once.

use std::collections::HashMap;

use twinlog_proto::id::TargetOffset;
use twinlog_proto::model::Mirror;

use super::decide::{self, Place, Side, Synced, Translated};
use super::{Checkpoints, GROUPS_BATCH, Ready, sync};
use crate::kafka::{CommittedOffset, KafkaError};
use crate::lane::{SourcePosition, Translation};
use crate::mm2::CheckpointKey;
use crate::status::{BackState as Is, ForthState, GroupStatus, GroupToSource};
use crate::topic::TopicPartition;

/// The furthest place on the target that a group's offset on the source was ever translated to.
#[derive(Debug, Default)]
pub(super) struct Reached(HashMap<CheckpointKey, TargetOffset>);

impl Reached {
    pub(super) fn note(&mut self, key: &CheckpointKey, at: TargetOffset) {
        match self.0.get_mut(key) {
            Some(known) => *known = at.max(*known),
            None => drop(self.0.insert(key.clone(), at)),
        }
    }
}

/// A group with its offsets in copies of this mirror.
#[derive(Debug)]
struct Back {
    group: String,
    /// Copied partitions that it has an offset in.
    partitions: usize,
    /// Those that the source doesn't know of.
    news: Vec<CommittedOffset>,
    /// Those that were further on the source before.
    set_back: usize,
    /// Untranslated news, and why the first is.
    waiting: (usize, Option<String>),
    /// Its offsets on one of the sides can't be read.
    error: Option<String>,
}

impl Checkpoints {
    /// Brings back what is new, and says how each group on the target is doing.
    pub(super) async fn to_source(
        &self,
        ready: &mut Ready,
        translated: &[Translated],
    ) -> Result<HashMap<String, GroupToSource>, KafkaError> {
        let target = &self.ends.target.client;
        let listed = target.list_groups().await?;
        let (mut names, mut states) = (Vec::new(), HashMap::new());
        for group in
            listed.into_iter().filter(|g| self.is_ours(&g.group) && self.mirror.groups.matches(&g.group))
        {
            match decide::not_translated(&group) {
                None => names.push(group.group),
                Some(GroupStatus { message, .. }) => {
                    let (partitions, partitions_waiting, state) = (0, 0, Is::NotSynced);
                    let status = GroupToSource { partitions, partitions_waiting, state, message };
                    states.insert(group.group, status);
                }
            }
        }
        let on_source = OnSource::of(translated, &mut ready.reached);
        ready
            .reached
            .0
            .retain(|key, _| on_source.groups.contains_key(key.group.as_str()) || names.contains(&key.group));
        let mut groups = Vec::new();
        for batch in names.chunks(GROUPS_BATCH) {
            for (group, offsets) in target.fetch_offsets(batch).await? {
                let offsets = offsets.map(|offsets| of_copies(&self.mirror, offsets));
                if offsets.as_ref().is_ok_and(Vec::is_empty) {
                    continue;
                }
                groups.push(on_source.compare(group, offsets, &ready.reached));
            }
        }
        // What was read by now must be in the map.
        ready.translator.refresh().await?;
        let news: Vec<_> = groups.iter().flat_map(|g| &g.news).map(place_of).collect();
        let mut translations = match news.is_empty() {
            true => Vec::new(),
            false => ready.translator.translate_to_source(&news).await,
        }
        .into_iter();
        let wanted = groups.iter_mut().map(|group| group.places(&self.mirror, &mut translations)).collect();
        let synced = sync::sync(Side::Source, &self.ends.source.client, wanted).await?;
        states
            .extend(groups.iter().map(|group| (group.group.clone(), group.status(synced.get(&group.group)))));
        Ok(states)
    }
}

/// Committed offsets in copies of topics that the mirror selects.
fn of_copies(mirror: &Mirror, offsets: Vec<CommittedOffset>) -> Vec<CommittedOffset> {
    let is_copy = |o: &CommittedOffset| {
        o.offset >= 0 && mirror.policy.source_topic(&o.topic).is_some_and(|source| mirror.selects(&source))
    };
    offsets.into_iter().filter(is_copy).collect()
}

fn place_of(offset: &CommittedOffset) -> (TopicPartition, TargetOffset) {
    (TopicPartition::new(&offset.topic, offset.partition), TargetOffset(offset.offset))
}

/// Where groups are on the source, as places on the target.
struct OnSource<'a> {
    groups: HashMap<&'a str, &'a Translated>,
    places: HashMap<&'a CheckpointKey, TargetOffset>,
}

impl<'a> OnSource<'a> {
    fn of(translated: &'a [Translated], reached: &mut Reached) -> Self {
        let checkpoints = || translated.iter().flat_map(|group| &group.checkpoints);
        checkpoints().for_each(|checkpoint| reached.note(&checkpoint.key, checkpoint.downstream));
        Self {
            groups: translated.iter().map(|group| (group.group.as_str(), group)).collect(),
            places: checkpoints().map(|checkpoint| (&checkpoint.key, checkpoint.downstream)).collect(),
        }
    }

    fn compare(
        &self,
        group: String,
        offsets: Result<Vec<CommittedOffset>, KafkaError>,
        reached: &Reached,
    ) -> Back {
        let known = self.groups.get(group.as_str());
        let mut back =
            Back { group, partitions: 0, news: Vec::new(), set_back: 0, waiting: (0, None), error: None };
        let offsets = match (offsets, known.and_then(|known| known.error.as_ref())) {
            (Ok(offsets), None) => offsets,
            (Ok(_), Some(error)) => {
                back.error = Some(format!("its offsets on the source can't be read: {error}"));
                return back;
            }
            (Err(error), _) => {
                back.error = Some(format!("its offsets on the target can't be read: {}", error.message));
                return back;
            }
        };
        back.partitions = offsets.len();
        for offset in offsets {
            let key = CheckpointKey {
                group: back.group.clone(),
                target_topic: offset.topic.clone(),
                partition: offset.partition,
            };
            let at = TargetOffset(offset.offset);
            let here = self.places.get(&key).copied();
            let is_known = here.is_some() || known.is_some_and(|known| known.untranslated.contains(&key));
            match reached.0.get(&key) {
                _ if here.is_some_and(|here| at <= here) => {}
                // An offset that the source has no more (they expire) is brought again.
                Some(reached) if is_known && at <= *reached => back.set_back += 1,
                _ => back.news.push(offset),
            }
        }
        back
    }
}

impl Back {
    /// Takes the translations of its news, which come in their order.
    fn places(
        &mut self,
        mirror: &Mirror,
        translations: &mut impl Iterator<Item = Translation<SourcePosition>>,
    ) -> sync::Wanted {
        let mut places = Vec::new();
        for (news, translation) in self.news.iter().zip(translations) {
            match (translation, mirror.policy.source_topic(&news.topic)) {
                (Translation::Exact(found), Some(topic)) => places.push(Place {
                    topic,
                    partition: news.partition,
                    offset: found.offset.0,
                    read_from: found.copied_from.0,
                    metadata: news.metadata.clone(),
                }),
                (Translation::Not { message, .. }, _) => {
                    self.waiting.0 += 1;
                    self.waiting.1.get_or_insert(message);
                }
                (Translation::Exact(_), None) => {}
            }
        }
        (self.group.clone(), places)
    }

    fn status(&self, synced: Option<&Synced>) -> GroupToSource {
        let (state, message) = match (&self.error, &self.waiting.1, synced) {
            (Some(error), _, _) => (Is::Waiting, error.clone()),
            (_, _, Some(Synced::Failed(message))) => (Is::NotSynced, message.clone()),
            (_, _, Some(Synced::Active(state))) => (
                Is::ActiveOnSource,
                format!("the group is {state:?} on the source: its offsets there are its own"),
            ),
            (_, Some(message), _) => (Is::Waiting, message.clone()),
            (_, _, Some(Synced::Unread(n))) => (
                Is::Waiting,
                format!(
                    "in {n} partitions the group has not read on the source what lies before the mirror's start: set its offset there \
                     by hand"
                ),
            ),
            _ if self.set_back > 0 => (
                Is::SetBackOnSource,
                format!("{} partitions were further on the source before: left as they are", self.set_back),
            ),
            (_, _, Some(Synced::Ahead(n))) => {
                (Is::AheadOnSource, format!("{n} partitions are further on the source: left as they are"))
            }
            (_, _, Some(Synced::Yes) | None) => (Is::Synced, String::new()),
        };
        GroupToSource { partitions: self.partitions, partitions_waiting: self.waiting.0, state, message }
    }
}

/// Puts what came back to the groups' statuses; groups that are on the target only get one.
pub(super) fn attach(groups: &mut Vec<GroupStatus>, mut back: HashMap<String, GroupToSource>) {
    for group in &mut *groups {
        group.to_source = back.remove(&group.group);
    }
    let mut rest: Vec<_> = back.into_iter().collect();
    rest.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    groups.extend(rest.into_iter().map(|(group, to_source)| {
        let message = "it has no offsets on the source in topics of this mirror".to_owned();
        let status = GroupStatus::new(group, ForthState::OnlyOnTarget, message);
        GroupStatus { to_source: Some(to_source), ..status }
    }));
}

#[cfg(test)]
mod tests;
