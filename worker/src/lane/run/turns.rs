//! Taking turns: waiting for a share of the worker's memory and descriptors, giving it back, resting while there is nothing to
//! copy.

use std::time::{Duration, Instant};

use twinlog_proto::model::{Mirror, OntoExisting};
use twinlog_proto::v1::State;

use super::{End, Known, RETRY_STOPPED, Runner, Step};
use crate::cause::Cause;
use crate::engine::librdkafka::config::{self, Memory};
use crate::kafka::{Isolation, KafkaError, OffsetSpec};
use crate::lane::tail::Place;
use crate::lane::{Range, gather};
use crate::progress::RangeProgress;

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
    /// Waits for the lane's turn; returns how its share is to be used.
    pub(super) fn reserve(&mut self, range: &Range) -> Step<Memory> {
        let version = self.control.version();
        loop {
            let crowd = match self.seat.ask(self.descriptors()) {
                Ok(share) => {
                    return Ok(Memory::divide(share, usize::try_from(range.partition_count).unwrap_or(1)));
                }
                Err(crowd) => crowd,
            };
            // What kept the lane from running before says more than that it waits.
            match self.trouble.clone() {
                Some(trouble) => self.board.not_running(State::Waiting, trouble),
                None => self.board.awaits_turn(Cause::new(crowd.reason(), crowd.to_string())),
            }
            let turn = self.control.turn().clone();
            self.control.pause_unless(ASK_AGAIN, || turn.is_granted());
            if self.control.is_draining() || self.control.version() != version {
                return Err(End::Again);
            }
        }
    }

    /// What the clients of the lane open.
    fn descriptors(&self) -> u64 {
        let [source, target] = [&self.spec.source, &self.spec.target].map(|c| c.client.addresses());
        config::descriptors(source, target)
    }

    /// Gives the share back to those who wait, and goes behind them.
    pub(in crate::lane) fn give_way(&self) -> End {
        self.seat.release();
        End::Again
    }

    /// Gives the share back, and does without while there is nothing to copy.
    pub(super) fn rest(&mut self) {
        self.seat.release();
        self.board.rests();
        let stops = !self.board.halted.is_empty() || !self.board.blocked.is_empty();
        let until = Instant::now() + if stops { RETRY_STOPPED } else { MAX_REST };
        let version = self.control.version();
        while !self.is_news() {
            self.control.pause(self.seat.look_interval());
            if Instant::now() >= until {
                // A turn may be shorter than the time after which a running lane tries refused records again.
                self.forget_refused();
                return;
            }
            let changed = self.control.is_draining() || self.control.version() != version;
            if changed || self.seat.take_if_free(self.descriptors()) {
                return;
            }
        }
    }

    /// While all partitions are halted the lane needs no share: that they still are is decided anew without clients, now and then, from
    /// what was known when that was found. Ends when one may run.
    pub(super) fn stay_halted(
        &mut self,
        (range, version): (&Range, u64),
        before: Option<&RangeProgress>,
        known: &Known,
        place: Place<'_>,
    ) -> End {
        self.seat.release();
        let asks_others = known.asks_others(&self.spec.mirror);
        loop {
            if self.control.is_draining() || self.control.version() != version {
                return End::Again;
            }
            self.control.pause(RETRY_STOPPED);
            if asks_others {
                return End::Again;
            }
            let looked =
                self.ask(gather::gather(&self.spec, range, before, place)).and_then(|mut gathered| {
                    self.other_records(range, before, &mut gathered.facts)?;
                    Ok(gathered)
                });
            let gathered = match looked {
                Ok(gathered) => gathered,
                Err(end) => return end,
            };
            let progress = self.decide(range, before.cloned(), known, &gathered.facts);
            if range.partitions().any(|partition| !self.board.halted.contains_key(&partition)) {
                return End::Again;
            }
            self.board.decided(&progress);
        }
    }

    /// Whether the source ends elsewhere than where the lane stopped, or can't be asked.
    fn is_news(&self) -> bool {
        let topic = &self.spec.range.source_topic;
        let runs = |partition: &i32| {
            !self.board.halted.contains_key(partition) && !self.board.blocked.contains_key(partition)
        };
        let positions: Vec<_> = self.positions.iter().filter(|(partition, _)| runs(partition)).collect();
        let wanted: Vec<_> = positions.iter().map(|(p, _)| (topic.clone(), *p, OffsetSpec::Latest)).collect();
        let ends = self.ask(async {
            let ends = self.spec.source.client.list_offsets(&wanted, Isolation::Committed).await?;
            Ok::<_, KafkaError>(ends)
        });
        let Ok(ends) = ends else { return true };
        positions.iter().any(|(partition, position)| {
            let end = ends.get(&(topic.clone(), *partition));
            !end.is_some_and(|end| end.as_ref().is_ok_and(|end| end.offset == position.0))
        })
    }
}
