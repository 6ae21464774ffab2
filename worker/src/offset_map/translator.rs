//! Exact translation of consumer positions for one mirror.
//!
//! A translator follows the mirror's progress and offset-map topics on the target and answers, for any position in a source
//! partition, exactly the target position of the record that follows, or why there is none:
//! - inside a segment: its copy; between segments (markers, aborted records, holes of compaction, gaps): the next copy;
//! - where nothing was copied after the position: the end of the target, over trailing markers, or the record that is there by
//!   now;
//! - below the mirror's start: the first copy where nothing that exists lies between; where the mirror took over from
//!   MirrorMaker 2, what that has copied; else BEFORE_MIRROR_START;
//! - above what is mirrored: NOT_YET_MIRRORED.
//!
//! And back, for positions in the copies: see `to_source`.

mod lives;
mod read_back;
mod to_source;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use prost::Message;
use tokio::sync::Mutex;
use twinlog_proto::id::{SourceOffset, TargetOffset};
use twinlog_proto::model::{self, Partitioning};
use twinlog_proto::reason::Reason;
use twinlog_proto::storage::{OffsetMapKey, ProgressKey};

use super::history::{Lookup, StoredAt};
use super::reader::{Reached, Reader, Stored, readers};
use super::{Chunk, Found, History, ends};
use crate::cluster::ClusterHandle;
use crate::kafka::{Isolation, KafkaError, OffsetSpec};
use crate::progress::former::is_carried_over;
use crate::progress::{NOT_A_CHUNK, PartitionProgress, RangeProgress};
use crate::take_over::{Older, Sync};
use crate::topic::TopicPartition;
use lives::Lives;

/// Bytes of closed chunks held in memory, some 4 per segment; older ones are read again when they are needed.
const MAX_MAP_BYTES: usize = 64 << 20;
/// Positions below a take-over that are worked out in one call; each reads a piece of both logs. The others come next time.
const MAX_OLDER: usize = 16;
/// Positions below take-overs that are remembered.
const MAX_KNOWN_OLDER: usize = 10_000;

pub use to_source::SourcePosition;

/// Where a consumer of one side would go on, on the other: of the source on the target, unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Translation<O = TargetOffset> {
    /// The record that follows the position has this offset on the other side; where none follows, it is the target's end, or the
    /// mirror's position on the source.
    Exact(O),
    /// NOT_YET_MIRRORED, NOT_MIRRORED, BEFORE_MIRROR_START, or why Kafka could not be asked, with the numbers involved.
    Not { reason: Reason, message: String },
}

pub struct Translator {
    mirror: Arc<model::Mirror>,
    source: Arc<ClusterHandle>,
    target: Arc<ClusterHandle>,
    state: Mutex<State>,
}

struct State {
    progress: Reader,
    offsets: Reader,
    /// An open transaction hid the newest progress when it was read last.
    is_behind: bool,
    partitions: HashMap<TopicPartition, Tracked>,
    /// Positions that were worked out below a take-over: they don't change.
    older: HashMap<(TopicPartition, SourceOffset), TargetOffset>,
    /// Which topics there are, as `look` saw them.
    lives: Lives,
}

/// What is known of a source partition.
#[derive(Default)]
struct Tracked {
    history: History,
    /// Incarnation that the closed chunks are of.
    topic_id: String,
    target_topic: String,
    epoch: i64,
    progress: Option<PartitionProgress>,
}

/// A first answer; the rest needs the clusters.
enum Answer {
    Done(Translation),
    /// The end of the target partition, not before this offset.
    End(String, TargetOffset),
    /// Below the mirror's start, which is here: the start's answer, if nothing of the source is left between.
    Below(SourceOffset, Box<Answer>),
    Missing(StoredAt),
}

impl Translator {
    /// Reads both topics to their present ends. Topics that don't exist yet are empty ones.
    ///
    /// # Errors
    /// As `refresh`.
    pub async fn open(
        mirror: Arc<model::Mirror>,
        source: Arc<ClusterHandle>,
        target: Arc<ClusterHandle>,
    ) -> Result<Arc<Self>, KafkaError> {
        let (progress, offsets) = readers(&mirror.id);
        let (partitions, older) = (HashMap::new(), HashMap::new());
        let state = State { progress, offsets, is_behind: false, partitions, older, lives: Lives::default() };
        let translator = Self { mirror, source, target, state: Mutex::new(state) };
        translator.refresh().await?;
        Ok(Arc::new(translator))
    }

