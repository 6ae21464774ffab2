//! What goes to one partition of the target as one batch.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::fetcher::Flow;
use crate::budget::Kept;
use crate::kafka::FetchedBatch;

/// Consecutive records of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) source: i64,
    pub(super) count: u32,
}

/// Where the records of a batch were at the source: mostly one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Runs {
    One(Run),
    Many(Vec<Run>),
}

impl FromIterator<Run> for Runs {
    /// What follows on what came before is one run with it.
    fn from_iter<T: IntoIterator<Item = Run>>(all: T) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        for run in all {
            match runs.last_mut() {
                Some(last) if last.source + i64::from(last.count) == run.source => last.count += run.count,
                _ => runs.push(run),
            }
        }
        match runs[..] {
            [one] => Self::One(one),
            _ => Self::Many(runs),
        }
    }
}

impl Runs {
    pub(super) fn all(&self) -> &[Run] {
        match self {
            Self::One(run) => std::slice::from_ref(run),
            Self::Many(runs) => runs,
        }
    }
}

/// A batch for the target, without who writes it.
#[derive(Debug)]
pub(super) struct Load {
    /// The whole batch.
    pub(super) bytes: Bytes,
    pub(super) count: i32,
    pub(super) since: Instant,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    /// The range's own records: progress, pieces of the offset map.
    Own,
    Mirrored(Mirrored),
}

/// Records of the source.
#[derive(Debug)]
pub(super) struct Mirrored {
    pub(super) runs: Runs,
    /// When it is stored there is nothing more to copy below this offset.
    pub(super) next: i64,
    /// What it was made of: mostly one batch, which it is.
    pub(super) parts: Vec<Part>,
}

/// A batch of the source, and the memory in which it lies.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) origin: FetchedBatch,
    pub(super) _held: Held,
}

impl Mirrored {
    /// The batch of the source that holds the last record.
    pub(super) fn last(&self) -> Option<&FetchedBatch> {
        self.parts.last().map(|part| &part.origin)
    }
}

/// Memory, and a place in the queue, until the batch is stored.
#[derive(Debug)]
pub(super) struct Held {
    _memory: Arc<Kept>,
    flow: Arc<Flow>,
    bytes: usize,
}

impl Held {
    pub(super) fn new(memory: Arc<Kept>, flow: Arc<Flow>, bytes: usize) -> Self {
        flow.keeps(bytes);
        Self::instead(memory, flow, bytes)
    }

    /// Of bytes that count already.
    pub(super) fn instead(memory: Arc<Kept>, flow: Arc<Flow>, bytes: usize) -> Self {
        Self { _memory: memory, flow, bytes }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.flow.done(self.bytes);
    }
}
