//! Fetch sessions (KIP-227): a broker remembers which partitions are fetched and where each goes on, so that a request names only what
//! changed. Pure: it makes requests and reads answers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::types::AbortedTransaction;
use crate::kafka::wire::api::Versions;
use crate::kafka::wire::code;
use crate::kafka::wire::types::text;

/// Version 17 is about directories of replicas.
pub(in crate::kafka) const VERSIONS: Versions = Versions { min: 4, max: 16 };
/// From this version on topics are named by id, and a topic that was made anew is told from the one of before.
const BY_ID: i16 = 13;
/// What a broker understands that has no topic ids, or where one isn't known.
pub(in crate::kafka) const BY_NAME: Versions = Versions { min: 4, max: 12 };
/// From this version on there are sessions.
const WITH_SESSIONS: i16 = 7;
/// From this version on a consumer may say in which rack it is.
const WITH_RACK: i16 = 11;
/// From this version on the broker compares the epoch of the last record with its own log.
const WITH_LAST_EPOCH: i16 = 12;
/// Of a request that begins a session, and of one that wants none.
const NEW: i32 = 0;
const NONE: i32 = -1;
/// So many topics' ids are remembered beyond twice those that are wanted.
const SOME_TOPICS: usize = 64;
/// Only committed records, and which transactions were aborted.
const READ_COMMITTED: i8 = 1;

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Spot {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
}

/// Where a partition is to be fetched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct From {
    /// Nil where it isn't known.
    pub(crate) topic_id: Uuid,
    pub(crate) offset: i64,
    /// Of the leader that is asked; -1 unknown.
    pub(crate) leader_epoch: i32,
    /// Of the last record that was fetched; -1 unknown.
    pub(crate) last_epoch: i32,
    /// A first batch larger than that comes whole.
    pub(crate) max_bytes: i32,
}

/// What all partitions of one request share.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) max_wait_ms: i32,
    pub(crate) min_bytes: i32,
    pub(crate) max_bytes: i32,
    /// Empty: none.
    pub(crate) rack: String,
}

/// What came of one partition.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) spot: Spot,
    pub(crate) outcome: Result<Piece, Refusal>,
}

/// A piece of the log as the broker sent it; it often ends with a part of a batch.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) records: Bytes,
    pub(crate) aborted: Vec<AbortedTransaction>,
    pub(crate) high_watermark: i64,
    /// -1 where the broker doesn't tell.
    pub(crate) last_stable_offset: i64,
}

/// Why nothing came of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Kafka's error code; and who leads now, with its epoch, where the broker says so.
    Code(i16, Option<(i32, i32)>),
    /// The log ended an epoch earlier than the last record that was fetched: epoch, and where it ended.
    Diverging(i32, i64),
    /// The leader names a replica in the reader's rack, which is to be asked instead (KIP-392).
    Elsewhere(i32),
}

/// The broker has forgotten the session, or won't have one: the next request begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lost(pub(crate) i16);

/// Where partitions are to be fetched on, of those that it has changed for; `None`: they are not wanted any more.
pub(crate) type Changes = BTreeMap<Spot, Option<From>>;

/// What the broker was told, and what the next request has to say.
#[derive(Debug, Default)]
pub(crate) struct FetchSession {
    id: i32,
    epoch: i32,
    /// All that is wanted.
    told: BTreeMap<Spot, From>,
    by_id: HashMap<Uuid, Arc<str>>,
    /// Of what is wanted, partitions whose topic's id isn't known.
    without_id: usize,
}

impl FetchSession {
    /// Whether topics have to be named after these changes, because an id isn't known.
    pub(in crate::kafka) fn needs_names(&self, changes: &Changes) -> bool {
        self.without_id > 0 || changes.values().flatten().any(|from| from.topic_id.is_nil())
    }

    /// The request for all that is wanted after these changes.
    pub(in crate::kafka) fn request(
        &mut self,
        version: i16,
        changes: Changes,
        terms: &Terms,
    ) -> FetchRequest {
        let (mut news, mut gone) = self.enter(changes);
        let sessions = version >= WITH_SESSIONS && self.epoch != NONE;
        if !sessions || self.epoch == NEW {
            news = self.told.iter().map(|(spot, from)| (spot.clone(), *from)).collect();
            gone.clear();
        }
        let (id, epoch) = if sessions { (self.id, self.epoch) } else { (0, NONE) };
        let mut request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(terms.max_wait_ms)
            .with_min_bytes(terms.min_bytes)
            .with_max_bytes(terms.max_bytes)
            .with_isolation_level(READ_COMMITTED)
            .with_topics(topics(version, news));
        if version >= WITH_SESSIONS {
            request = request
                .with_session_id(id)
                .with_session_epoch(epoch)
                .with_forgotten_topics_data(forgotten(version, gone));
        }
        match version >= WITH_RACK {
            true => request.with_rack_id(StrBytes::from_string(terms.rack.clone())),
            false => request,
        }
    }

