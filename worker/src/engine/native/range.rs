//! One range while the native engine moves it: batches come from the fetchers, go through the outlets to the senders, and what is
//! acknowledged is entered into the ledger. Nothing here waits for one partition while others have something to do.

mod acknowledge;
mod age;
mod commit;
mod copy;
mod intake;
mod keep_alive;
mod nearby;
mod recognise;
mod show;
mod slot;
mod transaction;
mod ways;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use self::commit::Pause;
use self::show::Shown;
use self::slot::Slot;
use self::transaction::Open;
use self::ways::{Look, Looked};
use super::fabric::Fabric;
use super::fetcher::{DELIVERIES, Delivery};
use super::forward::Writer;
use super::outbox::Reply;
use super::outlet::{Outlet, Sending};

use crate::budget::Memory;
use crate::control::Control;
use crate::durability::Committer;
use crate::engine::{Exit, Observer, Order, Trouble};
use crate::kafka::{Spot, Transactions};
use crate::ledger::Ledger;

/// Deliveries and answers that are taken together.
const AT_ONCE: usize = 32;
/// Batches on their way, for each partition: the window's bound.
const ON_THEIR_WAY: usize = 5;
/// The longest sleep while something is to happen that nobody tells of.
const MAX_SLEEP: Duration = Duration::from_secs(1);
/// What aborting may take, at the end.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

type Step<T> = Result<T, Exit>;

/// What to move, and with what.
pub(super) struct Job {
    pub(super) source_topic: Arc<str>,
    pub(super) target_topic: Arc<str>,
    pub(super) order: Order,
    pub(super) writer: Writer,
    /// Where records and progress are written in transactions.
    pub(super) transactions: Option<Transactions>,
    /// Where they are written behind the fence of this transactional id.
    pub(super) fenced: Option<Transactions>,
    /// The fence left a marker of the writer's epoch in each partition.
    pub(super) has_marker: bool,
    /// What the target takes as one batch, bytes.
    pub(super) max_batch: usize,
    /// What a request may take until the target is given up.
    pub(super) patience: Duration,
    /// Of each partition's records, so many bytes may wait.
    pub(super) queue: usize,
}

/// What the shared parts are.
pub(super) struct Shared {
    pub(super) source: Arc<Fabric>,
    pub(super) target: Arc<Fabric>,
    pub(super) memory: Memory,
    pub(super) control: Arc<Control>,
}

pub(super) struct Range {
    job: Job,
    shared: Shared,
    ledger: Ledger,
    committer: Committer,
    observer: Observer,
    slots: Vec<Slot>,
    /// Of the slots, in their order; then of the range's own records.
    outlets: Vec<Outlet>,
    sending: Sending,
    deliver: mpsc::Sender<Delivery>,
    deliveries: mpsc::Receiver<Delivery>,
    replies: mpsc::Receiver<Reply>,
    looks: Vec<Look>,
    /// When a partition's leader is to be asked again who is near.
    nearby_until: Option<Instant>,
    /// What was asked of the clusters.
    asked: FuturesUnordered<BoxFuture<'static, Looked>>,
    transaction: Option<Open>,
    pause: Pause,
    /// When the transactional id was last used.
    kept: Instant,
    shown: Shown,
    trouble: (Option<Trouble>, Option<Trouble>),
}

/// What happens to a range.
enum Event {
    Told,
    Delivered(Vec<Delivery>),
    Answered(Vec<Reply>),
    Looked(Looked),
    Time,
}

impl Range {
    pub(super) fn new(
        job: Job,
        shared: Shared,
        (ledger, committer): (Ledger, Committer),
        observer: Observer,
    ) -> Self {
        let storage = &job.order.storage;
        let own = [
            (&storage.progress_topic, storage.progress_partition),
            (&storage.offsets_topic, storage.offsets_partition),
        ];
        let own =
            own.into_iter().map(|(topic, partition)| Spot { topic: Arc::from(topic.as_str()), partition });
        let copies = job
            .order
            .assigned
            .iter()
            .map(|assigned| Spot { topic: job.target_topic.clone(), partition: assigned.partition });
        let joined = job.transactions.is_none();
        let marked = job.has_marker;
        let outlet = |(number, spot)| Outlet::new(spot, number, (joined, marked));
        let outlets: Vec<Outlet> = (0..).zip(copies.chain(own)).map(outlet).collect();
        let slots: Vec<Slot> = job
            .order
            .assigned
            .iter()
            .zip(&ledger.accounts)
            .map(|(assigned, account)| Slot::new(&job.source_topic, assigned, account))
            .collect();
        let (deliver, deliveries) = mpsc::channel(slots.len() * DELIVERIES);
        // The place of an older version may come.
        let (reply, replies) = mpsc::channel((outlets.len() + 1) * ON_THEIR_WAY);
        let transactional_id = job.transactions.as_ref().map(Transactions::id);
        let sending = Sending { writer: job.writer, transactional_id, reply, max_batch: job.max_batch };
        let transaction = job.transactions.clone().map(Open::new);
        let looks = ways::looks(&job, &shared);
        Self {
            job,
            shared,
            ledger,
            committer,
            observer,
            slots,
            outlets,
            sending,
            deliver,
            deliveries,
            replies,
            looks,
            nearby_until: None,
            asked: FuturesUnordered::new(),
            transaction,
            pause: Pause::No,
            kept: Instant::now(),
            shown: Shown::default(),
            trouble: (None, None),
        }
    }

