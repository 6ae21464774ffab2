//! What a partition remembers of its producers: epoch, the last five batches, an open transaction.
//!
//! Repeats are told by (epoch, first sequence, last sequence) alone. A producer without an entry may begin with any sequence.

use std::collections::{BTreeMap, VecDeque};

use kafka_protocol::ResponseError;

use super::batch::Header;

/// Batches that are remembered.
const WINDOW: usize = 5;
/// No epoch.
const NONE: i16 = -1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Remembered {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
    timestamp: i64,
}

/// One producer, as DescribeProducers shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Producer {
    pub(super) epoch: i16,
    pub(super) coordinator_epoch: i32,
    /// Of its last batch or marker.
    pub(super) last_timestamp: i64,
    /// First offset of its open transaction here.
    pub(super) open_since: Option<i64>,
    batches: VecDeque<Remembered>,
}

impl Producer {
    fn new() -> Self {
        Self {
            epoch: NONE,
            coordinator_epoch: -1,
            last_timestamp: -1,
            open_since: None,
            batches: VecDeque::new(),
        }
    }

    /// -1 where the last thing was a marker of a new epoch.
    pub(super) fn last_sequence(&self) -> i32 {
        self.batches.back().map_or(-1, |batch| batch.last_sequence)
    }

    fn raise(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
    }
}

/// An earlier append of the same batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repeat {
    pub(super) base_offset: i64,
    pub(super) timestamp: i64,
}

/// A batch that wants to begin a transaction here, from when the coordinator is asked until one has begun (KIP-890): what follows a batch that
/// didn't get in doesn't get in either.
#[derive(Debug, Clone, Copy)]
struct Asking {
    epoch: i16,
    lowest: i32,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Producers {
    known: BTreeMap<i64, Producer>,
    asking: BTreeMap<i64, Asking>,
}

impl Producers {
    pub(super) fn get(&self, id: i64) -> Option<&Producer> {
        self.known.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, &Producer)> {
        self.known.iter().map(|(id, producer)| (*id, producer))
    }

    /// Whether the batch was appended before.
    pub(super) fn repeat(&self, batch: &Header) -> Option<Repeat> {
        let producer = self.known.get(&batch.producer_id).filter(|p| p.epoch == batch.producer_epoch)?;
        let same = |r: &&Remembered| {
            r.first_sequence == batch.base_sequence && r.last_sequence == batch.last_sequence()
        };
        let found = producer.batches.iter().find(same)?;
        Some(Repeat { base_offset: found.base_offset, timestamp: found.timestamp })
    }

    /// Whether a transaction of exactly this epoch is open here.
    pub(super) fn is_open(&self, id: i64, epoch: i16) -> bool {
        self.known.get(&id).is_some_and(|p| p.open_since.is_some() && p.epoch == epoch)
    }

    /// The coordinator is asked about a transactional batch.
    pub(super) fn ask(&mut self, batch: &Header) {
        let (epoch, lowest) = (batch.producer_epoch, batch.base_sequence);
        let asking = self.asking.entry(batch.producer_id).or_insert(Asking { epoch, lowest });
        if epoch > asking.epoch {
            *asking = Asking { epoch, lowest };
        } else if epoch == asking.epoch {
            asking.lowest = asking.lowest.min(lowest);
        }
    }

    /// # Errors
    /// The broker's refusal of this batch as the next of its producer.
    pub(super) fn check(&self, batch: &Header) -> Result<(), ResponseError> {
        let unknown = Producer::new();
        let producer = self.known.get(&batch.producer_id).unwrap_or(&unknown);
        if batch.producer_epoch < producer.epoch {
            return Err(ResponseError::InvalidProducerEpoch);
        }
        if self.asking.get(&batch.producer_id).is_some_and(|asking| batch.base_sequence > asking.lowest) {
            return Err(ResponseError::OutOfOrderSequenceNumber);
        }
        let follows = if producer.epoch == NONE {
            true
        } else if producer.epoch == batch.producer_epoch {
            let last = producer.last_sequence();
            i64::from(batch.base_sequence) == i64::from(last) + 1
                || (batch.base_sequence == 0 && last == i32::MAX)
        } else {
            batch.base_sequence == 0
        };
        if !follows {
            return Err(ResponseError::OutOfOrderSequenceNumber);
        }
        if producer.open_since.is_some() && !batch.is_transactional() {
            return Err(ResponseError::InvalidTxnState);
        }
        Ok(())
    }

    /// Notes a batch with its offsets.
    pub(super) fn append(&mut self, batch: &Header) {
        let producer = self.known.entry(batch.producer_id).or_insert_with(Producer::new);
        producer.raise(batch.producer_epoch);
        if producer.batches.len() == WINDOW {
            producer.batches.pop_front();
        }
        producer.batches.push_back(Remembered {
            first_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence(),
            base_offset: batch.base_offset,
            timestamp: batch.max_timestamp,
        });
        producer.last_timestamp = batch.max_timestamp;
        if batch.is_transactional() {
            producer.open_since.get_or_insert(batch.base_offset);
            self.asking.remove(&batch.producer_id);
        }
    }

