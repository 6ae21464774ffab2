//! Looking for leaders: who is fetched from, and who is sent to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use twinlog_proto::reason::Reason;

use super::slot::Reading;
use super::{Job, Range, Shared, Step};
use crate::engine::native::fabric::Fabric;
use crate::engine::{Exit, Fetching, Trouble};
use crate::kafka::{KafkaError, TopicPlace};
use crate::ledger::Account;

const FIRST_BACKOFF: Duration = Duration::from_millis(20);
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// One topic whose leaders are needed.
pub(super) struct Look {
    fabric: Arc<Fabric>,
    topic: Arc<str>,
    is_source: bool,
    asking: bool,
    /// What was known is not so any more.
    again: bool,
    /// Not asked before that time.
    at: Option<Instant>,
    backoff: Duration,
}

/// An answer of a cluster.
pub(super) enum Looked {
    Place(usize, Result<TopicPlace, KafkaError>),
    /// Where a copy ends.
    End(usize, Result<i64, KafkaError>),
    /// These outlets' partitions belong to the open transaction.
    Joined(Vec<usize>, Result<(), KafkaError>),
    /// The transaction is committed.
    Committed(Result<(), KafkaError>),
    /// The transactional id is remembered for another week.
    Kept(Result<(), KafkaError>),
}

pub(super) fn looks(job: &Job, shared: &Shared) -> Vec<Look> {
    let storage = &job.order.storage;
    let own = [&storage.progress_topic, &storage.offsets_topic].map(|topic| Arc::from(topic.as_str()));
    let targets = std::iter::once(job.target_topic.clone()).chain(own);
    let source = Look::new(&shared.source, job.source_topic.clone(), true);
    std::iter::once(source).chain(targets.map(|topic| Look::new(&shared.target, topic, false))).collect()
}

impl Look {
    fn new(fabric: &Arc<Fabric>, topic: Arc<str>, is_source: bool) -> Self {
        let fabric = fabric.clone();
        Self { fabric, topic, is_source, asking: false, again: false, at: None, backoff: FIRST_BACKOFF }
    }

    fn ask_later(&mut self) {
        self.again = true;
        if self.at.is_none() {
            self.at = Some(Instant::now() + self.backoff);
            self.backoff = (self.backoff * 2).min(MAX_BACKOFF);
        }
    }
}

impl Range {
    /// The source's leaders are to be looked for again.
    pub(super) fn seek_source(&mut self) {
        self.looks[0].ask_later();
    }

    /// The leader of the outlet's partition is not who it was, or away.
    pub(super) fn loses_way(&mut self, number: usize) {
        let outlet = &mut self.outlets[number];
        outlet.loses_way();
        let topic = outlet.spot.topic.clone();
        self.looks.iter_mut().filter(|look| !look.is_source && look.topic == topic).for_each(Look::ask_later);
    }

    /// The leader of the outlet's partition takes what it is sent.
    pub(super) fn found_way(&mut self, number: usize) {
        let topic = &self.outlets[number].spot.topic;
        let looks = self.looks.iter_mut().filter(|look| !look.is_source && look.backoff > FIRST_BACKOFF);
        looks.filter(|look| look.topic == *topic).for_each(|look| look.backoff = FIRST_BACKOFF);
    }

    /// The source's leaders answer.
    pub(super) fn found_source(&mut self) {
        self.looks[0].backoff = FIRST_BACKOFF;
    }

    /// One more topic of the target.
    pub(super) fn look_for(&mut self, topic: &str) {
        if self.looks.iter().all(|look| look.is_source || &*look.topic != topic) {
            self.looks.push(Look::new(&self.shared.target, Arc::from(topic), false));
        }
    }

    fn is_needed(&self, look: &Look) -> bool {
        match look.is_source {
            true => self.slots.iter().any(super::Slot::is_off),
            false => self.outlets.iter().any(|o| !o.has_way() && o.spot.topic == look.topic),
        }
    }

    pub(super) fn ways_due(&self) -> Option<Instant> {
        // One that isn't needed any more would be due for ever.
        let due = self.looks.iter().filter(|look| !look.asking && look.at.is_some() && self.is_needed(look));
        due.filter_map(|look| look.at).min()
    }

    /// Asks for what is needed and not known.
    pub(super) fn find_ways(&mut self) {
        let now = Instant::now();
        for index in 0..self.looks.len() {
            let look = &self.looks[index];
            if look.asking || look.at.is_some_and(|at| at > now) || !self.is_needed(look) {
                continue;
            }
            let (fabric, topic, again) = (look.fabric.clone(), look.topic.clone(), look.again);
            let ask = async move { Looked::Place(index, fabric.place(&topic, again).await) };
            self.asked.push(ask.boxed());
            let look = &mut self.looks[index];
            (look.asking, look.at) = (true, None);
        }
    }

