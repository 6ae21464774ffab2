//! The hot path of a lane: one thread that takes records from the source client, hands them to the producer, enters
//! acknowledgements into the ledger, and does what the committer says.
//!
//! It sleeps only in `park`: both clients unpark it when something waits. It runs until it is told to stop, the lane changes, or
//! something happens that the lane must decide about.

mod commit;
mod copy;
mod old;
mod recognise;
mod settle;
mod slot;

use std::time::{Duration, Instant};

use rdkafka_sys::types::RDKafkaErrorCode as Code;
use twinlog_proto::id::SourceOffset;

use self::old::Incoming;
use self::slot::Slot;
use super::config::RECORD_OVERHEAD;
use super::copy_end::CopyEnds;
use super::feeder::Feeder;
use super::ffi::Error;
use super::ffi::source::{Fetched, Source};
use super::ffi::target::Target;
use super::flight::Sent;
use super::pace::Pace;
use super::partitioner::Partitioner;
use super::translate;
use crate::control::Control;
use crate::durability::Committer;
use crate::engine::{Exit, Fetching, Health, Observer, Order, Refused, Seen, Sight, Trouble};
use crate::ledger::Ledger;
use crate::progress::LastCopied;

/// The status is refreshed this often.
const OBSERVE_INTERVAL: Duration = Duration::from_millis(250);
/// The longest sleep: a bound for whatever no client tells.
const MAX_PARK: Duration = Duration::from_millis(100);
/// Slot of the records that are not mirrored ones.
const OWN: u16 = u16::MAX;

/// The clients of a lane, open; exactly once: transactions are initialised.
pub(super) struct Clients {
    pub(super) source: Source,
    pub(super) target: Target,
    /// For messages in an old format.
    pub(super) feeder: Feeder,
    pub(super) ends: CopyEnds,
}

/// What to move, and how.
pub(super) struct Job {
    pub(super) target_topic: String,
    pub(super) order: Order,
    /// Memory for records in flight, bytes.
    pub(super) in_flight: usize,
}

pub(super) struct Mover<'a> {
    job: &'a Job,
    observer: Option<Observer>,
    control: &'a Control,
    source: Source,
    target: Target,
    feeder: Feeder,
    ends: CopyEnds,
    target_topic: usize,
    progress_topic: usize,
    offsets_topic: usize,
    ledger: &'a mut Ledger,
    committer: Committer,
    partitioner: Partitioner,
    slots: Vec<Slot>,
    /// Slot by partition, from the first partition on.
    by_partition: Vec<Option<u16>>,
    /// Number of the batch that is being taken from the source.
    batch: u64,
    in_flight: u64,
    pace: Pace,
    throttle: Option<Duration>,
    /// Size of records lately, bytes: how many to take at once.
    typical: usize,
    last_observed: Option<Instant>,
    own_number: u64,
    /// Since when progress, or the end of a transaction, waits for the target.
    own_since: Option<Instant>,
    /// When a record came last.
    came: Instant,
    /// When it was last looked for topics that may be gone.
    looked: Instant,
}

type Step<T> = Result<T, Exit>;

/// The words for a call of a client that failed.
fn failed(what: &'static str) -> impl Fn(Error) -> Exit {
    move |error| Exit::Failed { what, error: error.into() }
}

