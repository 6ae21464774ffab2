//! What an older version has left of a range: carried over with the first commit, before any record.

use super::{Place, Write};
use crate::ledger::Entry;

/// Pieces that are on their way at a time: far fewer than a producer's queue takes.
const AT_ONCE: usize = 500;

/// What an older version has left of the range.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Carried {
    /// For the range's partition of the offsets topic.
    pub(crate) pieces: Vec<Entry>,
    /// Says that it was carried over: topic and partition where it was. After everything else, if not at once.
    pub(crate) mark: Option<(String, i32, Entry)>,
}

/// The pieces, as many together as may be on their way, and the mark.
pub(super) fn writes(carried: Option<Carried>) -> (Vec<Vec<Write>>, Option<Write>) {
    let Some(Carried { pieces, mark }) = carried else { return (Vec::new(), None) };
    let write = |entry: &Entry| Write { place: Place::Offsets, entry: entry.clone() };
    let pieces = pieces.chunks(AT_ONCE).map(|some| some.iter().map(write).collect()).collect();
    let mark =
        mark.map(|(topic, partition, entry)| Write { place: Place::Former { topic, partition }, entry });
    (pieces, mark)
}
