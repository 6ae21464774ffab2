//! The ledger of a running range: what is copied, what is durable, and the offset map in between. The engine enters facts;
//! commits and the status are made from here. No I/O and no clock of its own.

mod ages;
mod meter;
mod sync_rule;

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use twinlog_proto::id::{SourceOffset, TargetOffset};
use twinlog_proto::lag::Ends;
use twinlog_proto::model::DEFAULT_OFFSET_LAG_MAX;

use self::meter::Meter;
use self::sync_rule::SyncRule;
use crate::offset_map::{Chunk, OutOfOrder};
use crate::progress::{LastCopied, PartitionProgress, RangeProgress, chunk_key, millis};

pub(crate) use self::ages::{Ages, Spread};
pub(crate) use self::sync_rule::OffsetSync;

/// Segments an open chunk holds before it is closed: it is rewritten with every commit.
const MAX_OPEN_SEGMENTS: usize = 128;
/// Segments of a closed chunk at most.
const MAX_CLOSED_SEGMENTS: usize = 512;
/// A pair of offsets that isn't due is told after this all the same (MM2: `offset.flush.interval.ms`, 60 s).
const SYNC_FLUSH: Duration = Duration::from_secs(1);
/// The source's ends are written with every commit; where there is nothing else to commit and they have moved, this often.
const ENDS_REFRESH: Duration = Duration::from_secs(10);

/// The time, by the clock that only goes forward and by the wall's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    pub(crate) wall: SystemTime,
}

impl Now {
    pub(crate) fn read() -> Self {
        Self { instant: Instant::now(), wall: SystemTime::now() }
    }
}

/// A run of records that was acknowledged: consecutive at the source, and where they have one target partition, there too.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copied {
    pub(crate) source: SourceOffset,
    /// `None` where the records went to several partitions: then there is no offset map.
    pub(crate) target: Option<TargetOffset>,
    pub(crate) count: u64,
    /// Keys and values.
    pub(crate) bytes: u64,
    /// When the records came out of the source client.
    pub(crate) fetched: Instant,
    /// Of the last record, milliseconds since 1970.
    pub(crate) timestamp: i64,
    /// Of the last record; -1 unknown.
    pub(crate) leader_epoch: i32,
    /// The last record, where it is known which one that is.
    pub(crate) last: Option<LastCopied>,
}

/// Where no record of this range should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misplaced {
    #[error("the target's log went backwards: {0}")]
    Backwards(#[from] OutOfOrder),
    #[error("a record was stored at target offset {got}, {expected} was next")]
    Elsewhere { expected: i64, got: i64 },
}

/// Something to write with a commit, into the range's partition of one of the internal topics.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// One partition of the range.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) partition: i32,
    pub(crate) progress: PartitionProgress,
    /// Position that a commit has made durable.
    pub(crate) durable: SourceOffset,
    pub(crate) meter: Meter,
    /// Newest record's timestamp at its acknowledgement, and when that was.
    pub(crate) newest: Option<(i64, SystemTime)>,
    /// Of the records copied since the status last took them.
    pub(crate) ages: Ages,
    /// Records acknowledged and not yet committed: when they were fetched and how many.
    uncommitted: Vec<(Instant, u64)>,
    closed: Vec<Chunk>,
    syncs: Syncs,
}

/// What MM2's tools are told of the partition.
#[derive(Debug)]
struct Syncs {
    rule: SyncRule,
    flushed: Option<Instant>,
    /// Durable and due.
    ready: Option<OffsetSync>,
}

impl Account {
    fn note_durable(&mut self, now: Instant) {
        self.durable = self.progress.position;
        self.release(now, SYNC_FLUSH);
    }

    /// Everything acknowledged is durable: what is due may be told, and from time to time what isn't.
    fn release(&mut self, now: Instant, flush: Duration) {
        if self.syncs.flushed.is_none_or(|at| now.duration_since(at) >= flush) {
            self.syncs.flushed = Some(now);
            self.syncs.rule.flush();
        }
        self.syncs.ready = self.syncs.rule.take().or(self.syncs.ready);
    }

    /// The pair to be told now. `last`: nothing comes after, so nothing waits.
    pub(crate) fn sync(&mut self, now: Instant, last: bool) -> Option<OffsetSync> {
        if self.durable == self.progress.position {
            self.release(now, if last { Duration::ZERO } else { SYNC_FLUSH });
        }
        self.syncs.ready.take()
    }

