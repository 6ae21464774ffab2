//! Which registered clusters are one Kafka cluster under several names.
//!
//! Cluster ids alone don't prove it: they are made by hand (`kafka-storage.sh format -t`), and examples that people copy give several
//! clusters the same one. Broker addresses and topic ids do.

use std::collections::{BTreeMap, BTreeSet};

use twinlog_proto::id::ClusterId;
use twinlog_proto::internal::v1::Inventory;
use twinlog_proto::model::Mirror;

use crate::state::State;

/// What surveys have seen: of each mirror the last.
pub type Seen<'a> = [(&'a Mirror, &'a Inventory)];

/// Names that were found to be others' second names when a worker was asked: the second, and the one that was known.
pub type Aliases = BTreeMap<ClusterId, ClusterId>;

#[derive(Default)]
pub struct Places<'a> {
    same: BTreeMap<&'a ClusterId, &'a ClusterId>,
}

impl<'a> Places<'a> {
    /// By the ids that surveys have seen, and by what a worker was asked. Good enough for what can be overruled.
    pub fn likely(state: &'a State, aliases: &'a Aliases) -> Self {
        let mut places = Self::default();
        for names in by_kafka_id(&stored(state)).into_values() {
            let mut names = names.into_iter();
            let Some(first) = names.next() else { continue };
            places.same.extend(names.map(|name| (name, first)));
        }
        places.with(aliases)
    }

    /// Only by what was asked, or what topics prove that surveys have found on both: no two clusters have a topic id in common.
    pub fn proven(seen: &Seen<'a>, aliases: &'a Aliases) -> Self {
        let mut places = Self::default();
        for names in by_kafka_id(seen).into_values().filter(|names| names.len() > 1) {
            let mut firsts: Vec<(&ClusterId, BTreeSet<&str>)> = Vec::new();
            for name in names {
                let ids = topic_ids(seen, name);
                match firsts.iter_mut().find(|(_, known)| !known.is_disjoint(&ids)) {
                    Some((first, known)) => {
                        places.same.insert(name, first);
                        known.extend(ids);
                    }
                    None => firsts.push((name, ids)),
                }
            }
        }
        places.with(aliases)
    }

    fn with(mut self, aliases: &'a Aliases) -> Self {
        for (name, known) in aliases {
            let first = self.same.get(known).copied().unwrap_or(known);
            if first != name {
                self.same.insert(name, first);
            }
        }
        self
    }

    /// One name for all names of a cluster.
    pub fn of(&self, cluster: &ClusterId) -> ClusterId {
        self.same.get(cluster).copied().unwrap_or(cluster).clone()
    }

    pub fn are_one(&self, one: &ClusterId, other: &ClusterId) -> bool {
        one == other || self.of(one) == self.of(other)
    }

    /// Whether the cluster has another name.
    pub fn is_shared(&self, cluster: &ClusterId) -> bool {
        self.same.iter().any(|(name, first)| *name == cluster || *first == cluster)
    }
}

/// What surveys have seen, as it is stored.
pub fn stored(state: &State) -> Vec<(&Mirror, &Inventory)> {
    let of = |(id, stored)| {
        let stored: &std::sync::Arc<crate::state::InventoryState> = stored;
        Some((state.mirrors.get(id)?.model.as_ref(), &stored.inventory))
    };
    state.inventories.iter().filter_map(of).collect()
}

/// Registered names by the id that surveys have seen of them.
pub fn by_kafka_id<'a>(seen: &Seen<'a>) -> BTreeMap<&'a str, BTreeSet<&'a ClusterId>> {
    let mut all: BTreeMap<&str, BTreeSet<&ClusterId>> = BTreeMap::new();
    for (mirror, inventory) in seen {
        for (cluster, kafka_id) in [
            (&mirror.source, &inventory.source_kafka_cluster_id),
            (&mirror.target, &inventory.target_kafka_cluster_id),
        ] {
            if !kafka_id.is_empty() {
                all.entry(kafka_id).or_default().insert(cluster);
            }
        }
    }
    all
}

/// Of all topics that surveys have found on a cluster.
fn topic_ids<'a>(seen: &Seen<'a>, cluster: &ClusterId) -> BTreeSet<&'a str> {
    let mut ids = BTreeSet::new();
    for (mirror, inventory) in seen {
        for topic in &inventory.topics {
            for (side, id) in
                [(&mirror.source, &topic.source_topic_id), (&mirror.target, &topic.target_topic_id)]
            {
                if side == cluster && !id.is_empty() {
                    ids.insert(id.as_str());
                }
            }
        }
    }
    ids
}
