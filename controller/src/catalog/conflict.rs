//! What could not be known when a mirror was created: that a cluster of it is another one's second name. Then two mirrors may write
//! each record twice, or send it round for ever, and one of them has to stop: the younger one.

use std::sync::Arc;

use twinlog_proto::id::MirrorId;
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
        reported: impl Iterator<Item = (&'a MirrorId, &'a v1::Inventory)>,
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
        let older: Vec<&Arc<MirrorState>> = self
            .state
            .mirrors
            .values()
            .filter(|other| other.model.running && other.create_revision < mirror.create_revision)
            .collect();
        let others: Vec<&Mirror> = older.iter().map(|other| other.model.as_ref()).collect();
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
pub(crate) fn stop(inventory: &mut v1::Inventory, cause: &v1::Cause) {
    for topic in &mut inventory.topics {
        topic.blocked = Some(cause.clone());
        topic.partitions = 0;
    }
    inventory.blocked = Some(cause.clone());
}
