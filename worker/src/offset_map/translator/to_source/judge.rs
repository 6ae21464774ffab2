//! Whether what the map says of a position in a copy still holds on the clusters. Pure.

use std::collections::HashMap;

use twinlog_proto::id::{SourceOffset, TargetOffset};
use twinlog_proto::reason::Reason;

use super::SourcePosition;
use crate::kafka::{EpochEnd, KafkaError, ListedOffset, PerPartition, TopicMetadata};
use crate::offset_map::Translation;
use crate::topic::TopicPartition;

/// What the map says of a position in a copy.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) source_topic: String,
    pub(super) target_topic: String,
    pub(super) partition: i32,
    /// The position.
    pub(super) at: TargetOffset,
    /// The record whose copy is the first at or after it, if there is one.
    pub(super) source: Option<SourceOffset>,
    /// Where the map begins and ends on the target.
    pub(super) begins: TargetOffset,
    pub(super) ends: TargetOffset,
    /// One past the last record that was copied, and up to where there is no other.
    pub(super) copied_to: SourceOffset,
    pub(super) position: SourceOffset,
    pub(super) origin: SourceOffset,
    pub(super) origin_is_log_start: bool,
    /// UUID text; empty where the source has no topic ids.
    pub(super) topic_id: String,
    /// Of the last record that was copied; -1 unknown.
    pub(super) leader_epoch: i32,
    /// There may be copies behind the map's end that it doesn't know yet.
    pub(super) may_lag: bool,
}

/// What the clusters say of a partition.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) topic_id: String,
    /// First offset that exists, and the high watermark, of the source.
    pub(super) earliest: SourceOffset,
    pub(super) latest: SourceOffset,
    /// Where the leader epoch of the last copied record ended, if it is known.
    pub(super) epoch_end: Option<SourceOffset>,
    /// High watermark of the target.
    pub(super) target_end: TargetOffset,
}

/// What the clusters answered for all partitions.
pub(super) struct Listed {
    pub(super) topics: HashMap<String, TopicMetadata>,
    pub(super) earliest: PerPartition<ListedOffset>,
    pub(super) latest: PerPartition<ListedOffset>,
    pub(super) epochs: PerPartition<EpochEnd>,
    /// Of the target.
    pub(super) copies: PerPartition<ListedOffset>,
}

impl Listed {
    pub(super) fn facts(&self, held: &Held) -> Result<Facts, KafkaError> {
        let source = &held.source_topic;
        let topic_id = match self.topics.get(source) {
            Some(TopicMetadata { error: None, topic_id, .. }) => topic_id,
            Some(TopicMetadata { error: Some(error), .. }) if error.reason != Reason::TOPIC_NOT_FOUND => {
                return Err(error.clone());
            }
            _ => {
                let what = format!("{source} does not exist on the source any more");
                return Err(KafkaError::new(Reason::SOURCE_TOPIC_DELETED, what));
            }
        };
        Ok(Facts {
            topic_id: topic_id.map(|id| id.to_string()).unwrap_or_default(),
            earliest: SourceOffset(listed(&self.earliest, source, held.partition)?),
            latest: SourceOffset(listed(&self.latest, source, held.partition)?),
            // Brokers before 2.1 can't tell; anything worse shows in the other answers.
            epoch_end: match self.epochs.get(&held.partition().pair()) {
                Some(Ok(end)) if end.end_offset >= 0 => Some(SourceOffset(end.end_offset)),
                _ => None,
            },
            target_end: TargetOffset(listed(&self.copies, &held.target_topic, held.partition)?),
        })
    }
}

fn listed(all: &PerPartition<ListedOffset>, topic: &str, partition: i32) -> Result<i64, KafkaError> {
    match all.get(&(topic.to_owned(), partition)) {
        Some(Ok(listed)) => Ok(listed.offset),
        Some(Err(error)) => Err(error.clone()),
        None => {
            let what = format!("the broker did not list offsets of {topic} partition {partition}");
            Err(KafkaError::retriable(Reason::KAFKA_ERROR, what))
        }
    }
}

impl Held {
    pub(super) fn partition(&self) -> TopicPartition {
        TopicPartition::new(&self.source_topic, self.partition)
    }