    /// Whether a pair is still to be told.
    fn owes_sync(&self) -> bool {
        self.syncs.ready.is_some() || self.syncs.rule.waits()
    }

    /// The pair could not be handed over: it, or a newer one, is told later.
    pub(crate) fn not_told(&mut self, sync: OffsetSync) {
        self.syncs.ready.get_or_insert(sync);
    }
}

#[derive(Debug)]
pub(crate) struct Ledger {
    head: RangeProgress,
    pub(crate) accounts: Vec<Account>,
    /// Partitions that are known but don't run now: kept as they are.
    resting: Vec<(i32, PartitionProgress)>,
    /// Ends of the source's partitions as they were last written, and when.
    sealed: (BTreeMap<i32, Ends>, Option<Instant>),
    dirty: bool,
    /// Nobody else may write to the copies: each acknowledgement carries the offset that is next.
    alone: bool,
    /// The note that the range has begun, until it is durable.
    began: Option<Entry>,
    /// Latency counts until the commit (exactly once) instead of until the acknowledgement.
    until_commit: bool,
}

impl Ledger {
    /// A ledger of the `running` partitions, in the order of the engine's slots; `progress` has these and possibly more.
    pub(crate) fn new(
        mut progress: RangeProgress,
        running: &[i32],
        until_commit: bool,
        now: Instant,
    ) -> Self {
        let accounts = running
            .iter()
            .filter_map(|partition| {
                let progress = progress.partitions.remove(partition)?;
                Some(Account {
                    partition: *partition,
                    durable: progress.position,
                    progress,
                    meter: Meter::new(now),
                    newest: None,
                    ages: Ages::default(),
                    uncommitted: Vec::new(),
                    closed: Vec::new(),
                    syncs: Syncs {
                        rule: SyncRule::new(DEFAULT_OFFSET_LAG_MAX),
                        flushed: Some(now),
                        ready: None,
                    },
                })
            })
            .collect();
        let resting = std::mem::take(&mut progress.partitions).into_iter().collect();
        let sealed = (progress.ends.clone(), None);
        Self {
            head: progress,
            accounts,
            resting,
            sealed,
            dirty: true,
            alone: false,
            began: None,
            until_commit,
        }
    }

    /// Refuses acknowledgements that carry another target offset than the one that is next.
    #[must_use]
    pub(crate) fn alone(mut self, alone: bool) -> Self {
        self.alone = alone;
        self
    }

    /// Notes, with the first commit, that there is progress of this range from now on.
    #[must_use]
    pub(crate) fn beginning(mut self, note: Option<Entry>) -> Self {
        self.began = note;
        self
    }

    /// Target offsets between two syncs for MM2's tools.
    #[must_use]
    pub(crate) fn with_sync_lag(mut self, lag_max: i64) -> Self {
        self.accounts.iter_mut().for_each(|account| account.syncs.rule.set_lag_max(lag_max));
        self
    }

    /// A run was acknowledged.
    pub(crate) fn copied(&mut self, slot: usize, run: &Copied, now: Now) -> Result<(), Misplaced> {
        let account = &mut self.accounts[slot];
        let count = i64::try_from(run.count).expect("a run is far smaller");
        if let Some(target) = run.target {
            let next = account.progress.target_known.filter(|next| self.alone && *next != target);
            if let Some(next) = next {
                return Err(Misplaced::Elsewhere { expected: next.0, got: target.0 });
            }
            account.progress.chunk.add(run.source, target, count)?;
            account.progress.target_known = Some(TargetOffset(target.0 + count));
            let first = OffsetSync { upstream: run.source.0, downstream: target.0 };
            account.syncs.rule.copied(first, count);
        }
        account.progress.position = SourceOffset(run.source.0 + count);
        account.progress.leader_epoch = run.leader_epoch;
        account.progress.last = run.last.or(account.progress.last);
        let Now { instant: now, wall } = now;
        account.meter.copied(now, run.count, run.bytes);
        if self.until_commit {
            account.uncommitted.push((run.fetched, run.count));
        } else {
            account.meter.took(now, now.duration_since(run.fetched), run.count);
            account.note_durable(now);
        }
        if run.timestamp >= 0 {
            account.newest = Some((run.timestamp, wall));
            let acknowledged = millis(wall).saturating_sub(run.timestamp).max(0) as f64 / 1000.0;
            let fetched = (acknowledged - now.duration_since(run.fetched).as_secs_f64()).max(0.0);
            account.ages.acknowledged.add(acknowledged, run.count);
            account.ages.fetched.add(fetched, run.count);
        }
        self.dirty = true;
        Ok(())
    }