    /// Notes a marker; gives the first offset of the transaction that it ends here, if there was data.
    pub(super) fn mark(
        &mut self,
        id: i64,
        epoch: i16,
        coordinator_epoch: i32,
        timestamp: i64,
    ) -> Option<i64> {
        self.asking.remove(&id);
        let producer = self.known.entry(id).or_insert_with(Producer::new);
        producer.raise(epoch);
        producer.coordinator_epoch = coordinator_epoch;
        producer.last_timestamp = timestamp;
        producer.open_since.take()
    }

    /// The first offset of an open transaction.
    pub(super) fn first_open(&self) -> Option<i64> {
        self.known.values().filter_map(|producer| producer.open_since).min()
    }

    /// Forgets whoever's last batch is older than `before`; an open transaction keeps its producer.
    pub(super) fn expire(&mut self, before: i64) {
        self.known.retain(|_, producer| producer.open_since.is_some() || producer.last_timestamp >= before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::golden::{Spec, Writer};

    fn batch(epoch: i16, sequence: i32, count: i32, offset: i64) -> Header {
        let spec = Spec::numbered("p", count, 5).writer(Writer::Idempotent { id: 7, epoch, sequence });
        Header::read(&spec.batch_with(|header| header.base_offset = offset)).unwrap()
    }

    #[test]
    fn five_batches_are_remembered_and_the_next_must_follow() {
        let mut producers = Producers::default();
        assert_eq!(producers.check(&batch(0, 40, 10, 0)), Ok(()), "nothing is known: any sequence");
        for i in 0..6 {
            producers.append(&batch(0, 10 * i, 10, i64::from(100 * i)));
        }
        assert_eq!(producers.repeat(&batch(0, 0, 10, 0)), None, "the sixth last");
        assert_eq!(producers.repeat(&batch(0, 10, 10, 0)).map(|r| r.base_offset), Some(100));
        assert_eq!(producers.repeat(&batch(0, 10, 9, 0)), None, "another end");
        assert_eq!(producers.repeat(&batch(1, 10, 10, 0)), None, "another epoch");
        assert_eq!(producers.check(&batch(0, 60, 1, 0)), Ok(()));
        for sequence in [59, 61, 0] {
            assert_eq!(
                producers.check(&batch(0, sequence, 1, 0)),
                Err(ResponseError::OutOfOrderSequenceNumber)
            );
        }
        assert_eq!(producers.check(&batch(1, 60, 1, 0)), Err(ResponseError::OutOfOrderSequenceNumber));
        assert_eq!(producers.check(&batch(1, 0, 1, 0)), Ok(()));
        producers.append(&batch(1, 0, 1, 0));
        assert_eq!(producers.check(&batch(0, 60, 1, 0)), Err(ResponseError::InvalidProducerEpoch));
    }

    #[test]
    fn sequences_wrap_and_a_marker_of_a_new_epoch_begins_anew() {
        let mut producers = Producers::default();
        let last = batch(0, i32::MAX - 1, 2, 0);
        assert_eq!(last.last_sequence(), i32::MAX);
        producers.append(&last);
        assert_eq!(producers.check(&batch(0, 0, 1, 0)), Ok(()));
        assert_eq!(batch(0, i32::MAX, 3, 0).last_sequence(), 1);
        producers.mark(7, 0, 0, 9);
        assert_eq!(producers.get(7).unwrap().last_sequence(), i32::MAX, "a marker of the same epoch");
        producers.mark(7, 1, 0, 9);
        assert_eq!(producers.get(7).unwrap().last_sequence(), -1);
        assert_eq!(producers.check(&batch(1, 1, 1, 0)), Err(ResponseError::OutOfOrderSequenceNumber));
        assert_eq!(producers.check(&batch(1, 0, 1, 0)), Ok(()));
        producers.expire(10);
        assert_eq!(producers.check(&batch(0, 5, 1, 0)), Ok(()), "forgotten");
    }

    #[test]
    fn what_follows_a_batch_that_did_not_begin_its_transaction_waits_for_it() {
        let mut producers = Producers::default();
        producers.ask(&batch(0, 3, 1, 0));
        producers.ask(&batch(0, 5, 1, 0));
        assert_eq!(producers.check(&batch(0, 5, 1, 0)), Err(ResponseError::OutOfOrderSequenceNumber));
        assert_eq!(producers.check(&batch(0, 3, 1, 0)), Ok(()));
        producers.ask(&batch(1, 9, 1, 0));
        assert_eq!(producers.check(&batch(0, 9, 1, 0)), Ok(()), "a raised epoch begins anew");
        producers.ask(&batch(1, 0, 1, 0));
        producers.mark(7, 1, 0, 9);
        producers.mark(7, 2, 0, 9);
        assert_eq!(producers.check(&batch(3, 0, 1, 0)), Ok(()), "a marker ends the wait");
    }
}
