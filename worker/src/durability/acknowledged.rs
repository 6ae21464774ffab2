//! After acknowledgement: from time to time progress says how far the range is acknowledged. Records go on meanwhile.
//!
//! Closed pieces of the offset map are written first, and progress, which no longer holds them, when they are acknowledged: they lie in
//! another topic, and one may be stored without the other.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Carried, Next, Write, carried, closing, sealed};
use crate::ledger::{Ledger, Now};

/// Progress is written this often while records flow.
pub(super) const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// The first records are noted at this age: until then the copy is one to which nothing is known to have been written.
pub(super) const FIRST_PROGRESS: Duration = Duration::from_millis(30);

/// A step of the claim or of the end.
#[derive(Debug)]
enum Step {
    Write(Vec<Write>),
    Flush,
    /// Everything that is acknowledged becomes progress: as often as it takes.
    Save,
}

/// What was written and is not acknowledged.
#[derive(Debug, PartialEq, Eq)]
enum Waiting {
    Nothing,
    /// So many closed pieces.
    Closed(u64),
    Progress,
}

/// What the engine was asked to do, until it is done.
#[derive(Debug)]
enum Doing {
    Write,
    Flush,
}

#[derive(Debug)]
pub(super) struct Acknowledged {
    progress_key: Vec<u8>,
    plan: VecDeque<Step>,
    doing: Option<Doing>,
    waiting: Waiting,
    /// When progress was last written.
    written: Option<Instant>,
    /// When it is written next, after that.
    interval: Duration,
    ending: bool,
}

impl Acknowledged {
    pub(super) fn new(progress_key: Vec<u8>, carried: Option<Carried>) -> Self {
        let (pieces, mark) = carried::writes(carried);
        let mut plan: VecDeque<Step> =
            pieces.into_iter().flat_map(|some| [Step::Write(some), Step::Flush]).collect();
        plan.extend([Step::Flush, Step::Save]);
        if let Some(mark) = mark {
            plan.extend([Step::Write(vec![mark]), Step::Flush]);
        }
        Self {
            progress_key,
            plan,
            doing: None,
            waiting: Waiting::Nothing,
            written: None,
            interval: FIRST_PROGRESS,
            ending: false,
        }
    }

    pub(super) fn next(&mut self, ledger: &mut Ledger, now: Now) -> Option<Next> {
        if self.doing.is_some() {
            return None;
        }
        let next = match self.due(ledger) {
            Some(due) if due <= now.instant => {
                self.interval = PROGRESS_INTERVAL;
                Next::Write(self.write(ledger, now))
            }
            Some(_) => return None,
            None => self.planned(ledger, now)?,
        };
        self.doing = Some(if next == Next::Flush { Doing::Flush } else { Doing::Write });
        Some(next)
    }

    fn planned(&mut self, ledger: &mut Ledger, now: Now) -> Option<Next> {
        while let Some(step) = self.plan.pop_front() {
            match step {
                Step::Write(writes) => return Some(Next::Write(writes)),
                Step::Flush => return Some(Next::Flush),
                Step::Save if self.waiting == Waiting::Nothing && !ledger.is_dirty() => {
                    self.written.get_or_insert(now.instant);
                }
                Step::Save => {
                    self.plan.push_front(Step::Save);
                    let is_free = self.waiting == Waiting::Nothing;
                    return Some(if is_free { Next::Write(self.write(ledger, now)) } else { Next::Flush });
                }
            }
        }
        None
    }

    /// Closed pieces, or where there are none, progress.
    fn write(&mut self, ledger: &mut Ledger, now: Now) -> Vec<Write> {
        let closing = closing(ledger);
        if !closing.is_empty() {
            self.waiting = Waiting::Closed(closing.len() as u64);
            return closing;
        }
        (self.waiting, self.written) = (Waiting::Progress, Some(now.instant));
        vec![sealed(ledger, &self.progress_key, now)]
    }

    pub(super) fn done(&mut self, ledger: &mut Ledger, now: Instant) {
        if let Some(Doing::Flush) = self.doing.take() {
            self.stored(u64::MAX, ledger, now);
        }
    }

    pub(super) fn stored(&mut self, count: u64, ledger: &mut Ledger, now: Instant) {
        match &mut self.waiting {
            // What an older version left.
            Waiting::Nothing => return,
            Waiting::Closed(left) if *left > count => {
                *left -= count;
                return;
            }
            Waiting::Closed(_) => ledger.closed(),
            Waiting::Progress => ledger.committed(now),
        }
        self.waiting = Waiting::Nothing;
    }

    pub(super) fn holds_records(&self) -> bool {
        !self.plan.is_empty() || self.ending
    }

    /// When the next progress is due; none while something is on its way.
    pub(super) fn due(&self, ledger: &Ledger) -> Option<Instant> {
        if self.holds_records() || self.waiting != Waiting::Nothing || !ledger.is_dirty() {
            return None;
        }
        self.written.map(|at| at + self.interval)
    }

    pub(super) fn end(&mut self) {
        self.ending = true;
        self.plan.extend([Step::Flush, Step::Save]);
    }
}
