//! One heartbeat for a pair of clusters, whatever the number of mirrors between them: which mirror emits it, and which one copies the
//! heartbeats topics of the source. Pure.

use std::collections::HashMap;
use std::time::Duration;

use twinlog_proto::id::{ClusterId, MirrorId};
use twinlog_proto::{model, v1};

use crate::state::State;

/// Source, target, and the name that the source's heartbeats get on the target: separators make it differ.
type Pair<'a> = (&'a ClusterId, &'a ClusterId, String);
/// The smallest emits: on the source too, at the shortest interval, the oldest mirror.
type Order<'a> = (bool, Duration, i64, &'a MirrorId);

pub(crate) struct Heartbeats<'a> {
    emitters: HashMap<(&'a ClusterId, &'a ClusterId), Order<'a>>,
    /// The oldest mirror, so that a new one changes nothing.
    carriers: HashMap<Pair<'a>, (i64, &'a MirrorId)>,
}

impl<'a> Heartbeats<'a> {
    /// Only mirrors that shall run count: when one is paused, another one takes over.
    pub(crate) fn of(state: &'a State) -> Self {
        let mut all = Self { emitters: HashMap::new(), carriers: HashMap::new() };
        for mirror in state.mirrors.values().filter(|mirror| mirror.model.running) {
            let model = &*mirror.model;
            let order =
                (!model.heartbeats_on_source, model.heartbeat_interval, mirror.create_revision, &model.id);
            if model.heartbeats {
                let first = all.emitters.entry((&model.source, &model.target)).or_insert(order);
                *first = order.min(*first);
            }
            if model.replicate_heartbeats {
                let order = (mirror.create_revision, &model.id);
                let first = all.carriers.entry(pair(model)).or_insert(order);
                *first = order.min(*first);
            }
        }
        all
    }

    /// Whether this mirror emits the heartbeats of its clusters.
    pub(crate) fn are_emitted_by(&self, mirror: &model::Mirror) -> bool {
        let emitter = self.emitters.get(&(&mirror.source, &mirror.target));
        mirror.heartbeats && emitter.is_some_and(|(.., id)| **id == mirror.id)
    }

    /// The other mirror that copies what this one would copy, too.
    fn carried_by(&self, mirror: &model::Mirror) -> Option<&MirrorId> {
        let (_, carrier) = self.carriers.get(&pair(mirror))?;
        (mirror.replicate_heartbeats && **carrier != mirror.id).then_some(*carrier)
    }

    /// The mirror as workers get it.
    pub(crate) fn wire(&self, wire: &v1::Mirror, mirror: &model::Mirror) -> v1::Mirror {
        let carrier = self.carried_by(mirror).map(MirrorId::name).unwrap_or_default();
        v1::Mirror { heartbeats_carried_by: carrier, ..wire.clone() }
    }
}

fn pair(mirror: &model::Mirror) -> Pair<'_> {
    (&mirror.source, &mirror.target, mirror.policy.remote_topic("heartbeats").unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::state::MirrorState;

    fn add(state: &mut State, id: &str, created: i64, change: impl FnOnce(&mut v1::Mirror)) {
        let mut wire = v1::Mirror {
            name: format!("mirrors/{id}"),
            source: "clusters/a".to_owned(),
            target: "clusters/b".to_owned(),
            topics: vec!["x".to_owned()],
            ..Default::default()
        };
        change(&mut wire);
        let model = Arc::new(model::Mirror::parse(&wire).unwrap());
        let id = model.id.clone();
        let mirror = MirrorState { wire, model, create_revision: created, mod_revision: created };
        Arc::make_mut(&mut state.mirrors).insert(id, Arc::new(mirror));
    }

    /// Per mirror: whether it emits, and who carries instead of it.
    fn seen(state: &State) -> Vec<(String, bool, String)> {
        let all = Heartbeats::of(state);
        let one = |mirror: &Arc<MirrorState>| {
            let carrier = all.wire(&mirror.wire, &mirror.model).heartbeats_carried_by;
            (mirror.model.id.to_string(), all.are_emitted_by(&mirror.model), carrier)
        };
        state.mirrors.values().map(one).collect()
    }

    fn row(id: &str, emits: bool, carrier: &str) -> (String, bool, String) {
        (id.to_owned(), emits, carrier.to_owned())
    }

    #[test]
    fn of_the_mirrors_of_a_pair_the_oldest_beats_and_another_takes_over() {
        let mut state = State::default();
        add(&mut state, "m1", 7, |_| {});
        add(&mut state, "m2", 3, |_| {});
        add(&mut state, "m3", 5, |m| m.target = "clusters/c".to_owned());
        let expected = [row("m1", false, "mirrors/m2"), row("m2", true, ""), row("m3", true, "")];
        assert_eq!(seen(&state), expected);
        add(&mut state, "m2", 3, |m| m.set_desired_state(v1::DesiredState::Paused));
        assert_eq!(seen(&state)[..2], [row("m1", true, ""), row("m2", false, "mirrors/m1")]);
    }

    #[test]
    fn what_a_mirror_does_not_do_it_does_not_do_for_others() {
        let mut state = State::default();
        let heartbeats = |enabled, on_source, replicate| v1::Heartbeats {
            enabled: Some(enabled),
            on_source: Some(on_source),
            replicate: Some(replicate),
            ..Default::default()
        };
        add(&mut state, "m1", 1, |m| m.heartbeats = Some(heartbeats(false, true, false)));
        add(&mut state, "m2", 2, |m| m.heartbeats = Some(heartbeats(true, false, true)));
        add(&mut state, "m3", 3, |m| m.heartbeats = Some(heartbeats(true, true, true)));
        let underscore = Some(v1::Naming { separator: "_".to_owned(), ..Default::default() });
        add(&mut state, "m4", 4, |m| m.naming = underscore);
        let expected =
            [row("m1", false, ""), row("m2", false, ""), row("m3", true, "mirrors/m2"), row("m4", false, "")];
        assert_eq!(seen(&state), expected, "m3 beats on the source too; m4 names its copies otherwise");
    }
}