    /// What the broker has to be told, and what it has to forget, in the order of partitions.
    fn enter(&mut self, changes: Changes) -> (News, Gone) {
        let (mut news, mut gone) = (Vec::new(), Vec::new());
        for (spot, now) in changes {
            let before = match now {
                Some(now) => self.told.insert(spot.clone(), now),
                None => self.told.remove(&spot),
            };
            let nameless = |from: Option<From>| usize::from(from.is_some_and(|from| from.topic_id.is_nil()));
            self.without_id = self.without_id + nameless(now) - nameless(before);
            // A topic that was made anew under the same name is another one to the broker.
            if let Some(before) =
                before.filter(|before| now.is_none_or(|now| now.topic_id != before.topic_id))
            {
                gone.push((spot.clone(), before.topic_id));
            }
            if let Some(now) = now.filter(|_| before != now) {
                self.by_id.insert(now.topic_id, spot.topic.clone());
                news.push((spot, now));
            }
        }
        if self.by_id.len() > 2 * self.told.len() + SOME_TOPICS {
            self.by_id = self.told.iter().map(|(spot, from)| (from.topic_id, spot.topic.clone())).collect();
        }
        (news, gone)
    }

    /// What the answer brings. A partition without news isn't in it.
    pub(in crate::kafka) fn answer(
        &mut self,
        version: i16,
        answer: FetchResponse,
    ) -> Result<Vec<Part>, Lost> {
        if version >= WITH_SESSIONS {
            self.next_epoch(&answer)?;
        }
        let mut parts = Vec::new();
        for topic in answer.responses {
            let Some(name) = self.name(version, &topic) else { continue };
            parts.extend(topic.partitions.into_iter().map(|data| part(&name, data)));
        }
        // The broker goes on from where it was told last.
        Ok(parts)
    }

    fn next_epoch(&mut self, answer: &FetchResponse) -> Result<(), Lost> {
        if answer.error_code != 0 {
            self.forget();
            return Err(Lost(answer.error_code));
        }
        match answer.session_id {
            // It has no room for one more: each request says everything.
            0 => self.epoch = NEW,
            id => (self.id, self.epoch) = (id, self.epoch.checked_add(1).unwrap_or(1)),
        }
        Ok(())
    }

    /// The broker is to be told everything again.
    fn forget(&mut self) {
        (self.id, self.epoch) = (0, NEW);
    }

    fn name(&self, version: i16, topic: &FetchableTopicResponse) -> Option<Arc<str>> {
        match version >= BY_ID {
            true => self.by_id.get(&topic.topic_id).cloned(),
            false => Some(Arc::from(topic.topic.as_str())),
        }
    }
}

/// What the broker is to be told, and what it is to forget.
type News = Vec<(Spot, From)>;
type Gone = Vec<(Spot, Uuid)>;

fn topics(version: i16, news: Vec<(Spot, From)>) -> Vec<FetchTopic> {
    let mut topics: Vec<FetchTopic> = Vec::new();
    let mut last: Option<(Arc<str>, Uuid)> = None;
    for (spot, from) in news {
        let mut partition = FetchPartition::default()
            .with_partition(spot.partition)
            .with_fetch_offset(from.offset)
            .with_partition_max_bytes(from.max_bytes);
        // Older ones have no such field.
        if version >= 9 {
            partition = partition.with_current_leader_epoch(from.leader_epoch);
        }
        if version >= WITH_LAST_EPOCH {
            partition = partition.with_last_fetched_epoch(from.last_epoch);
        }
        if last.as_ref().is_none_or(|(topic, id)| *topic != spot.topic || *id != from.topic_id) {
            last = Some((spot.topic.clone(), from.topic_id));
            topics.push(match version >= BY_ID {
                true => FetchTopic::default().with_topic_id(from.topic_id),
                false => FetchTopic::default().with_topic(TopicName(text(&spot.topic))),
            });
        }
        topics.last_mut().expect("one was pushed").partitions.push(partition);
    }
    topics
}

