//! What to write for a group, given what was translated and what was there before. Pure.

use std::collections::{HashMap, HashSet};

use twinlog_proto::id::{SourceOffset, TargetOffset};
use twinlog_proto::model::Mirror;

use crate::kafka::{CommittedOffset, GroupDescription, GroupListing, GroupState, GroupType, KafkaError};
use crate::lane::Translation;
use crate::mm2::{Checkpoint, CheckpointKey};
use crate::status::{ForthState as Is, GroupStatus};
use crate::topic::TopicPartition;

/// What a group has committed on the source, or why that isn't known.
#[derive(Debug, Clone)]
pub(super) struct GroupOffsets {
    pub(super) group: String,
    pub(super) offsets: Result<Vec<CommittedOffset>, KafkaError>,
    /// Partitions whose offset stands for one that is further: the copy ends there.
    pub(super) at_copy_end: usize,
    /// Partitions whose offset says nothing of what is copied, with why the first does.
    pub(super) of_others: (Vec<TopicPartition>, Option<String>),
}

impl GroupOffsets {
    pub(super) fn new(group: String, offsets: Result<Vec<CommittedOffset>, KafkaError>) -> Self {
        Self { group, offsets, at_copy_end: 0, of_others: (Vec::new(), None) }
    }
}

/// A group with everything that could be translated.
#[derive(Debug)]
pub(super) struct Translated {
    pub(super) group: String,
    pub(super) checkpoints: Vec<Checkpoint>,
    /// Partitions in all.
    pub(super) partitions: usize,
    /// Those in which the group is ahead of the copy.
    pub(super) at_copy_end: usize,
    /// Those that could not be translated ...
    pub(super) untranslated: HashSet<CheckpointKey>,
    /// ... and why: the first one stands for all.
    pub(super) waiting: Option<String>,
    /// The group's offsets could not be read.
    pub(super) error: Option<String>,
}

/// The last checkpoint of one group and partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Previous {
    pub(super) upstream: SourceOffset,
    pub(super) downstream: TargetOffset,
}

/// Where offsets are committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Target,
    Source,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Target => "target",
            Self::Source => "source",
        })
    }
}

/// An offset to commit for a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// A group whose offset there is below this has not read what lies between: it is left alone.
    pub(super) read_from: i64,
    pub(super) metadata: String,
}

impl From<&Checkpoint> for Place {
    fn from(checkpoint: &Checkpoint) -> Self {
        Self {
            topic: checkpoint.key.target_topic.clone(),
            partition: checkpoint.key.partition,
            offset: checkpoint.downstream.0,
            read_from: 0,
            metadata: checkpoint.metadata.clone(),
        }
    }
}

/// What to commit for a group.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Commits {
    pub(super) offsets: Vec<CommittedOffset>,
    /// Partitions that are further already.
    pub(super) ahead: usize,
    /// Partitions below the place's `read_from`.
    pub(super) unread: usize,
}

/// What syncing did for a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Synced {
    /// The offsets there equal the translated ones.
    Yes,
    /// The group has members there: it decides for itself.
    Active(GroupState),
    /// This many partitions were further there and were left alone.
    Ahead(usize),
    /// This many partitions would have passed over records that the group has not read, and were left alone.
    Unread(usize),
    Failed(String),
}

/// Why a selected group is left out; `None` where its position is its committed offsets. A group that only commits offsets has no
/// protocol type.
pub(super) fn not_translated(group: &GroupListing) -> Option<GroupStatus> {
    let message = match (group.group_type, group.protocol_type.as_str()) {
        (GroupType::Share, _) => {
            "a share group: its position is not one offset, so it can't be translated".to_owned()
        }
        (GroupType::Streams, _) => {
            "a streams group: it has state besides its offsets, so it is not moved".to_owned()
        }
        (_, "" | "consumer") => return None,
        (_, other) => format!("its members are not consumers (protocol type {other})"),
    };
    Some(GroupStatus::new(group.group.clone(), Is::NotSynced, message))
}

