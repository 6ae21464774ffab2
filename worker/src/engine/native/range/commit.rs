//! What makes durable what was acknowledged, step by step as the committer says; and how a run ends.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio::time::timeout;

use super::{Event, Range, Step};
use crate::durability::{Next, Place, Write};
use crate::engine::native::load::{Content, Load};
use crate::engine::native::outlet::Outlet;
use crate::engine::{Exit, Trouble};
use crate::kafka::{BatchBuilder, BatchOf, Headers, Record, Spot};
use crate::ledger::Now;
use crate::progress::millis;

/// At the end it is looked this often whether the target may still take its time.
const WAIT_STEP: Duration = Duration::from_millis(250);
/// What is on its way when a record is refused is answered within milliseconds; this is for a target that is away.
const COLLECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether everything that was handed over has to be acknowledged first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    No,
    ToFlush,
    ToCommit,
}

impl Range {
    /// Does what is due.
    pub(super) fn drive(&mut self) -> Step<()> {
        loop {
            let now = Now::read();
            if self.pause != Pause::No {
                let settled = self.outlets.iter().all(Outlet::is_settled) && self.own().all(Outlet::is_empty);
                if !settled || self.is_joining() {
                    return self.may_wait(now.instant);
                }
                if std::mem::replace(&mut self.pause, Pause::No) == Pause::ToCommit {
                    self.commit();
                    return Ok(());
                }
                self.committer.done(&mut self.ledger, now.instant);
            }
            match self.committer.next(&mut self.ledger, now) {
                None => return Ok(()),
                Some(Next::Flush) => self.pause = Pause::ToFlush,
                Some(Next::Commit) => self.pause = Pause::ToCommit,
                Some(Next::Write(writes)) => {
                    writes.into_iter().try_for_each(|write| self.write(write))?;
                    self.committer.done(&mut self.ledger, now.instant);
                }
                Some(Next::Begin) => {
                    self.begin();
                    self.committer.done(&mut self.ledger, now.instant);
                }
            }
            self.join();
            self.send_own();
        }
    }

    fn own(&self) -> impl Iterator<Item = &Outlet> {
        self.outlets.iter().skip(self.slots.len())
    }

    fn send_own(&mut self) {
        let (copies, sending) = (self.slots.len(), &self.sending);
        for own in self.outlets.iter_mut().skip(copies) {
            own.repeat(sending);
            own.pump(sending);
        }
    }

    fn may_wait(&mut self, now: Instant) -> Step<()> {
        if self.committer.may_wait(self.shared.control.is_draining(), now) {
            return Ok(());
        }
        Err(self.silent())
    }

    fn write(&mut self, Write { place, entry }: Write) -> Step<()> {
        let storage = &self.job.order.storage;
        let (topic, partition) = match place {
            Place::Progress => (storage.progress_topic.clone(), storage.progress_partition),
            Place::Offsets => (storage.offsets_topic.clone(), storage.offsets_partition),
            Place::Former { topic, partition } => (topic, partition),
        };
        let number = self.outlet_of(&topic, partition);
        let record = Record {
            offset: 0,
            timestamp: millis(SystemTime::now()),
            attributes: 0,
            key: Some(&entry.key),
            value: Some(&entry.value),
            headers: Headers::default(),
        };
        let mut batch = BatchBuilder::new(BatchOf::default());
        let written = batch.push(&record).and_then(|()| batch.finish());
        let bytes = written.map_err(|error| Exit::Failed {
            what: "writing progress",
            error: Trouble::new(error.to_string()),
        })?;
        let load = Load { bytes: Bytes::from(bytes), count: 1, since: Instant::now(), content: Content::Own };
        self.outlets[number].push(load);
        Ok(())
    }

    /// Of the range's own partitions; the place of an older version comes when it is needed.
    fn outlet_of(&mut self, topic: &str, partition: i32) -> usize {
        let copies = self.slots.len();
        let is = |own: &Outlet| &*own.spot.topic == topic && own.spot.partition == partition;
        if let Some(index) = self.own().position(is) {
            return copies + index;
        }
        let spot = Spot { topic: topic.into(), partition };
        let number = u16::try_from(self.outlets.len()).expect("a range has at most 256 partitions");
        self.outlets.push(Outlet::new(spot, number, (self.transaction.is_none(), false)));
        self.look_for(topic);
        self.outlets.len() - 1
    }

    /// Whatever the reason: what was acknowledged is kept, where that is possible.
    pub(super) async fn finish(&mut self, exit: Exit) -> Exit {
        let copies = self.slots.len();
        self.slots.iter_mut().for_each(|slot| slot.reading = super::slot::Reading::Stopped);
        // Whoever goes on begins with them.
        self.outlets.iter_mut().take(copies).for_each(Outlet::give_up);
        if !exit.is_orderly() {
            if matches!(exit, Exit::Refused { .. }) && self.committer.keeps_acknowledged() {
                self.collect().await;
            }
            self.abort().await;
            return exit;
        }
        self.committer.end(Instant::now());
        match self.make_durable().await {
            Ok(()) => exit,
            Err(failure) => {
                self.abort().await;
                if matches!(exit, Exit::Drained) {
                    tracing::debug!(?failure, "not everything was made durable");
                    return exit;
                }
                failure
            }
        }
    }

    async fn make_durable(&mut self) -> Step<()> {
        loop {
            self.drive()?;
            let ending = self.transaction.as_ref().is_some_and(|open| open.ending);
            if self.pause == Pause::No && !ending && self.own().all(Outlet::is_empty) {
                self.show();
                return Ok(());
            }
            self.find_ways();
            self.join();
            self.pump()?;
            self.step(WAIT_STEP).await?;
            self.may_wait(Instant::now())?;
        }
    }

    /// Takes what is answered soon. Records of other partitions may be refused, too.
    async fn collect(&mut self) {
        let until = Instant::now() + COLLECT_TIMEOUT;
        while !self.outlets.iter().all(Outlet::is_settled) && Instant::now() < until {
            match self.step(WAIT_STEP).await {
                Ok(()) | Err(Exit::Refused { .. }) => {}
                Err(_) => return,
            }
        }
    }

    /// One event, but nothing new is read.
    async fn step(&mut self, within: Duration) -> Step<()> {
        let replies = async {
            let mut replies = Vec::new();
            tokio::select! {
                _ = self.replies.recv_many(&mut replies, super::AT_ONCE) => Event::Answered(replies),
                Some(looked) = futures::StreamExt::next(&mut self.asked), if !self.asked.is_empty() => Event::Looked(looked),
            }
        };
        match timeout(within, replies).await {
            Ok(event) => self.handle(event),
            Err(_) => Ok(()),
        }
    }
}
