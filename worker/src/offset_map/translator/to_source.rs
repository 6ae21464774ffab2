//! Back to the source: where a consumer of the copies would go on there, exactly.
//!
//! A position in a copy becomes the position of the first record whose copy lies at or after it, so that what was read of the copies
//! ends right before it; where no copy follows, the mirror's own position. What others wrote between the copies (producers that
//! failed over to a topic of the same name) has no place on the source and is passed over. Whatever the map can't know, or the
//! source no longer holds, is said by name: see `judge`.

mod judge;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use twinlog_proto::id::{SourceOffset, TargetOffset};
use twinlog_proto::model::{Guarantee, Partitioning};
use twinlog_proto::reason::Reason;

use super::super::ends;
use super::super::history::{FoundCopy, Lookup, StoredAt};
use super::{State, Translation, Translator, lost_answer, not};
use crate::kafka::{Isolation, KafkaError, OffsetSpec};
use crate::topic::TopicPartition;
use judge::{Facts, Held};

/// A partition of the target, and the next offset that a consumer would read there.
type Wanted = (TopicPartition, TargetOffset);

/// Where a consumer of the copies goes on, on the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourcePosition {
    pub offset: SourceOffset,
    /// The mirror has copied all that the source holds from here on. A consumer whose place on the source is below has records there
    /// that it can't have read on the target.
    pub copied_from: SourceOffset,
}

/// A first answer; the rest needs the clusters.
enum Answer {
    Done(Translation<SourcePosition>),
    Held(Box<Held>),
    Missing(StoredAt, TopicPartition),
}

impl Translator {
    /// Translates positions in partitions of the target back; the answers are in the order of the questions. Positions must have been
    /// read before the last `refresh`: what a consumer has read by then is in the map.
    pub async fn translate_to_source(&self, wanted: &[Wanted]) -> Vec<Translation<SourcePosition>> {
        if self.mirror.partitioning == Partitioning::ByKey {
            return wanted.iter().map(|_| self.by_key()).collect();
        }
        let answers = match self.find_copies(wanted).await {
            Ok(answers) => answers,
            Err(error) => return wanted.iter().map(|_| not(&error)).collect(),
        };
        let held = || {
            answers
                .iter()
                .filter_map(|answer| if let Answer::Held(held) = answer { Some(&**held) } else { None })
        };
        let facts = match self.facts(held()).await {
            Ok(facts) => facts,
            Err(error) => return answers.into_iter().map(|answer| answer.or(&error)).collect(),
        };
        let looks: BTreeSet<_> = held().filter_map(Held::look).collect();
        let records = ends::find(&self.target.client, looks).await;
        let settle = |answer| match answer {
            Answer::Done(translation) => translation,
            Answer::Missing(..) => lost_answer(),
            Answer::Held(held) => {
                let record = match held.look().map(|look| records.get(&look)) {
                    None => None,
                    Some(Some(Ok(record))) => Some(*record),
                    Some(Some(Err(error))) => return not(error),
                    Some(None) => return lost_answer(),
                };
                match facts.get(&held.partition()) {
                    Some(Ok(facts)) => held.judge(facts, record),
                    Some(Err(error)) => not(error),
                    None => lost_answer(),
                }
            }
        };
        answers.into_iter().map(settle).collect()
    }

