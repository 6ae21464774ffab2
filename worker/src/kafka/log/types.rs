//! What calls about logs take and answer, in the domain's words.
//!
//! A value that Kafka encodes with a magic number (-1, empty string) is an `Option` here, except for offsets, where the number
//! is documented.

use bytes::Bytes;

pub use super::batch::{FetchedBatch, LogFormat};
use crate::kafka::wire::types::Isolation;

/// How a piece of a log is fetched.
#[derive(Debug, Clone, Copy)]
pub struct FetchHow {
    /// A first batch or message larger than that comes whole.
    pub max_bytes: i32,
    pub isolation: Isolation,
    /// How long the broker waits for the first byte at the end of the log, milliseconds.
    pub max_wait_ms: i32,
}

/// Where an epoch of leadership ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The newest epoch that is not above the one asked for; -1: none is known.
    pub leader_epoch: i32,
    /// The first offset that no longer belongs to it; -1: unknown.
    pub end_offset: i64,
}

/// What one fetch of one partition brought: whole batches, as they are in the log.
#[derive(Debug, Clone)]
pub struct FetchedBatches {
    /// Every complete batch, oldest first. The first may begin below the offset asked for.
    pub batches: Vec<FetchedBatch>,
    /// Transactions to leave out, in the order of their first offset; empty with `Isolation::Uncommitted`.
    pub aborted: Vec<AbortedTransaction>,
    /// First offset that still exists; -1 where the broker doesn't tell.
    pub log_start: i64,
    pub high_watermark: i64,
    /// -1 where the broker doesn't tell.
    pub last_stable_offset: i64,
}

impl FetchedBatches {
    /// The offset to fetch next, if this fetch brought anything.
    pub fn next_offset(&self) -> Option<i64> {
        self.batches.last().map(|b| b.header.last_offset().saturating_add(1))
    }
}

/// A piece of a log as the broker sent it, in whatever formats its messages are.
#[derive(Debug, Clone)]
pub struct FetchedLog {
    /// Often ends with a part of a batch or message.
    pub records: Bytes,
    /// Transactions to leave out, in the order of their first offset; empty with `Isolation::Uncommitted`.
    pub aborted: Vec<AbortedTransaction>,
    /// First offset that still exists; -1 where the broker doesn't tell.
    pub log_start: i64,
    pub high_watermark: i64,
    /// -1 where the broker doesn't tell.
    pub last_stable_offset: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
}