    /// There are no records for a reader below `next` that were not acknowledged: markers, aborted records, holes.
    pub(crate) fn passed(&mut self, slot: usize, next: SourceOffset) {
        let account = &mut self.accounts[slot];
        if next > account.progress.position {
            account.progress.position = next;
            self.dirty = true;
            if !self.until_commit {
                account.durable = next;
            }
        }
    }

    /// How a partition of the source ends. Written with the next commit, which new ends alone cause only now and then, or at once
    /// where the source doesn't answer any more.
    pub(crate) fn ends(&mut self, partition: i32, ends: Ends, answers: bool, now: Instant) {
        let offsets = |ends: &Ends| (ends.high_watermark, ends.last_stable);
        let moved = self.sealed.0.get(&partition).map(offsets) != Some(offsets(&ends));
        let due = self.sealed.1.is_none_or(|at| now.duration_since(at) >= ENDS_REFRESH);
        self.dirty |= moved && (due || !answers);
        self.head.ends.insert(partition, ends);
    }

    /// Whether time alone makes something due: ends of the source that are to be written, pairs that are to be told.
    pub(crate) fn owes(&self) -> bool {
        let offsets = |ends: &Ends| (ends.high_watermark, ends.last_stable);
        let known = |(partition, ends): (&i32, &Ends)| {
            self.sealed.0.get(partition).map(offsets) == Some(offsets(ends))
        };
        !self.head.ends.iter().all(known) || self.accounts.iter().any(Account::owes_sync)
    }

    /// Whether a commit would say anything new.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Closed pieces of the map that must be durable before, or together with, the next progress.
    pub(crate) fn closing(&mut self) -> Vec<Entry> {
        for account in &mut self.accounts {
            if account.progress.chunk.segments().len() > MAX_OPEN_SEGMENTS {
                let closed = account.progress.chunk.close().into_iter();
                account.closed.extend(closed.flat_map(|c| c.pieces(MAX_CLOSED_SEGMENTS)));
            }
        }
        let topic = &self.head.source_topic;
        let closed = self.accounts.iter().flat_map(|a| {
            a.closed.iter().map(|chunk| Entry {
                key: chunk_key(topic, a.partition, &a.progress.source_topic_id, chunk.source_start()),
                value: chunk.encode(),
            })
        });
        self.began.iter().cloned().chain(closed).collect()
    }

    /// The progress record's value as of now. From here on only what comes later is new.
    ///
    /// Exactly once it is sealed with the end of a transaction, whose marker takes an offset of each partition that has records in it.
    pub(crate) fn seal(&mut self, now: Now) -> Vec<u8> {
        self.dirty = false;
        self.head.began |= self.began.is_some();
        for account in self.accounts.iter_mut().filter(|account| !account.uncommitted.is_empty()) {
            account.progress.target_known = account.progress.target_known.map(|end| TargetOffset(end.0 + 1));
        }
        self.sealed = (self.head.ends.clone(), Some(now.instant));
        self.progress().encode(now.wall)
    }

    /// Progress as of now.
    pub(crate) fn progress(&self) -> RangeProgress {
        let running = self.accounts.iter().map(|a| (a.partition, a.progress.clone()));
        let partitions = running.chain(self.resting.iter().cloned()).collect();
        RangeProgress { partitions, ..self.head.clone() }
    }

    /// What `closing` gave is durable.
    pub(crate) fn closed(&mut self) {
        self.head.began |= self.began.take().is_some();
        self.accounts.iter_mut().for_each(|a| a.closed.clear());
    }