fn forgotten(version: i16, gone: Vec<(Spot, Uuid)>) -> Vec<ForgottenTopic> {
    let topic = |(spot, id): (Spot, Uuid)| {
        let topic = match version >= BY_ID {
            true => ForgottenTopic::default().with_topic_id(id),
            false => ForgottenTopic::default().with_topic(TopicName(text(&spot.topic))),
        };
        topic.with_partitions(vec![spot.partition])
    };
    gone.into_iter().map(topic).collect()
}

fn part(topic: &Arc<str>, data: PartitionData) -> Part {
    let spot = Spot { topic: topic.clone(), partition: data.partition_index };
    let diverging = (data.diverging_epoch.epoch, data.diverging_epoch.end_offset);
    let leader = (data.current_leader.leader_id.0, data.current_leader.leader_epoch);
    let outcome = if data.error_code != code::NONE {
        Err(Refusal::Code(data.error_code, Some(leader).filter(|(id, _)| *id >= 0)))
    } else if diverging.1 >= 0 {
        Err(Refusal::Diverging(diverging.0, diverging.1))
    } else if data.preferred_read_replica.0 >= 0 {
        Err(Refusal::Elsewhere(data.preferred_read_replica.0))
    } else {
        Ok(piece(data))
    };
    Part { spot, outcome }
}

