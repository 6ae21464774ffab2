//! One life of the engine: from nothing, over its order, to its end.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Instant, SystemTime};

use tokio::sync::watch;
use twinlog_proto::model::{Guarantee, Partitioning};
use twinlog_proto::policy;
use twinlog_proto::reason::Reason;

use super::decide::Known;
use super::{End, RETRY_STOPPED, Runner, Step};
use crate::cause::Cause;
use crate::cluster::ClusterHandle;
use crate::control::Wanted;
use crate::engine::{
    Durability, Exit, Limits, NotOpened, Observer, Opened, Opening, Order, Owner, Storage,
    TRANSACTION_TIMEOUT, Trouble, batch_bytes,
};
use crate::lane::Range;
use crate::lane::place::Place;
use crate::ledger::{Entry, Ledger};
use crate::offset_syncs::SyncSender;
use crate::progress::{self, Mode, RangeProgress, StorageTopics, Written};
use crate::status::State;

/// Everything that was found out before the order.
struct Prepared {
    before: Option<RangeProgress>,
    known: Known,
    progress: RangeProgress,
    order: Order,
}

impl Runner {
    pub(super) async fn attempt(&mut self) -> Step<Exit> {
        let Wanted { mirror, range, version } = self.control.wanted();
        self.spec.mirror = mirror;
        self.spec.range = range.clone();
        // What can be found out without clients needs no share, so that nobody waits for who can't run.
        let topics = self.storage_topics().await?;
        if self.trouble.is_some() {
            self.ask(self.clusters.look(&self.spec, &range)).await?;
        }
        let memory = self.reserve().await?;
        if std::mem::replace(&mut self.again, true) {
            self.still_owner(&topics).await?;
        }
        let opened = self.open(memory, &topics).await?;
        let prepared = match self.prepare(&range, version, &topics, opened.owner()).await {
            Ok(prepared) => prepared,
            Err(end) => {
                opened.close().await;
                return Err(end);
            }
        };
        if prepared.order.assigned.is_empty() {
            opened.close().await;
            let Prepared { before, known, .. } = prepared;
            let places = self.progress_places(&topics);
            return Err(self.stay_halted((&range, version), before.as_ref(), &known, &places).await);
        }
        Ok(self.execute(opened, prepared).await)
    }

