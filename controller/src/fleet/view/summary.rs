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
        name: name.clone(),
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
