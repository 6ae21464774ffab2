//! The way to one partition of the target: what waits, what is on its way, and to whom.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::coalesce::{self, Acknowledged};
use super::forward::{Writer, sequence_after, stamped};
use super::load::{Content, Load};
use super::outbox::{Letter, Outbox, Reply, Waits};
use super::window::{Meaning, Verdict, Window};
use crate::budget::Taker;
use crate::kafka::{HEADER_LEN, Parcel, Spot};

/// A load with the header under which it is sent, and sent again.
#[derive(Debug)]
struct Stamped {
    header: Bytes,
    load: Load,
    at: Instant,
}

pub(super) struct Outlet {
    pub(super) spot: Spot,
    /// Among those of the range.
    number: u16,
    queue: VecDeque<Load>,
    window: Window<Stamped>,
    sequence: i32,
    /// The open transaction has it, or there is none.
    joined: bool,
    /// Something was sent since it joined.
    sent: bool,
    /// When something was stored last, or came after there was nothing to store.
    moved: Instant,
    acknowledged: Acknowledged,
    /// Who sends to the partition's leader; `None` while that is being asked.
    way: Option<Arc<Outbox>>,
    /// The id of the topic that was written to; nil where it isn't known.
    topic_id: Uuid,
}

/// Who sends, and who hears the answers.
pub(super) struct Sending {
    pub(super) writer: Writer,
    pub(super) transactional_id: Option<Arc<str>>,
    pub(super) reply: mpsc::Sender<Reply>,
    /// What the target takes as one batch, bytes.
    pub(super) max_batch: usize,
}

impl Outlet {
    /// `joined`: it needs no transaction, or has one; `marked`: the broker has a marker of this producer's epoch.
    pub(super) fn new(spot: Spot, number: u16, (joined, marked): (bool, bool)) -> Self {
        let (queue, window) = (VecDeque::new(), Window::new(marked));
        let moved = Instant::now();
        Self {
            spot,
            number,
            queue,
            window,
            sequence: 0,
            joined,
            sent: false,
            moved,
            acknowledged: Acknowledged::default(),
            way: None,
            topic_id: Uuid::nil(),
        }
    }

    pub(super) fn push(&mut self, load: Load) {
        if self.is_empty() {
            self.moved = Instant::now();
        }
        self.queue.push_back(load);
    }

    /// What waits is not sent any more.
    pub(super) fn give_up(&mut self) {
        self.queue.clear();
    }

    /// Nothing of it is with a broker, or waits to be sent again.
    pub(super) fn is_settled(&self) -> bool {
        self.window.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.window.is_empty()
    }

    /// What waits here is older than anything that comes after it.
    pub(super) fn last_mut(&mut self) -> Option<&mut Load> {
        match self.queue.back_mut() {
            Some(load) => Some(load),
            None => self.window.newest_mut().map(|stamped| &mut stamped.load),
        }
    }

    /// Since when nothing was stored, though something waits for that.
    pub(super) fn since(&self) -> Option<Instant> {
        (!self.is_empty()).then_some(self.moved)
    }

    /// The oldest batch that is not stored, where it is on its way.
    pub(super) fn oldest(&self) -> Option<&Load> {
        self.window.oldest().map(|stamped| &stamped.load)
    }

    pub(super) fn has_way(&self) -> bool {
        self.way.is_some()
    }

    pub(super) fn lead(&mut self, sender: Arc<Outbox>, topic_id: Uuid) {
        (self.way, self.topic_id) = (Some(sender), topic_id);
    }

    /// The broker that takes what is fetched for it, where that is known.
    pub(super) fn taker(&self) -> Option<&Arc<Taker>> {
        self.way.as_ref().map(|way| &way.taker)
    }

    pub(super) fn loses_way(&mut self) {
        self.way = None;
    }

    /// Whether the topic of this id is not the one that was written to.
    pub(super) fn is_another(&self, topic_id: Uuid) -> bool {
        !self.topic_id.is_nil() && !topic_id.is_nil() && self.topic_id != topic_id
    }

