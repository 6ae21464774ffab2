//! What an owner that wrote without transactions had stored after its last progress. The log of the copy is at rest below the fence: as
//! many records as lie there are to be passed over at the source, in the order in which they were forwarded, and copying goes on behind.
//!
//! Batch headers tell how many there are. That they are the same is seen from the last one; where it is another, the source was compacted
//! meanwhile, or lost records, and both sides are laid beside each other record by record.

use std::collections::VecDeque;

use twinlog_proto::id::{SourceOffset, TargetOffset};
use twinlog_proto::reason::Reason;

use super::place::Place;
use crate::chunk::OutOfOrder;
use crate::kafka::{Aborted, BatchHeader, FetchedBatch, Isolation, KafkaClient, KafkaError, code};
use crate::progress::{LastCopied, PartitionProgress};

/// One fetch, bytes.
const FETCH_BYTES: i32 = 4 << 20;
/// A batch may become so large when it is unpacked, bytes.
const MAX_UNPACKED: usize = 64 << 20;

/// Where one partition is on both sides, and who wrote the copy.
pub(super) struct Sides<'a> {
    pub(super) source: (&'a KafkaClient, Place<'a>),
    pub(super) target: (&'a KafkaClient, Place<'a>),
    pub(super) producer_id: i64,
    /// Where the copy begins and ends.
    pub(super) copy: (i64, i64),
}

/// Offsets of consecutive copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Copies {
    target: i64,
    count: i64,
}

/// What the owner's log has behind the anchor.
#[derive(Default)]
struct Stored {
    copies: VecDeque<Copies>,
    last: Option<FetchedBatch>,
}

impl Stored {
    fn push(&mut self, target: i64, count: i64) {
        match self.copies.back_mut() {
            Some(last) if last.target + last.count == target => last.count += count,
            _ if count > 0 => self.copies.push_back(Copies { target, count }),
            _ => {}
        }
    }

    fn count(&self) -> i64 {
        self.copies.iter().map(|copies| copies.count).sum()
    }
}

/// Progress that goes over what was stored.
struct Going {
    progress: PartitionProgress,
    copies: VecDeque<Copies>,
    left: i64,
}

impl Going {
    /// The next records of the source, of which not more count than there are copies. Returns how many did.
    fn pass(&mut self, source: i64, count: i64) -> Result<i64, OutOfOrder> {
        let mut passed = 0;
        while passed < count
            && let Some(copies) = self.copies.front_mut()
        {
            let some = copies.count.min(count - passed);
            let (from, to) = (SourceOffset(source + passed), TargetOffset(copies.target));
            self.progress.chunk.add(from, to, some)?;
            (copies.target, copies.count) = (copies.target + some, copies.count - some);
            if copies.count == 0 {
                self.copies.pop_front();
            }
            passed += some;
        }
        self.left -= passed;
        if passed > 0 {
            self.progress.position = SourceOffset(source + passed);
        }
        Ok(passed)
    }
}