    pub(super) fn progress_place<'a>(&self, topics: &'a StorageTopics) -> Place<'a> {
        let partition = self.storage_partition(topics.progress_partitions);
        Place { topic: &topics.progress, partition }
    }

    pub(super) fn storage_partition(&self, partitions: usize) -> i32 {
        progress::storage_partition(&self.spec.range.target_topic, self.spec.range.block, partitions)
    }

    async fn storage_topics(&mut self) -> Step<StorageTopics> {
        if let Some(topics) = &self.topics {
            return Ok(topics.clone());
        }
        let topics = self.ask(self.clusters.storage_topics(&self.spec)).await?;
        self.topics = Some(topics.clone());
        Ok(topics)
    }

    /// What is known before progress is read shapes the clients.
    fn opening(&self, memory: u64, topics: &StorageTopics, waits: watch::Sender<Option<Cause>>) -> Opening {
        let (mirror, range) = (&self.spec.mirror, &self.spec.range);
        let id = || policy::transactional_id(&mirror.id, &range.target_topic, range.block);
        let durability = match mirror.guarantee {
            Guarantee::ExactlyOnce => Durability::Transactions { id: id() },
            Guarantee::AtLeastOnce => Durability::Acknowledged,
        };
        let batch = batch_bytes(range.target_max_message_bytes).min(self.batch);
        Opening {
            engine: self.kind(),
            source: self.spec.source.clone(),
            target: self.spec.target.clone(),
            range: range.clone(),
            storage: self.storage(topics),
            durability,
            guard: self.guard,
            compression: mirror.compression,
            target_latency: mirror.target_latency,
            limits: Limits { memory, batch, patience: self.patience },
            control: self.control.clone(),
            waits,
        }
    }

    /// Opens the engine's clients, and says what that waits for.
    async fn open(&mut self, memory: u64, topics: &StorageTopics) -> Step<Opened> {
        let (waits, mut says) = watch::channel(None::<Cause>);
        let (engine, opening) = (self.engine.clone(), self.opening(memory, topics, waits));
        let durability = opening.durability.clone();
        let mut opened = std::pin::pin!(engine.open(opening));
        loop {
            tokio::select! {
                biased;
                opened = &mut opened => return opened.map_err(|why| self.not_opened(why, &durability)),
                Ok(()) = says.changed() => {
                    let Some(cause) = says.borrow_and_update().clone() else { continue };
                    self.say_trouble(&cause);
                    self.board().not_running(State::Waiting, cause);
                }
            }
        }
    }

    fn not_opened(&mut self, why: NotOpened, durability: &Durability) -> End {
        match why {
            NotOpened::Drained => End::Again,
            NotOpened::TurnOver => End::GiveWay,
            NotOpened::Waited => self.trouble.clone().map_or(End::Again, End::Later),
            NotOpened::PatienceRefused(_) if self.patience > TRANSACTION_TIMEOUT => {
                self.patience = TRANSACTION_TIMEOUT;
                End::Again
            }
            NotOpened::PatienceRefused(error) | NotOpened::Target(error) => self.unusable("target", &error),
            NotOpened::Source(error) => self.unusable("source", &error),
            NotOpened::Forbidden => {
                let target = &self.spec.target;
                let id = match durability {
                    Durability::Transactions { id } => id,
                    Durability::Acknowledged => "",
                };
                let message = format!(
                    "{} needs WRITE and DESCRIBE on transactional id {id} of cluster {}; a mirror that is made with --guarantee \
                     at-least-once needs none",
                    principal(target),
                    target.id
                );
                Cause::new(Reason::MISSING_PERMISSION, message).into()
            }
            NotOpened::NoThread(error) => {
                Cause::new(Reason::THREADS_LIMIT, crate::lane::no_thread(&error)).into()
            }
        }
    }

    pub(super) fn unusable(&self, role: &str, error: &Trouble) -> End {
        let cluster = if role == "source" { &self.spec.source } else { &self.spec.target };
        let reason = error.away.unwrap_or(Reason::KAFKA_ERROR);
        Cause::new(reason, format!("{role} cluster {}: {error}", cluster.id)).into()
    }

    /// Reads progress, asks the clusters, and decides where every partition goes on.
    async fn prepare(
        &mut self,
        range: &Range,
        version: u64,
        topics: &StorageTopics,
        owner: Option<Owner>,
    ) -> Step<Prepared> {
        let began = Instant::now();
        let before = self.read_progress(topics).await?;
        self.is_guarded(before.as_ref())?;
        let (before, carried) = self.with_former(topics, before).await?;
        before.iter().for_each(|before| self.board().known(before));
        let recovered = began.elapsed();
        // First, as it waits for MirrorMaker to end: facts from before that would be old.
        let taken = self.taken_over(range, before.as_ref()).await?;
        let committed = self.committed_by_group(range, before.as_ref()).await?;
        let places = self.progress_places(topics);
        let gathered = self.clusters.gather(&self.spec, range, before.as_ref(), &places);
        let mut gathered = self.ask(gathered).await?;
        let before = self.recognised(range, before, &mut gathered.facts, owner).await?;
        self.other_records(range, before.as_ref(), &mut gathered.facts).await?;
        let taken = self.met(range, before.as_ref(), taken, &gathered.facts).await?;
        let noted = carried.as_ref().is_some_and(|carried| self.is_noted(carried));
        let another = !committed.is_empty();
        let lost = before.is_none() && self.has_begun(topics, &gathered.facts, (noted, another)).await?;
        let committed = if lost { BTreeMap::new() } else { committed };
        let left = self.left_by_group(range, before.as_ref(), &committed, &gathered.facts).await?;
        let known = Known { began: lost, taken, left };
        let mut progress = self.decide(range, before.clone(), &known, &gathered.facts);
        let mode = self.mode(before.as_ref(), owner);
        progress.written = Written {
            engine: Some(self.kind()),
            mode: Some(mode),
            producer_id: owner.map(|owner| owner.producer_id),
            producer_epoch: owner.map(|owner| owner.epoch),
        };
        if !gathered.source_cluster_id.is_empty() {
            progress.source_cluster_id.clone_from(&gathered.source_cluster_id);
        }
        tracing::debug!(task = %self.spec.task, ?recovered, decided = ?began.elapsed(), "lane prepared");
        let choice = self.choice();
        self.board().restarted(&progress, choice);
        let old = self.old_partitions(range, &progress, &gathered.facts).await?;
        let by_key = self.spec.mirror.partitioning == Partitioning::ByKey;
        let shared = self.spec.mirror.policy.is_heartbeats_topic(&range.source_topic);
        let order = Order {
            assigned: self.assigned(&progress, &old, &gathered.facts),
            by_key: by_key.then_some(gathered.target_partitions),
            alone: !self.spec.mirror.allow_foreign_writes && !shared,
            carefully: self.spec.target.was_throttled(),
            storage: self.storage(topics),
            carried,
            mode,
            plain_from: self.plain_from(mode, owner),
            ageless: self.plain.is_ageless(),
            version,
            until: None,
        };
        Ok(Prepared { before, known, progress, order })
    }

    fn storage(&self, topics: &StorageTopics) -> Storage {
        Storage {
            progress_topic: topics.progress.clone(),
            progress_partition: self.storage_partition(topics.progress_partitions),
            offsets_topic: topics.offsets.clone(),
            offsets_partition: self.storage_partition(topics.offsets_partitions),
            progress_key: progress::progress_key(&self.spec.range.target_topic, self.spec.range.block),
        }
    }

    fn ledger(&self, progress: RangeProgress, order: &Order) -> Ledger {
        let (mirror, range) = (&self.spec.mirror, &self.spec.range);
        let running: Vec<i32> = order.assigned.iter().map(|a| a.partition).collect();
        let note = (!progress.began).then(|| Entry {
            key: progress::began_key(&range.target_topic, range.block),
            value: progress::began_value(SystemTime::now()),
        });
        Ledger::new(progress, &running, order.mode == Mode::Transactions, Instant::now())
            .with_sync_lag(mirror.offset_lag_max)
            .alone(order.alone)
            .beginning(note)
    }

    /// What an engine shows goes to the board, and to MM2's tools.
    fn observer(&self, order: &Order) -> Observer {
        let (mirror, range) = (&self.spec.mirror, &self.spec.range);
        // By key there are no pairs of offsets.
        let syncs = order
            .by_key
            .is_none()
            .then(|| SyncSender::new(mirror, &range.source_topic, &self.spec.source, &self.spec.target));
        let (syncs, control, board) = (syncs.flatten(), self.control.clone(), Arc::clone(&self.board));
        Box::new(move |ledger, sight| {
            if let Some(syncs) = &syncs {
                send_syncs(syncs, ledger, control.is_draining());
            }
            let stays = board.lock().unwrap_or_else(PoisonError::into_inner).running(ledger, &sight);
            stays && !ledger.owes()
        })
    }

    async fn execute(&mut self, opened: Opened, prepared: Prepared) -> Exit {
        let Prepared { progress, mut order, .. } = prepared;
        order.until = self.has_stopped().then(|| tokio::time::Instant::now() + RETRY_STOPPED);
        let storage = order.storage.clone();
        let (ledger, observer) = (self.ledger(progress, &order), self.observer(&order));
        self.trouble = None;
        match std::mem::replace(&mut self.announced, true) {
            true => tracing::debug!(task = %self.spec.task, "lane runs again"),
            false => {
                let partitions = order.assigned.len();
                tracing::info!(task = %self.spec.task, epoch = %self.spec.epoch, partitions, "lane runs");
            }
        }
        let (exit, mut ledger) = opened.run(order, ledger, observer).await;
        self.positions = ledger.accounts.iter().map(|a| (a.partition, a.durable)).collect();
        if matches!(exit, Exit::Refused { .. }) && self.spec.mirror.guarantee == Guarantee::AtLeastOnce {
            self.write_last_progress(&mut ledger, &storage).await;
        }
        exit
    }

    /// Whether a partition doesn't run, or is to stop before a record.
    pub(super) fn has_stopped(&self) -> bool {
        let board = self.board();
        !board.halted.is_empty() || !board.blocked.is_empty()
    }
}

pub(super) fn principal(cluster: &ClusterHandle) -> String {
    cluster.properties.principal().unwrap_or_else(|| "the worker".to_owned())
}

/// `last`: the lane ends.
fn send_syncs(syncs: &SyncSender, ledger: &mut Ledger, last: bool) {
    let now = Instant::now();
    for account in &mut ledger.accounts {
        if let Some(sync) = account.sync(now, last)
            && !syncs.send(account.partition, sync)
        {
            account.not_told(sync);
        }
    }
}
