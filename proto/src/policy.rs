//! Topic naming: MM2's DefaultReplicationPolicy and IdentityReplicationPolicy (mirrormaker2 reference 2.1, KIP-1074 rules)
//! and an explicit map.

use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Naming {
    Prefix {
        separator: String,
    },
    /// The separator is that of heartbeats topics and of MM2's own.
    Identity {
        separator: String,
    },
    Map(BTreeMap<String, String>),
}

/// Which topics count as internal, and how MM2's own are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InternalTopics {
    /// The rule before KIP-1074: whatever ends in `.internal` or `-internal` is internal.
    pub any_suffix: bool,
    /// MM2's own topics use the policy's separator (KIP-949); otherwise `.`.
    pub separator: bool,
}

impl Default for InternalTopics {
    fn default() -> Self {
        Self { any_suffix: false, separator: true }
    }
}

/// Naming for one flow, source alias to target alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    naming: Naming,
    internal: InternalTopics,
    source: String,
    target: String,
}

impl Policy {
    pub fn new(naming: Naming, source: &str, target: &str) -> Self {
        let internal = InternalTopics::default();
        Self { naming, internal, source: source.to_owned(), target: target.to_owned() }
    }

    #[must_use]
    pub fn with_internal_topics(self, internal: InternalTopics) -> Self {
        Self { internal, ..self }
    }

    pub fn naming(&self) -> &Naming {
        &self.naming
    }

    /// What the source is called in names and records of MM2's: its id, unless the mirror says otherwise. May be empty.
    pub fn source_alias(&self) -> &str {
        &self.source
    }

    /// The same for the target.
    pub fn target_alias(&self) -> &str {
        &self.target
    }

    fn internal_separator(&self) -> &str {
        if self.internal.separator { self.separator() } else { "." }
    }

    fn separator(&self) -> &str {
        match &self.naming {
            Naming::Prefix { separator } | Naming::Identity { separator } => separator,
            Naming::Map(_) => ".",
        }
    }

    /// The name on the target; `None` where an explicit map doesn't name the topic.
    pub fn remote_topic(&self, topic: &str) -> Option<String> {
        let prefixed = || format!("{}{}{topic}", self.source, self.separator());
        match &self.naming {
            Naming::Prefix { .. } => Some(prefixed()),
            // MM2: Identity still renames what ends in `heartbeats`, or heartbeats would loop.
            Naming::Identity { .. } if topic.ends_with("heartbeats") => Some(prefixed()),
            Naming::Identity { .. } => Some(topic.to_owned()),
            Naming::Map(map) => {
                map.get(topic).cloned().or_else(|| self.is_heartbeats_topic(topic).then(prefixed))
            }
        }
    }

    /// The source topic that `remote_topic` gives this name to, if there is one.
    pub fn source_topic(&self, remote: &str) -> Option<String> {
        let candidate = match &self.naming {
            Naming::Map(map) => {
                map.iter().find(|(_, target)| *target == remote).map(|(source, _)| source.as_str())
            }
            _ => None,
        };
        let stripped = remote.strip_prefix(&self.source).and_then(|rest| rest.strip_prefix(self.separator()));
        let named = |topic: &&str| self.remote_topic(topic).as_deref() == Some(remote);
        candidate.into_iter().chain(stripped).chain([remote]).find(named).map(str::to_owned)
    }

    /// The alias before the first separator, where names carry one. May be empty (`.b`).
    pub fn topic_source<'a>(&'a self, topic: &'a str) -> Option<&'a str> {
        self.split(topic).map(|(source, _)| source)
    }

