//! What could not be known when a mirror was created: that a cluster of it is another one's second name. Then two mirrors may write
//! each record twice, or send it round for ever, and one of them has to stop: the younger one.

use twinlog_proto::id::MirrorId;
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::model::Mirror;
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;

use super::places::{self, Aliases, Places};
use super::{loops, overlap};
use crate::state::{MirrorState, State};

/// Finds conflicts with what surveys have seen so far.
pub(crate) struct Conflicts<'a> {
    state: &'a State,
    places: Places<'a>,
}

impl<'a> Conflicts<'a> {
    /// Cheap as long as no two names share an id. `reported`: what surveys have seen and nobody has stored yet.
    pub(crate) fn new(
        state: &'a State,
        reported: impl Iterator<Item = (&'a MirrorId, &'a internal::Inventory)>,
    ) -> Self {
        const NOTHING_ASKED: &Aliases = &Aliases::new();
        let mut seen = places::stored(state);
        seen.extend(
            reported.filter_map(|(id, inventory)| Some((state.mirrors.get(id)?.model.as_ref(), inventory))),
        );
        Self { state, places: Places::proven(&seen, NOTHING_ASKED) }
    }

    /// Why this mirror has to stop, where an older one that runs would meet it on a cluster of two names.
    pub(crate) fn of(&self, mirror: &MirrorState) -> Option<v1::Cause> {
        let model = &*mirror.model;
        if ![&model.source, &model.target].into_iter().any(|side| self.places.is_shared(side)) {
            return None;
        }
        let older = self
            .state
            .mirrors
            .values()
            .filter(|other| other.model.running && other.create_revision < mirror.create_revision);
        let others: Vec<&Mirror> = older.map(|other| other.model.as_ref()).collect();
        let double = overlap::among(model, &others, self.state, &self.places);
        if let Some(double) = double.iter().find(|overlap| overlap.same_source && overlap.found) {
            return Some(self.cause(Reason::TARGET_OVERLAP, model, &double.message()));
        }
        if model.allow_loops {
            return None;
        }
        let circle = loops::find(model, &others, self.state, &self.places)?;
        let allowed = circle
            .hops
            .iter()
            .any(|hop| self.state.mirrors.get(&hop.mirror).is_some_and(|other| other.model.allow_loops));
        (!allowed).then(|| self.cause(Reason::LOOP, model, &circle.message()))
    }

    fn cause(&self, reason: Reason, mirror: &Mirror, message: &str) -> v1::Cause {
        let names = |cluster| {
            let one = |name: &&_| self.places.are_one(name, cluster);
            let names: Vec<_> = self.state.clusters.keys().filter(one).map(|name| name.as_str()).collect();
            names.join(" and ")
        };
        let shared = [&mirror.source, &mirror.target].into_iter().filter(|side| self.places.is_shared(side));
        let said: Vec<_> = shared.map(|side| format!("{} are names of one cluster", names(side))).collect();
        let message = format!("stopped, as {}: {message}", said.join(", and "));
        v1::Cause { reason: reason.as_str().to_owned(), message, since: None }
    }
}

/// Stops everything that the inventory would have copied.
pub(crate) fn stop(inventory: &mut internal::Inventory, cause: &v1::Cause) {
    for topic in &mut inventory.topics {
        topic.blocked = Some(cause.clone());
        topic.partitions = 0;
    }
    inventory.blocked = Some(cause.clone());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::state::InventoryState;

    fn add(state: &mut State, id: &str, created: i64, flow: (&str, &str), topic_ids: (&str, &str)) {
        let wire = v1::Mirror {
            name: format!("mirrors/{id}"),
            source: format!("clusters/{}", flow.0),
            target: format!("clusters/{}", flow.1),
            topics: vec!["t".to_owned()],
            naming: Some(v1::Naming { kind: v1::naming::Kind::Identity.into(), ..Default::default() }),
            ..Default::default()
        };
        let model = Arc::new(Mirror::parse(&wire).unwrap());
        let mirror = MirrorState { wire, model, create_revision: created, mod_revision: created };
        let topic = internal::InventoryTopic {
            source_topic: "t".to_owned(),
            target_topic: "t".to_owned(),
            source_topic_id: topic_ids.0.to_owned(),
            target_topic_id: topic_ids.1.to_owned(),
            partitions: 1,
            ..Default::default()
        };
        let inventory = internal::Inventory {
            topics: vec![topic],
            source_kafka_cluster_id: "source".to_owned(),
            target_kafka_cluster_id: "target".to_owned(),
            ..Default::default()
        };
        let id = mirror.model.id.clone();
        Arc::make_mut(&mut state.mirrors).insert(id.clone(), Arc::new(mirror));
        Arc::make_mut(&mut state.inventories)
            .insert(id, Arc::new(InventoryState { inventory, mod_revision: created }));
    }

    fn reasons(state: &State) -> Vec<(String, Option<String>)> {
        let conflicts = Conflicts::new(state, std::iter::empty());
        let one = |mirror: &Arc<MirrorState>| {
            (mirror.model.id.to_string(), conflicts.of(mirror).map(|cause| cause.reason))
        };
        state.mirrors.values().map(one).collect()
    }

    fn expected(of: &[(&str, Option<&str>)]) -> Vec<(String, Option<String>)> {
        of.iter().map(|(id, reason)| ((*id).to_owned(), reason.map(str::to_owned))).collect()
    }

    #[test]
    fn the_younger_of_two_mirrors_that_meet_on_one_cluster_stops() {
        let mut state = State::default();
        add(&mut state, "old", 1, ("a", "b"), ("at-a", "at-b"));
        add(&mut state, "young", 2, ("a", "b2"), ("at-a", "at-b"));
        assert_eq!(reasons(&state), expected(&[("old", None), ("young", Some("TARGET_OVERLAP"))]));
    }

    #[test]
    fn clusters_that_only_share_a_made_up_id_are_two() {
        let mut state = State::default();
        add(&mut state, "old", 1, ("a", "b"), ("at-a", "at-b"));
        add(&mut state, "young", 2, ("a", "c"), ("at-a", "at-c"));
        assert_eq!(reasons(&state), expected(&[("old", None), ("young", None)]));
    }

    #[test]
    fn what_is_stopped_copies_nothing() {
        let mut inventory = internal::Inventory {
            topics: vec![internal::InventoryTopic { partitions: 3, ..Default::default() }],
            ..Default::default()
        };
        let cause = v1::Cause { reason: Reason::LOOP.as_str().to_owned(), ..Default::default() };
        stop(&mut inventory, &cause);
        assert_eq!((inventory.topics[0].partitions, inventory.blocked), (0, Some(cause)));
    }
}
