//! How long an engine waits for the target while it makes something durable.

use std::time::{Duration, Instant};

/// What ending may take: then what is in flight is given up (and copied again by whoever comes next).
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// A claim or a commit is given up after twice the patience: the coordinator has ended its transaction by then. A lane that is to end
/// does not wait for a target that is away as long as one that runs.
#[derive(Debug)]
pub(super) struct Deadline {
    patience: Duration,
    /// Of the claim or commit that is under way.
    commit: Option<Instant>,
    /// Of the end: set once.
    end: Option<Instant>,
}

impl Deadline {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, commit: None, end: None }
    }

    /// Something is to be done for the claim or commit that is under way, or that begins with it.
    pub(super) fn begin(&mut self, now: Instant) {
        self.commit.get_or_insert(now + self.patience * 2);
    }

    /// Nothing is under way any more.
    pub(super) fn met(&mut self) {
        self.commit = None;
    }

    /// The engine is to end.
    pub(super) fn end(&mut self, now: Instant) {
        self.end.get_or_insert(now + DRAIN_TIMEOUT);
    }

    pub(super) fn is_ahead(&self, now: Instant) -> bool {
        [self.commit, self.end].into_iter().flatten().all(|deadline| now < deadline)
    }
}