/// Committed offsets for topics that the mirror copies.
pub(super) fn of_mirror(mirror: &Mirror, offsets: Vec<CommittedOffset>) -> Vec<CommittedOffset> {
    let is_ours = |o: &CommittedOffset| {
        o.offset >= 0 && mirror.selects(&o.topic) && mirror.policy.remote_topic(&o.topic).is_some()
    };
    offsets.into_iter().filter(is_ours).collect()
}

/// Puts translations, which come in the order of the groups' offsets, back to their groups. Two source partitions that
/// meet in one target partition can't both be right: the lower position loses no record.
pub(super) fn assemble(
    mirror: &Mirror,
    committed: Vec<GroupOffsets>,
    translations: Vec<Translation>,
) -> Vec<Translated> {
    let mut translations = translations.into_iter();
    committed
        .into_iter()
        .map(|group| match group.offsets {
            Ok(offsets) => {
                let own: Vec<_> = translations.by_ref().take(offsets.len()).collect();
                let all = assemble_group(mirror, group.group, offsets, own);
                let (others, why) = group.of_others;
                Translated {
                    partitions: all.partitions + others.len(),
                    at_copy_end: group.at_copy_end,
                    waiting: all.waiting.or(why),
                    untranslated: all
                        .untranslated
                        .into_iter()
                        .chain(keys(mirror, &all.group, others))
                        .collect(),
                    ..all
                }
            }
            Err(error) => Translated {
                group: group.group,
                checkpoints: Vec::new(),
                partitions: 0,
                at_copy_end: 0,
                untranslated: HashSet::new(),
                waiting: None,
                error: Some(error.message),
            },
        })
        .collect()
}

/// Partitions of the source under their names on the target.
fn keys(mirror: &Mirror, group: &str, partitions: Vec<TopicPartition>) -> Vec<CheckpointKey> {
    let key = |TopicPartition { topic, partition }| {
        let target_topic = mirror.policy.remote_topic(&topic)?;
        Some(CheckpointKey { group: group.to_owned(), target_topic, partition })
    };
    partitions.into_iter().filter_map(key).collect()
}

fn assemble_group(
    mirror: &Mirror,
    group: String,
    offsets: Vec<CommittedOffset>,
    translations: Vec<Translation>,
) -> Translated {
    let partitions = offsets.len();
    let (mut untranslated, mut waiting) = (HashSet::new(), None);
    let mut checkpoints: HashMap<CheckpointKey, Checkpoint> = HashMap::new();
    for (committed, translation) in offsets.into_iter().zip(translations) {
        let Some(target_topic) = mirror.policy.remote_topic(&committed.topic) else { continue };
        let key = CheckpointKey { group: group.clone(), target_topic, partition: committed.partition };
        let downstream = match translation {
            Translation::Exact(offset) => offset,
            Translation::Not { message, .. } => {
                waiting.get_or_insert(message);
                untranslated.insert(key);
                continue;
            }
        };
        let upstream = SourceOffset(committed.offset);
        let new = Checkpoint { key: key.clone(), upstream, downstream, metadata: committed.metadata };
        checkpoints
            .entry(key)
            .and_modify(|old| {
                if new.downstream < old.downstream {
                    *old = new.clone();
                }
            })
            .or_insert(new);
    }
    let mut checkpoints: Vec<_> = checkpoints.into_values().collect();
    checkpoints.sort_by(|a, b| a.key.cmp(&b.key));
    Translated { group, checkpoints, partitions, at_copy_end: 0, untranslated, waiting, error: None }
}

/// MM2's rule: a first checkpoint, a group that was set back on the source, or progress on the target.
pub(super) fn is_more_recent(previous: Option<Previous>, checkpoint: &Checkpoint) -> bool {
    previous.is_none_or(|previous| {
        checkpoint.upstream < previous.upstream || checkpoint.downstream > previous.downstream
    })
}

type Described = Result<GroupDescription, KafkaError>;
type Fetched = Result<Vec<CommittedOffset>, KafkaError>;

/// A group whose offsets on a side may be set: it is known to be idle there. What isn't known is never taken for new.
pub(super) fn is_idle(described: Option<&Described>) -> bool {
    described.is_some_and(|d| d.as_ref().is_ok_and(|d| d.state.is_idle()))
}

