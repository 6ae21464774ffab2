//! Which batches of a fetch answer a reader of committed records doesn't see: markers, and what belongs to aborted transactions. Pure.

use std::collections::{HashSet, VecDeque};

use super::batch::FetchedBatch;
use super::records::decode::Marker;
use super::types::AbortedTransaction;

/// One fetch answer's aborted transactions while its batches are walked, in order. The answer names every transaction that reaches into
/// it, also those that began before: each answer begins anew.
#[derive(Debug, Clone)]
pub struct Aborted {
    /// Those that begin later on.
    waiting: VecDeque<AbortedTransaction>,
    /// Producers whose transaction at this place was aborted.
    open: HashSet<i64>,
}

impl Aborted {
    /// In the order of their first offset, as an answer's are.
    pub fn new(transactions: Vec<AbortedTransaction>) -> Self {
        Self { waiting: transactions.into(), open: HashSet::new() }
    }

    /// Whether the next batch is hidden. A batch belongs to one transaction as a whole.
    pub fn hides(&mut self, batch: &FetchedBatch) -> bool {
        let header = &batch.header;
        while self.waiting.front().is_some_and(|next| next.first_offset <= header.last_offset()) {
            self.open.extend(self.waiting.pop_front().map(|begun| begun.producer_id));
        }
        if header.is_control() {
            if batch.marker() == Some(Marker::Abort) {
                self.open.remove(&header.producer_id);
            }
            return true;
        }
        header.is_transactional() && self.open.contains(&header.producer_id)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::kafka::log::batch::split;
    use crate::kafka::log::records::encode::{BatchBuilder, BatchOf, Producer};
    use crate::kafka::log::records::{Headers, Record};

    fn batch(offset: i64, id: i64, marker: Option<i16>, is_transactional: bool) -> FetchedBatch {
        let producer = Some(Producer { id, epoch: 0, sequence: 0 });
        let is_control = marker.is_some();
        let of =
            BatchOf { base_offset: offset, producer, is_transactional, is_control, ..BatchOf::default() };
        let key = [0_i16.to_be_bytes(), marker.unwrap_or_default().to_be_bytes()].concat();
        let headers = Headers::default();
        let mut builder = BatchBuilder::new(of);
        builder
            .push(&Record { offset, timestamp: 0, attributes: 0, key: Some(&key), value: None, headers })
            .unwrap();
        split(&Bytes::from(builder.finish().unwrap())).unwrap().remove(0)
    }

    fn shown(transactions: &[(i64, i64)], batches: &[FetchedBatch]) -> Vec<i64> {
        let of = |(producer_id, first_offset): &(i64, i64)| AbortedTransaction {
            producer_id: *producer_id,
            first_offset: *first_offset,
        };
        let mut aborted = Aborted::new(transactions.iter().map(of).collect());
        let seen = batches.iter().filter(|batch| !aborted.hides(batch));
        seen.map(|batch| batch.header.base_offset).collect()
    }

    #[test]
    fn what_was_aborted_is_hidden_up_to_its_marker_and_nobody_elses() {
        let data = |offset, id| batch(offset, id, None, true);
        let abort = |offset, id| batch(offset, id, Some(0), true);
        let commit = |offset, id| batch(offset, id, Some(1), true);
        // Producer 1 aborts, commits, and aborts again; 2 commits in between; 3 is in no transaction.
        let log = [
            data(0, 1),
            data(1, 2),
            batch(2, 3, None, false),
            abort(3, 1),
            data(4, 1),
            commit(5, 2),
            commit(6, 1),
            data(7, 1),
            abort(8, 1),
        ];
        assert_eq!(shown(&[(1, 0), (1, 7)], &log), [1, 2, 4]);
        // A fetch that begins inside: the transaction began before it.
        assert_eq!(shown(&[(1, 0), (1, 7)], &log[1..]), [1, 2, 4]);
        assert_eq!(shown(&[], &log), [0, 1, 2, 4, 7], "read uncommitted, or all committed");
        // A producer's plain batch while its transaction is listed.
        assert_eq!(shown(&[(1, 0)], &[batch(0, 1, None, false)]), [0]);
    }
}