impl Sides<'_> {
    /// Progress as of the fence; `None` where nothing was stored after what it says.
    ///
    /// # Errors
    /// A cluster can't be asked now.
    pub(super) async fn recognise(
        &self,
        before: &PartitionProgress,
    ) -> Result<Option<PartitionProgress>, KafkaError> {
        let Some(anchor) = before.target_known else { return Ok(None) };
        let stored = self.stored(anchor.0).await?;
        if stored.count() == 0 {
            return Ok(None);
        }
        let (going, last) = self.counted(before, &stored).await?;
        if going.left == 0 && self.is_same(&stored, last) {
            return Ok(Some(PartitionProgress { last, ..going.progress }));
        }
        let left = going.left;
        let Place { topic, partition } = self.source.1;
        tracing::warn!(
            topic,
            partition,
            left,
            "the source has changed since it was copied: looking at each record"
        );
        self.aligned(before, stored).await.map(Some)
    }

    /// By headers alone. Offsets that are missing between batches were the owner's, too: others' batches and markers are there.
    async fn stored(&self, anchor: i64) -> Result<Stored, KafkaError> {
        let mut stored = Stored::default();
        let mut next = anchor;
        self.walk_target(anchor, |batch| {
            let header = &batch.header;
            let first = header.base_offset.max(next);
            stored.push(next, first - next);
            next = header.last_offset() + 1;
            if self.is_own(header) {
                stored.push(first, next - first);
                stored.last = Some(batch.clone());
            }
        })
        .await?;
        Ok(stored)
    }

    fn is_own(&self, header: &BatchHeader) -> bool {
        header.producer_id == self.producer_id && !header.is_control() && !header.is_transactional()
    }

    /// Every batch of the copy from `from` to its end.
    async fn walk_target(&self, from: i64, mut each: impl FnMut(&FetchedBatch)) -> Result<(), KafkaError> {
        let (client, Place { topic, partition }) = self.target;
        let (start, end) = self.copy;
        let mut next = from.max(start);
        while next < end {
            let fetched =
                client.fetch_batches(topic, partition, next, FETCH_BYTES, Isolation::Uncommitted).await?;
            let is_within =
                |batch: &&FetchedBatch| batch.header.last_offset() >= next && batch.header.base_offset < end;
            fetched.batches.iter().filter(is_within).for_each(&mut each);
            let Some(after) = fetched.next_offset().filter(|after| *after > next) else { break };
            next = after;
        }
        Ok(())
    }

    /// Passes over as many records of the source as were stored.
    async fn counted(
        &self,
        before: &PartitionProgress,
        stored: &Stored,
    ) -> Result<(Going, Option<LastCopied>), KafkaError> {
        let mut going =
            Going { progress: before.clone(), copies: stored.copies.clone(), left: stored.count() };
        let (mut last, mut wrong) = (None, None);
        self.walk_source(before.position.0, |batch, from| {
            let header = &batch.header;
            let whole = !header.has_holes() && header.base_offset >= from;
            let passed = match whole {
                true => going.pass(header.base_offset, i64::from(header.count)),
                false => records(batch)
                    .filter(|(offset, ..)| *offset >= from)
                    .try_fold(0, |sum, (offset, ..)| Ok(sum + going.pass(offset, 1)?)),
            };
            match passed {
                Ok(passed) if passed > 0 => {
                    going.progress.leader_epoch = header.leader_epoch;
                    last = Some(batch.clone());
                }
                Ok(_) => {}
                Err(error) => wrong = Some(error),
            }
            going.left > 0 && wrong.is_none()
        })
        .await?;
        let end = going.progress.position.0;
        let last = last.and_then(|batch: FetchedBatch| {
            records(&batch)
                .take_while(|(offset, ..)| *offset < end)
                .last()
                .map(|(offset, timestamp, crc)| LastCopied { offset: SourceOffset(offset), timestamp, crc })
        });
        match wrong {
            // Its count is right, its place is not.
            Some(_) => Ok((Going { left: stored.count(), ..going }, None)),
            None => Ok((going, last)),
        }
    }

    /// Every batch of the source that a reader sees, with the offset from which its records count, until `each` has enough.
    async fn walk_source(
        &self,
        from: i64,
        mut each: impl FnMut(&FetchedBatch, i64) -> bool,
    ) -> Result<(), KafkaError> {
        let (client, Place { topic, partition }) = self.source;
        let mut next = from;
        loop {
            let fetched =
                client.fetch_batches(topic, partition, next, FETCH_BYTES, Isolation::Committed).await;
            let fetched = match fetched {
                // What is missing there is named later.
                Err(error) if error.code == code::OFFSET_OUT_OF_RANGE => return Ok(()),
                fetched => fetched?,
            };
            let after = fetched.next_offset().filter(|after| *after > next);
            let mut aborted = Aborted::new(fetched.aborted);
            for batch in &fetched.batches {
                let is_hidden = aborted.hides(batch) || batch.header.count <= 0;
                if batch.header.last_offset() >= from && !is_hidden && !each(batch, from) {
                    return Ok(());
                }
            }
            let Some(after) = after else { return Ok(()) };
            next = after;
        }
    }

    /// Whether the last copy is the last record that was passed over.
    fn is_same(&self, stored: &Stored, last: Option<LastCopied>) -> bool {
        let (Some(batch), Some(last)) = (&stored.last, last) else { return false };
        // Where the copy was compacted meanwhile, nothing can be compared.
        batch.header.has_holes() || records(batch).last().is_some_and(|(.., crc)| crc == last.crc)
    }

    /// Record by record: compaction removes some of the source's, the others are in their order.
    async fn aligned(
        &self,
        before: &PartitionProgress,
        stored: Stored,
    ) -> Result<PartitionProgress, KafkaError> {
        let mut copies: VecDeque<(i64, u32)> = VecDeque::new();
        let anchor = before.target_known.map_or(0, |known| known.0);
        self.walk_target(anchor, |batch| {
            if self.is_own(&batch.header) {
                copies.extend(
                    records(batch)
                        .filter(|(offset, ..)| *offset >= anchor)
                        .map(|(offset, _, crc)| (offset, crc)),
                );
            }
        })
        .await?;
        let (mut progress, mut wrong, mut differs) = (before.clone(), None, false);
        self.walk_source(before.position.0, |batch, from| {
            for (offset, timestamp, crc) in records(batch).filter(|(offset, ..)| *offset >= from) {
                let Some(at) = copies.iter().position(|(_, copy)| *copy == crc) else {
                    differs = true;
                    return false;
                };
                let (target, _) = copies.drain(..=at).next_back().expect("it was found there");
                let offset = SourceOffset(offset);
                wrong = progress.chunk.add(offset, TargetOffset(target), 1).err();
                if wrong.is_some() {
                    return false;
                }
                progress.position = SourceOffset(offset.0 + 1);
                progress.leader_epoch = batch.header.leader_epoch;
                progress.last = Some(LastCopied { offset, timestamp, crc });
            }
            !copies.is_empty()
        })
        .await?;
        if let (Some((target, _)), false) = (copies.front(), differs) {
            // The source has fewer than were copied: that it lost them is for its own rule.
            let lost = copies.len() as i64;
            wrong = progress.chunk.add(progress.position, TargetOffset(*target), lost).err();
            progress.position = SourceOffset(progress.position.0 + lost);
        }
        if let Some(error) = wrong {
            return Err(KafkaError::retriable(Reason::KAFKA_ERROR, error.to_string()));
        }
        let (count, position) = (stored.count(), progress.position.0);
        tracing::warn!(count, unmatched = copies.len(), position, "recognised record by record");
        Ok(progress)
    }
}

