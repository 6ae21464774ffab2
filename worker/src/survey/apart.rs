//! Whether two clusters with the same cluster id are one. Ids are made by hand (`kafka-storage.sh format -t`), and examples that people
//! copy give several clusters the same one. What nobody makes by hand are topic ids, and two clusters have no broker in common.

use std::collections::HashSet;

use uuid::Uuid;

use crate::kafka::{Broker, TopicMetadata};

/// One side as its brokers describe it.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) brokers: &'a [Broker],
    /// All that this client may see.
    pub(super) topics: &'a [TopicMetadata],
}

impl Side<'_> {
    fn addresses(&self) -> HashSet<(&str, u16)> {
        self.brokers.iter().map(|broker| (broker.host.as_str(), broker.port)).collect()
    }

    /// `None` where a topic has no id: the brokers are older than 2.8.
    fn topic_ids(&self) -> Option<HashSet<Uuid>> {
        self.topics.iter().filter(|topic| topic.error.is_none()).map(|topic| topic.topic_id).collect()
    }
}

/// Whether the clusters certainly differ, although their ids don't: no address and no topic is the same.
pub(super) fn are_apart(one: Side<'_>, other: Side<'_>) -> bool {
    let no_topic_of_both = match (one.topic_ids(), other.topic_ids()) {
        (Some(one), Some(other)) => one.is_disjoint(&other),
        _ => false,
    };
    no_topic_of_both && one.addresses().is_disjoint(&other.addresses())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(port: u16) -> Broker {
        Broker { id: 1, host: "kafka".into(), port, rack: None }
    }

    fn topic(name: &str, id: Option<u128>) -> TopicMetadata {
        TopicMetadata {
            name: name.into(),
            topic_id: id.map(Uuid::from_u128),
            internal: false,
            partitions: Vec::new(),
            authorized_operations: None,
            error: None,
        }
    }

    #[test]
    fn only_what_shares_neither_broker_nor_topic_is_apart() {
        let (here, there) = ([broker(1)], [broker(2)]);
        let (a, b) = ([topic("t", Some(1))], [topic("t", Some(2))]);
        let side = |brokers, topics| Side { brokers, topics };
        assert!(are_apart(side(&here, &a), side(&there, &b)));
        assert!(are_apart(side(&here, &[]), side(&there, &b)), "an empty cluster");
        assert!(!are_apart(side(&here, &a), side(&here, &b)), "the same address");
        assert!(!are_apart(side(&here, &a), side(&there, &a)), "another listener of the same brokers");
        let old = [topic("t", None)];
        assert!(!are_apart(side(&here, &old), side(&there, &b)), "nothing proves it");
    }
}
