//! One partition while it moves.

use std::time::Instant;

use crate::engine::Assigned;
use crate::engine::librdkafka::flight::Flight;
use crate::progress::LastCopied;

pub(super) struct Slot {
    pub(super) partition: i32,
    pub(super) flight: Flight,
    /// Next source offset to come; what is below was seen.
    pub(super) next: i64,
    /// The last record that came.
    pub(super) last: Option<LastCopied>,
    /// It has to come again, as it was, before anything else counts.
    pub(super) unrecognised: Option<LastCopied>,
    /// The source's reconnects when that was asked for last.
    pub(super) reconnects: u64,
    /// The batch in which fetching went back.
    pub(super) rewound_in: u64,
    pub(super) epoch: i32,
    pub(super) stop_before: Option<i64>,
    pub(super) stopped: bool,
    /// End of the partition for a reader, and the high watermark when it was seen.
    pub(super) end: Option<(i64, i64)>,
    /// The feeder reads it: the log goes on with messages in an old format.
    pub(super) old: bool,
    /// High watermark as the feeder saw it last.
    pub(super) fed_high: Option<i64>,
    /// Below this the log is known to have the present format.
    pub(super) sure_below: i64,
    /// When the end of the copy was last seen to be where it should be.
    pub(super) seen: Instant,
}

impl Slot {
    pub(super) fn new(slot: u16, assigned: &Assigned) -> Self {
        let next = assigned.position.0;
        Self {
            partition: assigned.partition,
            flight: Flight::new(slot),
            next,
            last: assigned.last,
            // The feeder reads one format only, and the record may have another one.
            unrecognised: assigned.last.filter(|_| !assigned.old),
            reconnects: 0,
            rewound_in: 0,
            epoch: -1,
            stop_before: assigned.stop_before.map(|offset| offset.0),
            stopped: false,
            end: None,
            old: assigned.old,
            fed_high: None,
            sure_below: next,
            seen: Instant::now(),
        }
    }
}