    /// Reads what has been added to both topics since.
    ///
    /// # Errors
    /// The target can't be read now, or an open transaction hides a part of the map: answers stay as they were.
    pub async fn refresh(&self) -> Result<(), KafkaError> {
        let mut state = self.state.lock().await;
        let state = &mut *state;
        let (mut progress, mut chunks) = (Vec::new(), Vec::new());
        state.is_behind = state.progress.read(&self.target, &mut progress).await? == Reached::Hidden;
        // Every chunk that this progress relies on was written before it, and so lies below the end that is read to now.
        let reached = state.offsets.read(&self.target, &mut chunks).await;
        chunks.iter().for_each(|stored| state.apply_chunk(stored));
        if reached? == Reached::Hidden {
            // The progress that was read may rely on what is hidden: it is read again the next time.
            state.progress = readers(&self.mirror.id).0;
            let what = "an open transaction hides a part of the offset map; it ends within a minute";
            return Err(KafkaError::retriable(Reason::KAFKA_ERROR, what));
        }
        progress.iter().for_each(|stored| state.apply_progress(stored));
        state.keep_bounded();
        Ok(())
    }

    /// Every source partition that the mirror has progress of, with its position.
    pub(crate) async fn positions(&self) -> Vec<(TopicPartition, SourceOffset)> {
        let state = self.state.lock().await;
        let position = |(at, tracked): (&TopicPartition, &Tracked)| {
            Some((at.clone(), tracked.progress.as_ref()?.position))
        };
        let mut positions: Vec<_> = state.partitions.iter().filter_map(position).collect();
        positions.sort_unstable();
        positions
    }

    /// Translates positions in partitions of the source; the answers are in the order of the questions. An answer is about the topics
    /// that `look` has seen last, and about those that were copied where it has seen none. Where `source` says why the source
    /// can't be asked, it isn't: then that is the answer to what only it knows.
    pub async fn translate(
        &self,
        wanted: &[(TopicPartition, SourceOffset)],
        source: Result<(), &KafkaError>,
    ) -> Vec<Translation> {
        if self.mirror.partitioning == Partitioning::ByKey {
            return wanted.iter().map(|_| self.by_key()).collect();
        }
        let mut answers = match self.look_up_held(wanted).await {
            Ok(answers) => answers,
            Err(error) => return wanted.iter().map(|_| not(&error)).collect(),
        };
        self.settle_below(wanted, &mut answers, source).await;
        let mut translations = self.settle_ends(wanted, answers).await;
        self.check_copies(wanted, &mut translations).await;
        translations
    }

