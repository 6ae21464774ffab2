//! The engine's thread: everything of librdkafka that waits does so here. It opens the clients, waits for the order, moves
//! records, and closes the clients before it says how it ended.

use std::sync::Arc;
use std::thread::Thread;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::config::{self, Memory, TargetSettings};
use super::coordinator::Coordinator;
use super::copy_end::CopyEnds;
use super::feeder::Feeder;
use super::ffi::source::Source;
use super::ffi::target::Target;
use super::mover::{Clients, Job, Mover};
use crate::control::Control;
use crate::durability::{Committer, Times};
use crate::engine::{Durability, Exit, NotOpened, Observer, Opening, Order};
use crate::kafka::Role;
use crate::ledger::Ledger;

/// What the thread waits for once its clients are open.
struct Work {
    order: Order,
    ledger: Ledger,
    observer: Observer,
}

/// A thread with open clients. Dropping it closes them without waiting.
pub(crate) struct Opened {
    control: Arc<Control>,
    thread: Thread,
    give: oneshot::Sender<Work>,
    ended: oneshot::Receiver<(Exit, Ledger)>,
}

/// Starts a thread and opens its clients; exactly once: earlier owners are fenced.
pub(crate) async fn open(opening: Opening) -> Result<Opened, NotOpened> {
    let (control, runtime) = (opening.control.clone(), Handle::current());
    let (tell_opened, opened) = oneshot::channel();
    let (give, work) = oneshot::channel();
    let (tell_ended, ended) = oneshot::channel();
    let life = Life { opening, runtime };
    let spawned = std::thread::Builder::new()
        .name("lane".to_owned())
        .spawn(move || life.live(tell_opened, work, tell_ended));
    let thread = spawned.map_err(|error| NotOpened::NoThread(error.to_string()))?.thread().clone();
    wake_until(&control, &thread, opened).await?;
    Ok(Opened { control, thread, give, ended })
}

impl Opened {
    pub(crate) async fn run(self, order: Order, ledger: Ledger, observer: Observer) -> (Exit, Ledger) {
        // A thread that is gone says so below.
        let _ = self.give.send(Work { order, ledger, observer });
        wake_until(&self.control, &self.thread, self.ended).await
    }

    pub(crate) async fn close(self) {
        drop(self.give);
        // It ends without a word.
        let _ = self.ended.await;
    }
}

/// Waits for the thread, which sleeps in `park`: what wakes the lane is for it, too.
async fn wake_until<T>(control: &Control, thread: &Thread, mut answer: oneshot::Receiver<T>) -> T {
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return answer.expect("the thread answers unless it panics"),
            () = control.woken() => thread.unpark(),
        }
    }
}

struct Life {
    opening: Opening,
    runtime: Handle,
}

impl Life {
    /// However it returns, the clients are closed before the other side hears of it: they are dropped before the arguments.
    fn live(
        self,
        tell_opened: oneshot::Sender<Result<(), NotOpened>>,
        work: oneshot::Receiver<Work>,
        tell_ended: oneshot::Sender<(Exit, Ledger)>,
    ) {
        let Opening { range, limits, .. } = &self.opening;
        let memory = Memory::divide(limits.memory, usize::try_from(range.partition_count).unwrap_or(1));
        let (source, target) = match self.connect(&memory) {
            Ok(clients) => clients,
            Err(why) => {
                let _ = tell_opened.send(Err(why));
                return;
            }
        };
        if tell_opened.send(Ok(())).is_err() {
            return;
        }
        let Ok(Work { order, mut ledger, observer }) = work.blocking_recv() else { return };
        let exit = self.work(order, (source, target), &memory, &mut ledger, observer);
        let _ = tell_ended.send((exit, ledger));
    }

    /// All clients connect while the coordinator ends what an earlier owner left open.
    fn connect(&self, memory: &Memory) -> Result<(Source, Target), NotOpened> {
        let source = self.source(memory).map_err(|error| NotOpened::Source(error.into()))?;
        let target = self.target(memory).map_err(|error| NotOpened::Target(error.into()))?;
        if let Durability::Transactions { id } = &self.opening.durability {
            Coordinator::new(&self.opening, &self.runtime, &target, id).own()?;
        }
        Ok((source, target))
    }

    fn source(&self, memory: &Memory) -> Result<Source, super::ffi::Error> {
        let Opening { source, range, .. } = &self.opening;
        let config = config::source(source.client.rdkafka(Role::Consumer), memory);
        Source::open(&config, &source.properties, &range.source_topic)
    }

    fn target(&self, memory: &Memory) -> Result<Target, super::ffi::Error> {
        let Opening { target, durability, compression, target_latency, limits, .. } = &self.opening;
        let transactional_id = match durability {
            Durability::Transactions { id } => Some(&**id),
            Durability::Acknowledged => None,
        };
        let settings = TargetSettings {
            transactional_id,
            compression: *compression,
            target_latency: *target_latency,
            batch_size: limits.batch,
            patience: limits.patience,
        };
        let config = config::target(target.client.rdkafka(Role::Producer), memory, &settings);
        Target::open(&config, &target.properties)
    }

    fn work(
        &self,
        mut order: Order,
        (source, target): (Source, Target),
        memory: &Memory,
        ledger: &mut Ledger,
        observer: Observer,
    ) -> Exit {
        let Opening { source: from, target: to, range, target_latency, limits, control, .. } = &self.opening;
        let times = Times { interval: *target_latency, patience: limits.patience };
        let (key, carried) = (order.storage.progress_key.clone(), order.carried.take());
        let committer = Committer::new(order.mode, times, key, carried);
        let job = Job { target_topic: range.target_topic.clone(), order, in_flight: memory.in_flight };
        let (runtime, stop) = (&self.runtime, control.stop());
        let feeder = Feeder::new(&from.client, &range.source_topic, memory, runtime, stop);
        let ends = CopyEnds::new(&to.client, &range.target_topic, runtime, stop);
        let clients = Clients { source, target, feeder, ends };
        match Mover::new(&job, control, clients, (ledger, committer), observer) {
            Ok(mover) => mover.run(),
            Err(exit) => exit,
        }
    }
}
