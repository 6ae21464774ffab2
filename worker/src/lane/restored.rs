//! A source that holds other records than were copied, though none seems to be missing: it was restored from a backup and has grown
//! since. The last common record is found by laying records beside their copies.

use std::collections::BTreeMap;

use twinlog_proto::model::Partitioning;

use super::Range;
use super::run::{Runner, Step};
use super::start::Facts;
use crate::cluster::ClusterHandle;
use crate::kafka::KafkaError;
use crate::offset_map::{Mapped, mapped};
use crate::progress::{LastCopied, PartitionProgress, RangeProgress};
use crate::scan::{self, Span, Wanted};
use crate::take_over::Print;

impl Runner {
    /// Notes where the source's records are others, in partitions where one was met that is.
    pub(super) fn other_records(
        &mut self,
        range: &Range,
        before: Option<&RangeProgress>,
        facts: &mut [Facts],
    ) -> Step<()> {
        for (partition, facts) in range.partitions().zip(facts) {
            let Some(known) = self.others.remove(&partition) else { continue };
            let Some(own) = before.and_then(|before| before.partitions.get(&partition)) else { continue };
            // A topic that was made anew, and a log that is shorter, have rules of their own.
            let same_topic = own.source_topic_id == facts.topic_id;
            let there = facts.earliest..facts.latest;
            let Some(last) = own.last.filter(|last| same_topic && there.contains(&last.offset.0)) else {
                continue;
            };
            let logs = Logs { runner: self, range, partition };
            if self.ask(logs.holds(last))? {
                continue;
            }
            let from = match known {
                Some(from) => from,
                None => self.ask(logs.first_other(own, last, facts))?,
            };
            tracing::debug!(task = %self.spec.task, partition, from, "the source has other records from here on");
            facts.others_from = Some(from);
            self.others.insert(partition, Some(from));
        }
        Ok(())
    }
}

/// A partition on both sides.
struct Logs<'a> {
    runner: &'a Runner,
    range: &'a Range,
    partition: i32,
}

impl Logs<'_> {
    /// Whether the source still has the last record that was copied.
    async fn holds(&self, last: LastCopied) -> Result<bool, KafkaError> {
        let (source, topic) = (&self.runner.spec.source, &self.range.source_topic);
        let found = self.record(source, topic, last.offset.0, move |record| {
            last.is(record.timestamp(), LastCopied::crc_of(record.key(), record.value()))
        });
        Ok(found.await?.unwrap_or(false))
    }

    /// The first source offset whose record is not known to be the one that was copied.
    async fn first_other(
        &self,
        own: &PartitionProgress,
        last: LastCopied,
        facts: &Facts,
    ) -> Result<i64, KafkaError> {
        let all = own.origin.0.max(facts.earliest);
        let spec = &self.runner.spec;
        // By key no copy is mapped: nothing can be laid beside the source.
        if spec.mirror.partitioning == Partitioning::ByKey {
            return Ok(all);
        }
        let partitions = BTreeMap::from([(self.partition, own)]);
        let mut found = mapped(&spec.target, &spec.mirror.id, &self.range.source_topic, &partitions).await?;
        let mapped = found.remove(&self.partition).unwrap_or_default();
        let mapped = mapped.within((facts.earliest, facts.target_start), last.offset.0);
        let common = last_common(&mapped, async |source, target| self.is_copy(source, target).await).await?;
        Ok(common.map_or(all, |common| common + 1))
    }

    /// Whether both are there and are the same.
    async fn is_copy(&self, source: i64, target: i64) -> Result<bool, KafkaError> {
        let spec = &self.runner.spec;
        let (source, copy) = tokio::try_join!(
            self.record(&spec.source, &self.range.source_topic, source, Print::of),
            self.record(&spec.target, &self.range.target_topic, target, Print::of),
        )?;
        Ok(source.zip(copy).is_some_and(|(source, copy)| source.same(copy)))
    }

    /// What `of` makes of the record at `offset`, if a reader finds one there.
    async fn record<T: Send + 'static>(
        &self,
        cluster: &ClusterHandle,
        topic: &str,
        offset: i64,
        of: impl Fn(&crate::engine::librdkafka::ffi::source::Record<'_>) -> T + Send + 'static,
    ) -> Result<Option<T>, KafkaError> {
        let span = Span { partition: self.partition, from: offset, to: offset + 1 };
        scan::scan(cluster, topic, vec![span], None, move |found, record| {
            if record.offset() == offset {
                *found = Some(of(record));
            }
            Wanted::Enough
        })
        .await
    }
}

/// Source offset of the last record that is as it was copied. What was restored is the same up to some record and another one from
/// there on, so a search by halves finds it. Where a record can't be compared it counts as another one: it is copied again rather than lost.
async fn last_common<E>(
    mapped: &Mapped,
    is_copy: impl AsyncFn(i64, i64) -> Result<bool, E>,
) -> Result<Option<i64>, E> {
    let (mut low, mut high, mut common) = (0, mapped.len(), None);
    while low < high {
        let middle = low + (high - low) / 2;
        let Some((source, target)) = mapped.at(middle) else { break };
        match is_copy(source, target).await? {
            true => (low, common) = (middle + 1, Some(source)),
            false => high = middle,
        }
    }
    Ok(common)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use twinlog_proto::id::{SourceOffset, TargetOffset};

    use super::*;
    use crate::offset_map::Chunk;

    #[tokio::test]
    async fn the_last_common_record_is_found_in_few_steps() {
        // A marker on the target behind every ten records.
        let mut chunk = Chunk::anchored(SourceOffset(0), TargetOffset(0));
        for ten in 0..100_000 {
            chunk.add(SourceOffset(ten * 10), TargetOffset(ten * 11), 10).unwrap();
        }
        let mapped = Mapped::of(Vec::new(), &chunk);
        for first_other in [0, 1, 125, 499_999, 999_999, 1_000_000] {
            let steps = Cell::new(0);
            let found = last_common(&mapped, async |source, target| {
                assert_eq!(target, source + source / 10);
                steps.set(steps.get() + 1);
                Ok::<_, ()>(source < first_other)
            });
            assert_eq!(found.await, Ok((first_other > 0).then(|| first_other - 1)));
            assert!(steps.get() <= 21, "{}", steps.get());
        }
        assert_eq!(last_common(&Mapped::default(), async |_, _| Ok::<_, ()>(true)).await, Ok(None));
    }
}
