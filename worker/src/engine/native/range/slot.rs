//! One partition of the source while it is read.

use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use crate::engine::Assigned;
use crate::engine::native::fabric::Fetching;
use crate::engine::native::fetcher::Peer;
use crate::kafka::{From, Leadership, Spot};
use crate::ledger::Account;
use crate::progress::LastCopied;

/// A first batch larger than that comes whole.
const MAX_BYTES: i32 = 1 << 20;

pub(super) enum Reading {
    /// Its leader is being looked for.
    Off,
    On(Fetching),
    /// It has come to where it was to stop.
    Stopped,
}

/// Which replica of a partition is read from.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Nearby {
    /// The leader, as long as it names nobody else.
    #[default]
    Asked,
    /// One that the leader named.
    Replica { until: Instant },
    /// The leader, whomever it would name.
    Leader { until: Instant },
}

impl Nearby {
    pub(super) fn until(self) -> Option<Instant> {
        match self {
            Self::Asked => None,
            Self::Replica { until } | Self::Leader { until } => Some(until),
        }
    }
}

pub(super) struct Slot {
    pub(super) spot: Spot,
    pub(super) reading: Reading,
    /// The topic's id and who led when fetching began.
    pub(super) led: Option<(Uuid, Leadership)>,
    pub(super) nearby: Nearby,
    /// Next source offset to come; what is below was seen.
    pub(super) next: i64,
    /// Of the last record that came; -1 unknown.
    pub(super) epoch: i32,
    /// Text; empty where it isn't known.
    pub(super) topic_id: String,
    /// It has to come again, as it was, before anything else counts.
    pub(super) unrecognised: Option<LastCopied>,
    /// The last record that is known to be copied.
    pub(super) last: Option<LastCopied>,
    /// Copy only what lies below.
    pub(super) before: i64,
    /// The last stable offset where the reader met it, and the high watermark then.
    pub(super) end: Option<(i64, i64)>,
    pub(super) high: Option<i64>,
    /// When the end of the copy was last seen to be where it should be, and whether that is being asked.
    pub(super) seen: Instant,
    pub(super) asking: bool,
    /// The last batch is young.
    pub(super) recent: bool,
    /// When it was last noted which record was copied last.
    pub(super) noted: Option<Instant>,
}

impl Slot {
    pub(super) fn new(topic: &Arc<str>, assigned: &Assigned, account: &Account) -> Self {
        let before = assigned.stop_before.map_or(i64::MAX, |offset| offset.0);
        let stopped = before <= assigned.position.0;
        Self {
            spot: Spot { topic: topic.clone(), partition: assigned.partition },
            reading: if stopped { Reading::Stopped } else { Reading::Off },
            led: None,
            nearby: Nearby::default(),
            next: assigned.position.0,
            epoch: account.progress.leader_epoch,
            topic_id: account.progress.source_topic_id.clone(),
            unrecognised: assigned.last,
            last: assigned.last,
            before,
            end: None,
            high: None,
            seen: Instant::now(),
            asking: false,
            recent: false,
            noted: None,
        }
    }

    /// Where fetching begins: the last record is read again, where one is to be recognised.
    pub(super) fn from(&self, topic_id: Uuid, leadership: Leadership) -> From {
        let offset = self.unrecognised.map_or(self.next, |last| last.offset.0);
        // Of what lies before the offset, the epoch is known only where fetching goes on.
        let last_epoch = if offset == self.next { self.epoch } else { -1 };
        From { topic_id, offset, leader_epoch: leadership.epoch, last_epoch, max_bytes: MAX_BYTES }
    }

    /// The leader, and whether it may name another.
    pub(super) fn peer(&self, leader: i32) -> Peer {
        Peer { broker: leader, near: !matches!(self.nearby, Nearby::Leader { .. }) }
    }

    pub(super) fn is_off(&self) -> bool {
        matches!(self.reading, Reading::Off)
    }

    pub(super) fn is_stopped(&self) -> bool {
        matches!(self.reading, Reading::Stopped)
    }

    /// Everything that there is has come, as far as is known.
    pub(super) fn is_at_end(&self) -> bool {
        self.is_stopped() || self.end.is_some_and(|(end, _)| end >= self.next)
    }
}
