//! The whole map of one partition as a reader puts it together from closed chunks and the open one.
//!
//! Chunks are kept as their stored bytes, some 4 bytes per segment. A chunk that is applied replaces everything that was
//! known at or above its start: a lane only ever goes on from where its predecessor's progress ends, or, after a truncation
//! of the source, from an earlier place whose old copies no longer count.

use std::sync::Arc;

use twinlog_proto::id::{SourceOffset, TargetOffset};

use super::{Chunk, Damaged, Found};

/// Where a chunk's record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StoredAt {
    /// In the offsets topic of an older version.
    pub(crate) former: bool,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// A closed chunk: where it begins, and its bytes unless they were dropped to save memory.
#[derive(Debug, Clone)]
struct Closed {
    source: i64,
    /// Where it begins on the target.
    anchor: i64,
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
pub(crate) enum Lookup<F = Found> {
    Found(F),
    /// The chunk's bytes were dropped: read this record of the offsets topic and `restore` it.
    Missing {
        stored_at: StoredAt,
    },
    /// Nothing is known of the partition.
    Unknown,
}

/// Where a position in the copy leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FoundCopy {
    /// The copy of this record is the first at or after the position.
    Of(SourceOffset),
    /// No copy is mapped at or after the position: the last one ends here.
    End(TargetOffset),
}

impl History {
    /// A closed chunk, read from the offsets topic at `stored_at`.
    pub(crate) fn close(&mut self, chunk: &Chunk, stored_at: StoredAt, bytes: &[u8]) {
        let source = chunk.source_start().0;
        self.closed.retain(|c| c.source < source);
        let target = chunk.target_start().0;
        let first = chunk.first_record().0;
        let anchor = chunk.target_anchor().0;
        self.closed.push(Closed { source, anchor, first, target, stored_at, bytes: Some(bytes.into()) });
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
        let closed = counting(&self.closed, open);
        if position >= open.source_start() || closed.is_empty() {
            return Ok(Lookup::Found(open.find(position)));
        }
        let after = closed.partition_point(|c| c.source <= position.0);
        let next_record = || next_record(closed, after, open).map(|chunk| TargetOffset(chunk.target));
        let Some(current) = after.checked_sub(1) else {
            return Ok(Lookup::Found(Found::Before(next_record().unwrap_or_else(|| open.target_start()))));
        };
        let Some(chunk) = unpack(&mut self.last, &closed[current])? else {
            return Ok(Lookup::Missing { stored_at: closed[current].stored_at });
        };
        Ok(Lookup::Found(match chunk.find_below(position, end_of(closed, current, open)) {
            Found::End(_) => match next_record() {
                Some(target) => Found::At(target),
                None => open.find(open.source_start()),
            },
            found => found,
        }))
    }

    /// Where the map begins on the target: below lie no copies of this mirror, or none that still count.
    pub(crate) fn begins(&self) -> Option<TargetOffset> {
        let open = self.open.as_ref()?;
        let first = counting(&self.closed, open).first();
        Some(first.map_or(open.target_anchor(), |chunk| TargetOffset(chunk.anchor)))
    }

    /// The other way: which record's copy is the first at or after a target offset.
    pub(crate) fn find_copy(&mut self, target: TargetOffset) -> Result<Lookup<FoundCopy>, Damaged> {
        let Some(open) = &self.open else { return Ok(Lookup::Unknown) };
        let closed = counting(&self.closed, open);
        let in_open = || match open.find_copy(target, SourceOffset(i64::MAX)) {
            Some(source) => FoundCopy::Of(source),
            None => FoundCopy::End(open.target_end()),
        };
        if target >= open.target_anchor() {
            return Ok(Lookup::Found(in_open()));
        }
        // Targets grow from chunk to chunk as sources do. Looked for from the newest: should the target have lost its copies
        // once, what is older says nothing about what lies there now.
        let after = closed.iter().rposition(|c| c.anchor <= target.0).map_or(0, |current| current + 1);
        if let Some(current) = after.checked_sub(1) {
            let Some(chunk) = unpack(&mut self.last, &closed[current])? else {
                return Ok(Lookup::Missing { stored_at: closed[current].stored_at });
            };
            if let Some(source) = chunk.find_copy(target, end_of(closed, current, open)) {
                return Ok(Lookup::Found(FoundCopy::Of(source)));
            }
        }
        Ok(Lookup::Found(match next_record(closed, after, open) {
            Some(chunk) => FoundCopy::Of(SourceOffset(chunk.first)),
            None => in_open(),
        }))
    }
}

/// What is closed at or above the open chunk's start was written by an owner whose progress did not make it.
fn counting<'a>(closed: &'a [Closed], open: &Chunk) -> &'a [Closed] {
    &closed[..closed.partition_point(|c| c.source < open.source_start().0)]
}

/// A later chunk may begin inside this one: from there on it is what counts.
fn end_of(closed: &[Closed], chunk: usize, open: &Chunk) -> SourceOffset {
    SourceOffset(closed.get(chunk + 1).map_or(open.source_start().0, |next| next.source))
}

/// The first closed chunk from `after` on that has a record which counts.
fn next_record<'a>(closed: &'a [Closed], after: usize, open: &Chunk) -> Option<&'a Closed> {
    let next = (after..closed.len()).find(|chunk| closed[*chunk].first < end_of(closed, *chunk, open).0);
    next.map(|chunk| &closed[chunk])
}

/// The chunk in full; `None` where its bytes were dropped.
fn unpack<'a>(
    last: &'a mut Option<(StoredAt, Chunk)>,
    closed: &Closed,
) -> Result<Option<&'a Chunk>, Damaged> {
    if last.as_ref().is_none_or(|(at, _)| *at != closed.stored_at) {
        let Some(bytes) = &closed.bytes else { return Ok(None) };
        *last = Some((closed.stored_at, Chunk::decode(bytes)?));
    }
    Ok(last.as_ref().map(|(_, chunk)| chunk))
}
