//! How the source's topics end and what of them is on the target, for everything that the mirror selects: also what nothing copies,
//! because it is blocked, waits for a worker, or because the mirror is paused. It is how far such a mirror is behind.
//!
//! The source is asked every few seconds. What it said last is kept on the target beside progress, so that it is known when the source
//! is gone and every process was restarted. Nothing else is written here.

mod recall;
mod target;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use twinlog_proto::id::{Epoch, SourceOffset};
use twinlog_proto::lag;
use twinlog_proto::model::Mirror;

use self::recall::{Copied, Recalled};
use self::target::TargetEnds;
use super::beats::Beats;
use super::select::{self, Selection, SourceTopic};
use crate::board::Board;
use crate::flow::Ends;
use crate::inventory::{PartitionEnds, SourceEnds, TopicEnds};
use crate::kafka::{Isolation, KafkaClient, KafkaError, OffsetSpec};
use crate::produce::Producer;
use crate::topic::TopicPartition;

/// Between two looks at the source: the shortest, and for each thousand partitions.
const LOOK: Duration = Duration::from_secs(5);
const LOOK_PER_THOUSAND: Duration = Duration::from_secs(10);
const LONGEST_LOOK: Duration = Duration::from_secs(60);
/// Partitions in one request.
const CHUNK: usize = 2_000;
/// A source that doesn't answer for this long has not answered.
const DEADLINE: Duration = Duration::from_secs(3);
/// How the source ends is written to the target this often, where it has changed.
const KEEP: Duration = Duration::from_secs(10);
/// The target's progress is read again: while it could not be read yet, or lanes that were told to pause may still write;
const READ_SOON: Duration = Duration::from_secs(3);
/// while it is paused;
const READ_PAUSED: Duration = Duration::from_secs(30);
/// where it runs, and its lanes know better.
const READ_SELDOM: Duration = Duration::from_secs(300);

/// One partition of the source as it was last seen.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Part {
    log_start: Option<SourceOffset>,
    ends: lag::Ends,
    /// In the last look.
    answers: bool,
}

#[derive(Debug, Clone, Default)]
struct Topic {
    target: String,
    /// Empty where the broker has none.
    id: String,
    /// As many partitions as the source has listed; `None`: not listed yet.
    listed: Option<i32>,
    partitions: BTreeMap<i32, Option<Part>>,
}

impl Topic {
    /// Whether what was kept of a partition tells of this life of the topic. One that was deleted and made anew may have fewer partitions.
    fn has(&self, partition: i32, topic_id: &str) -> bool {
        let another = !self.id.is_empty() && !topic_id.is_empty() && self.id != topic_id;
        !another && self.listed.is_none_or(|listed| partition < listed)
    }
}

#[derive(Default)]
struct Known {
    topics: BTreeMap<String, Topic>,
    /// Where the target's logs end.
    target_ends: TargetEnds,
    /// What the target holds; `None` before it could be read.
    recalled: Option<Recalled>,
    contact: Option<SystemTime>,
    /// The last look has seen all of it.
    complete: bool,
}

/// Shared by the look at the source and that at the target: a cluster that is away holds up only its own.
struct Looks<'a> {
    mirror: &'a Mirror,
    ends: &'a Ends,
    known: Mutex<Known>,
}

/// Looks until it is dropped.
pub(super) async fn run(epoch: Epoch, mirror: &Mirror, ends: &Ends, board: &Board) {
    let looks = Looks { mirror, ends, known: Mutex::default() };
    let publish = || {
        board.set_source_ends(mirror.id.clone(), looks.report(epoch));
    };
    let at_source = async {
        let client = ends.source.client.with_deadline(DEADLINE);
        let mut beats = Beats::default();
        loop {
            let partitions = looks.look(&client, &mut beats).await;
            publish();
            tokio::time::sleep(look_pause(partitions)).await;
        }
    };
    let at_target_ends = async {
        let client = ends.target.client.with_deadline(DEADLINE);
        loop {
            let partitions = looks.look_at_target(&client).await;
            tokio::time::sleep(look_pause(partitions)).await;
        }
    };
    let at_target = async {
        let mut producer = Producer::new(&ends.target);
        let mut reads = 0_u32;
        let mut next_read = Instant::now();
        loop {
            let now = Instant::now();
            if now >= next_read {
                match looks.recall().await {
                    Ok(()) => {
                        reads += 1;
                        publish();
                    }
                    Err(error) => {
                        tracing::debug!(mirror = %mirror.id, %error, "what is kept of the source could not be read");
                    }
                }
                next_read = now + read_pause(mirror.running, reads);
            }
            if let Err(error) = looks.keep(&mut producer).await {
                tracing::debug!(mirror = %mirror.id, %error, "how the source ends could not be kept");
            }
            tokio::time::sleep_until(next_read.min(now + KEEP)).await;
        }
    };
    tokio::join!(at_source, at_target, at_target_ends);
}