    /// Alias and upstream name. As Java's `String.split`, which drops trailing empty parts: `a.` and `a..` carry no alias. And as
    /// it does with nothing to split at: after every character, so that MM2 takes the first one for an alias.
    fn split<'a>(&self, topic: &'a str) -> Option<(&'a str, &'a str)> {
        let carries_alias = matches!(self.naming, Naming::Prefix { .. }) || topic.ends_with("heartbeats");
        if !carries_alias {
            return None;
        }
        let separator = self.separator();
        if separator.is_empty() {
            let (first, rest) = topic.split_at(topic.chars().next()?.len_utf8());
            return (!rest.is_empty()).then_some((first, rest));
        }
        topic.split_once(separator).filter(|(_, rest)| rest.split(separator).any(|part| !part.is_empty()))
    }

    /// `heartbeats`, also behind any number of aliases.
    pub fn is_heartbeats_topic(&self, topic: &str) -> bool {
        let mut original = topic;
        while let Some((_, upstream)) = self.split(original) {
            original = upstream;
        }
        original == "heartbeats"
    }

    /// `mm2-offset-syncs.<alias>.internal`
    pub fn offset_syncs_topic(&self, alias: &str) -> String {
        let s = self.internal_separator();
        format!("mm2-offset-syncs{s}{alias}{s}internal")
    }

    /// `<source>.checkpoints.internal`
    pub fn checkpoints_topic(&self) -> String {
        let s = self.internal_separator();
        format!("{}{s}checkpoints{s}internal", self.source)
    }

    pub fn is_checkpoints_topic(&self, topic: &str) -> bool {
        let s = self.internal_separator();
        topic.ends_with(&format!("{s}checkpoints{s}internal"))
    }

    /// Kafka's, MM2's and Twinlog's own topics, which are never mirrored. KIP-1074's rule, and the spellings that MM2 gives its own
    /// topics, with this separator or its default one: a user's topic that merely ends in `.internal` or `-internal` is an ordinary one.
    pub fn is_internal_topic(&self, topic: &str) -> bool {
        let internal_suffix = ["-internal", ".internal"].iter().any(|suffix| topic.ends_with(suffix))
            || topic.ends_with(&format!("{}internal", self.internal_separator()));
        topic.starts_with("__")
            || topic.starts_with('.')
            || (internal_suffix && (self.internal.any_suffix || topic.starts_with("mm2")))
            || self.is_checkpoints_topic(topic)
            || topic.ends_with(".checkpoints.internal")
            || is_twinlog_topic(topic)
    }

    /// Whether the copy would lie in the target's own `heartbeats`, which this mirror writes: with neither alias nor separator.
    pub fn is_copied_into_heartbeats(&self, topic: &str) -> bool {
        topic == "heartbeats" && self.remote_topic(topic).as_deref() == Some(topic)
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

/// Twinlog's own topics on a target, also under the names of before.
pub fn is_twinlog_topic(topic: &str) -> bool {
    let own = topic.strip_prefix("__").unwrap_or(topic);
    own.starts_with("twinlog.") && (own.ends_with(".progress") || own.ends_with(".offsets"))
}

/// `__twinlog.<mirror>.progress`. The defaults of MM2 and of others leave out what begins with `__`; without it MM2's clients take the
/// topic for a remote one of a cluster `twinlog`.
pub fn progress_topic(mirror: &crate::id::MirrorId) -> String {
    format!("__{}", former_progress_topic(mirror))
}

/// `__twinlog.<mirror>.offsets`
pub fn offsets_topic(mirror: &crate::id::MirrorId) -> String {
    format!("__{}", former_offsets_topic(mirror))
}

/// Where older versions keep progress: `twinlog.<mirror>.progress`.
pub fn former_progress_topic(mirror: &crate::id::MirrorId) -> String {
    format!("twinlog.{mirror}.progress")
}

/// Where older versions keep the offset map: `twinlog.<mirror>.offsets`.
pub fn former_offsets_topic(mirror: &crate::id::MirrorId) -> String {
    format!("twinlog.{mirror}.offsets")
}

/// The identity of a range for life, and what fences its previous owner, one of an older version too:
/// `twinlog.<mirror>.<target topic>.<block>`.
pub fn transactional_id(mirror: &crate::id::MirrorId, target_topic: &str, block: u32) -> String {
    format!("twinlog.{mirror}.{target_topic}.{block}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(separator: &str) -> Policy {
        Policy::new(Naming::Prefix { separator: separator.to_owned() }, "source", "target")
    }

    fn identity() -> Policy {
        Policy::new(Naming::Identity { separator: ".".to_owned() }, "source", "target")
    }

    /// P6: names on the target, by every naming; Identity still renames heartbeats.
    #[test]
    fn p6_remote_names() {
        assert_eq!(prefix(".").remote_topic("orders").unwrap(), "source.orders");
        assert_eq!(prefix("__").remote_topic("orders").unwrap(), "source__orders");
        assert_eq!(identity().remote_topic("orders").unwrap(), "orders");
        assert_eq!(identity().remote_topic("heartbeats").unwrap(), "source.heartbeats");
        assert_eq!(identity().remote_topic("my-heartbeats").unwrap(), "source.my-heartbeats");
        let map = Naming::Map(BTreeMap::from([("a".to_owned(), "b".to_owned())]));
        let policy = Policy::new(map, "source", "target");
        assert_eq!(policy.remote_topic("a").unwrap(), "b");
        assert_eq!(policy.remote_topic("other"), None);
        assert_eq!(policy.remote_topic("heartbeats").unwrap(), "source.heartbeats");
    }

    #[test]
    fn names_lead_back() {
        let map = Naming::Map(BTreeMap::from([("a".to_owned(), "b".to_owned())]));
        for policy in [prefix("."), prefix("__"), identity(), Policy::new(map, "source", "target")] {
            for topic in ["a", "heartbeats", "x.heartbeats"] {
                let Some(remote) = policy.remote_topic(topic) else { continue };
                assert_eq!(policy.source_topic(&remote).as_deref(), Some(topic), "{policy:?}");
            }
        }
        assert_eq!(prefix(".").source_topic("other.orders"), None);
    }

    #[test]
    fn an_alias_is_what_java_split_leaves() {
        for (topic, source) in [
            ("a", None),
            ("a.", None),
            ("a..", None),
            (".", None),
            (".b", Some("")),
            ("a..b", Some("a")),
            ("a.b.c", Some("a")),
        ] {
            assert_eq!(prefix(".").topic_source(topic), source, "{topic}");
            assert_eq!(identity().topic_source(topic), None, "{topic}");
        }
        assert_eq!(prefix("__").topic_source("a___"), Some("a"));
        assert_eq!(identity().topic_source("a.heartbeats"), Some("a"));
    }

    /// P1: Kafka's, MM2's and Twinlog's own topics, by the rules after and before KIP-1074.
    #[test]
    fn p1_internal_topics() {
        for topic in [
            "__consumer_offsets",
            ".hiddentopic",
            "mm2-offsets.CLUSTER.internal",
            "mm2-offsets-CLUSTER-internal",
            "source.checkpoints.internal",
            "__twinlog.m1.progress",
            "__twinlog.m1.offsets",
            "twinlog.m1.progress",
            "twinlog.m1.offsets",
        ] {
            assert!(prefix(".").is_internal_topic(topic), "{topic}");
        }
        for topic in
            ["mm2-offsets_CLUSTER_internal", "orders.internal", "orders-internal", "twinlog.m1.other"]
        {
            assert!(!prefix(".").is_internal_topic(topic), "{topic}");
        }
        assert!(prefix("__").is_internal_topic("mm2-offset-syncs__CLUSTER__internal"));
        let before_kip_1074 =
            prefix(".").with_internal_topics(InternalTopics { any_suffix: true, separator: true });
        for topic in ["orders.internal", "orders-internal"] {
            assert!(before_kip_1074.is_internal_topic(topic), "{topic}");
        }
        assert!(!before_kip_1074.is_internal_topic("orders_internal"));
    }

    /// P2: with the separator's flag off.
    #[test]
    fn p2_mm2s_own_topics_may_keep_the_dot() {
        let dots = prefix("__").with_internal_topics(InternalTopics { any_suffix: false, separator: false });
        assert_eq!(dots.offset_syncs_topic("CLUSTER"), "mm2-offset-syncs.CLUSTER.internal");
        assert_eq!(dots.checkpoints_topic(), "source.checkpoints.internal");
        assert!(dots.is_checkpoints_topic("CLUSTER.checkpoints.internal"));
        assert_eq!(dots.remote_topic("orders").unwrap(), "source__orders");
    }

    /// MM2's Identity policy is its default one but for the names of topics: the separator counts for the rest.
    #[test]
    fn identity_has_a_separator_too() {
        let policy = Policy::new(Naming::Identity { separator: "_".to_owned() }, "source", "target");
        assert_eq!(policy.remote_topic("orders").unwrap(), "orders");
        assert_eq!(policy.remote_topic("heartbeats").unwrap(), "source_heartbeats");
        assert!(policy.is_heartbeats_topic("a_heartbeats") && !policy.is_heartbeats_topic("a.heartbeats"));
        assert!(policy.is_cycle("target_heartbeats") && !policy.is_cycle("target.heartbeats"));
        assert_eq!(policy.checkpoints_topic(), "source_checkpoints_internal");
        assert_eq!(policy.offset_syncs_topic("target"), "mm2-offset-syncs_target_internal");
    }

    /// P2, P3: names of MM2's own topics with any separator, and which are checkpoints topics.
    #[test]
    fn p2_p3_names_of_mm2s_own_topics() {
        assert_eq!(prefix(".").offset_syncs_topic("backup"), "mm2-offset-syncs.backup.internal");
        assert_eq!(prefix(".").checkpoints_topic(), "source.checkpoints.internal");
        assert_eq!(prefix("__").offset_syncs_topic("CLUSTER"), "mm2-offset-syncs__CLUSTER__internal");
        assert_eq!(prefix("__").checkpoints_topic(), "source__checkpoints__internal");
        assert!(prefix(".").is_checkpoints_topic("source1.checkpoints.internal"));
        for topic in [
            "checkpoints.internal",
            "checkpoints-internal",
            "checkpoints.internal!",
            "!checkpoints.internal",
            "source1checkpointsinternal",
        ] {
            assert!(!prefix(".").is_checkpoints_topic(topic), "{topic}");
        }
    }

    /// P3, S1: heartbeats topics behind any number of aliases, by the policy's own separator.
    #[test]
    fn p3_s1_heartbeats_topics() {
        for topic in ["heartbeats", "source1.heartbeats", "source2.source1.heartbeats"] {
            assert!(
                prefix(".").is_heartbeats_topic(topic) && identity().is_heartbeats_topic(topic),
                "{topic}"
            );
        }
        for topic in ["heartbeats!", "!heartbeats", "source1heartbeats", "source1-heartbeats", "heartbeats."]
        {
            assert!(
                !prefix(".").is_heartbeats_topic(topic) && !identity().is_heartbeats_topic(topic),
                "{topic}"
            );
        }
        assert!(!prefix("_").is_heartbeats_topic("us-west.heartbeats"));
    }

    /// S2, S3: cycles by any hop; Identity knows them for heartbeats only; a name without an upstream is none.
    #[test]
    fn s2_s3_every_hop_is_looked_at_for_cycles() {
        for topic in [
            "target.topic1",
            "target.source.topic1",
            "source.target.topic1",
            "target.source.target.topic1",
            "source.target.source.topic1",
        ] {
            assert!(prefix(".").is_cycle(topic) && !identity().is_cycle(topic), "{topic}");
        }
        for topic in ["topic1", "source.topic1", "othersource.topic1", ".b", "target", "target."] {
            assert!(!prefix(".").is_cycle(topic) && !identity().is_cycle(topic), "{topic}");
        }
        for topic in ["target.heartbeats", "source.target.heartbeats", "target.source.heartbeats"] {
            assert!(prefix(".").is_cycle(topic) && identity().is_cycle(topic), "{topic}");
        }
        for topic in ["heartbeats", "othersource.heartbeats"] {
            assert!(!prefix(".").is_cycle(topic) && !identity().is_cycle(topic), "{topic}");
        }
    }

    fn bare(naming: fn(String) -> Naming, source: &str, target: &str) -> Policy {
        Policy::new(naming(String::new()), source, target)
    }

    /// As the code of Kafka 4.3.0's policy reads (not tried on a running MirrorMaker): with an empty separator every character counts as an alias.
    #[test]
    fn without_a_separator_names_are_as_mm2s_policies_have_them() {
        let prefix = |separator| Naming::Prefix { separator };
        let identity = |separator| Naming::Identity { separator };
        let nothing = bare(prefix, "", "");
        assert_eq!(nothing.remote_topic("orders").unwrap(), "orders");
        assert_eq!(nothing.source_topic("orders").unwrap(), "orders");
        assert_eq!(nothing.checkpoints_topic(), "checkpointsinternal");
        assert_eq!(nothing.offset_syncs_topic(nothing.target_alias()), "mm2-offset-syncsinternal");
        assert!(
            nothing.is_copied_into_heartbeats("heartbeats") && !nothing.is_heartbeats_topic("heartbeats")
        );
        for topic in ["orders", "heartbeats", "a.b", "x"] {
            assert!(!nothing.is_cycle(topic), "{topic}");
        }
        let named = bare(prefix, "eu", "B");
        assert_eq!(named.remote_topic("orders").unwrap(), "euorders");
        assert_eq!(named.source_topic("euorders").unwrap(), "orders");
        assert_eq!(named.offset_syncs_topic("B"), "mm2-offset-syncsBinternal");
        assert_eq!(named.checkpoints_topic(), "eucheckpointsinternal");
        assert!(
            named.is_cycle("aBc")
                && !named.is_cycle("xB")
                && !named.is_cycle("B")
                && !named.is_cycle("orders")
        );

        let names = bare(identity, "A", "B");
        assert_eq!(names.remote_topic("heartbeats").unwrap(), "Aheartbeats");
        assert_eq!(names.remote_topic("orders").unwrap(), "orders");
        assert!(!names.is_cycle("aBc") && !names.is_cycle("orders"));
        for policy in [nothing, named, names] {
            for own in [
                "mm2-offset-syncsBinternal",
                "Acheckpointsinternal",
                "mm2-offset-syncs.B.internal",
                "A.checkpoints.internal",
                "mm2-offsets.A.internal",
            ] {
                assert!(policy.is_internal_topic(own), "{own}");
            }
            assert!(!policy.is_internal_topic("orders.internal"));
        }
    }
}