/// Offset, timestamp and a number for the content of each record. What can't be read is left out: it is met again when it is copied.
fn records(batch: &FetchedBatch) -> impl Iterator<Item = (i64, i64, u32)> {
    let unpacked = batch.unpack(MAX_UNPACKED).ok();
    let each: Vec<_> = unpacked
        .iter()
        .flat_map(|unpacked| unpacked.records().filter_map(Result::ok))
        .map(|record| (record.offset, record.timestamp, LastCopied::crc_of(record.key, record.value)))
        .collect();
    each.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{Chunk, Found};

    fn progress() -> PartitionProgress {
        PartitionProgress {
            position: SourceOffset(100),
            source_topic_id: "id".to_owned(),
            leader_epoch: 0,
            origin: SourceOffset(0),
            origin_is_log_start: true,
            gaps: Vec::new(),
            chunk: Chunk::anchored(SourceOffset(100), TargetOffset(50)),
            target_topic_id: "x".to_owned(),
            target_known: Some(TargetOffset(50)),
            last: None,
        }
    }

    #[test]
    fn as_many_records_as_lie_there_are_passed_over() {
        let mut stored = Stored::default();
        // A marker between them, and two batches that follow each other.
        for (target, count) in [(50, 10), (60, 5), (66, 7)] {
            stored.push(target, count);
        }
        assert_eq!((stored.copies.len(), stored.count()), (2, 22));
        let mut going = Going { progress: progress(), copies: stored.copies.clone(), left: stored.count() };
        assert_eq!(going.pass(100, 12), Ok(12));
        assert_eq!(going.pass(120, 20), Ok(10), "there are no more copies");
        assert_eq!((going.left, going.progress.position), (0, SourceOffset(130)));
        let at = |offset| going.progress.chunk.find(SourceOffset(offset));
        assert_eq!(at(111), Found::At(TargetOffset(61)));
        assert_eq!(at(122), Found::At(TargetOffset(64)));
        assert_eq!(at(123), Found::At(TargetOffset(66)), "behind the marker");
        assert_eq!(at(129), Found::At(TargetOffset(72)));
    }
}