    /// From where the target's next record decides: one before the map begins is not this mirror's; one behind the end of a map that
    /// may lag could be.
    pub(super) fn look(&self) -> Option<(TopicPartition, TargetOffset)> {
        let from = match self.source {
            _ if self.at < self.begins => self.at,
            None if self.may_lag && self.at > self.ends => self.ends,
            _ => return None,
        };
        Some((TopicPartition::new(&self.target_topic, self.partition), from))
    }

    /// `record` is the target's first record at or after where `look` says.
    pub(super) fn judge(&self, facts: &Facts, record: Option<TargetOffset>) -> Translation<SourcePosition> {
        let refused = self.target_refuses(facts, record).or_else(|| self.source_refuses(facts));
        if let Some((reason, message)) = refused {
            return Translation::Not { reason, message };
        }
        let is_all_copied = self.origin_is_log_start || facts.earliest >= self.origin;
        let copied_from = if is_all_copied { SourceOffset(0) } else { self.origin };
        Translation::Exact(SourcePosition { offset: self.offset(facts), copied_from })
    }

    fn target_refuses(&self, facts: &Facts, record: Option<TargetOffset>) -> Option<(Reason, String)> {
        let Self { target_topic, partition, at, begins, ends, .. } = self;
        let place = format!("{target_topic} partition {partition}");
        if facts.target_end < *ends {
            let what = format!(
                "{place} was copied up to {ends}, but ends at {} now: it lost records",
                facts.target_end
            );
            return Some((Reason::TARGET_TRUNCATED, what));
        }
        if *at > facts.target_end {
            let what = format!("{place} ends at {}, before {at}", facts.target_end);
            return Some((Reason::NOT_YET_MIRRORED, what));
        }
        let record = record?;
        if at < begins && record < *begins {
            let what = format!(
                "{place} has copies of this mirror from {begins} on; what lies at {record} was there before, so it is not known what \
                 was read by {at}"
            );
            return Some((Reason::BEFORE_MIRROR_START, what));
        }
        if at > ends && record < *at {
            let what = format!(
                "{place}: the offset map ends at {ends}, and there are records between it and {at}. If they are copies, the map has \
                 them in a moment; if somebody else wrote them, it is exact as soon as the mirror has copied its next record here"
            );
            return Some((Reason::NOT_YET_MIRRORED, what));
        }
        None
    }

    fn source_refuses(&self, facts: &Facts) -> Option<(Reason, String)> {
        let place = format!("{} partition {}", self.source_topic, self.partition);
        if !self.topic_id.is_empty() && !facts.topic_id.is_empty() && self.topic_id != facts.topic_id {
            let what = format!(
                "{} was deleted and created again on the source: topic id {} was copied, now it is {}",
                self.source_topic, self.topic_id, facts.topic_id
            );
            return Some((Reason::SOURCE_TOPIC_RECREATED, what));
        }
        let (offset, kept) = (self.offset(facts), facts.kept());
        if offset > kept {
            let what = format!(
                "{place} was truncated at the source to {kept} after it was copied up to {}: {offset} is another record now, or none yet",
                self.position
            );
            return Some((Reason::SOURCE_TRUNCATED, what));
        }
        if offset < facts.earliest {
            let what = format!(
                "{place} begins at {} now: the records from {offset} on, which were not read on the target, are gone at the source. Read \
                 them on the target first, or begin at {} without them",
                facts.earliest, facts.earliest
            );
            return Some((Reason::SOURCE_OFFSETS_LOST, what));
        }
        None
    }

    fn offset(&self, facts: &Facts) -> SourceOffset {
        match self.source {
            Some(source) => source,
            // The mirror may have passed over markers that came after a change of leaders, which the last record's epoch says
            // nothing about: what is below is as good, since no record lies between.
            None if facts.kept() >= self.copied_to => self.position.min(facts.kept()),
            None => self.position,
        }
    }
}

impl Facts {
    /// Up to here the source is what was copied.
    fn kept(&self) -> SourceOffset {
        self.epoch_end.unwrap_or(self.latest).min(self.latest)
    }
}

#[cfg(test)]
mod tests;
