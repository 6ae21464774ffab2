//! What goes wrong, as a test orders it: rules that wait for requests, and what each does to the one that it meets.
//!
//! A rule meets requests of one kind, perhaps of one broker or partition; it may let some pass first, is used up after some, or strikes by
//! chance, drawn from a seed: the same requests in the same order meet the same faults.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiKey;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// What happens to a request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Answered with this error, and nothing done. Where requests name partitions: those that the rule meets.
    Refuse(ResponseError),
    /// Done, and answered with this error all the same.
    RefuseAfter(ResponseError),
    /// Done, and then the connection is closed without an answer.
    LoseAnswer,
    /// The connection is closed, and nothing done.
    Close,
    /// Nothing happens for a while; then the request is done.
    Delay(Duration),
    /// Done; the answer comes after a while.
    DelayAnswer(Duration),
    /// KIP-219: answered at once with the time (a fetch without records), and then the connection is not read for as long.
    Throttle(Duration),
    /// The answer comes in pieces of so many bytes, with a pause between.
    Pieces(usize, Duration),
    /// The connection is closed after so many bytes of the answer.
    Cut(usize),
    /// The answer's frame claims so many bytes, whatever it has.
    Claim(u32),
    /// These bytes come instead of an answer.
    Answer(Bytes),
    /// Before it is done, the partition (that the rule names or the request names first) gets its next replica as leader.
    MoveLeader,
    /// The same, after it is done.
    MoveLeaderAfter,
    /// Before it is done, the partition forgets its producers.
    ForgetProducers,
}

/// When a fault strikes.
#[derive(Debug, Clone)]
pub struct Rule {
    pub(super) api: ApiKey,
    pub(super) node: Option<i32>,
    pub(super) place: Option<(String, Option<i32>)>,
    skip: usize,
    times: usize,
    per_mille: Option<u32>,
    fault: Fault,
}

impl Rule {
    /// Strikes the next request of this kind, once.
    pub fn next(api: ApiKey, fault: Fault) -> Self {
        Self { api, node: None, place: None, skip: 0, times: 1, per_mille: None, fault }
    }

    /// Strikes every one.
    pub fn every(api: ApiKey, fault: Fault) -> Self {
        Self { times: usize::MAX, ..Self::next(api, fault) }
    }

    #[must_use]
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// Lets so many pass first.
    #[must_use]
    pub fn after(self, skip: usize) -> Self {
        Self { skip, ..self }
    }

    #[must_use]
    pub fn on_node(self, node: i32) -> Self {
        Self { node: Some(node), ..self }
    }

    #[must_use]
    pub fn on_topic(self, topic: &str) -> Self {
        Self { place: Some((topic.to_owned(), None)), ..self }
    }

    #[must_use]
    pub fn on_partition(self, topic: &str, partition: i32) -> Self {
        Self { place: Some((topic.to_owned(), Some(partition))), ..self }
    }

    /// Strikes by chance.
    #[must_use]
    pub fn by_chance(self, per_mille: u32) -> Self {
        Self { per_mille: Some(per_mille), ..self }
    }

    fn names(&self, topic: &str, partition: i32) -> bool {
        let Some((name, index)) = &self.place else { return true };
        name == topic && index.is_none_or(|index| index == partition)
    }

    fn meets(&self, request: &Met<'_>) -> bool {
        let here = request.places.iter().any(|(topic, partition)| self.names(topic, *partition));
        self.api == request.api
            && self.node.is_none_or(|node| node == request.node)
            && (self.place.is_none() || here)
    }
}

/// What rules can tell of a request.
pub(super) struct Met<'a> {
    pub(super) node: i32,
    pub(super) api: ApiKey,
    pub(super) places: &'a [(String, i32)],
}

/// The faults of one request.
#[derive(Debug, Default)]
pub(super) struct Struck(Vec<Rule>);

impl Struck {
    pub(super) fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter().map(|rule| &rule.fault)
    }

    /// Faults with the partition that each means.
    pub(super) fn placed<'a>(
        &'a self,
        places: &'a [(String, i32)],
    ) -> impl Iterator<Item = (&'a Fault, Option<&'a (String, i32)>)> {
        self.0
            .iter()
            .map(|rule| (&rule.fault, places.iter().find(|(topic, partition)| rule.names(topic, *partition))))
    }

    /// The error that this partition is to be refused with before anything is done.
    pub(super) fn refusal(&self, topic: &str, partition: i32) -> Option<ResponseError> {
        self.0.iter().find_map(|rule| match rule.fault {
            Fault::Refuse(code) if rule.names(topic, partition) => Some(code),
            _ => None,
        })
    }

    /// The error that is said of this partition although it was done.
    pub(super) fn refusal_after(&self, topic: &str, partition: i32) -> Option<ResponseError> {
        self.0.iter().find_map(|rule| match rule.fault {
            Fault::RefuseAfter(code) if rule.names(topic, partition) => Some(code),
            _ => None,
        })
    }

    /// Of a request without partitions.
    pub(super) fn refused(&self) -> Option<ResponseError> {
        self.faults().find_map(|fault| match fault {
            Fault::Refuse(code) => Some(*code),
            _ => None,
        })
    }

    pub(super) fn refused_after(&self) -> Option<ResponseError> {
        self.faults().find_map(|fault| match fault {
            Fault::RefuseAfter(code) => Some(*code),
            _ => None,
        })
    }

    pub(super) fn throttle(&self) -> Option<Duration> {
        self.faults().find_map(|fault| match fault {
            Fault::Throttle(time) => Some(*time),
            _ => None,
        })
    }
}

pub(super) struct Faults {
    rules: Vec<Rule>,
    random: StdRng,
    struck: usize,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self { rules: Vec::new(), random: StdRng::seed_from_u64(seed), struck: 0 }
    }

    pub(super) fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    /// How often a fault struck.
    pub(super) fn struck(&self) -> usize {
        self.struck
    }

    pub(super) fn strike(&mut self, request: &Met<'_>) -> Struck {
        let mut found = Vec::new();
        for rule in &mut self.rules {
            if !rule.meets(request) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            if rule.per_mille.is_some_and(|chance| self.random.random_range(0..1000) >= chance) {
                continue;
            }
            rule.times = rule.times.saturating_sub(usize::from(rule.times != usize::MAX));
            found.push(rule.clone());
        }
        self.rules.retain(|rule| rule.times > 0);
        self.struck += found.len();
        Struck(found)
    }
}
