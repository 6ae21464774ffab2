//! What to do on the target so that every selected topic can be copied. Pure; the same for the survey and for plans.

use std::collections::HashMap;

use twinlog_proto::model::{Mirror, Partitioning};
use twinlog_proto::reason::Reason;

use super::select::{Selection, SourceTopic};
use crate::kafka::{KafkaError, TopicMetadata};
use crate::topic::TopicId;

/// A topic of the target, as far as it is known.
#[derive(Debug, Clone)]
pub enum TargetTopic {
    Missing,
    Exists {
        partitions: i32,
        /// `None` where the broker has no topic ids.
        id: Option<TopicId>,
    },
    /// It could not be looked at.
    Unknown(KafkaError),
}

impl From<&TopicMetadata> for TargetTopic {
    fn from(topic: &TopicMetadata) -> Self {
        match &topic.error {
            None => Self::Exists {
                partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
                id: topic.topic_id.map(TopicId),
            },
            Some(error) if error.reason == Reason::TOPIC_NOT_FOUND => Self::Missing,
            Some(error) => Self::Unknown(error.clone()),
        }
    }
}

/// One topic of the source and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub source: SourceTopic,
    /// Empty where the topic is not selected.
    pub target: String,
    /// 0 where it doesn't exist or wasn't looked at.
    pub target_partitions: i32,
    /// `None` where it doesn't exist, wasn't looked at, or the broker has no topic ids.
    pub target_id: Option<TopicId>,
    pub step: Step,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Everything is there.
    Nothing,
    Create,
    /// Raise the target's partition count to the source's.
    Grow,
    /// Not copied; or, where the target has some partitions, copied as far as they go.
    Blocked(Reason, String),
    /// The target could not be asked about the topic: what is known of it stays as it is.
    Unknown(Reason, String),
    Skip(String),
}

impl Decision {
    /// Partitions that exist on both sides and are to be copied, once the step has been done.
    pub fn partitions(&self) -> i32 {
        match &self.step {
            Step::Nothing | Step::Create | Step::Grow => self.source.partitions,
            Step::Blocked(..) => self.target_partitions.min(self.source.partitions),
            Step::Unknown(..) | Step::Skip(_) => 0,
        }
    }
}

/// One decision per topic, in the order given.
pub fn decide(
    mirror: &Mirror,
    topics: &[SourceTopic],
    selections: Vec<Selection>,
    targets: &HashMap<String, TargetTopic>,
) -> Vec<Decision> {
    topics
        .iter()
        .zip(selections)
        .map(|(topic, selection)| decide_one(mirror, topic, selection, targets))
        .collect()
}

fn decide_one(
    mirror: &Mirror,
    source: &SourceTopic,
    selection: Selection,
    targets: &HashMap<String, TargetTopic>,
) -> Decision {
    let source = source.clone();
    let target = match selection {
        Selection::Copy(target) => target,
        Selection::Blocked { target, reason, message } => {
            let step = Step::Blocked(reason, message);
            return Decision { source, target, target_partitions: 0, target_id: None, step };
        }
        Selection::Skip(rule) => {
            let (target, step) = (String::new(), Step::Skip(rule));
            return Decision { source, target, target_partitions: 0, target_id: None, step };
        }
    };
    let (target_partitions, target_id, step) = match targets.get(&target) {
        Some(TargetTopic::Exists { partitions, id }) => {
            (*partitions, *id, fit(mirror, &source, &target, *partitions))
        }
        Some(TargetTopic::Unknown(error)) => (0, None, Step::Unknown(error.reason, error.message.clone())),
        Some(TargetTopic::Missing) | None => (0, None, missing(mirror, &target)),
    };
    Decision { source, target, target_partitions, target_id, step }
}

fn fit(mirror: &Mirror, source: &SourceTopic, target: &str, partitions: i32) -> Step {
    if partitions >= source.partitions || mirror.partitioning == Partitioning::ByKey {
        return Step::Nothing;
    }
    if mirror.create_topics {
        return Step::Grow;
    }
    Step::Blocked(
        Reason::TARGET_HAS_FEWER_PARTITIONS,
        format!(
            "{target} on {} has {partitions} partitions and {} on {} has {}: partitions {partitions} and above are not \
             copied. Add partitions to {target}, or let the mirror do it (topic_creation.enabled)",
            mirror.target, source.name, mirror.source, source.partitions
        ),
    )
}

fn missing(mirror: &Mirror, target: &str) -> Step {
    if mirror.create_topics {
        return Step::Create;
    }
    Step::Blocked(
        Reason::TARGET_TOPIC_MISSING,
        format!(
            "{target} does not exist on {}: create it, or let the mirror do it (topic_creation.enabled)",
            mirror.target
        ),
    )
}

/// Consumers that compute partitions from keys get others on the target: worth knowing, not a reason to stop.
pub fn partition_warnings(mirror: &Mirror, decisions: &[Decision]) -> Vec<String> {
    let preserved = mirror.partitioning == Partitioning::Preserve;
    decisions
        .iter()
        .filter(|d| preserved && matches!(d.step, Step::Nothing) && d.target_partitions > d.source.partitions)
        .map(|d| {
            format!(
                "{} on {} has {} partitions and {} on {} has {}: the surplus stays empty, and keys that others produce \
                 to the target land elsewhere",
                d.target, mirror.target, d.target_partitions, d.source.name, mirror.source, d.source.partitions
            )
        })
        .collect()
}

#[cfg(test)]
mod tests;
