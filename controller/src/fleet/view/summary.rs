//! Statuses in short, of many mirrors. What is the same for all of them is looked up once.

use std::cell::OnceCell;
use std::collections::HashSet;

use twinlog_proto::id::MirrorId;
use twinlog_proto::v1;

use super::View;
use crate::fleet::Fleet;
use crate::state::{MirrorState, State};

/// What a status says of a mirror that nobody has looked at.
pub(crate) fn bare(mirror: &MirrorState) -> v1::MirrorStatus {
    let name = mirror.model.id.name();
    v1::MirrorStatus {
        name: format!("{name}/status"),
        mirror_etag: mirror.wire.etag.clone(),
        mirror: name,
        source: mirror.wire.source.clone(),
        target: mirror.wire.target.clone(),
        ..v1::MirrorStatus::default()
    }
}

pub(crate) struct Summaries<'a> {
    fleet: &'a Fleet,
    state: &'a State,
    /// Mirrors of which a worker runs something; only asked of paused ones.
    working: OnceCell<HashSet<MirrorId>>,
}

impl<'a> Summaries<'a> {
    pub(crate) fn new(fleet: &'a Fleet, state: &'a State) -> Self {
        Self { fleet, state, working: OnceCell::new() }
    }

    /// The members are held for one mirror at a time, so that workers' reports don't wait for all of them.
    pub(crate) fn of(&self, mirror: &MirrorState) -> v1::MirrorStatus {
        let members = self.fleet.members();
        let mut view = View::new(mirror, self.state, &members);
        if !mirror.model.running {
            view.working = Some(self.working.get_or_init(|| members.working()));
        }
        view.look().summary
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use twinlog_proto::id::{Epoch, TaskName};
    use twinlog_proto::model;

    use super::*;
    use crate::assignment::Assignment;
    use crate::fleet::Patience;
    use twinlog_proto::internal::v1 as internal;

    const RANGES: u32 = 100;

    fn mirror(id: &MirrorId) -> MirrorState {
        let wire = v1::Mirror {
            name: id.name(),
            source: "clusters/a".to_owned(),
            target: "clusters/b".to_owned(),
            topics: vec!["x".to_owned()],
            desired_state: v1::DesiredState::Running.into(),
            ..v1::Mirror::default()
        };
        let model = Arc::new(model::Mirror::parse(&wire).unwrap());
        MirrorState { wire, model, create_revision: 1, mod_revision: 1 }
    }

    /// So many mirrors, each with its ranges and other tasks; nobody runs them.
    fn world(mirrors: u32) -> (Arc<Fleet>, State) {
        let time = Duration::from_secs(1);
        let fleet = Fleet::new(Patience { lease: time, reconnect: time, startup: time });
        let mut state = State::default();
        for n in 0..mirrors {
            let id = MirrorId::new(format!("m{n:04}")).unwrap();
            let range = |block| TaskName::Replicate { mirror: id.clone(), target_topic: "t".into(), block };
            let survey = TaskName::Survey { mirror: id.clone() };
            let checkpoint = TaskName::Checkpoint { mirror: id.clone(), shard: 0 };
            for task in (0..RANGES).map(range).chain([survey, checkpoint]) {
                let assignment = Assignment { worker: None, previous: Vec::new(), epoch: Epoch(1) };
                Arc::make_mut(&mut state.assignments).insert(Arc::new(task.clone()), Arc::new(assignment));
                fleet.members().last.insert(task, internal::TaskReport::default());
            }
            Arc::make_mut(&mut state.mirrors).insert(id.clone(), Arc::new(mirror(&id)));
        }
        (fleet, state)
    }

    /// How long the first mirror's status takes at best.
    fn best(mirrors: u32) -> Duration {
        let (fleet, state) = world(mirrors);
        let summaries = Summaries::new(&fleet, &state);
        let first = state.mirrors.values().next().unwrap();
        assert_eq!(summaries.of(first).state(), v1::State::Pending);
        let time = |_| {
            let began = Instant::now();
            summaries.of(first);
            began.elapsed()
        };
        (0..50).map(time).min().unwrap()
    }

    /// Control plane 9: every status walked through the tasks of all mirrors, which was hundreds of times slower here.
    #[test]
    fn a_status_among_five_hundred_takes_as_long_as_alone() {
        let (alone, among) = (best(1), best(500));
        assert!(among < alone * 20, "{among:?} among 500 mirrors, {alone:?} alone");
    }
}
