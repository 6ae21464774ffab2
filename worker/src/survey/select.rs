//! Which topics of the source a mirror copies, and to what name. Pure; the same for the survey and for plans.

use std::collections::BTreeMap;

use twinlog_proto::model::Mirror;
use twinlog_proto::reason::Reason;
use uuid::Uuid;

use crate::kafka::TopicMetadata;

/// Characters in a topic's name at most.
const MAX_NAME: usize = 249;

/// A topic of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTopic {
    pub name: String,
    /// `None` where the broker has no topic ids.
    pub id: Option<Uuid>,
    pub partitions: i32,
}

impl From<&TopicMetadata> for SourceTopic {
    fn from(topic: &TopicMetadata) -> Self {
        let partitions = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        Self { name: topic.name.clone(), id: topic.topic_id, partitions }
    }
}

/// What a mirror means for one topic of the source, before the target is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// To be copied under this name.
    Copy(String),
    /// Selected, but it can't be copied under this name.
    Blocked { target: String, reason: Reason, message: String },
    /// Not selected: the rule that says so.
    Skip(String),
}

impl Selection {
    /// The name to be copied to, where nothing stands against it.
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::Copy(target) => Some(target),
            _ => None,
        }
    }
}

/// One selection per topic, in the order given.
pub fn select(mirror: &Mirror, topics: &[SourceTopic]) -> Vec<Selection> {
    let mut selections: Vec<_> = topics.iter().map(|topic| select_one(mirror, &topic.name)).collect();
    block_collisions(topics, &mut selections);
    selections
}

fn select_one(mirror: &Mirror, topic: &str) -> Selection {
    let policy = &mirror.policy;
    if policy.is_internal_topic(topic) {
        return Selection::Skip("internal topic".into());
    }
    let heartbeats = mirror.replicate_heartbeats && policy.is_heartbeats_topic(topic);
    if !heartbeats && mirror.topics.excludes(topic) {
        return Selection::Skip("excluded by topics_exclude".into());
    }
    if !heartbeats && !mirror.topics.matches(topic) {
        return Selection::Skip("not matched by topics".into());
    }
    if policy.is_cycle(topic) {
        let target = &mirror.target;
        return Selection::Skip(format!(
            "its name says that it came from {target}: copying it back would close a circle"
        ));
    }
    if policy.is_copied_into_heartbeats(topic) {
        return Selection::Skip(
            "with neither alias nor separator it would be copied into the target's own heartbeats".into(),
        );
    }
    match policy.remote_topic(topic) {
        None => Selection::Skip("not named in naming.map".into()),
        Some(target) if policy.is_internal_topic(&target) => Selection::Blocked {
            reason: Reason::NAME_COLLISION,
            message: format!(
                "{topic} would be copied to {target}, which is the name of an internal topic: change the naming or exclude it"
            ),
            target,
        },
        Some(target) if !is_legal(&target) => Selection::Blocked {
            reason: Reason::TOPIC_CREATION_FAILED,
            message: format!(
                "{topic} would be copied to {target}, which is no legal topic name: 1-{MAX_NAME} characters of a-z, A-Z, 0-9, \
                 '.', '_' and '-' are allowed. Change the naming or exclude it"
            ),
            target,
        },
        Some(target) => Selection::Copy(target),
    }
}

/// Kafka's own rule.
fn is_legal(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !matches!(name, "" | "." | "..") && name.len() <= MAX_NAME && name.chars().all(allowed)
}

/// Two topics that meet under one name would be mixed: neither is copied, whichever was there first.
fn block_collisions(topics: &[SourceTopic], selections: &mut [Selection]) {
    let mut by_target: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (i, selection) in selections.iter().enumerate() {
        if let Selection::Copy(target) = selection {
            by_target.entry(target.clone()).or_default().push(i);
        }
    }
    for (target, indices) in by_target.into_iter().filter(|(_, indices)| indices.len() > 1) {
        let names: Vec<_> = indices.iter().map(|i| topics[*i].name.as_str()).collect();
        let message = format!(
            "{} would all be copied to {target}: give them different names or exclude all but one",
            names.join(", ")
        );
        for i in indices {
            selections[i] = Selection::Blocked {
                target: target.clone(),
                reason: Reason::NAME_COLLISION,
                message: message.clone(),
            };
        }
    }
}

/// Signs that records could go round in circles, from the names on the source alone.
pub fn loop_warning(mirror: &Mirror, topics: &[SourceTopic], selections: &[Selection]) -> Option<String> {
    let (source, target) = (&mirror.source, &mirror.target);
    let policy = &mirror.policy;
    let from_target = |name: &str| {
        policy.is_heartbeats_topic(name) && policy.topic_source(name) == Some(policy.target_alias())
    };
    let reverse_heartbeats = topics.iter().map(|topic| &topic.name).find(|name| from_target(name))?;
    let keeps_names = topics
        .iter()
        .zip(selections)
        .any(|(topic, selection)| matches!(selection, Selection::Copy(name) if *name == topic.name));
    keeps_names.then(|| {
        format!(
            "{reverse_heartbeats} exists on {source}, so something mirrors {target} to {source} too, and this mirror keeps \
             topic names: a topic that both directions copy would go round for ever. Use prefix naming, or make sure that no \
             topic is in both directions"
        )
    })
}

#[cfg(test)]
mod tests;