impl<'a> Mover<'a> {
    pub(super) fn new(
        job: &'a Job,
        control: &'a Control,
        clients: Clients,
        (ledger, committer): (&'a mut Ledger, Committer),
        observer: Observer,
    ) -> Result<Self, Exit> {
        let Clients { source, mut target, feeder, ends } = clients;
        let mut open = |name: &str| target.topic(name).map_err(failed("opening a target topic"));
        let storage = &job.order.storage;
        let (target_topic, progress_topic, offsets_topic) =
            (open(&job.target_topic)?, open(&storage.progress_topic)?, open(&storage.offsets_topic)?);
        let assigned = &job.order.assigned;
        let highest = assigned.iter().map(|a| a.partition).max().unwrap_or(0);
        let mut by_partition = vec![None; usize::try_from(highest).unwrap_or(0) + 1];
        let mut slots = Vec::with_capacity(assigned.len());
        for (slot, assigned) in assigned.iter().enumerate() {
            let slot = u16::try_from(slot).expect("a range has at most 256 partitions");
            by_partition[usize::try_from(assigned.partition).unwrap_or(0)] = Some(slot);
            slots.push(Slot::new(slot, assigned));
        }
        let now = Instant::now();
        Ok(Self {
            job,
            observer: Some(observer),
            control,
            source,
            target,
            feeder,
            ends,
            target_topic,
            progress_topic,
            offsets_topic,
            ledger,
            committer,
            partitioner: job.order.by_key.map_or(Partitioner::Preserve, Partitioner::by_key),
            slots,
            by_partition,
            batch: 0,
            in_flight: 0,
            pace: Pace::new(job.in_flight as u64, job.order.carefully, now),
            throttle: None,
            typical: job.in_flight / 16,
            last_observed: None,
            own_number: 0,
            own_since: None,
            came: Instant::now(),
            looked: now,
        })
    }

    /// Moves records until there is a reason to end.
    pub(super) fn run(mut self) -> Exit {
        let exit = match self.go() {
            Ok(never) => match never {},
            Err(exit) => exit,
        };
        let exit = self.finish(exit);
        self.last_observed = None;
        self.observe();
        exit
    }

    fn go(&mut self) -> Step<std::convert::Infallible> {
        // What is fetched meanwhile waits in the source client.
        self.start_fetching()?;
        self.commit()?;
        loop {
            if self.control.is_draining() {
                return Err(Exit::Drained);
            }
            if self.control.version() != self.job.order.version {
                return Err(Exit::Changed);
            }
            if self.control.turn().is_over() {
                return Err(Exit::TurnOver);
            }
            if self.job.order.until.is_some_and(|at| at.into_std() <= Instant::now()) {
                return Err(Exit::Until);
            }
            let taken = self.pump_old()? + self.pump()?;
            let settled = self.settle()?;
            self.source.poll();
            self.commit()?;
            self.observe();
            self.missing_topics()?;
            self.rests_as_left()?;
            if taken == 0 && settled == 0 {
                self.sleep();
            }
        }
    }

    fn observe(&mut self) {
        if self.last_observed.is_some_and(|at| at.elapsed() < OBSERVE_INTERVAL) {
            return;
        }
        self.last_observed = Some(Instant::now());
        self.control.turn().set_idle(self.is_idle());
        let Some(mut observer) = self.observer.take() else { return };
        let sight = self.sight();
        // This engine looks all the time anyway.
        let _stays = observer(self.ledger, sight);
        self.observer = Some(observer);
    }

    fn sight(&mut self) -> Sight {
        let oldest = self.slots.iter().filter_map(|s| s.flight.oldest()).min();
        let seen = |slot: &Slot| Seen {
            partition: slot.partition,
            stopped: slot.stopped,
            end: slot.end,
            high_watermark: slot.fed_high.or_else(|| self.source.high_watermark(slot.partition)),
        };
        let (source, target) = (self.source.take_trouble(), self.target.take_trouble());
        Sight {
            partitions: self.slots.iter().map(seen).collect(),
            in_flight: self.in_flight,
            oldest: oldest.or(self.own_since),
            source: Health { trouble: source.map(Trouble::from), throttle: self.source.take_throttle() },
            target: Health { trouble: target.map(Trouble::from), throttle: self.throttle.take() },
        }
    }

    /// Whether everything that there is has been copied, as far as is known.
    fn is_idle(&self) -> bool {
        let at_end = |slot: &Slot| slot.stopped || slot.end.is_some_and(|(end, _)| end >= slot.next);
        self.in_flight == 0 && !self.committer.is_open() && self.slots.iter().all(at_end)
    }

    fn sleep(&self) {
        let due = self.committer.due(self.ledger);
        let left = due.map_or(MAX_PARK, |due| due.saturating_duration_since(Instant::now()));
        std::thread::park_timeout(left.min(MAX_PARK));
    }

    /// Takes what the source has, as far as there is room in flight, and hands it to the producer.
    fn pump(&mut self) -> Step<usize> {
        let room = self.pace.room().saturating_sub(self.in_flight);
        if room == 0 {
            self.pace.full();
            return Ok(0);
        }
        let max = usize::try_from(room).unwrap_or(usize::MAX) / self.typical;
        // However large a record is, one goes through when nothing else is in flight.
        let max = if self.in_flight == 0 { max.max(1) } else { max };
        if max == 0 {
            self.pace.full();
            return Ok(0);
        }
        let mut batch = self.source.batch(max);
        self.batch += 1;
        let taken = batch.len();
        let now = Instant::now();
        let mut bytes = 0;
        while let Some(fetched) = batch.pop() {
            bytes += self.enter(fetched, now)?;
        }
        if taken > 0 && bytes > 0 {
            // Fast up, slow down: a wrong guess upwards costs speed, one downwards costs memory.
            let seen = (bytes / taken).max(RECORD_OVERHEAD);
            self.typical = if seen > self.typical { seen } else { (self.typical * 7 + seen) / 8 };
        }
        Ok(taken)
    }

    fn slot_of(&self, partition: i32) -> Option<usize> {
        let slot = self.by_partition.get(usize::try_from(partition).ok()?)?;
        slot.map(usize::from)
    }

    /// Returns the memory that the record now holds.
    fn enter(&mut self, fetched: Fetched<'_>, now: Instant) -> Step<usize> {
        // The rest of a batch in which a partition was gone back in comes again.
        let stale =
            |partition| self.slot_of(partition).is_some_and(|at| self.slots[at].rewound_in == self.batch);
        match fetched {
            Fetched::Record(record) if stale(record.partition()) => Ok(0),
            Fetched::Record(record) => self.send(&Incoming::Fetched(&record), now),
            Fetched::End { partition, .. } if stale(partition) => Ok(0),
            Fetched::End { partition, next, .. } => {
                let high = self.source.high_watermark(partition);
                self.reached_end(partition, next, high.unwrap_or(next)).map(|()| 0)
            }
            Fetched::Failed { partition, error, .. } => self.fetch_failed(partition, error),
        }
    }

    fn reached_end(&mut self, partition: i32, next: i64, high_watermark: i64) -> Step<()> {
        let Some(index) = self.slot_of(partition).filter(|slot| !self.slots[*slot].stopped) else {
            return Ok(());
        };
        self.recognise_end(index, next)?;
        let slot = &mut self.slots[index];
        slot.next = slot.next.max(next);
        slot.flight.passed(next, self.ledger);
        slot.end = Some((next, high_watermark));
        Ok(())
    }

    fn fetch_failed(&mut self, partition: i32, error: Error) -> Step<usize> {
        if error.is_about_connections() {
            tracing::debug!(partition, %error, "fetching is interrupted");
            return Ok(0);
        }
        match error.code {
            Code::BadCompression | Code::BadMessage => self.unreadable(partition, &error).map(|()| 0),
            _ => {
                let fetching = translate::fetching(&error);
                Err(Exit::Reconsider { partition, fetching, error: error.into() })
            }
        }
    }

    fn send(&mut self, record: &Incoming<'_>, now: Instant) -> Step<usize> {
        let Some(index) = self.slot_of(record.partition()) else { return Ok(0) };
        if self.slots[index].stopped || self.recognise(index, record)? {
            return Ok(0);
        }
        let slot = &self.slots[index];
        if record.offset() < slot.next {
            return Ok(0);
        }
        if slot.stop_before.is_some_and(|stop| record.offset() >= stop) {
            self.stop_fetching(index);
            return Ok(0);
        }
        self.confirm(index, record)?;
        self.same_topic(index, now)?;
        self.as_left(index)?;
        let slot = &mut self.slots[index];
        let epoch = record.leader_epoch();
        if epoch >= 0 && epoch < slot.epoch {
            // Epochs only grow in one log: this is another one under the same name.
            let text =
                format!("leader epoch fell from {} to {epoch} at offset {}", slot.epoch, record.offset());
            return Err(Exit::Reconsider {
                partition: slot.partition,
                fetching: Fetching::Lost,
                error: Trouble::new(text),
            });
        }
        slot.epoch = slot.epoch.max(epoch);
        self.before_record()?;
        let slot = &mut self.slots[index];
        let cost = record.size() + RECORD_OVERHEAD;
        let partition = self.partitioner.partition(slot.partition, record.key(), record.size());
        let made = record.produce(&self.target, self.target_topic, partition, slot.flight.ticket());
        if let Err(error) = made {
            let (partition, offset) = (slot.partition, SourceOffset(record.offset()));
            let (size, has_key, timestamp) = (record.size(), record.key().is_some(), record.timestamp());
            let record = Refused { partition, offset, size, has_key, timestamp };
            return Err(match translate::refusal_unsent(&error) {
                Some(refusal) => Exit::Refused { record, refusal, error: error.into() },
                None => self.failure("handing a record to the producer", error),
            });
        }
        let (offset, timestamp, crc) = (record.offset(), record.timestamp(), record.crc());
        let (size, held) = (record.size() as u64, cost as u64);
        slot.flight.sent(Sent { offset, size, cost: held, timestamp, crc, epoch }, now);
        slot.last = Some(LastCopied { offset: SourceOffset(offset), timestamp, crc });
        slot.next = record.offset() + 1;
        self.in_flight += cost as u64;
        Ok(cost)
    }
}