/// What to commit for a group; or why nothing is committed. `there` is a fresh and complete read: a partition that it leaves out has
/// no offset.
pub(super) fn commits(
    side: Side,
    places: &[Place],
    described: Option<Described>,
    there: Option<Fetched>,
) -> Result<Commits, Synced> {
    let unknown =
        |what: &str, why: &str| Synced::Failed(format!("its {what} on the {side} is unknown: {why}"));
    match described {
        Some(Ok(description)) if description.state.is_idle() => {}
        Some(Ok(description)) => return Err(Synced::Active(description.state)),
        Some(Err(error)) => return Err(unknown("state", &error.message)),
        None => return Err(unknown("state", "the broker did not describe it")),
    }
    match there {
        Some(Ok(there)) => Ok(forwards(places, there)),
        Some(Err(error)) => Err(unknown("position", &error.message)),
        None => Err(unknown("position", "the broker left it out")),
    }
}

fn forwards(places: &[Place], there: Vec<CommittedOffset>) -> Commits {
    let there: HashMap<TopicPartition, i64> =
        there.into_iter().map(|o| (TopicPartition::new(o.topic, o.partition), o.offset)).collect();
    let mut commits = Commits::default();
    for place in places {
        // Some clients commit -1 for nothing.
        let there =
            there.get(&TopicPartition::new(&place.topic, place.partition)).filter(|offset| **offset >= 0);
        match there {
            Some(offset) if *offset > place.offset => commits.ahead += 1,
            Some(offset) if *offset == place.offset => {}
            Some(offset) if *offset < place.read_from => commits.unread += 1,
            _ => commits.offsets.push(CommittedOffset {
                topic: place.topic.clone(),
                partition: place.partition,
                offset: place.offset,
                leader_epoch: -1,
                metadata: place.metadata.clone(),
            }),
        }
    }
    commits
}

/// Whether all that a group has read on the source, as far as it is copied, is behind it on the target too.
pub(super) fn is_in_step(group: &Translated, synced: Option<&Synced>) -> bool {
    let all = group.error.is_none() && group.waiting.is_none();
    all && matches!(synced, Some(Synced::Yes | Synced::Ahead(_)))
}

/// How a group is doing, in the API's words. `synced`: what syncing did; `None` where the mirror doesn't sync.
pub(super) fn status(group: &Translated, synced: Option<&Synced>) -> GroupStatus {
    let waiting = group.partitions.saturating_sub(group.checkpoints.len());
    let (state, message) = match (&group.error, &group.waiting, synced) {
        (Some(error), _, _) => (Is::Waiting, format!("its offsets on the source can't be read: {error}")),
        (_, _, Some(Synced::Failed(message))) => (Is::NotSynced, message.clone()),
        (_, _, Some(Synced::Active(state))) => (
            Is::ActiveOnTarget,
            format!("the group is {state:?} on the target: its offsets there are its own"),
        ),
        (_, Some(message), _) => (Is::Waiting, message.clone()),
        (_, _, Some(Synced::Ahead(n))) => (
            Is::AheadOnTarget,
            format!("{n} partitions are further on the target than translated: left as they are"),
        ),
        // To the target nothing is ever passed over.
        (_, _, Some(Synced::Yes | Synced::Unread(_))) if group.at_copy_end > 0 => (
            Is::AtCopyEnd,
            format!(
                "in {} partitions the group is ahead of the copy: on the target it stands where the copy ends",
                group.at_copy_end
            ),
        ),
        (_, _, Some(Synced::Yes | Synced::Unread(_))) => (Is::Synced, String::new()),
        (_, _, None) => (
            Is::NotSynced,
            "checkpoints are written; offsets are not committed (sync_group_offsets is off)".into(),
        ),
    };
    GroupStatus {
        partitions: group.partitions,
        partitions_waiting: waiting,
        partitions_at_copy_end: group.at_copy_end,
        ..GroupStatus::new(group.group.clone(), state, message)
    }
}

#[cfg(test)]
mod tests;