fn look_pause(partitions: usize) -> Duration {
    let partitions = u32::try_from(partitions).unwrap_or(u32::MAX);
    (LOOK + LOOK_PER_THOUSAND.saturating_mul(partitions) / 1000).min(LONGEST_LOOK)
}

fn read_pause(running: bool, reads: u32) -> Duration {
    match (reads, running) {
        (0, _) | (1, false) => READ_SOON,
        (_, false) => READ_PAUSED,
        (_, true) => READ_SELDOM,
    }
}

impl Looks<'_> {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the source; how many partitions there are.
    async fn look(&self, client: &KafkaClient, beats: &mut Beats) -> usize {
        let mut complete = match client.topics(None).await {
            Ok(listed) => {
                let topics: Vec<SourceTopic> =
                    listed.iter().filter(|t| t.error.is_none()).map(SourceTopic::from).collect();
                let beats = beats.look(self.mirror, &self.ends.source, &topics).await;
                let mut known = self.known();
                known.select(self.mirror, &topics, &beats);
                known.contact = Some(SystemTime::now());
                true
            }
            Err(error) => {
                tracing::debug!(mirror = %self.mirror.id, %error, "the source's topics are not listed");
                false
            }
        };
        let wanted: Vec<TopicPartition> = self.known().partitions();
        for chunk in wanted.chunks(CHUNK) {
            complete &= self.look_at(client, chunk).await.unwrap_or(false);
        }
        self.known().complete = complete;
        wanted.len()
    }

    /// Whether all were answered.
    async fn look_at(&self, client: &KafkaClient, chunk: &[TopicPartition]) -> Result<bool, KafkaError> {
        let wanted = |spec| chunk.iter().map(|at| (at.topic.clone(), at.partition, spec)).collect::<Vec<_>>();
        let (first, last) = (wanted(OffsetSpec::Earliest), wanted(OffsetSpec::Latest));
        let answers = tokio::join!(
            client.list_offsets(&first, Isolation::Uncommitted),
            client.list_offsets(&last, Isolation::Uncommitted),
            client.list_offsets(&last, Isolation::Committed),
        );
        let seen = SystemTime::now();
        let (first, high, stable) = match answers {
            (Ok(first), Ok(high), stable) => (first, high, stable.unwrap_or_default()),
            (Err(error), ..) | (_, Err(error), _) => {
                self.known().silent(chunk);
                return Err(error);
            }
        };
        let mut known = self.known();
        let mut complete = true;
        for key in chunk {
            let pair = key.pair();
            let offset = |of: &crate::kafka::PerPartition<crate::kafka::ListedOffset>| {
                of.get(&pair).and_then(|found| found.as_ref().ok()).map(|found| found.offset)
            };
            let Some(high_watermark) = offset(&high) else {
                complete = false;
                known.silent(std::slice::from_ref(key));
                continue;
            };
            let last_stable = offset(&stable).map(|stable| stable.min(high_watermark));
            let ends = lag::Ends { high_watermark, last_stable, seen };
            let part = Part { log_start: offset(&first).map(SourceOffset), ends, answers: true };
            known.contact = Some(seen);
            if let Some(slot) =
                known.topics.get_mut(&key.topic).and_then(|topic| topic.partitions.get_mut(&key.partition))
            {
                *slot = Some(part);
            }
        }
        Ok(complete)
    }

    async fn recall(&self) -> Result<(), KafkaError> {
        let recalled = recall::read(&self.ends.target, &self.mirror.id).await?;
        let mut known = self.known();
        known.learn(self.mirror, &recalled);
        known.recalled = Some(recalled);
        Ok(())
    }

    /// Writes what has changed since it was written.
    async fn keep(&self, producer: &mut Producer) -> Result<(), KafkaError> {
        let (records, complete) = {
            let known = self.known();
            let Some(recalled) = &known.recalled else { return Ok(()) };
            (recall::changed(&known.topics, recalled, known.contact), known.complete)
        };
        if !complete || records.is_empty() {
            return Ok(());
        }
        recall::write(producer, &self.ends.target, self.mirror, &records).await?;
        if let Some(recalled) = &mut self.known().recalled {
            recalled.wrote(records);
        }
        Ok(())
    }

    fn report(&self, epoch: Epoch) -> SourceEnds {
        let known = self.known();
        let partition = |name: &str, topic: &Topic, (partition, part): (&i32, &Option<Part>)| {
            let copied = known.recalled.as_ref().map(|recalled| recalled.copied(name, *partition));
            let target_log_end = known.target_ends.of(topic, *partition);
            let seen = status(*partition, &topic.id, *part, copied, self.mirror.begins_at_first());
            PartitionEnds { target_log_end, ..seen }
        };
        let topics = known.topics.iter().map(|(name, topic)| TopicEnds {
            source_topic: name.clone(),
            target_topic: topic.target.clone(),
            partitions: topic.partitions.iter().map(|part| partition(name, topic, part)).collect(),
        });
        SourceEnds {
            epoch,
            topics: topics.collect(),
            contact: known.contact,
            target_looks: known.target_ends.looks(),
        }
    }
}

