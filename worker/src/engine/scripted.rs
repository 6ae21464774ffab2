//! An engine for tests: no record moves, it does what its script says, on tokio's clock. Without a script it runs until it is told
//! to end, as any engine does.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Clock};

use tokio::time::{Instant, sleep, sleep_until};
use twinlog_proto::id::{SourceOffset, TargetOffset};

use super::{Assigned, Durability, Exit, Health, Limits, NotOpened, Observer, Opening, Order, Seen, Sight};
use crate::cause::Cause;
use crate::control::Control;
use crate::ledger::{Copied, Entry, Ledger, Now};

/// What lies in the internal topics of the target: topic, key, value, oldest first.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<(String, Entry)>>>);

impl Log {
    fn lock(&self) -> MutexGuard<'_, Vec<(String, Entry)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self, topic: &str, entry: Entry) {
        self.lock().push((topic.to_owned(), entry));
    }

    pub(crate) fn newest(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.lock().iter().rev().find(|(_, entry)| entry.key == key).map(|(_, entry)| entry.value.clone())
    }

    /// The topic was deleted and made anew.
    pub(crate) fn empty(&self, topic: &str) {
        self.lock().retain(|(name, _)| name != topic);
    }
}

/// What an engine does once it has its order, one after the other.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// So many more records of the partition are acknowledged and durable.
    Copies(i32, i64),
    /// Records are acknowledged, and nothing is durable.
    Acknowledges(i32, i64),
    /// Time passes, unless it is told to end.
    Takes(Duration),
    /// Everything that there is has been copied.
    HasNothing,
    Sees(Health, Health),
    Ends(Exit),
}

/// One life of an engine.
#[derive(Debug, Clone)]
pub(crate) enum Life {
    NotOpened(NotOpened),
    /// It opens only after this time, and says why.
    Waits(Duration, Cause),
    Runs(Vec<Act>),
}

/// What an engine was told, and how it ended.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// When it was to open.
    pub(crate) at: Instant,
    pub(crate) limits: Limits,
    pub(crate) durability: Durability,
    pub(crate) order: Option<Order>,
    pub(crate) exit: Option<Exit>,
}

impl Told {
    /// The partitions that it was to move.
    pub(crate) fn assigned(&self) -> &[Assigned] {
        self.order.as_ref().map_or(&[], |order| &order.assigned)
    }

    /// Where a partition was to begin.
    pub(crate) fn position(&self, partition: i32) -> Option<i64> {
        self.assigned().iter().find(|a| a.partition == partition).map(|a| a.position.0)
    }
}

#[derive(Default)]
struct State {
    script: VecDeque<Life>,
    told: Vec<Told>,
    /// Engines that have clients open.
    open: usize,
}

#[derive(Clone, Default)]
pub(crate) struct Engine {
    log: Log,
    state: Arc<Mutex<State>>,
}

pub(crate) struct Opened {
    engine: Engine,
    control: Arc<Control>,
    index: usize,
    acts: Vec<Act>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.engine.lock().open -= 1;
    }
}