    /// What was sealed is durable (exactly once: and visible).
    pub(crate) fn committed(&mut self, now: Instant) {
        if !self.until_commit {
            return;
        }
        for account in &mut self.accounts {
            account.note_durable(now);
            for (fetched, count) in account.uncommitted.drain(..) {
                let latency: Duration = now.duration_since(fetched);
                account.meter.took(now, latency, count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offset_map::Found;

    fn ledger(until_commit: bool) -> Ledger {
        let partition = |position| PartitionProgress {
            position: SourceOffset(position),
            source_topic_id: "id".to_owned(),
            leader_epoch: -1,
            origin: SourceOffset(position),
            origin_is_log_start: true,
            gaps: Vec::new(),
            chunk: Chunk::anchored(SourceOffset(position), TargetOffset(0)),
            target_topic_id: String::new(),
            target_known: Some(TargetOffset(0)),
            last: None,
        };
        let progress = RangeProgress {
            source_topic: "t".to_owned(),
            epoch: 7,
            worker: "w".to_owned(),
            began: false,
            source_cluster_id: String::new(),
            written: crate::progress::Written::default(),
            partitions: BTreeMap::from([(0, partition(0)), (1, partition(5)), (2, partition(9))]),
            ends: BTreeMap::new(),
        };
        Ledger::new(progress, &[0, 2], until_commit, Instant::now())
    }

    fn run(source: i64, target: i64, count: u64) -> Copied {
        Copied {
            source: SourceOffset(source),
            target: Some(TargetOffset(target)),
            count,
            bytes: count * 10,
            fetched: Instant::now(),
            timestamp: 1,
            leader_epoch: 2,
            last: None,
        }
    }

    #[test]
    fn a_sealed_record_holds_running_and_resting_partitions() {
        let mut ledger = ledger(true);
        ledger.copied(1, &run(9, 0, 3), Now::read()).unwrap();
        ledger.passed(0, SourceOffset(4));
        let sealed = RangeProgress::decode(&ledger.seal(Now::read())).unwrap();
        let positions: Vec<i64> = sealed.partitions.values().map(|p| p.position.0).collect();
        assert_eq!((positions, sealed.epoch), (vec![4, 5, 12], 7));
        assert!(!ledger.is_dirty());
    }

    #[test]
    fn ends_are_written_with_commits_and_by_themselves_only_now_and_then() {
        let (mut ledger, now) = (ledger(true), Instant::now());
        let ends = |high_watermark| Ends {
            high_watermark,
            last_stable: Some(10),
            seen: SystemTime::UNIX_EPOCH + Duration::from_secs(1),
        };
        ledger.ends(0, ends(40), true, now);
        let sealed = RangeProgress::decode(&ledger.seal(Now::read())).unwrap();
        assert_eq!(sealed.ends, BTreeMap::from([(0, ends(40))]));
        let now = Instant::now();
        ledger.ends(0, ends(41), true, now);
        assert!(!ledger.is_dirty(), "not for every record that arrives at the source");
        ledger.ends(0, ends(41), false, now);
        assert!(ledger.is_dirty(), "the last that was seen");
        ledger.seal(Now::read());
        ledger.ends(0, ends(41), true, now + ENDS_REFRESH * 2);
        assert!(!ledger.is_dirty(), "nothing new");
        ledger.ends(0, ends(50), true, now + ENDS_REFRESH * 2);
        assert!(ledger.is_dirty());
    }

    #[test]
    fn exactly_once_nothing_is_durable_before_the_commit() {
        let mut ledger = ledger(true);
        ledger.copied(0, &run(0, 0, 3), Now::read()).unwrap();
        let now = Instant::now();
        assert_eq!(ledger.accounts[0].durable, SourceOffset(0));
        assert_eq!(ledger.accounts[0].sync(now, true), None);
        ledger.seal(Now::read());
        ledger.committed(now);
        assert_eq!(ledger.accounts[0].durable, SourceOffset(3));
        let first = ledger.accounts[0].sync(now, false).unwrap();
        assert_eq!((first.upstream, first.downstream), (0, 0));
        ledger.accounts[0].not_told(first);
        assert_eq!(ledger.accounts[0].sync(now, false), Some(first), "again, where it could not be told");
        let last = ledger.accounts[0].sync(now, true).unwrap();
        assert_eq!((last.upstream, last.downstream), (2, 2), "the last one doesn't wait");
        assert_eq!(ledger.accounts[0].sync(now, true), None, "told once");
    }

    #[test]
    fn a_long_chunk_is_closed_and_together_nothing_is_missing() {
        let mut ledger = ledger(true);
        for i in 0..(MAX_OPEN_SEGMENTS as i64 + 20) {
            ledger.copied(0, &run(i * 3, i * 2, 1), Now::read()).unwrap();
        }
        let entries = ledger.closing();
        assert_eq!(entries.len(), 1);
        assert_eq!(ledger.closing(), entries, "until it is durable it is written again");
        let closed = Chunk::decode(&entries[0].value).unwrap();
        let open = &ledger.accounts[0].progress.chunk;
        assert_eq!(open.segments().len(), 1);
        assert_eq!(closed.find(SourceOffset(7)), Found::At(TargetOffset(6)));
        assert_eq!(closed.source_end().0, open.source_start().0 - 2);
        ledger.closed();
        assert!(ledger.closing().is_empty());
    }
}