    /// What the map says, reading back what was dropped from memory.
    async fn look_up_held(
        &self,
        wanted: &[(TopicPartition, SourceOffset)],
    ) -> Result<Vec<Answer>, KafkaError> {
        let mut state = self.state.lock().await;
        // In order, a chunk is unpacked once, not once per question.
        let mut order: Vec<usize> = (0..wanted.len()).collect();
        order.sort_unstable_by_key(|i| &wanted[*i]);
        let mut answers: Vec<(usize, Answer)> =
            order.into_iter().map(|i| (i, self.look_up(&mut state, &wanted[i]))).collect();
        let mut tried = BTreeSet::new();
        loop {
            let missing = answers.iter().filter_map(|(i, answer)| match answer {
                Answer::Missing(at) => Some((*at, wanted[*i].0.clone())),
                _ => None,
            });
            if !self.read_back(&mut state, missing, &mut tried).await? {
                break;
            }
            for (i, answer) in answers.iter_mut().filter(|(_, a)| matches!(a, Answer::Missing(_))) {
                *answer = self.look_up(&mut state, &wanted[*i]);
            }
            state.keep_bounded();
        }
        answers.sort_unstable_by_key(|(i, _)| *i);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    fn look_up(&self, state: &mut State, (partition, at): &(TopicPartition, SourceOffset)) -> Answer {
        let tracked = state.partitions.get_mut(partition);
        let Some(tracked) = tracked else { return Answer::Done(self.not_tracked(partition)) };
        let Some(progress) = &tracked.progress else {
            return Answer::Done(self.not_tracked(partition));
        };
        if let Some((reason, message)) = state.lives.contradict(&partition.topic, progress) {
            return Answer::Done(Translation::Not { reason, message });
        }
        if *at > progress.position {
            let message = format!("{partition} is mirrored up to {}, not to {at}", progress.position);
            return Answer::Done(Translation::Not { reason: Reason::NOT_YET_MIRRORED, message });
        }
        // Below its start the mirror has nothing: such a position is as good as the start, or nothing can be said.
        let is_below = *at < progress.origin && !progress.origin_is_log_start;
        let answer = match tracked.history.find((*at).max(progress.origin)) {
            Ok(Lookup::Found(Found::At(target) | Found::Before(target))) => {
                Answer::Done(Translation::Exact(target))
            }
            Ok(Lookup::Found(Found::End(from))) => Answer::End(tracked.target_topic.clone(), from),
            Ok(Lookup::Missing { stored_at }) => Answer::Missing(stored_at),
            Ok(Lookup::Unknown) => Answer::Done(self.not_tracked(partition)),
            Err(damaged) => {
                Answer::Done(Translation::Not { reason: Reason::INTERNAL, message: damaged.to_string() })
            }
        };
        match answer {
            Answer::Missing(_) => answer,
            answer if is_below => Answer::Below(progress.origin, Box::new(answer)),
            answer => answer,
        }
    }

    fn by_key<O>(&self) -> Translation<O> {
        let message = format!(
            "mirror {} partitions by key: the records of one source partition lie in several of the target, so a position \
             there has no counterpart. Only mirrors with partitioning PRESERVE translate offsets",
            self.mirror.id
        );
        Translation::Not { reason: Reason::PARTITIONED_BY_KEY, message }
    }

    fn not_tracked(&self, partition: &TopicPartition) -> Translation {
        let topic = &partition.topic;
        let mirrored = self.mirror.topics.matches(topic) && !self.mirror.policy.is_internal_topic(topic);
        let (reason, message) = if mirrored {
            (Reason::NOT_YET_MIRRORED, format!("{partition} has no progress yet"))
        } else {
            (Reason::NOT_MIRRORED, format!("{topic} is not a topic of mirror {}", self.mirror.id))
        };
        Translation::Not { reason, message }
    }

    /// Positions below the mirror's start: exact where nothing that still exists lies between.
    async fn settle_below(
        &self,
        wanted: &[(TopicPartition, SourceOffset)],
        answers: &mut [Answer],
        source: Result<(), &KafkaError>,
    ) {
        let below = wanted.iter().zip(&*answers).filter(|(_, answer)| matches!(answer, Answer::Below(..)));
        let partitions: BTreeSet<&TopicPartition> = below.map(|((partition, _), _)| partition).collect();
        if partitions.is_empty() {
            return;
        }
        let question: Vec<_> =
            partitions.iter().map(|at| (at.topic.clone(), at.partition, OffsetSpec::Earliest)).collect();
        let listed = match source {
            Ok(()) => self.source.client.list_offsets(&question, Isolation::Uncommitted).await,
            Err(error) => Err(error.clone()),
        };
        let mut left = MAX_OLDER;
        for (place @ (partition, at), answer) in wanted.iter().zip(answers) {
            let Answer::Below(origin, first) = answer else { continue };
            let earliest = match &listed {
                Ok(listed) => match listed.get(&partition.pair()) {
                    Some(Ok(found)) => Ok(SourceOffset(found.offset)),
                    Some(Err(error)) => Err(not(error)),
                    None => Err(lost_answer()),
                },
                Err(error) => Err(not(error)),
            };
            *answer = match earliest {
                Ok(earliest) if earliest >= *origin => {
                    std::mem::replace(&mut **first, Answer::Done(lost_answer()))
                }
                Ok(_) if self.mirror.continues_another() => {
                    let (known, read) = self.older(place.clone(), *origin, first, left > 0).await;
                    left -= usize::from(read);
                    Answer::Done(known)
                }
                Ok(_) => {
                    let message = format!(
                        "{partition} is mirrored from {origin} on, and the source has records between {at} and there"
                    );
                    Answer::Done(Translation::Not { reason: Reason::BEFORE_MIRROR_START, message })
                }
                Err(answer) => Answer::Done(answer),
            };
        }
    }

    /// What MirrorMaker 2 has copied below the place where the mirror took over from it, and whether the logs had to be read.
    async fn older(
        &self,
        place: (TopicPartition, SourceOffset),
        origin: SourceOffset,
        first: &Answer,
        may_read: bool,
    ) -> (Translation, bool) {
        if let Some(known) = self.state.lock().await.older.get(&place) {
            return (Translation::Exact(*known), false);
        }
        let (Answer::Done(Translation::Exact(target)) | Answer::End(_, target)) = first else {
            return (lost_answer(), false);
        };
        let (partition, at) = &place;
        if !may_read {
            let message = format!("{partition} {at}: worked out with the next call");
            return (Translation::Not { reason: Reason::NOT_YET_MIRRORED, message }, false);
        }
        let older = Older {
            mirror: &self.mirror,
            source: &self.source,
            target: &self.target,
            topic: &partition.topic,
            partition: partition.partition,
            origin: Sync { source: origin.0, target: target.0 },
        };
        let translation = match older.translate(at.0).await {
            Ok(Some(found)) => {
                let found = TargetOffset(found);
                let mut state = self.state.lock().await;
                if state.older.len() >= MAX_KNOWN_OLDER {
                    state.older.clear();
                }
                state.older.insert(place, found);
                Translation::Exact(found)
            }
            Ok(None) => {
                let message = format!(
                    "{partition} is mirrored from {origin} on, and {at} was not found in what MirrorMaker 2 copied before"
                );
                Translation::Not { reason: Reason::BEFORE_MIRROR_START, message }
            }
            Err(error) => not(&error),
        };
        (translation, true)
    }

    /// Positions after the last copy.
    async fn settle_ends(
        &self,
        wanted: &[(TopicPartition, SourceOffset)],
        answers: Vec<Answer>,
    ) -> Vec<Translation> {
        let places: BTreeSet<(TopicPartition, TargetOffset)> = answers
            .iter()
            .zip(wanted)
            .filter_map(|(answer, (at, _))| match answer {
                Answer::End(topic, from) => Some((TopicPartition::new(topic, at.partition), *from)),
                _ => None,
            })
            .collect();
        let ends = ends::find(&self.target.client, places).await;
        let settle = |(answer, (at, _)): (Answer, &(TopicPartition, SourceOffset))| match answer {
            Answer::Done(translation) => translation,
            Answer::End(topic, from) => match ends.get(&(TopicPartition::new(topic, at.partition), from)) {
                Some(Ok(end)) => Translation::Exact(*end),
                Some(Err(error)) => not(error),
                None => lost_answer(),
            },
            Answer::Below(..) | Answer::Missing(_) => lost_answer(),
        };
        answers.into_iter().zip(wanted).map(settle).collect()
    }
}

fn not<O>(error: &KafkaError) -> Translation<O> {
    Translation::Not { reason: error.reason, message: error.message.clone() }
}

/// Every question has its answer by construction; should that ever break, it is said and not guessed.
fn lost_answer<O>() -> Translation<O> {
    Translation::Not { reason: Reason::INTERNAL, message: "the translator lost an answer".to_owned() }
}

impl State {
    fn apply_chunk(&mut self, stored: &Stored) {
        let (Ok(key), Some(value)) = (OffsetMapKey::decode(&*stored.key), &stored.value) else { return };
        if key.first_source_offset == NOT_A_CHUNK {
            return;
        }
        let Ok(chunk) = Chunk::decode(value) else {
            tracing::error!(at = ?stored.at, "a piece of the offset map is damaged and left out");
            return;
        };
        let tracked =
            self.partitions.entry(TopicPartition::new(key.source_topic, key.partition)).or_default();
        tracked.incarnation(key.source_topic_id);
        tracked.history.close(&chunk, stored.at, value);
    }

