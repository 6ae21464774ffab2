//! A source that holds other records than were copied, though none seems to be missing: it was restored from a backup and has grown
//! since. The last common record is found by laying records beside their copies.

use std::collections::BTreeMap;

use twinlog_proto::model::Partitioning;

use super::{Runner, Step};
use crate::cluster::ClusterHandle;
use crate::kafka::KafkaError;
use crate::lane::Range;
use crate::lane::start::Facts;
use crate::offset_map::{Mapped, mapped};
use crate::progress::{LastCopied, PartitionProgress, RangeProgress};
use crate::scan::{self, Span, Wanted};
use crate::take_over::Print;

impl Runner {
    /// Notes where the source's records are others, in partitions where one was met that is.
    pub(super) async fn other_records(
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
            if self.ask(Box::pin(logs.holds(last))).await? {
                continue;
            }
            let from = match known {
                Some(from) => from,
                None => self.ask(Box::pin(logs.first_other(own, last, facts))).await?,
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
            last.is(record.timestamp, LastCopied::crc_of(record.key, record.value))
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
        let mut search = Search::new(&mapped);
        while let Some((source, target)) = search.next() {
            let is_copy = self.is_copy(source, target).await?;
            search.answer(is_copy);
        }
        Ok(search.common.map_or(all, |common| common + 1))
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
        of: impl Fn(&scan::Record<'_>) -> T + Send + 'static,
    ) -> Result<Option<T>, KafkaError> {
        let span = Span { partition: self.partition, from: offset, to: offset + 1 };
        scan::scan(cluster, topic, vec![span], None, move |found, record| {
            if record.offset == offset {
                *found = Some(of(record));
            }
            Wanted::Enough
        })
        .await
    }
}

/// For the last record that is as it was copied. What was restored is the same up to some record and another one from there on, so a
/// search by halves finds it. Where a record can't be compared it counts as another one: it is copied again rather than lost.
struct Search<'a> {
    mapped: &'a Mapped,
    low: i64,
    high: i64,
    /// Source offset of the last record so far that is.
    common: Option<i64>,
}

impl<'a> Search<'a> {
    fn new(mapped: &'a Mapped) -> Self {
        Self { mapped, low: 0, high: mapped.len(), common: None }
    }

    fn middle(&self) -> i64 {
        self.low + (self.high - self.low) / 2
    }

    /// Source and target offset of the next record to be compared.
    fn next(&self) -> Option<(i64, i64)> {
        if self.low < self.high { self.mapped.at(self.middle()) } else { None }
    }

    fn answer(&mut self, is_copy: bool) {
        let middle = self.middle();
        match is_copy {
            true => (self.low, self.common) = (middle + 1, self.mapped.at(middle).map(|(source, _)| source)),
            false => self.high = middle,
        }
    }
}

#[cfg(test)]
mod tests {
    use twinlog_proto::id::{SourceOffset, TargetOffset};

    use super::*;
    use crate::offset_map::Chunk;

    #[test]
    fn the_last_common_record_is_found_in_few_steps() {
        // A marker on the target behind every ten records.
        let mut chunk = Chunk::anchored(SourceOffset(0), TargetOffset(0));
        for ten in 0..100_000 {
            chunk.add(SourceOffset(ten * 10), TargetOffset(ten * 11), 10).unwrap();
        }
        let mapped = Mapped::of(Vec::new(), &chunk);
        for first_other in [0, 1, 125, 499_999, 999_999, 1_000_000] {
            let (mut search, mut steps) = (Search::new(&mapped), 0);
            while let Some((source, target)) = search.next() {
                assert_eq!(target, source + source / 10);
                steps += 1;
                search.answer(source < first_other);
            }
            assert_eq!(search.common, (first_other > 0).then(|| first_other - 1));
            assert!(steps <= 21, "{steps}");
        }
        let nothing = Mapped::default();
        let search = Search::new(&nothing);
        assert_eq!((search.next(), search.common), (None, None));
    }
}