    pub(super) fn looked(&mut self, looked: Looked) -> Step<()> {
        match looked {
            Looked::End(index, end) => self.copy_ends(index, end),
            Looked::Joined(outlets, joined) => self.joined(outlets, joined),
            Looked::Committed(committed) => self.committed(committed),
            Looked::Kept(kept) => self.kept(kept),
            Looked::Place(index, answer) => {
                self.looks[index].asking = false;
                let is_source = self.looks[index].is_source;
                match answer {
                    Ok(place) if is_source => self.fetch_from(&place),
                    Ok(place) => self.send_to(index, &place),
                    Err(error) => self.has_no_place(index, &error),
                }
            }
        }
    }

    fn has_no_place(&mut self, index: usize, error: &KafkaError) -> Step<()> {
        let look = &mut self.looks[index];
        let partition = self.slots.first().map_or(0, |slot| slot.spot.partition);
        let text = Trouble::new(error.message.clone());
        match (error.reason, look.is_source) {
            (Reason::TOPIC_NOT_FOUND, false) => {
                return Err(Exit::Gone { topic: look.topic.to_string() });
            }
            (Reason::TOPIC_NOT_FOUND, true) => {
                return Err(Exit::Reconsider { partition, fetching: Fetching::Failed, error: text });
            }
            (Reason::MISSING_PERMISSION, true) => {
                return Err(Exit::Reconsider { partition, fetching: Fetching::Forbidden, error: text });
            }
            (Reason::MISSING_PERMISSION, false) => {
                return Err(Exit::Failed { what: "looking for leaders", error: text });
            }
            _ => {}
        }
        tracing::debug!(topic = %look.topic, %error, "the leaders can't be asked for");
        look.ask_later();
        let away = if error.reason.heals() { Reason::WAITING_FOR_CLUSTER } else { error.reason };
        let trouble = Some(Trouble { away: Some(away), ..text });
        if look.is_source {
            self.trouble.0 = trouble
        } else {
            self.trouble.1 = trouble
        }
        Ok(())
    }

    fn fetch_from(&mut self, place: &TopicPlace) -> Step<()> {
        let id = if place.id.is_nil() { String::new() } else { place.id.to_string() };
        let mut missing = false;
        for number in 0..self.slots.len() {
            let slot = &self.slots[number];
            if !slot.is_off() {
                continue;
            }
            if !slot.topic_id.is_empty() && !id.is_empty() && slot.topic_id != id {
                let error = Trouble::new("the topic was made anew");
                let partition = slot.spot.partition;
                return Err(Exit::Reconsider { partition, fetching: Fetching::Lost, error });
            }
            let led = place.partitions.get(&slot.spot.partition);
            let Some((leadership, leader)) = led.and_then(|led| Some((*led, led.leader?))) else {
                missing = true;
                continue;
            };
            self.read_from(number, slot.peer(leader), (place.id, leadership));
        }
        if missing {
            self.seek_source();
        } else {
            self.looks[0].again = false;
        }
        Ok(())
    }

    /// Whether the topic is another one under the same name than was written to before, in this run or earlier ones.
    fn is_made_anew(&self, topic: &str, place: &TopicPlace) -> bool {
        let id = place.id.to_string();
        let another = |account: &Account| {
            let known = &account.progress.target_topic_id;
            !place.id.is_nil() && !known.is_empty() && *known != id
        };
        let is_copy = topic == &*self.job.target_topic;
        is_copy && self.ledger.accounts.iter().any(another)
            || self.outlets.iter().any(|outlet| &*outlet.spot.topic == topic && outlet.is_another(place.id))
    }

    fn send_to(&mut self, index: usize, place: &TopicPlace) -> Step<()> {
        let topic = self.looks[index].topic.clone();
        tracing::debug!(%topic, ?place, "the leaders are known");
        if self.is_made_anew(&topic, place) {
            return Err(Exit::Gone { topic: topic.to_string() });
        }
        let mut missing = false;
        for outlet in self.outlets.iter_mut().filter(|o| !o.has_way() && o.spot.topic == topic) {
            let Some(leader) = place.partitions.get(&outlet.spot.partition).and_then(|led| led.leader) else {
                missing = true;
                continue;
            };
            outlet.lead(self.shared.target.sender(leader), place.id);
        }
        for (slot, outlet) in self.slots.iter().zip(&self.outlets) {
            if let (Reading::On(fetching), Some(taker)) = (&slot.reading, outlet.taker()) {
                fetching.is_taken_by(taker);
            }
        }
        let look = &mut self.looks[index];
        if missing {
            look.ask_later();
        } else {
            look.again = false;
        }
        Ok(())
    }
}
