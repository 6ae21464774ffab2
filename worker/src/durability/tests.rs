//! The rules of durability, told to an engine that is this test: no client, and time is what the test says.

mod acknowledged;
mod crash;
mod transaction;

use std::collections::BTreeMap;

use twinlog_proto::id::{SourceOffset, TargetOffset};

use super::*;
use crate::ledger::Copied;
use crate::offset_map::Chunk;
use crate::progress::{PartitionProgress, RangeProgress, Written};

/// Age at which transactions are committed here.
const INTERVAL: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(30);
const MILLISECOND: Duration = Duration::from_millis(1);
/// So many records apart from each other close a piece of the map.
const MANY: i64 = 140;

/// One partition of a range, with nothing copied yet.
fn ledger(until_commit: bool) -> Ledger {
    let partition = PartitionProgress {
        position: SourceOffset(0),
        source_topic_id: "id".to_owned(),
        leader_epoch: -1,
        origin: SourceOffset(0),
        origin_is_log_start: true,
        gaps: Vec::new(),
        chunk: Chunk::anchored(SourceOffset(0), TargetOffset(0)),
        target_topic_id: String::new(),
        target_known: Some(TargetOffset(0)),
        last: None,
    };
    let progress = RangeProgress {
        source_topic: "t".to_owned(),
        epoch: 7,
        worker: "w".to_owned(),
        began: true,
        source_cluster_id: String::new(),
        written: Written::default(),
        partitions: BTreeMap::from([(0, partition)]),
        ends: BTreeMap::new(),
    };
    Ledger::new(progress, &[0], until_commit, Instant::now())
}

/// A range that runs.
struct Running {
    committer: Committer,
    ledger: Ledger,
    now: Now,
}

impl Running {
    /// Before its claim.
    fn new(mode: Mode, carried: Option<Carried>) -> Self {
        let times = Times { interval: INTERVAL, patience: PATIENCE };
        let committer = Committer::new(mode, times, b"range".to_vec(), carried);
        let ledger = ledger(mode == Mode::Transactions);
        Self { committer, ledger, now: Now::read() }
    }

    fn claimed(mode: Mode) -> Self {
        let mut running = Self::new(mode, None);
        running.all();
        running
    }

    fn after(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.wall += time;
    }

    fn next(&mut self) -> Option<Next> {
        self.committer.next(&mut self.ledger, self.now)
    }

    fn done(&mut self) {
        self.committer.done(&mut self.ledger, self.now.instant);
    }

    /// The next thing that is to be done, in a word.
    fn says(&mut self) -> Option<String> {
        self.next().as_ref().map(word)
    }

    /// Does all that is to be done now.
    fn all(&mut self) -> Vec<String> {
        let mut words = Vec::new();
        while let Some(word) = self.says() {
            words.push(word);
            self.done();
        }
        words
    }

    /// Does what comes before a record, in a word.
    fn record(&mut self) -> Option<String> {
        let next = self.committer.before_record()?;
        self.done();
        Some(word(&next))
    }

    fn stored(&mut self, count: u64) {
        self.committer.stored(count, &mut self.ledger, self.now.instant);
    }

    fn position(&self) -> i64 {
        self.ledger.accounts[0].progress.position.0
    }

    fn durable(&self) -> i64 {
        self.ledger.accounts[0].durable.0
    }

    /// So many records are acknowledged.
    fn acknowledged(&mut self, count: i64) {
        let target = self.ledger.accounts[0].progress.chunk.target_end();
        self.copied(SourceOffset(self.position()), target, count);
    }

    /// The same, each with a hole before it.
    fn acknowledged_apart(&mut self, count: i64) {
        for _ in 0..count {
            let target = self.ledger.accounts[0].progress.chunk.target_end();
            self.copied(SourceOffset(self.position() + 1), target, 1);
        }
    }

