//! Circles over all mirrors: records that would come back to a cluster they have been on. Pure.
//!
//! A mirror by itself sees only names: prefix naming stops what carries the target's alias, identity stops nothing. Only who
//! knows every mirror sees that records of a -> b -> c come back to a, whatever they are called by then. Names are followed
//! from hop to hop with the very rules that workers select and rename by: names that surveys have found, and for topics
//! that nobody has seen yet, names made from the patterns.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use twinlog_proto::id::{ClusterId, MirrorId};
use twinlog_proto::model::Mirror;
use twinlog_proto::reason::Reason;

use super::places::Places;
use super::sample;
use super::warning::Warning;
use crate::state::State;

/// Hops that are followed at most from one name, and for one answer: some tens of milliseconds.
const MAX_STEPS_PER_NAME: usize = 2_000;
const MAX_STEPS: usize = 20_000;
/// Names of one inventory that are followed at most.
const MAX_NAMES: usize = 2_000;

/// A topic on a cluster, and the mirror that copies it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    pub cluster: ClusterId,
    pub topic: String,
    pub mirror: MirrorId,
}

/// A way back to where it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circle {
    pub hops: Vec<Hop>,
    /// What the records are called when they are back.
    pub back_as: String,
}

impl Circle {
    /// Under the same name they would be copied again and again.
    fn is_endless(&self) -> bool {
        self.hops[0].topic == self.back_as
    }

    pub fn message(&self) -> String {
        let consequence = if self.is_endless() {
            "every record would go round for ever and fill every cluster on the way"
        } else {
            "every record would come back as a copy under another name"
        };
        format!(
            "{self}: {consequence}. Exclude the topics in one direction or use prefix naming; set allow_loops (--allow-loops) if that is what you want"
        )
    }

    pub fn warning(&self) -> Warning {
        Warning { reason: Reason::LOOP, message: self.message() }
    }
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for hop in &self.hops {
            write!(f, "{} on {} -> ({}) -> ", hop.topic, hop.cluster, hop.mirror)?;
        }
        write!(f, "{} on {}", self.back_as, self.hops[0].cluster)
    }
}

/// The first circle found that the candidate is part of. `others`: every other mirror, paused ones too.
pub fn find(candidate: &Mirror, others: &[&Mirror], state: &State, places: &Places<'_>) -> Option<Circle> {
    let mut mirrors: Vec<&Mirror> = others.iter().copied().filter(|m| m.id != candidate.id).collect();
    mirrors.push(candidate);
    let upstream = upstream(&places.of(&candidate.source), &mirrors, places);
    // Most often nothing leads from the target back to the source: then no name has to be looked at.
    if !upstream.contains(&places.of(&candidate.target)) {
        return None;
    }
    mirrors.retain(|mirror| upstream.contains(&places.of(&mirror.target)));
    let mut search = Search {
        from: mirrors.iter().fold(BTreeMap::new(), |mut from: BTreeMap<_, Vec<_>>, mirror| {
            from.entry(places.of(&mirror.source)).or_default().push(*mirror);
            from
        }),
        places,
        candidate: &candidate.id,
        hops: Vec::new(),
        budget: 0,
    };
    let mut left = MAX_STEPS;
    origins(&mirrors, places, state).into_iter().find_map(|(cluster, topic)| {
        let budget = left.min(MAX_STEPS_PER_NAME);
        search.budget = budget;
        let circle = search.follow(cluster, &topic);
        left -= budget - search.budget;
        circle
    })
}

/// Clusters from which mirrors lead to this one, itself among them.
fn upstream(cluster: &ClusterId, mirrors: &[&Mirror], places: &Places<'_>) -> BTreeSet<ClusterId> {
    let mut into: BTreeMap<ClusterId, BTreeSet<ClusterId>> = BTreeMap::new();
    for mirror in mirrors {
        into.entry(places.of(&mirror.target)).or_default().insert(places.of(&mirror.source));
    }
    let mut found = BTreeSet::from([cluster.clone()]);
    let mut open = vec![cluster.clone()];
    while let Some(here) = open.pop() {
        for from in into.get(&here).into_iter().flatten() {
            if found.insert(from.clone()) {
                open.push(from.clone());
            }
        }
    }
    found
}

/// A ring of three clusters or more that names keep open: worth knowing before somebody changes a naming.
pub fn ring_warning(candidate: &Mirror, others: &[&Mirror], places: &Places<'_>) -> Option<Warning> {
    let home = places.of(&candidate.source);
    let mut ways = vec![vec![home.clone(), places.of(&candidate.target)]];
    let mut reached = BTreeSet::from([places.of(&candidate.target)]);
    while let Some(way) = ways.pop() {
        let here = way.last().expect("a way has a beginning");
        let onward = others.iter().filter(|m| m.id != candidate.id && places.of(&m.source) == *here);
        for next in onward.map(|mirror| places.of(&mirror.target)).collect::<Vec<_>>() {
            if next == home && way.len() > 2 {
                let ring: Vec<&str> = way.iter().chain([&home]).map(ClusterId::as_str).collect();
                let message = format!(
                    "mirrors form the ring {}: topic names keep records from going round it. They would if a mirror of it \
                     kept names or used another separator",
                    ring.join(" -> ")
                );
                return Some(Warning { reason: Reason::LOOP, message });
            }
            if next != home && reached.insert(next.clone()) {
                ways.push(way.iter().cloned().chain([next]).collect());
            }
        }
    }
    None
}

/// Where records may begin: names made from patterns first, then what surveys have found.
fn origins(mirrors: &[&Mirror], places: &Places<'_>, state: &State) -> Vec<(ClusterId, String)> {
    let mut seen = BTreeSet::new();
    let mut origins = Vec::new();
    let mut add = |cluster: &ClusterId, topic: String| {
        let origin = (places.of(cluster), topic);
        if seen.insert(origin.clone()) {
            origins.push(origin);
        }
    };
    for mirror in mirrors {
        for topic in sample::names(mirror) {
            add(&mirror.source, topic);
        }
    }
    for mirror in mirrors {
        let found = state.inventories.get(&mirror.id).into_iter().flat_map(|stored| &stored.inventory.topics);
        for topic in found.take(MAX_NAMES) {
            add(&mirror.source, topic.source_topic.clone());
        }
    }
    origins
}

struct Search<'a> {
    from: BTreeMap<ClusterId, Vec<&'a Mirror>>,
    places: &'a Places<'a>,
    candidate: &'a MirrorId,
    hops: Vec<Hop>,
    budget: usize,
}

impl Search<'_> {
    /// Follows a name to every cluster it reaches, until it is back where it has been.
    fn follow(&mut self, cluster: ClusterId, topic: &str) -> Option<Circle> {
        let been = self.hops.iter().position(|hop| self.places.of(&hop.cluster) == cluster);
        if let Some(first) = been {
            let hops = self.hops[first..].to_vec();
            let concerned = hops.iter().any(|hop| hop.mirror == *self.candidate);
            return concerned.then(|| Circle { hops, back_as: topic.to_owned() });
        }
        for mirror in self.from.get(&cluster).cloned().unwrap_or_default() {
            self.budget = self.budget.checked_sub(1)?;
            if !mirror.selects(topic) {
                continue;
            }
            let Some(remote) = mirror.policy.remote_topic(topic) else { continue };
            self.hops.push(Hop {
                cluster: mirror.source.clone(),
                topic: topic.to_owned(),
                mirror: mirror.id.clone(),
            });
            let circle = self.follow(self.places.of(&mirror.target), &remote);
            self.hops.pop();
            if circle.is_some() {
                return circle;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
