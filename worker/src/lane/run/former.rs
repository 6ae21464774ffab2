//! What an older version has left of the range, under the former names: it is carried over with the first commit. Why that is safe: see
//! `progress::former`.

use std::collections::BTreeSet;
use std::time::SystemTime;

use prost::Message;
use twinlog_proto::reason::Reason;
use twinlog_proto::storage::OffsetMapKey;

use super::attempt::principal;
use super::{Runner, Step};
use crate::cause::Cause;
use crate::engine::Carried;
use crate::lane::place::{Place, ends};
use crate::lane::start::Facts;
use crate::ledger::Entry;
use crate::progress::former::{self, Left};
use crate::progress::{self, Former, FormerTopics, RangeProgress, StorageTopics};
use crate::scan::{self, Span, Wanted};

impl Runner {
    /// Progress of the range with what an older version has left of it, and what is to be carried over. The lane must have fenced the
    /// other owners by now.
    pub(super) async fn with_former(
        &mut self,
        topics: &StorageTopics,
        before: Option<RangeProgress>,
    ) -> Step<(Option<RangeProgress>, Option<Carried>)> {
        let Former::There(former) = &topics.former else { return Ok((before, None)) };
        let left = match self.read_former(topics).await? {
            Left::CarriedOver => return Ok((before, None)),
            Left::Nothing => None,
            Left::Progress(left) => Some(left),
        };
        let (merged, partitions) = former::merge(before, left);
        tracing::info!(task = %self.spec.task, ?partitions, "what an older version left in {} is carried over", former.progress);
        let pieces = self.former_map(former, partitions).await?;
        let mark = self.mark(topics, former);
        Ok((merged, Some(Carried { pieces, mark })))
    }

    /// Whether it was noted that the range has begun.
    pub(super) fn is_noted(&self, carried: &Carried) -> bool {
        let note = progress::began_key(&self.spec.range.target_topic, self.spec.range.block);
        carried.pieces.iter().any(|entry| entry.key == note)
    }

    /// What the former progress topic says of the range. Stops a lane that has been superseded.
    pub(super) async fn read_former(&mut self, topics: &StorageTopics) -> Step<Left> {
        let Former::There(former) = &topics.former else { return Ok(Left::Nothing) };
        if former.progress_partitions == 0 {
            return Ok(Left::Nothing);
        }
        let partition = self.storage_partition(former.progress_partitions);
        let place = Place { topic: &former.progress, partition };
        let key = progress::progress_key(&self.spec.range.target_topic, self.spec.range.block);
        match self.newest(place, key).await? {
            None => Ok(Left::Nothing),
            Some(bytes) if former::is_carried_over(&bytes) => Ok(Left::CarriedOver),
            Some(bytes) => self.understood(&bytes, place).map(Left::Progress),
        }
    }

    /// The note that the range has begun, and the closed pieces of these partitions, in the order in which they were written.
    async fn former_map(&self, former: &FormerTopics, partitions: BTreeSet<i32>) -> Step<Vec<Entry>> {
        if former.offsets_partitions == 0 {
            return Ok(Vec::new());
        }
        let (target, topic) = (&self.spec.target, former.offsets.as_str());
        let partition = self.storage_partition(former.offsets_partitions);
        let source_topic = self.spec.range.source_topic.clone();
        let began = progress::began_key(&self.spec.range.target_topic, self.spec.range.block);
        let found = async {
            let (from, to) = ends(&target.client, Place { topic, partition }).await?;
            let span = Span { partition, from, to };
            let pieces = Vec::new();
            let found = scan::scan(target, topic, vec![span], pieces, move |pieces, record| {
                if let (Some(key), Some(value)) = (record.key, record.value)
                    && (key == began || is_piece_of(key, &source_topic, &partitions))
                {
                    pieces.push(Entry { key: key.to_vec(), value: value.to_vec() });
                }
                Wanted::More
            });
            found.await
        };
        self.ask(Box::pin(found)).await
    }

    /// What replaces the range's progress under the former name.
    fn mark(&self, topics: &StorageTopics, former: &FormerTopics) -> Option<(String, i32, Entry)> {
        if former.progress_partitions == 0 {
            return None;
        }
        let range = &self.spec.range;
        let key = progress::progress_key(&range.target_topic, range.block);
        let by = (self.spec.epoch.0, self.spec.worker.as_str());
        let (topic, now) = (&range.source_topic, SystemTime::now());
        let value = former::carried_over(topic, range.first_partition, by, &topics.progress, now);
        let partition = self.storage_partition(former.progress_partitions);
        Some((former.progress.clone(), partition, Entry { key, value }))
    }

    /// Whoever may not see the former names doesn't know that the range has no progress. A copy that has never held a record is new all
    /// the same.
    pub(super) fn may_be_anew(&self, topics: &StorageTopics, facts: &[Facts]) -> Step<()> {
        if topics.former != Former::Hidden
            || facts.iter().all(|facts| facts.target_start == 0 && facts.holds == 0)
        {
            return Ok(());
        }
        let (progress, offsets) = StorageTopics::former_names(&self.spec.mirror.id);
        let target = &self.spec.target;
        let message = format!(
            "{} needs DESCRIBE, READ and WRITE on topics {progress} and {offsets} of cluster {}: there is no progress of {}, and whether \
             an older version of Twinlog has left some there can't be seen",
            principal(target),
            target.id,
            self.spec.task
        );
        Err(Cause::new(Reason::MISSING_PERMISSION, message).into())
    }

    /// Where owners of the range write their progress, and where they wrote it.
    pub(super) fn progress_places<'a>(&self, topics: &'a StorageTopics) -> Vec<Place<'a>> {
        let mut places = vec![self.progress_place(topics)];
        if let Former::There(former) = &topics.former
            && former.progress_partitions > 0
        {
            let partition = self.storage_partition(former.progress_partitions);
            places.push(Place { topic: &former.progress, partition });
        }
        places
    }
}

fn is_piece_of(key: &[u8], source_topic: &str, partitions: &BTreeSet<i32>) -> bool {
    OffsetMapKey::decode(key).is_ok_and(|key| {
        key.first_source_offset != progress::NOT_A_CHUNK
            && key.source_topic == source_topic
            && partitions.contains(&key.partition)
    })
}