    fn copied(&mut self, source: SourceOffset, target: TargetOffset, count: i64) {
        let run = Copied {
            source,
            target: Some(target),
            count: u64::try_from(count).unwrap(),
            bytes: 10,
            fetched: self.now.instant,
            timestamp: -1,
            leader_epoch: 0,
            last: None,
        };
        self.ledger.copied(0, &run, self.now).unwrap();
    }

    /// There is nothing for a reader in the next `count` offsets.
    fn passed(&mut self, count: i64) {
        self.ledger.passed(0, SourceOffset(self.position() + count));
    }
}

fn progress_in(entry: &Entry) -> PartitionProgress {
    RangeProgress::decode(&entry.value).unwrap().partitions.remove(&0).unwrap()
}

fn word(next: &Next) -> String {
    let writes = match next {
        Next::Begin => return "begin".to_owned(),
        Next::Flush => return "flush".to_owned(),
        Next::Commit => return "commit".to_owned(),
        Next::Write(writes) => writes,
    };
    let pieces = writes.iter().take_while(|write| write.place == Place::Offsets).count();
    let mut words = Vec::new();
    if pieces > 0 {
        words.push(format!("{pieces} of the map"));
    }
    words.extend(writes[pieces..].iter().map(|write| match &write.place {
        Place::Progress => format!("progress {}", progress_in(&write.entry).position.0),
        Place::Former { topic, partition } => format!("mark in {topic}/{partition}"),
        Place::Offsets => panic!("the map comes first: {writes:?}"),
    }));
    words.join(", ")
}

/// What an older version has left: so many pieces, and the mark.
fn carried(pieces: u8, mark: bool) -> Carried {
    let entry = |number| Entry { key: vec![number], value: Vec::new() };
    Carried {
        pieces: (0..pieces).map(entry).collect(),
        mark: mark.then(|| ("old".to_owned(), 3, entry(255))),
    }
}

#[test]
fn a_target_that_is_away_is_waited_for_twice_as_long_as_a_request_may_take() {
    for mode in [Mode::Transactions, Mode::Acknowledged] {
        let mut running = Running::new(mode, None);
        running.next().unwrap();
        running.after(PATIENCE);
        if mode != Mode::Acknowledged {
            running.done();
            assert_eq!(running.says().unwrap(), "flush", "counted from where the claim began");
        }
        assert!(running.committer.may_wait(false, running.now.instant));
        running.after(PATIENCE);
        assert!(!running.committer.may_wait(false, running.now.instant), "{mode:?}");
    }
}

#[test]
fn each_commit_has_its_own_time() {
    let mut running = Running::claimed(Mode::Transactions);
    running.after(PATIENCE * 3);
    running.record().unwrap();
    running.after(INTERVAL);
    assert_eq!(running.says().unwrap(), "flush");
    running.after(PATIENCE * 2 - MILLISECOND);
    assert!(running.committer.may_wait(false, running.now.instant));
    running.after(MILLISECOND);
    assert!(!running.committer.may_wait(false, running.now.instant));
}

#[test]
fn a_lane_that_is_to_end_waits_five_seconds_for_a_target_that_is_away() {
    for mode in [Mode::Transactions, Mode::Acknowledged] {
        let mut running = Running::claimed(mode);
        running.record();
        running.acknowledged(3);
        running.after(Duration::from_secs(1));
        running.next().unwrap();
        assert!(running.committer.may_wait(true, running.now.instant), "from when it is told to end");
        running.after(Duration::from_secs(3));
        running.done();
        running.committer.end(running.now.instant);
        running.next().unwrap();
        running.after(Duration::from_secs(2) - MILLISECOND);
        assert!(running.committer.may_wait(true, running.now.instant));
        running.after(MILLISECOND);
        assert!(!running.committer.may_wait(true, running.now.instant), "{mode:?}: once, not twice");
    }
}

#[test]
fn only_what_is_acknowledged_outside_of_transactions_counts_however_it_ends() {
    assert!(Running::claimed(Mode::Acknowledged).committer.keeps_acknowledged());
    assert!(!Running::claimed(Mode::Transactions).committer.keeps_acknowledged());
}