    fn apply_progress(&mut self, stored: &Stored) {
        let (Ok(key), Some(value)) = (ProgressKey::decode(&*stored.key), &stored.value) else { return };
        let progress = match RangeProgress::decode(value) {
            Ok(progress) => progress,
            // It comes under the name of now.
            Err(_) if stored.at.former && is_carried_over(value) => return,
            Err(damaged) => {
                tracing::error!(at = ?stored.at, %damaged, "a progress record is damaged and left out");
                return;
            }
        };
        for (number, partition) in progress.partitions {
            let at = TopicPartition::new(&progress.source_topic, number);
            let tracked = self.partitions.entry(at).or_default();
            // At least once, an owner that was replaced may still write for a while: it no longer counts.
            if progress.epoch < tracked.epoch {
                continue;
            }
            tracked.epoch = progress.epoch;
            tracked.target_topic.clone_from(&key.target_topic);
            tracked.incarnation(partition.source_topic_id.clone());
            tracked.history.set_open(partition.chunk.clone());
            tracked.progress = Some(partition);
        }
    }

    fn keep_bounded(&mut self) {
        while self.partitions.values().map(|t| t.history.bytes()).sum::<usize>() > MAX_MAP_BYTES {
            self.partitions.values_mut().for_each(|t| t.history.shed());
        }
    }
}

impl Tracked {
    /// Chunks of another incarnation of the topic say nothing about this one.
    fn incarnation(&mut self, topic_id: String) {
        if self.topic_id != topic_id {
            self.history = History::default();
            self.topic_id = topic_id;
        }
    }
}
