//! Whatever happens in whatever order, and wherever it is cut off: what lies on the target speaks of acknowledged records only, and
//! of where each of them is.

use proptest::prelude::*;

use super::*;

/// What happens to a range.
#[derive(Debug, Clone)]
enum Event {
    /// Records are handed to the producer, where they needn't wait.
    Records(i64),
    /// So many of them are acknowledged.
    Acknowledged(i64),
    /// Offsets without records for a reader, where no record is on its way.
    Markers(i64),
    Time(u64),
    /// The engine asks what to do, and begins with it.
    Asks,
    /// It is done with that.
    Does,
    /// A record of the range's own is acknowledged.
    Stored,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (1..90_i64).prop_map(Event::Records),
        2 => (1..90_i64).prop_map(Event::Acknowledged),
        1 => (1..5_i64).prop_map(Event::Markers),
        2 => (1..900_u64).prop_map(Event::Time),
        4 => Just(Event::Asks),
        4 => Just(Event::Does),
        2 => Just(Event::Stored),
    ]
}

/// A range, and what is on the target however it ends.
struct World {
    running: Running,
    in_transactions: bool,
    /// Records on their way.
    flying: i64,
    /// Source and target offsets of all that were acknowledged.
    pairs: Vec<(i64, i64)>,
    asked: Option<Next>,
    /// Written and not acknowledged, or not committed.
    written: Vec<Write>,
    pieces: Vec<Chunk>,
    progress: Option<PartitionProgress>,
}

impl World {
    fn new(in_transactions: bool) -> Self {
        let mode = if in_transactions { Mode::Transactions } else { Mode::Acknowledged };
        let running = Running::new(mode, None);
        let (pairs, written, pieces) = (Vec::new(), Vec::new(), Vec::new());
        Self { running, in_transactions, flying: 0, pairs, asked: None, written, pieces, progress: None }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Records(count) if !self.running.committer.holds_records() => {
                self.running.record();
                self.flying += count;
            }
            Event::Acknowledged(count) => self.acknowledged(count),
            Event::Markers(count) if self.flying == 0 => self.running.passed(count),
            Event::Time(millis) => self.running.after(Duration::from_millis(millis)),
            Event::Asks if self.asked.is_none() => self.asks(),
            Event::Does => self.does(),
            Event::Stored if !self.in_transactions && !self.written.is_empty() => {
                let write = self.written.remove(0);
                self.lies(write);
                self.running.stored(1);
            }
            _ => {}
        }
    }

    fn asks(&mut self) {
        self.asked = self.running.next();
        if let Some(Next::Write(writes)) = &self.asked {
            self.written.extend(writes.iter().cloned());
            if !self.in_transactions {
                // Any of them may be stored from now on, with or without the others.
                writes.iter().for_each(|write| self.holds(write));
            }
        }
    }

    fn does(&mut self) {
        match self.asked.take() {
            None => return,
            Some(Next::Flush) => {
                self.acknowledged(self.flying);
                if !self.in_transactions {
                    std::mem::take(&mut self.written).into_iter().for_each(|write| self.lies(write));
                }
            }
            Some(Next::Commit) => {
                std::mem::take(&mut self.written).into_iter().for_each(|write| self.lies(write));
                assert_eq!(self.flying, 0, "records without progress");
            }
            Some(Next::Begin | Next::Write(_)) => {}
        }
        self.running.done();
    }

    /// Of three records, two have a hole before them.
    fn acknowledged(&mut self, count: i64) {
        for _ in 0..count.min(self.flying) {
            let hole = i64::from(!self.pairs.len().is_multiple_of(3));
            let source = self.running.position() + hole;
            let target = self.running.ledger.accounts[0].progress.chunk.target_end().0 + hole;
            self.running.copied(SourceOffset(source), TargetOffset(target), 1);
            self.pairs.push((source, target));
            self.flying -= 1;
        }
    }

    /// It is on the target for good.
    fn lies(&mut self, write: Write) {
        match write.place {
            Place::Offsets => self.pieces.push(Chunk::decode(&write.entry.value).unwrap()),
            _ => {
                self.holds(&write);
                self.progress = Some(progress_in(&write.entry));
            }
        }
    }

    /// Should nothing else come, whoever takes over knows where every record is.
    fn holds(&self, write: &Write) {
        if write.place != Place::Progress {
            return;
        }
        let progress = progress_in(&write.entry);
        assert!(progress.position.0 <= self.running.position(), "beyond what is acknowledged");
        for (source, target) in self.pairs.iter().filter(|pair| pair.0 < progress.position.0) {
            let mut pieces = self.pieces.iter().chain([&progress.chunk]);
            let is_there = |chunk: &Chunk| {
                chunk.segments().iter().any(|s| {
                    (s.source..s.source_end()).contains(source) && source - s.source == target - s.target
                })
            };
            assert!(pieces.any(is_there), "no map of {source}");
        }
    }
}

proptest! {
    #[test]
    fn what_lies_on_the_target_is_true_wherever_it_is_cut_off(
        in_transactions in any::<bool>(),
        events in prop::collection::vec(event(), 0..120),
    ) {
        let mut world = World::new(in_transactions);
        events.into_iter().for_each(|event| world.happens(event));
        world.running.committer.end(world.running.now.instant);
        while world.asked.is_some() || { world.asks(); world.asked.is_some() } {
            world.does();
        }
        let position = world.running.position();
        prop_assert_eq!(world.progress.map(|progress| progress.position.0), Some(position), "a drain leaves nothing");
    }
}
