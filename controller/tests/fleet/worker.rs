//! A worker that speaks the session and pretends to run tasks. It keeps the stream's rules: whole sets, refuse what is
//! older, report what runs and what still drains, keep running without a controller, reconnect elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::internal::v1::controller_message::Message as In;
use twinlog_proto::internal::v1::worker_message::Message as Out;
use twinlog_proto::v1;

use crate::ledger::{Happened, Ledger};

const REPORT: Duration = Duration::from_millis(50);

#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) id: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) capacity: i32,
    /// How long a task takes to stop.
    pub(crate) drain: Duration,
    /// Every message to the controller is sent this often.
    pub(crate) repeat: usize,
    /// The newest (term, generation) that it has seen before it starts.
    pub(crate) seen: (i64, i64),
    /// Epochs of tasks that it has seen before it starts.
    pub(crate) epochs: BTreeMap<String, i64>,
    /// The process; empty as of an older worker.
    pub(crate) instance: String,
    /// What its surveys find: mirror to (topic, partitions).
    pub(crate) finds: BTreeMap<String, Vec<(String, i32)>>,
    /// What it makes of its reports: for workers that are broken, or not ours.
    pub(crate) spoil: fn(&mut internal::Report),
    /// What is on the target: what its lanes say and what its survey finds.
    pub(crate) target: Option<Arc<Target>>,
}

/// One end for all partitions.
#[derive(Debug, Default)]
pub(crate) struct Target {
    pub(crate) claimed: AtomicI64,
    pub(crate) found: AtomicI64,
    /// Both grow by so much from look to look.
    pub(crate) step: AtomicI64,
    looks: AtomicU64,
}

impl Target {
    fn claim(&self, task: &str) -> Vec<v1::PartitionStatus> {
        if !task.starts_with("replicate/") {
            return Vec::new();
        }
        let target_end = Some(self.claimed.load(Relaxed));
        let mut status = v1::PartitionStatus { target_end, ..v1::PartitionStatus::default() };
        status.partition = task.rsplit('/').next().unwrap().parse().unwrap();
        status.set_state(v1::State::Active);
        vec![status]
    }

    fn look(&self, topic: &str, partitions: i32) -> internal::TopicEnds {
        let ends = |partition| v1::PartitionStatus { partition, ..Default::default() };
        internal::TopicEnds {
            source_topic: topic.to_owned(),
            target_topic: format!("src.{topic}"),
            partitions: (0..partitions).map(ends).collect(),
            target_ends: (0..partitions).map(|_| self.found.load(Relaxed)).collect(),
        }
    }

    fn grow(&self) -> u64 {
        let step = self.step.load(Relaxed);
        self.claimed.fetch_add(step, Relaxed);
        self.found.fetch_add(step, Relaxed);
        self.looks.fetch_add(1, Relaxed) + 1
    }
}

impl Spec {
    pub(crate) fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            labels: BTreeMap::new(),
            capacity: 0,
            drain: Duration::from_millis(30),
            repeat: 1,
            seen: (0, 0),
            epochs: BTreeMap::new(),
            instance: String::new(),
            finds: BTreeMap::from([("m".to_owned(), vec![("t".to_owned(), 12)])]),
            spoil: |_| {},
            target: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Run,
    /// As SIGSTOP: nothing is read, nothing is sent, connections stay.
    Freeze,
    Leave,
}

pub(crate) struct FakeWorker {
    pub(crate) spec: Spec,
    ledger: Ledger,
    order: watch::Sender<Order>,
    cut: Arc<Notify>,
    running: watch::Receiver<BTreeMap<String, i64>>,
    task: JoinHandle<()>,
}

impl FakeWorker {
    pub(crate) fn start(spec: Spec, controllers: Vec<String>, ledger: &Ledger) -> Self {
        let (order, orders) = watch::channel(Order::Run);
        let (running, shown) = watch::channel(BTreeMap::new());
        let cut = Arc::new(Notify::new());
        let life = Life {
            cut: cut.clone(),
            spec: spec.clone(),
            ledger: ledger.clone(),
            orders,
            running,
            refused: None,
            later: BTreeMap::new(),
            applied: spec.seen,
            epochs: spec.epochs.clone(),
            tasks: BTreeMap::new(),
        };
        let task = tokio::spawn(life.live(controllers));
        Self { spec, ledger: ledger.clone(), order, cut, running: shown, task }
    }

    pub(crate) fn running(&self) -> BTreeMap<String, i64> {
        self.running.borrow().clone()
    }

    pub(crate) fn ranges(&self) -> usize {
        self.running().keys().filter(|task| task.starts_with("replicate/")).count()
    }

    /// As kill -9: connections close, nothing is said.
    pub(crate) async fn kill(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
        self.vanish();
    }

