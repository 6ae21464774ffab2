//! The whole map of one partition as a reader puts it together from closed chunks and the open one.
//!
//! Chunks are kept as their stored bytes, some 4 bytes per segment. A chunk that is applied replaces everything that was
//! known at or above its start: a lane only ever goes on from where its predecessor's progress ends, or, after a truncation
//! of the source, from an earlier place whose old copies no longer count.

use std::sync::Arc;

use twinlog_proto::id::{SourceOffset, TargetOffset};

use super::{Chunk, Damaged, Found};

/// Where a chunk's record lies in the offsets topic: partition and offset.
pub(crate) type StoredAt = (i32, i64);

/// A closed chunk: where it begins, and its bytes unless they were dropped to save memory.
#[derive(Debug, Clone)]
struct Closed {
    source: i64,
    /// Where its first record is, on both sides.
    first: i64,
    target: i64,
    stored_at: StoredAt,
    bytes: Option<Arc<[u8]>>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    closed: Vec<Closed>,
    open: Option<Chunk>,
    /// The closed chunk that was looked into last: questions often come in order.
    last: Option<(StoredAt, Chunk)>,
}

/// What a history knows about a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    Found(Found),
    /// The chunk's bytes were dropped: read this record of the offsets topic and `restore` it.
    Missing {
        stored_at: StoredAt,
    },
    /// Nothing is known of the partition.
    Unknown,
}

impl History {
    /// A closed chunk, read from the offsets topic at `stored_at`.
    pub(crate) fn close(&mut self, chunk: &Chunk, stored_at: StoredAt, bytes: &[u8]) {
        let source = chunk.source_start().0;
        self.closed.retain(|c| c.source < source);
        let target = chunk.target_start().0;
        let first = chunk.first_record().0;
        self.closed.push(Closed { source, first, target, stored_at, bytes: Some(bytes.into()) });
    }

    /// The open chunk as the newest progress has it.
    pub(crate) fn set_open(&mut self, chunk: Chunk) {
        self.open = Some(chunk);
    }

    /// Bytes held for closed chunks.
    pub(crate) fn bytes(&self) -> usize {
        self.closed.iter().filter_map(|c| c.bytes.as_ref()).map(|b| b.len()).sum()
    }

    /// Drops the bytes of the older half of the chunks that have some; they can be read again.
    pub(crate) fn shed(&mut self) {
        let held = self.closed.iter().filter(|c| c.bytes.is_some()).count();
        self.closed
            .iter_mut()
            .filter(|c| c.bytes.is_some())
            .take(held.div_ceil(2))
            .for_each(|c| c.bytes = None);
    }

    /// Gives a chunk its bytes back.
    pub(crate) fn restore(&mut self, stored_at: StoredAt, bytes: &[u8]) {
        if let Some(chunk) = self.closed.iter_mut().find(|c| c.stored_at == stored_at) {
            chunk.bytes = Some(bytes.into());
        }
    }

    pub(crate) fn find(&mut self, position: SourceOffset) -> Result<Lookup, Damaged> {
        let Some(open) = &self.open else { return Ok(Lookup::Unknown) };
        // What is closed at or above the open chunk's start was written by an owner whose progress did not make it.
        let closed = &self.closed[..self.closed.partition_point(|c| c.source < open.source_start().0)];
        if position >= open.source_start() || closed.is_empty() {
            return Ok(Lookup::Found(open.find(position)));
        }
        let after = closed.partition_point(|c| c.source <= position.0);
        // A later chunk may begin inside this one: from there on it is what counts.
        let end_of = |chunk: usize| closed.get(chunk + 1).map_or(open.source_start().0, |c| c.source);
        let next_record = || {
            let next = (after..closed.len()).find(|chunk| closed[*chunk].first < end_of(*chunk));
            next.map(|chunk| TargetOffset(closed[chunk].target))
        };
        let Some(current) = after.checked_sub(1) else {
            return Ok(Lookup::Found(Found::Before(next_record().unwrap_or_else(|| open.target_start()))));
        };
        let stored_at = closed[current].stored_at;
        if self.last.as_ref().is_none_or(|(at, _)| *at != stored_at) {
            let Some(bytes) = &closed[current].bytes else { return Ok(Lookup::Missing { stored_at }) };
            self.last = Some((stored_at, Chunk::decode(bytes)?));
        }
        let (_, chunk) = self.last.as_ref().expect("was just put there");
        Ok(Lookup::Found(match chunk.find_below(position, SourceOffset(end_of(current))) {
            Found::End(_) => match next_record() {
                Some(target) => Found::At(target),
                None => open.find(open.source_start()),
            },
            found => found,
        }))
    }
}