    /// Whether something may be sent now.
    pub(super) fn is_ready(&self) -> bool {
        self.joined && self.way.is_some() && !self.queue.is_empty() && self.window.has_room()
    }

    /// The open transaction has it from now on, or not any more.
    pub(super) fn join(&mut self, joined: bool) {
        (self.joined, self.sent) = (joined, false);
    }

    /// The open transaction has it, will mark its end there, and nothing was sent: then what waits has to be, so that the mark counts.
    pub(super) fn owes(&self) -> bool {
        self.joined && !self.sent && !self.queue.is_empty()
    }

    /// Whether something waits that the open transaction has to have the partition for.
    pub(super) fn wants_to_join(&self) -> bool {
        !self.joined && !self.queue.is_empty()
    }

    /// Sends what waits, as far as it may.
    pub(super) fn pump(&mut self, sending: &Sending) {
        while self.is_ready() {
            let small = self.acknowledged.small();
            let Some(load) = coalesce::next(&mut self.queue, sending.max_batch, small) else { return };
            let header = stamped(&load.bytes, sending.writer, self.sequence);
            let sequence = self.sequence;
            self.sequence = sequence_after(sequence, load.count);
            self.sent = true;
            self.post(&header, &load.bytes, sequence, sending);
            self.window.send(sequence, Stamped { header, load, at: Instant::now() });
        }
    }

    /// Sends once more what failed, as it was.
    pub(super) fn repeat(&mut self, sending: &Sending) {
        if self.way.is_none() || !self.window.is_to_repeat() {
            return;
        }
        let again: Vec<(i32, Bytes, Bytes)> = self
            .window
            .again()
            .map(|(sequence, stamped)| (sequence, stamped.header.clone(), stamped.load.bytes.clone()))
            .collect();
        for (sequence, header, bytes) in again {
            self.post(&header, &bytes, sequence, sending);
        }
    }

    fn post(&self, header: &Bytes, bytes: &Bytes, sequence: i32, sending: &Sending) {
        let Some(sender) = &self.way else { return };
        let parcel = Parcel {
            spot: self.spot.clone(),
            topic_id: self.topic_id,
            header: header.clone(),
            payload: bytes.slice(HEADER_LEN..),
        };
        let waits = Waits {
            spot: self.spot.clone(),
            sequence,
            slot: self.number,
            reply: sending.reply.clone(),
            by: sender.clone(),
        };
        sender.send(Letter { parcel, transactional_id: sending.transactional_id.clone(), waits });
    }

    pub(super) fn stored(&mut self, sequence: i32, offset: i64) -> Verdict<Load> {
        self.moved = Instant::now();
        let verdict = self.window.stored(sequence, offset);
        if let Verdict::Stored(stamped, _) = &verdict {
            self.acknowledged.after(self.moved.duration_since(stamped.at));
        }
        verdict.map(|stamped| stamped.load)
    }

    pub(super) fn failed(&mut self, sequence: i32, meaning: Meaning) -> Verdict<Load> {
        self.window.failed(sequence, meaning).map(|stamped| stamped.load)
    }

    /// The oldest batch was refused: neither it nor what follows it is waited for.
    pub(super) fn abandon(&mut self) {
        self.window.abandon();
    }

    /// Whether the oldest batch was made of one that is damaged.
    pub(super) fn is_damaged(&self) -> bool {
        let Some(Content::Mirrored(mirrored)) = self.oldest().map(|load| &load.content) else { return false };
        mirrored.parts.iter().any(|part| part.origin.verify().is_err())
    }

    /// What it waits for, in short.
    pub(super) fn state(&self) -> String {
        format!(
            "{}-{}: way {}, joined {}, sent {}, queue {}, window {:?}",
            self.spot.topic,
            self.spot.partition,
            self.way.is_some(),
            self.joined,
            self.sent,
            self.queue.len(),
            self.window.state(),
        )
    }

    /// Bytes that wait or are on their way.
    pub(super) fn bytes(&self) -> usize {
        let waiting = self.queue.iter().map(|load| load.bytes.len());
        waiting.chain(self.window.iter().map(|stamped| stamped.load.bytes.len())).sum()
    }
}