    /// The connection breaks; it is made again at once.
    pub(crate) fn disconnect(&self) {
        self.cut.notify_one();
    }

    pub(crate) fn freeze(&self) {
        self.order.send_replace(Order::Freeze);
        self.vanish();
    }

    pub(crate) fn thaw(&self) {
        self.order.send_replace(Order::Run);
    }

    pub(crate) fn leave(&self) {
        self.order.send_replace(Order::Leave);
    }

    fn vanish(&self) {
        for task in self.running().keys() {
            self.ledger.write(&self.spec.id, task, Happened::Vanished);
        }
    }
}

impl Drop for FakeWorker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Task {
    epoch: i64,
    /// Set while it drains.
    stops_at: Option<Instant>,
}

struct Life {
    cut: Arc<Notify>,
    spec: Spec,
    ledger: Ledger,
    orders: watch::Receiver<Order>,
    running: watch::Sender<BTreeMap<String, i64>>,
    /// What was refused, and of which set.
    refused: Option<(v1::Cause, (i64, i64))>,
    later: BTreeMap<String, i64>,
    applied: (i64, i64),
    /// The highest epoch seen per task.
    epochs: BTreeMap<String, i64>,
    tasks: BTreeMap<String, Task>,
}

impl Life {
    async fn live(mut self, controllers: Vec<String>) {
        for controller in controllers.iter().cycle() {
            let _ = self.session(controller).await;
            self.settle();
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    async fn session(&mut self, controller: &str) -> Option<()> {
        let mut client = internal::worker_service_client::WorkerServiceClient::connect(controller.to_owned())
            .await
            .ok()?;
        let (sender, messages) = mpsc::channel(16);
        self.send(&sender, Out::Hello(self.hello())).await?;
        let mut inbound = client.session(ReceiverStream::new(messages)).await.ok()?.into_inner();
        let mut report = tokio::time::interval(REPORT);
        // When the reports were sent, the hello first: a set is fit for use for as long as what it answers is not too old.
        let mut sent = vec![Instant::now()];
        let mut patience = Duration::MAX;
        loop {
            let order = *self.orders.borrow_and_update();
            if order == Order::Freeze {
                let _ = self.orders.wait_for(|order| *order != Order::Freeze).await;
                for task in self.tasks.keys() {
                    // It doesn't know yet that it has lost them; the fence at the target is what keeps this harmless.
                    self.ledger.write(&self.spec.id, task, Happened::Vanished);
                }
            }
            tokio::select! {
                biased;
                _ = self.orders.changed() => continue,
                () = self.cut.notified() => return None,
                message = inbound.message() => match message.ok()??.message? {
                    In::Assignments(set) => {
                        let heard = usize::try_from(set.heard_report?).ok()?;
                        if sent.get(heard)?.elapsed() >= patience {
                            return None;
                        }
                        self.apply(set);
                    }
                    In::Query(query) => {
                        let answer = internal::answer::Answer::ListTopics(v1::ListTopicsResponse::default());
                        self.send(&sender, Out::Answer(internal::Answer { id: query.id, answer: Some(answer) })).await?;
                    }
                    In::Welcome(welcome) => {
                        patience = Duration::from_millis(welcome.lease_ms.try_into().ok()?);
                    }
                },
                _ = report.tick() => {}
            }
            self.settle();
            let sequence = i64::try_from(sent.len()).ok()?;
            sent.push(Instant::now());
            self.send(&sender, Out::Report(internal::Report { sequence, ..self.report() })).await?;
            self.survey(&sender).await?;
        }
    }

    async fn send(&self, sender: &mpsc::Sender<internal::WorkerMessage>, message: Out) -> Option<()> {
        let times = if matches!(message, Out::Hello(_)) { 1 } else { self.spec.repeat };
        for _ in 0..times {
            sender.send(internal::WorkerMessage { message: Some(message.clone()) }).await.ok()?;
        }
        Some(())
    }

    fn hello(&self) -> internal::Hello {
        internal::Hello {
            worker_id: self.spec.id.clone(),
            version: "fake".to_owned(),
            labels: self.spec.labels.clone().into_iter().collect(),
            capacity: self.spec.capacity,
            applied: Some(self.applied()),
            instance: self.spec.instance.clone(),
            ..internal::Hello::default()
        }
    }

    fn applied(&self) -> internal::Applied {
        let running = self
            .tasks
            .iter()
            .map(|(task, t)| internal::RunningTask { task: task.clone(), epoch: t.epoch })
            .collect();
        let epochs = self.epochs.values().copied().max().unwrap_or(0);
        internal::Applied {
            term: self.applied.0,
            generation: self.applied.1,
            running,
            newest: epochs.max(self.applied.0),
        }
    }

    fn report(&self) -> internal::Report {
        let task = |(name, task): (&String, &Task)| internal::TaskReport {
            task: name.clone(),
            epoch: task.epoch,
            state: v1::State::Active.into(),
            partitions: self.spec.target.as_ref().map(|target| target.claim(name)).unwrap_or_default(),
            ..internal::TaskReport::default()
        };
        let mut report = internal::Report {
            applied: Some(self.applied()),
            tasks: self.tasks.iter().map(task).collect(),
            leaving: *self.orders.borrow() == Order::Leave,
            refused: self.refused.as_ref().map(|(cause, ..)| cause.clone()),
            refused_term: self.refused.as_ref().map_or(0, |(_, (term, _))| *term),
            refused_generation: self.refused.as_ref().map_or(0, |(_, (_, generation))| *generation),
            later: self
                .later
                .iter()
                .map(|(task, epoch)| internal::RunningTask { task: task.clone(), epoch: *epoch })
                .collect(),
            ..internal::Report::default()
        };
        (self.spec.spoil)(&mut report);
        report
    }

    async fn survey(&self, sender: &mpsc::Sender<internal::WorkerMessage>) -> Option<()> {
        for (mirror, topics) in &self.spec.finds {
            let Some(task) = self.tasks.get(&format!("survey/{mirror}")) else { continue };
            if let Some(target) = &self.spec.target {
                let report = internal::SourceEndsReport {
                    mirror: format!("mirrors/{mirror}"),
                    epoch: task.epoch,
                    topics: topics
                        .iter()
                        .map(|(topic, partitions)| target.look(topic, *partitions))
                        .collect(),
                    target_looks: target.grow(),
                    ..internal::SourceEndsReport::default()
                };
                self.send(sender, Out::SourceEnds(report)).await?;
            }
            let topics = topics.iter().map(|(topic, partitions)| internal::InventoryTopic {
                source_topic: topic.clone(),
                target_topic: format!("src.{topic}"),
                source_partitions: *partitions,
                partitions: *partitions,
                ..internal::InventoryTopic::default()
            });
            let inventory =
                internal::Inventory { topics: topics.collect(), ..internal::Inventory::default() };
            let report = internal::InventoryReport {
                mirror: format!("mirrors/{mirror}"),
                epoch: task.epoch,
                inventory: Some(inventory),
            };
            self.send(sender, Out::Inventory(report)).await?;
        }
        Some(())
    }

    fn apply(&mut self, set: internal::AssignmentSet) {
        let cause =
            |reason: &str| v1::Cause { reason: reason.to_owned(), message: reason.to_owned(), since: None };
        let version = (set.term, set.generation);
        if version < self.applied {
            self.refused = Some((cause("STALE_TERM"), version));
            return;
        }
        let seen = |task: &internal::Task| *self.epochs.get(&task.name).unwrap_or(&0);
        let (stale, good): (Vec<_>, Vec<_>) = set.tasks.into_iter().partition(|task| task.epoch < seen(task));
        self.later = stale.iter().map(|task| (task.name.clone(), seen(task))).collect();
        self.refused = (!stale.is_empty()).then(|| (cause("STALE_EPOCH"), version));
        self.applied = version;
        let kept =
            stale.into_iter().filter_map(|task| Some((task.name.clone(), self.tasks.get(&task.name)?.epoch)));
        let wanted: BTreeMap<_, _> = kept
            .collect::<Vec<_>>()
            .into_iter()
            .chain(good.into_iter().map(|task| (task.name, task.epoch)))
            .collect();
        for (name, task) in &mut self.tasks {
            if !wanted.contains_key(name) && task.stops_at.is_none() {
                task.stops_at = Some(Instant::now() + self.spec.drain);
            }
        }
        for (name, epoch) in wanted {
            self.epochs.insert(name.clone(), epoch);
            let known = self.tasks.get(&name).map(|task| (task.epoch, task.stops_at.is_some()));
            if known != Some((epoch, false)) {
                self.ledger.write(&self.spec.id, &name, Happened::Started { epoch });
                self.tasks.insert(name, Task { epoch, stops_at: None });
            }
        }
        self.settle();
    }

    fn settle(&mut self) {
        let now = Instant::now();
        let ledger = &self.ledger;
        let id = &self.spec.id;
        self.tasks.retain(|name, task| {
            let stopped = task.stops_at.is_some_and(|at| at <= now);
            if stopped {
                ledger.write(id, name, Happened::Stopped);
            }
            !stopped
        });
        let shown = self.tasks.iter().map(|(name, task)| (name.clone(), task.epoch)).collect();
        self.running.send_if_modified(|running| {
            let changed = *running != shown;
            *running = shown;
            changed
        });
    }
}
