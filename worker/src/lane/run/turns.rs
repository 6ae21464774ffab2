//! Taking turns: waiting for a share of the worker's memory and descriptors, giving it back, resting while there is nothing to
//! copy.

use std::time::Duration;

use tokio::time::Instant;
use twinlog_proto::id::SourceOffset;
use twinlog_proto::model::{Mirror, OntoExisting};

use super::decide::Known;
use super::{End, RETRY_STOPPED, Runner, Step};
use crate::budget::Seat;
use crate::cause::Cause;
use crate::choice::Choice;
use crate::lane::Range;
use crate::lane::place::Place;
use crate::lane::start::Facts;
use crate::progress::{Engine as Kind, RangeProgress};
use crate::status::State;

/// Who waits asks again after this, if not called before.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// A range that rests looks at everything anew after this.
const MAX_REST: Duration = Duration::from_secs(300);

impl Known {
    /// What is known of others' copies (a consumer group's offsets, MirrorMaker's position, where the sides meet) is asked for anew with
    /// every attempt.
    fn asks_others(&self, mirror: &Mirror) -> bool {
        let left = !self.left.is_empty() || !self.taken.is_empty();
        left || mirror.take_over.is_some() || mirror.onto_existing == OntoExisting::Align
    }
}

impl Runner {
    /// What moves the range.
    pub(super) fn choice(&self) -> Choice {
        Choice::of(&self.spec.mirror, self.old_format)
    }

    pub(super) fn kind(&self) -> Kind {
        self.choice().engine
    }

    pub(super) fn seat(&mut self) -> &Seat {
        self.seat.get_or_insert_with(|| self.budget.join(self.control.turn().clone()))
    }

    /// Others may have what the lane holds.
    pub(super) fn release(&self) {
        if let Some(seat) = &self.seat {
            seat.release();
        }
    }

    /// Waits for the lane's turn; returns its share of the worker's memory, bytes.
    pub(super) async fn reserve(&mut self) -> Step<u64> {
        let version = self.control.version();
        if !self.engine.takes_turns(self.kind()) {
            self.seat = None;
            return Ok(0);
        }
        let descriptors = self.descriptors();
        loop {
            let crowd = match self.seat().ask(descriptors) {
                Ok(share) => return Ok(share),
                Err(crowd) => crowd,
            };
            // What kept the lane from running before says more than that it waits.
            match self.trouble.clone() {
                Some(trouble) => self.board().not_running(State::Waiting, trouble),
                None => self.board().awaits_turn(Cause::new(crowd.reason(), crowd.to_string())),
            }
            let turn = self.control.turn().clone();
            self.control.pause_unless(ASK_AGAIN, || turn.is_granted()).await;
            if self.control.is_draining() || self.control.version() != version {
                return Err(End::Again);
            }
        }
    }

    /// What the clients of the lane open.
    fn descriptors(&self) -> u64 {
        self.engine.descriptors(&self.spec.source, &self.spec.target)
    }

    /// Gives the share back, and does without while there is nothing to copy.
    pub(super) async fn rest(&mut self) {
        self.release();
        self.board().rests();
        let until = Instant::now() + if self.has_stopped() { RETRY_STOPPED } else { MAX_REST };
        let version = self.control.version();
        while !self.is_news().await {
            let interval = self.seat().look_interval();
            self.control.pause(interval).await;
            if Instant::now() >= until {
                // A turn may be shorter than the time after which a running lane tries refused records again.
                self.forget_refused();
                return;
            }
            let changed = self.control.is_draining() || self.control.version() != version;
            let descriptors = self.descriptors();
            if changed || self.seat().take_if_free(descriptors) {
                return;
            }
        }
    }

    /// While all partitions are halted the lane needs no share: that they still are is decided anew without clients, now and then, from
    /// what was known when that was found. Ends when one may run.
    pub(super) async fn stay_halted(
        &mut self,
        (range, version): (&Range, u64),
        before: Option<&RangeProgress>,
        known: &Known,
        places: &[Place<'_>],
    ) -> End {
        self.release();
        let asks_others = known.asks_others(&self.spec.mirror);
        loop {
            if self.control.is_draining() || self.control.version() != version {
                return End::Again;
            }
            self.control.pause(RETRY_STOPPED).await;
            if asks_others {
                return End::Again;
            }
            let facts = match self.look_again(range, before, places).await {
                Ok(facts) => facts,
                Err(end) => return end,
            };
            let progress = self.decide(range, before.cloned(), known, &facts);
            let mut board = self.board();
            if range.partitions().any(|partition| !board.halted.contains_key(&partition)) {
                return End::Again;
            }
            board.decided(&progress);
        }
    }

    async fn look_again(
        &mut self,
        range: &Range,
        before: Option<&RangeProgress>,
        places: &[Place<'_>],
    ) -> Step<Vec<Facts>> {
        let mut gathered = self.ask(self.clusters.gather(&self.spec, range, before, places)).await?;
        self.other_records(range, before, &mut gathered.facts).await?;
        Ok(gathered.facts)
    }

    /// Whether the source ends elsewhere than where the lane stopped, or can't be asked.
    async fn is_news(&self) -> bool {
        let positions: Vec<(i32, SourceOffset)> = {
            let board = self.board();
            let stopped = |p: &i32| board.halted.contains_key(p) || board.blocked.contains_key(p);
            self.positions.iter().filter(|(partition, _)| !stopped(partition)).copied().collect()
        };
        let partitions: Vec<i32> = positions.iter().map(|(partition, _)| *partition).collect();
        let Ok(ends) = self.ask(self.clusters.source_ends(&self.spec, &partitions)).await else {
            return true;
        };
        positions.iter().any(|(partition, position)| ends.get(partition) != Some(&position.0))
    }
}
