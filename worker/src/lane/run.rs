//! The life of a lane: prepare, decide, move, and again, until it is drained. One that is superseded moves nothing.
//!
//! Restarting is the normal path: whatever happens, the clients are closed, progress is read back, the clusters are asked, and
//! the lane goes on from facts.

mod assign;
mod attempt;
mod decide;
mod former;
mod last_progress;
mod old_format;
mod plain;
mod position;
mod restored;
mod start_group;
mod stop;
mod take_over;
#[cfg(test)]
mod tests;
mod turns;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::Rng;
use tokio::sync::watch;
use tokio::time::Instant;
use twinlog_proto::id::SourceOffset;
use twinlog_proto::reason::Reason;

use self::plain::Plain;
use super::clusters::Clusters;
use super::status::Board;
use super::{LaneSpec, LaneStatus};
use crate::budget::{Budget, Seat};
use crate::cause::Cause;
use crate::control::Control;
use crate::engine::{Engine, TRANSACTION_TIMEOUT};
use crate::progress::StorageTopics;
use crate::status::State;

const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// A run of this length counts as healthy: the next backoff is short again.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);
/// A partition that halted or was refused is tried again this often: someone may have changed a topic's settings.
const RETRY_STOPPED: Duration = Duration::from_secs(30);

pub(super) struct Runner {
    pub(super) spec: LaneSpec,
    pub(super) control: Arc<Control>,
    pub(super) clusters: Clusters,
    engine: Engine,
    budget: Arc<Budget>,
    /// Among the ranges that have clients of their own, and share the worker's memory and descriptors for them.
    seat: Option<Seat>,
    /// Messages of before Kafka 0.11 were met in the range by an engine that knows batches only.
    pub(super) old_format: bool,
    /// Shared with the observer of the engine while that runs.
    board: Arc<Mutex<Board>>,
    /// What keeps the lane from running; it is said until it runs.
    trouble: Option<Cause>,
    /// It was said that the lane runs, and nothing has kept it from running since.
    announced: bool,
    /// How far the partitions were copied when the last run ended.
    positions: Vec<(i32, SourceOffset)>,
    topics: Option<StorageTopics>,
    /// Records that the target refused or that can't be read, by partition; and those that have been tried again since.
    refused: BTreeMap<i32, (SourceOffset, Cause)>,
    refused_before: BTreeMap<i32, (SourceOffset, Cause)>,
    /// It has run before: somebody else may have the range by now, and must not be fenced by this one.
    again: bool,
    /// When another owner fenced this one.
    fenced: Option<Instant>,
    /// Batches hold at most so many bytes, where the target has refused larger ones.
    batch: usize,
    /// What a transaction may take: longer where a quota holds requests back.
    patience: Duration,
    backoff: Duration,
    /// Partitions that don't meet their copies, with where these ended when that was found.
    pub(super) apart: BTreeMap<i32, i64>,
    /// Partitions whose copy lost records, with where the next one was stored.
    kept: BTreeMap<i32, i64>,
    /// Partitions of which the source has other records than were copied, with where these begin, once that was looked for.
    pub(super) others: BTreeMap<i32, Option<i64>>,
    /// How old the records are.
    plain: Plain,
    /// Whoever had the range before wrote without transactions, and librdkafka fences only who writes with them.
    guard: bool,
}

/// How an attempt ended.
pub(super) enum End {
    /// Try again at once, or after a growing while.
    Again,
    Later(Cause),
    /// Others wait for what the lane holds. It has nothing to copy, or goes behind them.
    TurnOver,
    GiveWay,
    /// Another owner has the range.
    Superseded,
}

pub(super) type Step<T> = Result<T, End>;

impl From<Cause> for End {
    fn from(cause: Cause) -> Self {
        Self::Later(cause)
    }
}

impl Runner {
    /// Must be called inside a tokio runtime.
    pub(super) fn new(
        spec: LaneSpec,
        control: Arc<Control>,
        (engine, clusters): (Engine, Clusters),
        budget: &Arc<Budget>,
        status: watch::Sender<LaneStatus>,
    ) -> Self {
        let board = Arc::new(Mutex::new(Board::new(&spec, status)));
        let mut runner = Self {
            spec,
            control,
            clusters,
            engine,
            budget: budget.clone(),
            seat: None,
            old_format: false,
            board,
            trouble: None,
            announced: false,
            positions: Vec::new(),
            topics: None,
            refused: BTreeMap::new(),
            refused_before: BTreeMap::new(),
            again: false,
            fenced: None,
            batch: usize::MAX,
            patience: TRANSACTION_TIMEOUT,
            backoff: FIRST_BACKOFF,
            apart: BTreeMap::new(),
            kept: BTreeMap::new(),
            others: BTreeMap::new(),
            plain: Plain::default(),
            guard: false,
        };
        if runner.engine.takes_turns(runner.kind()) {
            // From now on it counts among those that need something.
            runner.seat();
        }
        runner
    }

    pub(super) fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn run(mut self) {
        while !self.control.is_draining() {
            let began = Instant::now();
            let end = match self.attempt().await {
                Ok(exit) => self.stopped(exit).await,
                Err(end) => end,
            };
            if began.elapsed() >= HEALTHY_AFTER {
                self.backoff = FIRST_BACKOFF;
            }
            match end {
                End::Again => {}
                End::Later(cause) => self.wait(cause).await,
                End::TurnOver => self.rest().await,
                End::GiveWay => self.release(),
                End::Superseded => {
                    // It is given a later epoch, or another worker has the range: both end this lane. Until then it looks now and then,
                    // before it does anything that would disturb the other owner.
                    self.release();
                    self.control.pause(RETRY_STOPPED).await;
                }
            }
        }
        let drained = Cause::new(Reason::STARTING, "the range was drained from this worker");
        self.board().not_running(State::Pending, drained);
    }

    async fn wait(&mut self, cause: Cause) {
        // Whatever it is, the topics may not be there any more.
        self.topics = None;
        let state = if cause.reason.heals() { State::Waiting } else { State::Stopped };
        self.say_trouble(&cause);
        self.board().not_running(state, cause);
        self.release();
        let jitter = rand::rng().random_range(0.75..1.25);
        self.control.pause(self.backoff.mul_f64(jitter)).await;
        self.backoff = (self.backoff * 2).min(MAX_BACKOFF);
    }

    /// Says once, not with every try, what keeps the lane from running.
    fn say_trouble(&mut self, cause: &Cause) {
        let known = self.trouble.as_ref().is_some_and(|before| before.reason == cause.reason);
        let (task, reason, message) = (&self.spec.task, cause.reason, &cause.message);
        match known {
            true => tracing::debug!(%task, %reason, "lane waits: {message}"),
            false => tracing::warn!(%task, %reason, "lane waits: {message}"),
        }
        (self.trouble, self.announced) = (Some(cause.clone()), false);
    }

    /// Waits for an answer of the clusters, not longer than the lane is wanted.
    pub(super) async fn ask<T>(&self, answer: impl Future<Output = Result<T, impl Into<Cause>>>) -> Step<T> {
        tokio::select! {
            biased;
            () = self.control.stop().cancelled() => Err(End::Again),
            answer = answer => answer.map_err(|error| End::Later(error.into())),
        }
    }
}
