//! Topic naming: MM2's DefaultReplicationPolicy and IdentityReplicationPolicy (mirrormaker2 reference 2.1, KIP-1074 rules)
//! and an explicit map.

use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Naming {
    Prefix { separator: String },
    Identity,
    Map(BTreeMap<String, String>),
}

/// Naming for one flow, source alias to target alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    naming: Naming,
    source: String,
    target: String,
}

impl Policy {
    pub fn new(naming: Naming, source: &str, target: &str) -> Self {
        Self { naming, source: source.to_owned(), target: target.to_owned() }
    }

    fn separator(&self) -> &str {
        match &self.naming {
            Naming::Prefix { separator } => separator,
            _ => ".",
        }
    }

    /// The name on the target; `None` where an explicit map doesn't name the topic.
    pub fn remote_topic(&self, topic: &str) -> Option<String> {
        let prefixed = || format!("{}{}{topic}", self.source, self.separator());
        match &self.naming {
            Naming::Prefix { .. } => Some(prefixed()),
            // MM2: Identity still renames what ends in `heartbeats`, or heartbeats would loop.
            Naming::Identity if topic.ends_with("heartbeats") => Some(prefixed()),
            Naming::Identity => Some(topic.to_owned()),
            Naming::Map(map) => {
                map.get(topic).cloned().or_else(|| self.is_heartbeats_topic(topic).then(prefixed))
            }
        }
    }

    /// The alias before the first separator, where names carry one.
    pub fn topic_source<'a>(&'a self, topic: &'a str) -> Option<&'a str> {
        self.split(topic).map(|(source, _)| source)
    }

    fn split<'a>(&self, topic: &'a str) -> Option<(&'a str, &'a str)> {
        let carries_alias = matches!(self.naming, Naming::Prefix { .. }) || topic.ends_with("heartbeats");
        if !carries_alias {
            return None;
        }
        topic.split_once(self.separator()).filter(|(_, rest)| !rest.is_empty())
    }

    /// `heartbeats`, also behind any number of aliases.
    pub fn is_heartbeats_topic(&self, topic: &str) -> bool {
        let mut rest = topic;
        while let Some((_, next)) = rest.split_once(self.separator()) {
            rest = next;
        }
        rest == "heartbeats"
    }

    /// `mm2-offset-syncs.<alias>.internal`
    pub fn offset_syncs_topic(&self, alias: &str) -> String {
        let s = self.separator();
        format!("mm2-offset-syncs{s}{alias}{s}internal")
    }

    /// `<source>.checkpoints.internal`
    pub fn checkpoints_topic(&self) -> String {
        let s = self.separator();
        format!("{}{s}checkpoints{s}internal", self.source)
    }

    pub fn is_checkpoints_topic(&self, topic: &str) -> bool {
        let s = self.separator();
        topic.ends_with(&format!("{s}checkpoints{s}internal"))
    }

    /// Kafka's, MM2's and Twinlog's own topics, which are never mirrored.
    pub fn is_internal_topic(&self, topic: &str) -> bool {
        let s = self.separator();
        topic.starts_with("__")
            || topic.starts_with('.')
            || (topic.starts_with("mm2") && topic.ends_with(&format!("{s}internal")))
            || self.is_checkpoints_topic(topic)
            || is_twinlog_topic(topic)
    }

    /// True where any hop of the name is the target: copying it there would close a circle.
    pub fn is_cycle(&self, topic: &str) -> bool {
        let mut rest = topic;
        while let Some((source, upstream)) = self.split(rest) {
            if source == self.target {
                return true;
            }
            rest = upstream;
        }
        false
    }
}

/// Twinlog's own topics on a target.
pub fn is_twinlog_topic(topic: &str) -> bool {
    topic.starts_with("twinlog.") && (topic.ends_with(".progress") || topic.ends_with(".offsets"))
}

/// `twinlog.<mirror>.progress`
pub fn progress_topic(mirror: &crate::id::MirrorId) -> String {
    format!("twinlog.{mirror}.progress")
}

/// `twinlog.<mirror>.offsets`
pub fn offsets_topic(mirror: &crate::id::MirrorId) -> String {
    format!("twinlog.{mirror}.offsets")
}

/// The identity of a range for life, and what fences its previous owner:
/// `twinlog.<mirror>.<target topic>.<block>`.
pub fn transactional_id(mirror: &crate::id::MirrorId, target_topic: &str, block: u32) -> String {
    format!("twinlog.{mirror}.{target_topic}.{block}")
}