    /// Moves records until there is a reason to end. The ledger comes back with all that was acknowledged.
    pub(super) async fn run(mut self) -> (Exit, Ledger) {
        let exit = loop {
            if let Err(exit) = self.turn().await {
                break exit;
            }
        };
        let exit = self.finish(exit).await;
        (exit, self.ledger)
    }

    async fn turn(&mut self) -> Step<()> {
        self.told()?;
        self.show();
        self.drive()?;
        self.is_recent()?;
        self.keep_alive();
        self.return_to_leaders();
        self.find_ways();
        self.look_at_rest();
        self.join();
        self.pump()?;
        self.waits_too_long()?;
        let event = self.event().await;
        self.handle(event)
    }

    fn handle(&mut self, event: Event) -> Step<()> {
        if !matches!(event, Event::Time) {
            self.shown.stir();
        }
        match event {
            Event::Told | Event::Time => Ok(()),
            Event::Delivered(some) => some.into_iter().try_for_each(|delivery| self.take_in(delivery)),
            Event::Answered(some) => self.all_answered(some),
            Event::Looked(looked) => self.looked(looked),
        }
    }

    /// Whether the lane wants something else by now.
    fn told(&self) -> Step<()> {
        let control = &self.shared.control;
        if control.is_draining() {
            return Err(Exit::Drained);
        }
        if control.version() != self.job.order.version {
            return Err(Exit::Changed);
        }
        if control.turn().is_over() {
            return Err(Exit::TurnOver);
        }
        match self.job.order.until {
            Some(until) if until <= tokio::time::Instant::now() => Err(Exit::Until),
            _ => Ok(()),
        }
    }

    async fn event(&mut self) -> Event {
        let wake = tokio::time::Instant::from_std(self.wake());
        let (mut deliveries, mut replies) = (Vec::new(), Vec::new());
        tokio::select! {
            biased;
            () = self.shared.control.woken() => Event::Told,
            _ = self.replies.recv_many(&mut replies, AT_ONCE) => Event::Answered(replies),
            Some(looked) = self.asked.next(), if !self.asked.is_empty() => Event::Looked(looked),
            _ = self.deliveries.recv_many(&mut deliveries, AT_ONCE) => Event::Delivered(deliveries),
            () = sleep_until(wake) => Event::Time,
        }
    }

    /// When there is something to do, if nothing happens until then.
    fn wake(&self) -> Instant {
        let now = Instant::now();
        let until = self.job.order.until.map(tokio::time::Instant::into_std);
        let watched = (!self.is_idle()).then(|| now + MAX_SLEEP);
        let shown = self.shown.due();
        let plain = self.job.order.plain_from.map(tokio::time::Instant::into_std).filter(|from| *from > now);
        let times =
            [self.committer.due(&self.ledger), until, plain, self.nearby_until, self.ways_due(), watched];
        times.into_iter().flatten().fold(shown, Instant::min).max(now)
    }

    /// Sends what may be sent now.
    fn pump(&mut self) -> Step<()> {
        let copies = self.slots.len();
        self.outlets.iter_mut().for_each(|outlet| outlet.repeat(&self.sending));
        for index in copies..self.outlets.len() {
            self.outlets[index].pump(&self.sending);
        }
        for index in 0..copies {
            if !self.outlets[index].is_ready() || !self.is_as_left(index) {
                continue;
            }
            let owes = self.transaction.is_some() && self.outlets[index].owes();
            if self.committer.holds_records() && !owes {
                continue;
            }
            self.outlets[index].pump(&self.sending);
        }
        Ok(())
    }

    /// What isn't acknowledged for so long is given up: the lane begins anew, and memory is free until then.
    fn waits_too_long(&mut self) -> Step<()> {
        let oldest = self.outlets.iter().filter_map(Outlet::since).min();
        if oldest.is_none_or(|since| since.elapsed() < self.job.patience * 2) {
            return Ok(());
        }
        Err(self.silent())
    }

    fn silent(&self) -> Exit {
        let outlets: Vec<String> = self.outlets.iter().map(Outlet::state).collect();
        let joining = self.is_joining();
        tracing::debug!(?outlets, pause = ?self.pause, joining, asked = self.asked.len(), holds = self.committer.holds_records(), "waiting is given up");
        let silent = || Trouble::new("the target did not acknowledge records in time");
        let error = self.trouble.1.clone().unwrap_or_else(silent);
        Exit::Failed { what: "waiting for acknowledgements", error }
    }
}