impl Known {
    /// Topics that are listed now. One that isn't any more is nothing to copy.
    fn select(&mut self, mirror: &Mirror, topics: &[SourceTopic], beats: &HashSet<String>) {
        let selections = select::select(mirror, topics, beats);
        let mut before = std::mem::take(&mut self.topics);
        for (topic, selection) in topics.iter().zip(selections) {
            let target = match selection {
                Selection::Copy(target) | Selection::Blocked { target, .. } => target,
                Selection::Skip(_) => continue,
            };
            let id = topic.id.map(|id| id.to_string()).unwrap_or_default();
            let known = before.remove(&topic.name).filter(|known| known.id == id || known.id.is_empty());
            let mut partitions = known.unwrap_or_default().partitions;
            partitions.retain(|partition, _| *partition < topic.partitions);
            (0..topic.partitions).for_each(|partition| {
                partitions.entry(partition).or_default();
            });
            let listed = Some(topic.partitions);
            self.topics.insert(topic.name.clone(), Topic { target, id, listed, partitions });
        }
    }

    /// What was kept stands in for what the source doesn't say now.
    fn learn(&mut self, mirror: &Mirror, recalled: &Recalled) {
        for (TopicPartition { topic: name, partition }, kept, log_start) in recalled.ends() {
            let known = self.topics.contains_key(name);
            // Before the first look at the source, or while it can't be asked: topics that the mirror still selects.
            if !known && (self.complete || !mirror.selects(name)) {
                continue;
            }
            let Some(target) = mirror.policy.remote_topic(name) else { continue };
            let fresh = || Topic { target, ..Topic::default() };
            let topic = self.topics.entry(name.clone()).or_insert_with(fresh);
            if !topic.has(*partition, &kept.topic_id) {
                continue;
            }
            let slot = topic.partitions.entry(*partition).or_default();
            slot.get_or_insert(Part { log_start, ends: kept.ends, answers: false });
        }
        self.contact = self.contact.max(recalled.contact());
    }

    fn partitions(&self) -> Vec<TopicPartition> {
        let all = self
            .topics
            .iter()
            .flat_map(|(name, topic)| topic.partitions.keys().map(move |p| TopicPartition::new(name, *p)));
        all.collect()
    }

    fn silent(&mut self, keys: &[TopicPartition]) {
        for TopicPartition { topic, partition } in keys {
            let slot = self.topics.get_mut(topic).and_then(|topic| topic.partitions.get_mut(partition));
            if let Some(Some(part)) = slot {
                part.answers = false;
            }
        }
    }
}

/// `copied`: what the target's progress says; `None` where it could not be read.
fn status(
    partition: i32,
    topic_id: &str,
    part: Option<Part>,
    copied: Option<Option<&Copied>>,
    begins_at_first: bool,
) -> PartitionEnds {
    let log_start = part.and_then(|part| part.log_start);
    let other =
        |copied: &Copied| !topic_id.is_empty() && !copied.topic_id.is_empty() && copied.topic_id != topic_id;
    let mut status = PartitionEnds {
        partition,
        log_start,
        ends: part.map(|part| part.ends),
        answers: part.is_some_and(|part| part.answers),
        ..PartitionEnds::default()
    };
    match copied {
        // Another topic under the same name: nothing of this one.
        Some(Some(copied)) if other(copied) => status.missing_from = log_start,
        Some(Some(copied)) => {
            status.position = Some(copied.position);
            status.target_end = Some(copied.target_end);
            // It has fewer records than were copied: another log, of which nobody has said yet what counts.
            let shorter = part.is_some_and(|part| part.ends.high_watermark < copied.position.0);
            status.missing_from = log_start.filter(|_| shorter);
        }
        Some(None) if begins_at_first => status.missing_from = log_start,
        // Where it would begin is decided when it begins.
        Some(None) | None => {}
    }
    status
}

#[cfg(test)]
mod tests;