    /// What the map says, reading back what was dropped from memory.
    async fn find_copies(&self, wanted: &[Wanted]) -> Result<Vec<Answer>, KafkaError> {
        let mut state = self.state.lock().await;
        // In order, a chunk is unpacked once, not once per question.
        let mut order: Vec<usize> = (0..wanted.len()).collect();
        order.sort_unstable_by_key(|i| &wanted[*i]);
        let mut answers: Vec<(usize, Answer)> =
            order.into_iter().map(|i| (i, self.find_copy(&mut state, &wanted[i]))).collect();
        let mut tried = BTreeSet::new();
        loop {
            let missing = answers.iter().filter_map(|(_, answer)| match answer {
                Answer::Missing(at, partition) => Some((*at, partition.clone())),
                _ => None,
            });
            if !self.read_back(&mut state, missing, &mut tried).await? {
                break;
            }
            for (i, answer) in answers.iter_mut().filter(|(_, a)| matches!(a, Answer::Missing(..))) {
                *answer = self.find_copy(&mut state, &wanted[*i]);
            }
            state.keep_bounded();
        }
        answers.sort_unstable_by_key(|(i, _)| *i);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    fn find_copy(&self, state: &mut State, (copy, at): &Wanted) -> Answer {
        let (topic, partition) = (&copy.topic, copy.partition);
        let may_lag = state.is_behind || self.mirror.guarantee == Guarantee::AtLeastOnce;
        let Some(source) = self.mirror.policy.source_topic(topic) else {
            return Answer::Done(self.not_a_copy(topic));
        };
        let tracked = state.partitions.get_mut(&TopicPartition::new(&source, partition));
        let Some(tracked) = tracked.filter(|tracked| tracked.target_topic == *topic) else {
            return Answer::Done(self.not_copied_yet(copy, &source));
        };
        let (Some(progress), Some(begins)) = (&tracked.progress, tracked.history.begins()) else {
            return Answer::Done(self.not_copied_yet(copy, &source));
        };
        let found = match tracked.history.find_copy(*at) {
            Ok(Lookup::Found(found)) => found,
            Ok(Lookup::Missing { stored_at }) => {
                return Answer::Missing(stored_at, TopicPartition::new(source, partition));
            }
            Ok(Lookup::Unknown) => return Answer::Done(self.not_copied_yet(copy, &source)),
            Err(damaged) => {
                let (reason, message) = (Reason::INTERNAL, damaged.to_string());
                return Answer::Done(Translation::Not { reason, message });
            }
        };
        Answer::Held(Box::new(Held {
            source_topic: source,
            target_topic: topic.clone(),
            partition,
            at: *at,
            source: match found {
                FoundCopy::Of(source) => Some(source),
                FoundCopy::End(_) => None,
            },
            begins,
            ends: progress.chunk.target_end(),
            copied_to: progress.chunk.source_end(),
            position: progress.position,
            origin: progress.origin,
            origin_is_log_start: progress.origin_is_log_start,
            topic_id: progress.source_topic_id.clone(),
            leader_epoch: progress.leader_epoch,
            may_lag,
        }))
    }

    fn not_a_copy(&self, topic: &str) -> Translation<SourcePosition> {
        let message = format!("{topic} is no copy of mirror {}", self.mirror.id);
        Translation::Not { reason: Reason::NOT_A_COPY, message }
    }

    fn not_copied_yet(&self, copy: &TopicPartition, source: &str) -> Translation<SourcePosition> {
        if !self.mirror.selects(source) {
            return self.not_a_copy(&copy.topic);
        }
        let message = format!("mirror {} has copied nothing to {copy} yet", self.mirror.id);
        Translation::Not { reason: Reason::NOT_YET_MIRRORED, message }
    }

    /// What the clusters say of the partitions now, all asked at once.
    async fn facts(
        &self,
        held: impl Iterator<Item = &Held>,
    ) -> Result<HashMap<TopicPartition, Result<Facts, KafkaError>>, KafkaError> {
        let partitions: BTreeMap<TopicPartition, &Held> = held.map(|held| (held.partition(), held)).collect();
        if partitions.is_empty() {
            return Ok(HashMap::new());
        }
        let topics: BTreeSet<String> = partitions.keys().map(|at| at.topic.clone()).collect();
        let topics: Vec<String> = topics.into_iter().collect();
        let of_source =
            |spec| partitions.keys().map(|at| (at.topic.clone(), at.partition, spec)).collect::<Vec<_>>();
        let (earliest, latest) = (of_source(OffsetSpec::Earliest), of_source(OffsetSpec::Latest));
        let copies: Vec<_> =
            partitions.values().map(|h| (h.target_topic.clone(), h.partition, OffsetSpec::Latest)).collect();
        let epochs = partitions.values().filter(|h| h.leader_epoch >= 0);
        let epochs: Vec<_> = epochs.map(|h| (h.source_topic.clone(), h.partition, h.leader_epoch)).collect();
        let (source, target) = (&self.source.client, &self.target.client);
        let (topics, earliest, latest, epochs, copies) = tokio::try_join!(
            source.topics(Some(&topics)),
            source.list_offsets(&earliest, Isolation::Uncommitted),
            source.list_offsets(&latest, Isolation::Uncommitted),
            async {
                match epochs.is_empty() {
                    true => Ok(HashMap::new()),
                    false => source.offset_for_leader_epoch(&epochs).await,
                }
            },
            target.list_offsets(&copies, Isolation::Uncommitted),
        )?;
        let topics = topics.into_iter().map(|topic| (topic.name.clone(), topic)).collect();
        let listed = judge::Listed { topics, earliest, latest, epochs, copies };
        Ok(partitions.into_iter().map(|(partition, held)| (partition, listed.facts(held))).collect())
    }
}

impl Answer {
    /// The answer where the clusters could not be asked.
    fn or(self, error: &KafkaError) -> Translation<SourcePosition> {
        match self {
            Self::Done(translation) => translation,
            Self::Held(_) | Self::Missing(..) => not(error),
        }
    }
}
