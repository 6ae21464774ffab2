//! How far MirrorMaker 2 really came in one partition. Pure: records come in as prints, in the order of their logs.
//!
//! MM2 commits its position once a minute. What it copied after that is on the target when it is killed, and would be copied
//! again. So the end of the target's log is laid beside the source: from a place that is known on both sides, every source record
//! that is found on the target in its order is copied, and the first one that isn't is where to go on. Records on the target that
//! the source doesn't have there (aborted ones, earlier duplicates, somebody else's) are passed.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::scan::Record;
use crate::scan::Wanted;

/// Records up to the committed position that must be found on the target one after another, where no offset sync leads there.
pub(super) const CONTEXT: usize = 32;

/// What two equal records have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Print {
    content: u64,
    /// `None`: the broker's own time, or none: it says nothing.
    timestamp: Option<i64>,
}

impl Print {
    pub(crate) fn of(record: &Record<'_>) -> Self {
        let mut hasher = DefaultHasher::new();
        record.key.hash(&mut hasher);
        record.value.hash(&mut hasher);
        record.headers.iter().for_each(|header| header.hash(&mut hasher));
        let timestamp = (!record.is_log_append_time).then_some(record.timestamp).filter(|t| *t >= 0);
        Self { content: hasher.finish(), timestamp }
    }

    pub(crate) fn same(self, other: Self) -> bool {
        let times = self.timestamp.zip(other.timestamp);
        self.content == other.content && times.is_none_or(|(a, b)| a == b)
    }
}

/// Where the comparison begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Anchor {
    /// An offset sync says that this source offset is at this target offset.
    Sync { source: i64, target: i64 },
    /// Find the last records up to the committed position.
    Search(VecDeque<Print>),
    /// Nothing was committed: both logs begin with the same record.
    Start,
}

/// Why no common place was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoAnchor;

pub(super) struct Alignment {
    /// The last source offset that MM2 committed as copied.
    committed: Option<i64>,
    anchor: Anchor,
    /// The end of the target's log, offsets and prints.
    copies: Vec<(i64, Print)>,
    /// First copy that no source record was found for yet.
    next: usize,
    /// The last source offset that is known to be on the target.
    last: Option<i64>,
    begun: bool,
    broken: bool,
}

impl Alignment {
    pub(super) fn new(committed: Option<i64>, anchor: Anchor) -> Self {
        Self { committed, anchor, copies: Vec::new(), next: 0, last: None, begun: false, broken: false }
    }

    /// The next record of the target.
    pub(super) fn copy(&mut self, offset: i64, print: Print) {
        self.copies.push((offset, print));
    }

    /// The next record of the source.
    pub(super) fn offer(&mut self, offset: i64, print: Print) -> Wanted {
        let committed = self.committed.is_some_and(|committed| offset <= committed);
        if let (Anchor::Search(context), true) = (&mut self.anchor, committed) {
            if context.len() == CONTEXT {
                context.pop_front();
            }
            context.push_back(print);
            return Wanted::More;
        }
        if !std::mem::replace(&mut self.begun, true) {
            self.broken = self.begin(offset, print).is_err();
        }
        if self.broken {
            return Wanted::Enough;
        }
        let found = self.copies[self.next..].iter().position(|(_, copy)| copy.same(print));
        if let Some(at) = found {
            self.next += at + 1;
            self.last = self.last.max(Some(offset));
        }
        match found.is_some() || committed {
            true => Wanted::More,
            false => Wanted::Enough,
        }
    }

    /// Checks the anchor against the first record that is compared.
    fn begin(&mut self, offset: i64, print: Print) -> Result<(), NoAnchor> {
        let first = self.copies.first().copied();
        match &self.anchor {
            Anchor::Sync { source, target } => {
                let Some((_, copy)) = first.filter(|(at, _)| at == target) else { return Ok(()) };
                if offset > *source {
                    // The record itself can't be seen (aborted, or gone by compaction): MM2 says that it was copied.
                    self.last = Some(*source);
                    self.next = 1;
                    return Ok(());
                }
                copy.same(print).then_some(()).ok_or(NoAnchor)
            }
            Anchor::Search(context) => {
                // The target's log may begin later than the source's.
                let ends_here = |at: &usize| {
                    let copies = self.copies[..=*at].iter().rev();
                    copies.zip(context.iter().rev()).all(|((_, copy), source)| copy.same(*source))
                };
                let found = (0..self.copies.len()).rev().find(ends_here).filter(|_| !context.is_empty());
                self.next = found.ok_or(NoAnchor)? + 1;
                Ok(())
            }
            Anchor::Start => first.filter(|(_, copy)| copy.same(print)).map(|_| ()).ok_or(NoAnchor),
        }
    }

    /// Whether the copy's last record was found in the source.
    pub(super) fn is_complete(&self) -> bool {
        !self.broken && self.next == self.copies.len()
    }

    /// The first source offset that is not on the target; `None`: nothing is known to be there.
    ///
    /// # Errors
    /// The two logs have no place in common.
    pub(super) fn position(&self) -> Result<Option<i64>, NoAnchor> {
        if self.broken {
            return Err(NoAnchor);
        }
        Ok(self.last.max(self.committed).map(|last| last + 1))
    }
}

#[cfg(test)]
pub(super) mod tests;