impl Engine {
    pub(crate) fn new(log: Log) -> Self {
        Self { log, state: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn then(&self, life: Life) {
        self.lock().script.push_back(life);
    }

    pub(crate) fn told(&self) -> Vec<Told> {
        self.lock().told.clone()
    }

    /// How many engines have their clients open now.
    pub(crate) fn open_now(&self) -> usize {
        self.lock().open
    }

    pub(super) async fn open(&self, opening: Opening) -> Result<Opened, NotOpened> {
        let (index, life) = {
            let mut state = self.lock();
            let Opening { limits, durability, .. } = opening.clone();
            state.told.push(Told { at: Instant::now(), limits, durability, order: None, exit: None });
            (state.told.len() - 1, state.script.pop_front())
        };
        let acts = match life {
            Some(Life::NotOpened(why)) => return Err(why),
            Some(Life::Waits(time, cause)) => {
                opening.waits.send_replace(Some(cause));
                tokio::select! {
                    () = opening.control.stop().cancelled() => return Err(NotOpened::Drained),
                    () = sleep(time) => Vec::new(),
                }
            }
            Some(Life::Runs(acts)) => acts,
            None => Vec::new(),
        };
        self.lock().open += 1;
        Ok(Opened { engine: self.clone(), control: opening.control, index, acts })
    }
}

impl Opened {
    pub(super) async fn run(
        mut self,
        order: Order,
        mut ledger: Ledger,
        mut observer: Observer,
    ) -> (Exit, Ledger) {
        self.engine.lock().told[self.index].order = Some(order.clone());
        let mut show = |ledger: &mut Ledger, (source, target): (Health, Health)| {
            let partitions = order.assigned.iter().map(seen).collect();
            let _stays = observer(ledger, Sight { partitions, source, target, ..Sight::default() });
        };
        show(&mut ledger, Default::default());
        let mut exit = None;
        for act in std::mem::take(&mut self.acts) {
            let mut clusters = Default::default();
            match act {
                Act::Copies(partition, count) => {
                    acknowledge(&mut ledger, partition, count);
                    self.commit(&order, &mut ledger);
                }
                Act::Acknowledges(partition, count) => acknowledge(&mut ledger, partition, count),
                Act::Takes(time) => exit = self.told_within(&order, Some(Instant::now() + time)).await,
                Act::HasNothing => self.control.turn().set_idle(true),
                Act::Sees(source, target) => clusters = (source, target),
                Act::Ends(with) => exit = Some(with),
            }
            show(&mut ledger, clusters);
            if exit.is_some() {
                break;
            }
        }
        let exit = match exit {
            Some(exit) => exit,
            None => self.told_within(&order, None).await.expect("it waits until it is told"),
        };
        if exit.is_orderly() {
            self.commit(&order, &mut ledger);
        }
        self.engine.lock().told[self.index].exit = Some(exit.clone());
        (exit, ledger)
    }

    pub(super) fn close(self) {}

    /// What an engine is told while it runs; `None`: nothing until then.
    async fn told_within(&self, order: &Order, until: Option<Instant>) -> Option<Exit> {
        let forever = Instant::now() + Duration::from_secs(30 * 24 * 3600);
        let ends = order.until;
        loop {
            if self.control.is_draining() {
                return Some(Exit::Drained);
            }
            if self.control.version() != order.version {
                return Some(Exit::Changed);
            }
            if self.control.turn().is_over() {
                return Some(Exit::TurnOver);
            }
            if ends.is_some_and(|ends| Instant::now() >= ends) {
                return Some(Exit::Until);
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return None;
            }
            let next = [until, ends].into_iter().flatten().min().unwrap_or(forever);
            tokio::select! {
                () = self.control.woken() => {}
                () = sleep_until(next) => {}
            }
        }
    }

    fn commit(&self, order: &Order, ledger: &mut Ledger) {
        let storage = &order.storage;
        for entry in ledger.closing() {
            self.engine.log.write(&storage.offsets_topic, entry);
        }
        let entry = Entry { key: storage.progress_key.clone(), value: ledger.seal(Now::read()) };
        self.engine.log.write(&storage.progress_topic, entry);
        ledger.closed();
        ledger.committed(Clock::now());
    }
}

fn seen(assigned: &Assigned) -> Seen {
    let stopped = assigned.stop_before.is_some_and(|stop| stop <= assigned.position);
    Seen { partition: assigned.partition, stopped, end: None, high_watermark: None }
}

/// The next records of a partition are where the next records of its copy go.
fn acknowledge(ledger: &mut Ledger, partition: i32, count: i64) {
    let index = ledger.accounts.iter().position(|account| account.partition == partition);
    let index = index.expect("the partition is assigned");
    let SourceOffset(source) = ledger.accounts[index].progress.position;
    let target = ledger.accounts[index].progress.target_known.unwrap_or(TargetOffset(0));
    let run = Copied {
        source: SourceOffset(source),
        target: Some(target),
        count: u64::try_from(count).expect("it is positive"),
        bytes: 10,
        fetched: Clock::now(),
        timestamp: -1,
        leader_epoch: 0,
        last: None,
    };
    ledger.copied(index, &run, Now::read()).expect("it follows");
}
