//! Which topics of the source a mirror copies, and to what name. Pure; the same for the survey and for plans.

use std::collections::{BTreeMap, HashSet};

use twinlog_proto::model::Mirror;
use twinlog_proto::reason::Reason;
use twinlog_proto::text;

use super::internal::HEARTBEATS;
use crate::kafka::TopicMetadata;
use crate::topic::TopicId;

/// Characters in a topic's name at most.
const MAX_NAME: usize = 249;

/// A topic of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTopic {
    pub name: String,
    /// `None` where the broker has no topic ids.
    pub id: Option<TopicId>,
    pub partitions: i32,
}

impl From<&TopicMetadata> for SourceTopic {
    fn from(topic: &TopicMetadata) -> Self {
        let partitions = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        Self { name: topic.name.clone(), id: topic.topic_id.map(TopicId), partitions }
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

/// One selection per topic, in the order given. `beats`: heartbeats topics of upstream clusters that exist.
pub fn select(mirror: &Mirror, topics: &[SourceTopic], beats: &HashSet<String>) -> Vec<Selection> {
    let one = |topic: &SourceTopic| select_one(mirror, &topic.name, beats.contains(&topic.name));
    let mut selections: Vec<_> = topics.iter().map(one).collect();
    block_collisions(topics, &mut selections);
    block_circles(mirror, topics, &mut selections, beats);
    selections
}

/// Where others may write to copies, nothing else would notice that they write what came from there. So a flow back that is alive is
/// no warning then: mirrors of several stores don't know of each other.
fn block_circles(
    mirror: &Mirror,
    topics: &[SourceTopic],
    selections: &mut [Selection],
    beats: &HashSet<String>,
) {
    if !mirror.allow_foreign_writes || mirror.allow_loops {
        return;
    }
    let Some(circle) = loop_warning(mirror, topics, selections, beats) else { return };
    let message = format!(
        "{circle}; as others may write to its copies (allow_foreign_writes), set allow_loops (--allow-loops) too where you are sure"
    );
    for (topic, selection) in topics.iter().zip(selections) {
        if let Selection::Copy(target) = selection
            && *target == topic.name
        {
            *selection = Selection::Blocked {
                target: std::mem::take(target),
                reason: Reason::LOOP,
                message: message.clone(),
            };
        }
    }
}

fn select_one(mirror: &Mirror, topic: &str, beats: bool) -> Selection {
    let policy = &mirror.policy;
    if policy.is_internal_topic(topic) {
        return Selection::Skip("internal topic".into());
    }
    let named = mirror.replicate_heartbeats && policy.is_heartbeats_topic(topic);
    let heartbeats = named && (beats || topic == HEARTBEATS);
    if let Some(carrier) = mirror.heartbeats_carried_by.as_deref().filter(|_| heartbeats) {
        return Selection::Skip(format!("heartbeats: {carrier}, between the same clusters, copies them"));
    }
    if !heartbeats && mirror.topics.excludes(topic) {
        return Selection::Skip("excluded by topics_exclude".into());
    }
    if named && !heartbeats && !mirror.topics.matches(topic) {
        return Selection::Skip(
            "a heartbeats topic by its name, without a heartbeat of the last 10 minutes: name it in topics to copy it".into(),
        );
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

/// Why a topic is copied that `topics` doesn't name; nothing where it does.
pub fn note(mirror: &Mirror, topic: &str) -> String {
    if mirror.topics.matches(topic) || !mirror.policy.is_heartbeats_topic(topic) {
        return String::new();
    }
    let of = match mirror.policy.topic_source(topic) {
        Some(upstream) => format!("{upstream}, upstream of {}", mirror.source),
        None => mirror.source.to_string(),
    };
    format!("heartbeats of {of}: MirrorMaker's tools look for them (heartbeats.replicate)")
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
        let message = text::sentence(&format!(
            "{} would all be copied to {target}: give them different names or exclude all but one",
            names.join(", ")
        ));
        for i in indices {
            selections[i] = Selection::Blocked {
                target: target.clone(),
                reason: Reason::NAME_COLLISION,
                message: message.clone(),
            };
        }
    }
}

/// Signs that records could go round in circles, from what is on the source alone: a flow back that is alive.
pub fn loop_warning(
    mirror: &Mirror,
    topics: &[SourceTopic],
    selections: &[Selection],
    beats: &HashSet<String>,
) -> Option<String> {
    let (source, target) = (&mirror.source, &mirror.target);
    let policy = &mirror.policy;
    let from_target = |name: &str| {
        policy.is_heartbeats_topic(name) && policy.topic_source(name) == Some(policy.target_alias())
    };
    let reverse_heartbeats =
        topics.iter().map(|topic| &topic.name).find(|name| from_target(name) && beats.contains(*name))?;
    let keeps = |(topic, selection): (&SourceTopic, &Selection)| matches!(selection, Selection::Copy(name) if *name == topic.name);
    let keeps_names = topics.iter().zip(selections).any(keeps);
    keeps_names.then(|| {
        format!(
            "{reverse_heartbeats} exists on {source}, so something mirrors {target} to {source} too, and this mirror keeps \
             topic names: a topic that both directions copy would go round for ever. Use prefix naming, or make sure that no \
             topic is in both directions"
        )
    })
}

/// Patterns that match no topic of the source: perhaps not yet, perhaps not as they were meant.
pub fn unmatched_warning(mirror: &Mirror, topics: &[SourceTopic]) -> Option<String> {
    /// Patterns that are named at most.
    const NAMED: usize = 5;
    let unmatched = mirror.topics.unmatched(topics.iter().map(|topic| topic.name.as_str()));
    if topics.is_empty() || unmatched.is_empty() {
        return None;
    }
    let named: Vec<String> = unmatched.iter().take(NAMED).map(|pattern| format!("{pattern:?}")).collect();
    let more = match unmatched.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "no topic of {} is named by {}{more}: such topics are copied once they exist. A pattern is for the whole name, in Java's syntax",
        mirror.source,
        named.join(", ")
    ))
}

#[cfg(test)]
mod tests;