fn piece(data: PartitionData) -> Piece {
    let aborted = data.aborted_transactions.unwrap_or_default().into_iter().map(|aborted| {
        AbortedTransaction { producer_id: aborted.producer_id.0, first_offset: aborted.first_offset }
    });
    let mut aborted: Vec<AbortedTransaction> = aborted.collect();
    aborted.sort_by_key(|aborted| aborted.first_offset);
    Piece {
        records: data.records.unwrap_or_default(),
        aborted,
        high_watermark: data.high_watermark,
        last_stable_offset: data.last_stable_offset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spot(topic: &str, partition: i32) -> Spot {
        Spot { topic: Arc::from(topic), partition }
    }

    fn from(id: u128, offset: i64) -> From {
        From { topic_id: Uuid::from_u128(id), offset, leader_epoch: 3, last_epoch: 2, max_bytes: 1 << 20 }
    }

    fn terms() -> Terms {
        Terms { max_wait_ms: 100, min_bytes: 1, max_bytes: 8 << 20, rack: String::new() }
    }

    fn wanted(of: &[(&str, i32, u128, i64)]) -> Changes {
        let wanted = |(topic, partition, id, offset): &(&str, i32, u128, i64)| {
            (spot(topic, *partition), Some(from(*id, *offset)))
        };
        of.iter().map(wanted).collect()
    }

    fn unwanted(of: &[(&str, i32)]) -> Changes {
        of.iter().map(|(topic, partition)| (spot(topic, *partition), None)).collect()
    }

    fn named(request: &FetchRequest) -> Vec<(u128, i32, i64)> {
        let partitions = |topic: &FetchTopic| {
            let id = topic.topic_id.as_u128();
            topic.partitions.iter().map(move |p| (id, p.partition, p.fetch_offset)).collect::<Vec<_>>()
        };
        request.topics.iter().flat_map(partitions).collect()
    }

    fn answered(session_id: i32, error_code: i16) -> FetchResponse {
        FetchResponse::default().with_session_id(session_id).with_error_code(error_code)
    }

    #[test]
    fn after_the_first_request_only_what_changed_is_said() {
        let mut session = FetchSession::default();
        let first = session.request(16, wanted(&[("a", 0, 1, 5), ("a", 1, 1, 7), ("b", 0, 2, 0)]), &terms());
        assert_eq!((first.session_id, first.session_epoch), (0, 0));
        assert_eq!(named(&first), [(1, 0, 5), (1, 1, 7), (2, 0, 0)]);
        session.answer(16, answered(77, 0)).unwrap();
        let second = session.request(16, wanted(&[("a", 0, 1, 6), ("a", 1, 1, 7)]), &terms());
        assert_eq!((second.session_id, second.session_epoch), (77, 1));
        assert_eq!(named(&second), [(1, 0, 6)]);
        assert!(second.forgotten_topics_data.is_empty());
        session.answer(16, answered(77, 0)).unwrap();
        let third = session.request(16, unwanted(&[("a", 1), ("b", 0), ("c", 0)]), &terms());
        assert_eq!((third.session_epoch, named(&third)), (2, vec![]));
        let gone: Vec<_> = third
            .forgotten_topics_data
            .iter()
            .map(|t| (t.topic_id.as_u128(), t.partitions.clone()))
            .collect();
        assert_eq!(gone, [(1, vec![1]), (2, vec![0])]);
    }

    #[test]
    fn a_leader_that_is_told_the_rack_may_name_a_replica() {
        let mut session = FetchSession::default();
        let terms = Terms { rack: "z".to_owned(), ..terms() };
        assert_eq!(session.request(16, wanted(&[("a", 0, 1, 5)]), &terms).rack_id.as_str(), "z");
        let data = PartitionData::default().with_partition_index(0).with_preferred_read_replica(BrokerId(7));
        let topic =
            FetchableTopicResponse::default().with_topic_id(Uuid::from_u128(1)).with_partitions(vec![data]);
        let parts = session.answer(16, answered(5, 0).with_responses(vec![topic])).unwrap();
        assert_eq!(parts[0].outcome.as_ref().unwrap_err(), &Refusal::Elsewhere(7));
    }

    #[test]
    fn a_topic_made_anew_is_forgotten_and_named_again() {
        let mut session = FetchSession::default();
        session.request(16, wanted(&[("a", 0, 1, 5)]), &terms());
        session.answer(16, answered(77, 0)).unwrap();
        let next = session.request(16, wanted(&[("a", 0, 9, 0)]), &terms());
        assert_eq!(named(&next), [(9, 0, 0)]);
        assert_eq!(next.forgotten_topics_data[0].topic_id.as_u128(), 1);
    }

    #[test]
    fn a_lost_session_begins_anew_and_a_refused_one_says_everything_each_time() {
        let mut session = FetchSession::default();
        session.request(16, wanted(&[("a", 0, 1, 5)]), &terms());
        session.answer(16, answered(77, 0)).unwrap();
        session.request(16, wanted(&[("a", 0, 1, 5)]), &terms());
        assert_eq!(session.answer(16, answered(0, 70)).unwrap_err(), Lost(70));
        let again = session.request(16, Changes::new(), &terms());
        assert_eq!((again.session_id, again.session_epoch, named(&again)), (0, 0, vec![(1, 0, 5)]));
        session.answer(16, answered(0, 0)).unwrap();
        let full = session.request(16, wanted(&[("a", 1, 1, 8)]), &terms());
        assert_eq!((full.session_epoch, named(&full)), (0, vec![(1, 0, 5), (1, 1, 8)]));
    }

    #[test]
    fn brokers_without_sessions_or_ids_are_told_names_each_time() {
        let mut session = FetchSession::default();
        for _ in 0..2 {
            let request = session.request(6, wanted(&[("a", 0, 0, 5)]), &terms());
            assert_eq!(request.topics[0].topic.as_str(), "a");
            assert_eq!((request.session_id, request.session_epoch), (0, -1), "as the older versions read it");
            session.answer(6, answered(0, 0)).unwrap();
        }
    }

    #[test]
    fn what_comes_is_sorted_and_errors_say_who_leads() {
        let mut session = FetchSession::default();
        session.request(16, wanted(&[("a", 0, 1, 5), ("a", 1, 1, 5), ("a", 2, 1, 5)]), &terms());
        let aborted = |id, first| {
            kafka_protocol::messages::fetch_response::AbortedTransaction::default()
                .with_producer_id(kafka_protocol::messages::ProducerId(id))
                .with_first_offset(first)
        };
        let good = PartitionData::default()
            .with_partition_index(0)
            .with_aborted_transactions(Some(vec![aborted(1, 9), aborted(2, 3)]));
        let mut moved = PartitionData::default().with_partition_index(1).with_error_code(6);
        moved.current_leader.leader_id = BrokerId(4);
        moved.current_leader.leader_epoch = 8;
        let mut cut = PartitionData::default().with_partition_index(2);
        (cut.diverging_epoch.epoch, cut.diverging_epoch.end_offset) = (1, 4);
        let topic = FetchableTopicResponse::default()
            .with_topic_id(Uuid::from_u128(1))
            .with_partitions(vec![good, moved, cut]);
        let parts = session.answer(16, answered(77, 0).with_responses(vec![topic])).unwrap();
        let firsts: Vec<i64> =
            parts[0].outcome.as_ref().unwrap().aborted.iter().map(|a| a.first_offset).collect();
        assert_eq!(firsts, [3, 9]);
        assert_eq!(parts[1].outcome.as_ref().unwrap_err(), &Refusal::Code(6, Some((4, 8))));
        assert_eq!(parts[2].outcome.as_ref().unwrap_err(), &Refusal::Diverging(1, 4));
    }
}
