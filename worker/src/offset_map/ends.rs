//! The end of a target partition as a consumer's position: over trailing transaction markers and aborted records, but never
//! over a record.

use std::collections::{BTreeSet, HashMap};

use futures::StreamExt;
use futures::stream;
use twinlog_proto::id::TargetOffset;
use twinlog_proto::reason::Reason;

use crate::kafka::{AbortedTransaction, FetchedBatch, Isolation, KafkaClient, KafkaError, OffsetSpec};
use crate::topic::TopicPartition;

/// Bytes of one look at a log: thousands of markers.
const LOOK_BYTES: i32 = 256 << 10;
/// Partitions looked at together.
const CONCURRENT: usize = 32;

/// A partition of the target, and the offset behind the last known copy.
pub(super) type From = (TopicPartition, TargetOffset);

/// For each the offset of the first record at or after it; where there is none, the log's end.
pub(super) async fn find(
    client: &KafkaClient,
    wanted: BTreeSet<From>,
) -> HashMap<From, Result<TargetOffset, KafkaError>> {
    if wanted.is_empty() {
        return HashMap::new();
    }
    let partitions: BTreeSet<&TopicPartition> = wanted.iter().map(|(at, _)| at).collect();
    let question =
        |spec| partitions.iter().map(|at| (at.topic.clone(), at.partition, spec)).collect::<Vec<_>>();
    let (starts, ends) = (question(OffsetSpec::Earliest), question(OffsetSpec::Latest));
    let listed = tokio::try_join!(
        client.list_offsets(&starts, Isolation::Uncommitted),
        client.list_offsets(&ends, Isolation::Uncommitted),
    );
    let (starts, ends) = match listed {
        Ok(listed) => listed,
        Err(error) => return wanted.into_iter().map(|from| (from, Err(error.clone()))).collect(),
    };
    let one = async |(at, from): From| {
        let key = at.pair();
        let listed = match (starts.get(&key), ends.get(&key)) {
            (Some(Ok(start)), Some(Ok(end))) => Ok((start.offset, end.offset)),
            (Some(Err(error)), _) | (_, Some(Err(error))) => Err(error.clone()),
            _ => Err(KafkaError::retriable(Reason::KAFKA_ERROR, format!("{} was not listed", at.topic))),
        };
        let found = match listed {
            Ok((start, end)) => first_record(client, &at, from.0.max(start), end).await.map(TargetOffset),
            Err(error) => Err(error),
        };
        ((at, from), found)
    };
    stream::iter(wanted).map(one).buffer_unordered(CONCURRENT).collect().await
}

async fn first_record(
    client: &KafkaClient,
    at: &TopicPartition,
    from: i64,
    end: i64,
) -> Result<i64, KafkaError> {
    let mut next = from;
    while next < end {
        let isolation = Isolation::Committed;
        let fetched = client.fetch_batches(&at.topic, at.partition, next, LOOK_BYTES, isolation).await?;
        match skip(&fetched.batches, &fetched.aborted, next) {
            Skipped::Record(at) => return Ok(at),
            Skipped::Nothing(to) if to > next => next = to,
            // What is left is an open transaction: whatever it brings comes at or after this.
            Skipped::Nothing(_) => return Ok(next),
        }
    }
    Ok(next)
}

#[derive(Debug, PartialEq, Eq)]
enum Skipped {
    /// The first record at or after the offset.
    Record(i64),
    /// Only markers and aborted records up to here.
    Nothing(i64),
}

fn skip(batches: &[FetchedBatch], aborted: &[AbortedTransaction], from: i64) -> Skipped {
    let mut next = from;
    for batch in batches.iter().map(|b| &b.header).filter(|b| b.last_offset() >= from) {
        let is_aborted = || {
            // A transaction ends with its marker: the newest that began at or below the batch is the batch's, unless a marker
            // lies between. A batch of the same producer behind that marker belongs to another one.
            let began = aborted
                .iter()
                .filter(|a| a.producer_id == batch.producer_id && a.first_offset <= batch.base_offset);
            let began = began.map(|a| a.first_offset).max();
            began.is_some_and(|first| {
                !batches.iter().map(|b| &b.header).any(|marker| {
                    marker.is_control()
                        && marker.producer_id == batch.producer_id
                        && (first..batch.base_offset).contains(&marker.base_offset)
                })
            })
        };
        let invisible = batch.is_control() || batch.count == 0 || (batch.is_transactional() && is_aborted());
        if !invisible {
            return Skipped::Record(batch.base_offset.max(next));
        }
        next = batch.last_offset() + 1;
    }
    Skipped::Nothing(next)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::kafka::BatchHeader;

    const TRANSACTIONAL: i16 = 1 << 4;
    const CONTROL: i16 = 1 << 5;

    fn batch(base_offset: i64, count: i32, producer_id: i64, attributes: i16) -> FetchedBatch {
        let header = BatchHeader {
            base_offset,
            batch_length: 100,
            leader_epoch: 0,
            crc: 0,
            attributes,
            last_offset_delta: count - 1,
            base_timestamp: 0,
            max_timestamp: 0,
            producer_id,
            producer_epoch: 0,
            base_sequence: 0,
            count,
        };
        FetchedBatch { header, bytes: Bytes::new() }
    }

    fn marker(offset: i64, producer_id: i64) -> FetchedBatch {
        batch(offset, 1, producer_id, TRANSACTIONAL | CONTROL)
    }

    #[test]
    fn markers_are_passed_and_records_are_not() {
        let batches = [marker(10, 1), marker(11, 2), batch(12, 5, 1, TRANSACTIONAL)];
        assert_eq!(skip(&batches, &[], 10), Skipped::Record(12));
        assert_eq!(skip(&batches[..2], &[], 10), Skipped::Nothing(12));
        assert_eq!(skip(&[], &[], 10), Skipped::Nothing(10));
    }

    #[test]
    fn a_batch_that_began_earlier_counts_from_the_offset_on() {
        assert_eq!(skip(&[batch(5, 10, -1, 0)], &[], 8), Skipped::Record(8));
    }

    #[test]
    fn aborted_records_are_passed_and_a_later_transaction_of_the_same_producer_is_not() {
        let aborted = [AbortedTransaction { producer_id: 1, first_offset: 10 }];
        let batches =
            [batch(10, 2, 1, TRANSACTIONAL), marker(12, 1), batch(13, 2, 1, TRANSACTIONAL), marker(15, 1)];
        assert_eq!(skip(&batches[..2], &aborted, 10), Skipped::Nothing(13));
        assert_eq!(skip(&batches, &aborted, 10), Skipped::Record(13));
    }
}
