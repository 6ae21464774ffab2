//! Fetch sessions (KIP-227): the partitions that a reader need not name again, and which of them an answer leaves out.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::fetch_response::PartitionData;
use uuid::Uuid;

use super::topics::Topics;

/// `max.incremental.fetch.session.cache.slots` of a default broker.
const SLOTS: usize = 1000;
/// Asks for a new session.
const INITIAL: i32 = 0;
/// Closes a session, or wants none.
const FINAL: i32 = -1;
/// From here on topics are named by id.
const BY_ID: i16 = 13;

/// A partition that is to be read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Want {
    /// `None` for an id that is nobody's.
    pub(super) topic: Option<String>,
    pub(super) id: Uuid,
    pub(super) partition: FetchPartition,
}

/// What was read of it.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) want: Want,
    pub(super) data: PartitionData,
}

#[derive(Debug)]
struct Cached {
    want: Want,
    high_watermark: i64,
    log_start: i64,
}

#[derive(Debug)]
struct Session {
    epoch: i32,
    by_id: bool,
    partitions: Vec<Cached>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Without,
    New,
    Known(i32),
}

/// What one request reads, and within which session.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) wants: Vec<Want>,
    kind: Kind,
    by_id: bool,
}

impl Opened {
    /// Of a throttled answer.
    pub(super) fn session(&self) -> i32 {
        match self.kind {
            Kind::Known(id) => id,
            _ => 0,
        }
    }
}

/// Of one broker.
#[derive(Debug)]
pub(super) struct Sessions {
    known: BTreeMap<i32, Session>,
    next: i32,
    pub(super) slots: usize,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { known: BTreeMap::new(), next: 1000, slots: SLOTS }
    }
}

impl Sessions {
    pub(super) fn clear(&mut self) {
        self.known.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// # Errors
    /// The session isn't known, or the request is not its next one.
    pub(super) fn open(
        &mut self,
        request: &FetchRequest,
        version: i16,
        topics: &Topics,
    ) -> Result<Opened, ResponseError> {
        let by_id = version >= BY_ID;
        let (id, epoch) = (request.session_id, request.session_epoch);
        let named = wants(request, by_id, topics);
        if version < 7 || epoch == INITIAL || epoch == FINAL {
            self.known.remove(&id);
            let kind = if version < 7 || epoch == FINAL { Kind::Without } else { Kind::New };
            return Ok(Opened { wants: named, kind, by_id });
        }
        let session = self.known.get_mut(&id).ok_or(ResponseError::FetchSessionIdNotFound)?;
        if session.epoch != epoch {
            return Err(ResponseError::InvalidFetchSessionEpoch);
        }
        if session.by_id != by_id {
            return Err(ResponseError::FetchSessionTopicIdError);
        }
        session.update(named, request, topics);
        if session.partitions.is_empty() {
            self.known.remove(&id);
            return Ok(Opened { wants: Vec::new(), kind: Kind::Without, by_id });
        }
        session.epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        let wants = session.partitions.iter().map(|cached| cached.want.clone()).collect();
        Ok(Opened { wants, kind: Kind::Known(id), by_id })
    }

    /// The session's id, and the answers that are sent: within a session those that say something new.
    pub(super) fn close(&mut self, opened: &Opened, answers: Vec<Answer>) -> (i32, Vec<Answer>) {
        match opened.kind {
            Kind::Without => (0, answers),
            Kind::New if self.known.len() >= self.slots || answers.is_empty() => (0, answers),
            Kind::New => {
                let id = self.next;
                self.next += 1;
                let partitions = answers.iter().map(Cached::of).collect();
                self.known.insert(id, Session { epoch: 1, by_id: opened.by_id, partitions });
                (id, answers)
            }
            Kind::Known(id) => {
                let Some(session) = self.known.get_mut(&id) else { return (id, answers) };
                (id, answers.into_iter().filter(|answer| session.is_news(answer)).collect())
            }
        }
    }
}

impl Cached {
    fn of(answer: &Answer) -> Self {
        let mut cached = Self { want: answer.want.clone(), high_watermark: -1, log_start: -1 };
        cached.is_news(&answer.data);
        cached
    }

    fn is_news(&mut self, data: &PartitionData) -> bool {
        let mut news = data.records.as_ref().is_some_and(|records| !records.is_empty());
        news |= self.high_watermark != data.high_watermark || self.log_start != data.log_start_offset;
        self.high_watermark = data.high_watermark;
        self.log_start = data.log_start_offset;
        news |= data.preferred_read_replica.0 >= 0;
        if data.error_code != 0 || data.diverging_epoch.epoch >= 0 {
            // It is sent again when it is over.
            self.high_watermark = -1;
            news = true;
        }
        news
    }
}

impl Session {
    fn update(&mut self, named: Vec<Want>, request: &FetchRequest, topics: &Topics) {
        for want in named {
            let same = |cached: &&mut Cached| is_same(&cached.want, &want);
            match self.partitions.iter_mut().find(same) {
                Some(cached) => cached.want.partition = want.partition,
                None => self.partitions.push(Cached { want, high_watermark: -1, log_start: -1 }),
            }
        }
        for gone in &request.forgotten_topics_data {
            let (name, id) = (gone.topic.to_string(), gone.topic_id);
            let by_id = self.by_id;
            self.partitions.retain(|cached| {
                let topic = if by_id {
                    cached.want.id == id
                } else {
                    cached.want.topic.as_deref() == Some(name.as_str())
                };
                !(topic && gone.partitions.contains(&cached.want.partition.partition))
            });
        }
        for cached in &mut self.partitions {
            if cached.want.topic.is_none() {
                cached.want.topic = topics.name_of(cached.want.id).map(str::to_owned);
            }
        }
    }

    /// Partitions with records go to the end: another one is first the next time.
    fn is_news(&mut self, answer: &Answer) -> bool {
        let found = self.partitions.iter().position(|cached| is_same(&cached.want, &answer.want));
        let Some(at) = found else { return true };
        let news = self.partitions[at].is_news(&answer.data);
        if answer.data.records.as_ref().is_some_and(|records| !records.is_empty()) {
            let cached = self.partitions.remove(at);
            self.partitions.push(cached);
        }
        news
    }
}

fn is_same(a: &Want, b: &Want) -> bool {
    let topic = if a.id.is_nil() { a.topic == b.topic } else { a.id == b.id };
    topic && a.partition.partition == b.partition.partition
}

fn wants(request: &FetchRequest, by_id: bool, topics: &Topics) -> Vec<Want> {
    let mut wants = Vec::new();
    for topic in &request.topics {
        let (name, id) = if by_id {
            (topics.name_of(topic.topic_id).map(str::to_owned), topic.topic_id)
        } else {
            (Some(topic.topic.to_string()), Uuid::nil())
        };
        wants.extend(topic.partitions.iter().map(|partition| Want {
            topic: name.clone(),
            id,
            partition: partition.clone(),
        }));
    }
    wants
}
