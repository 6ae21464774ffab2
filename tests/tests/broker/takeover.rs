//! A range that goes from owner to owner: killed at any step, or still there and writing. A reader of the copy who leaves nothing out sees
//! every record of the source once, in order.
//!
//! `TWINLOG_SEEDS=40-60` runs others than the usual ones.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::ApiKey;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};
use twinlog_proto::id::{Epoch, TaskName, WorkerId};
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;
use twinlog_tests::broker::golden::Spec;
use twinlog_tests::broker::reader::{self, Content};
use twinlog_tests::broker::{FakeKafka, Fault, Options, Release, Rule};
use twinlog_worker::budget::Budget;
use twinlog_worker::lane::{LaneHandle, LaneSpec, start};

use crate::lane::{committed, handle, mirror, range, same};
use crate::schedules::seeds;
use crate::script::now;

const SOON: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 3;
const BROKERS: i32 = 3;
/// Seeds of every run.
const SEEDS: std::ops::Range<u64> = 0..2;
/// Owners of one schedule.
const OWNERS: i64 = 12;
const ID: &str = "twinlog.m.a.t.0";
const PROGRESS: &str = "__twinlog.m.progress";
/// Older than what is written without transactions, milliseconds.
const DAY: i64 = 86_400_000;

/// Who has the range, in a process of its own as far as that goes: when it is killed nothing of it runs on.
struct Owner {
    runtime: Option<Runtime>,
    lane: LaneHandle,
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Story {
    source: FakeKafka,
    target: FakeKafka,
    random: StdRng,
    written: usize,
    epoch: i64,
    in_transactions: bool,
    engine: v1::Engine,
}

impl Story {
    async fn begin(seed: u64, release: Release) -> Result<Self> {
        let brokers = usize::try_from(BROKERS)?;
        let source = FakeKafka::start(Options { brokers, seed, release, ..Options::default() }).await?;
        let target =
            FakeKafka::start(Options { brokers, seed: seed + 1, release, ..Options::default() }).await?;
        source.create_topic("t", usize::try_from(PARTITIONS)?, 3, &[]);
        target.create_topic("a.t", usize::try_from(PARTITIONS)?, 3, &[]);
        Ok(Self {
            source,
            target,
            random: StdRng::seed_from_u64(seed),
            written: 0,
            epoch: 0,
            in_transactions: false,
            engine: v1::Engine::Native,
        })
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    /// Some more batches at the source, and now and then what no reader sees.
    fn write(&mut self, batches: usize, age: i64) {
        for _ in 0..batches {
            let partition = self.random.random_range(0..PARTITIONS);
            let count = self.random.random_range(1..30);
            let spec = Spec::numbered(&self.written.to_string(), count, now() - age);
            self.written += 1;
            self.source.append("t", partition, &spec.batch());
            if self.chance(5) {
                self.source.append_marker("t", partition, 99_999, 0, true);
            }
        }
    }

    /// The next owner. The one before it may be there still.
    fn own(&mut self) -> Result<Owner> {
        self.epoch += 1;
        let mut mirror = (*mirror(self.engine, v1::Guarantee::ExactlyOnce)).clone();
        mirror.always_transactions = self.in_transactions;
        let spec = LaneSpec {
            task: TaskName::Replicate { mirror: "m".parse()?, target_topic: "a.t".to_owned(), block: 0 },
            epoch: Epoch(self.epoch),
            worker: WorkerId::new(format!("w{}", self.epoch))?,
            mirror: mirror.into(),
            range: range(PARTITIONS),
            source: handle("a", &self.source)?,
            target: handle("b", &self.target)?,
        };
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let lane = {
            let _within = runtime.enter();
            start(spec, &Budget::new(64 << 20))
        };
        Ok(Owner { runtime: Some(runtime), lane })
    }

    fn faults(&mut self) {
        let all = [
            Rule::every(ApiKey::Produce, Fault::LoseAnswer),
            Rule::every(ApiKey::Produce, Fault::MoveLeader),
            Rule::every(ApiKey::Produce, Fault::RefuseAfter(E::NotEnoughReplicasAfterAppend)),
            Rule::every(ApiKey::Produce, Fault::Delay(Duration::from_millis(20))),
            Rule::every(ApiKey::EndTxn, Fault::LoseAnswer),
            Rule::every(ApiKey::EndTxn, Fault::Delay(Duration::from_millis(10))),
            Rule::every(ApiKey::AddPartitionsToTxn, Fault::LoseAnswer),
            Rule::every(ApiKey::InitProducerId, Fault::LoseAnswer),
            Rule::every(ApiKey::DescribeProducers, Fault::Refuse(E::NotLeaderOrFollower)),
            Rule::every(ApiKey::DescribeProducers, Fault::Close),
            Rule::every(ApiKey::DescribeTransactions, Fault::LoseAnswer),
        ];
        for rule in all {
            if self.chance(50) {
                let per_mille = self.random.random_range(10..150);
                self.target.fault(rule.by_chance(per_mille));
            }
        }
    }

    async fn caught_up(&self, owner: &Owner) -> Result<()> {
        let ends: Vec<i64> = (0..PARTITIONS).map(|p| self.source.bounds("t", p).end).collect();
        let mut status = owner.lane.status();
        let done = status.wait_for(|status| {
            let positions = status.partitions.iter().map(|p| p.position.map_or(-1, |at| at.0));
            positions.collect::<Vec<_>>() == ends
        });
        let done = timeout(SOON, done).await.map(|_| ());
        done.with_context(|| format!("not copied to {ends:?}: {:?}", owner.lane.status().borrow().clone()))
    }

    /// What a reader sees that doesn't leave out what was aborted. Returns how many records were written without transactions.
    fn compare(&self) -> Result<usize> {
        let mut plain = 0;
        for partition in 0..PARTITIONS {
            let from = committed(&self.source, "t", partition)?;
            let entries = self.target.entries("a.t", partition)?;
            let all = entries.iter().filter(|entry| entry.marker.is_none());
            plain += all.clone().filter(|entry| !entry.is_transactional).count();
            let to: Vec<Content> = all.map(reader::Entry::content).collect();
            if let Some(at) = (0..from.len().max(to.len())).find(|at| from.get(*at) != to.get(*at)) {
                let (from, to) = (from.get(at).map(|r| &r.0), to.get(at).map(|r| &r.0));
                anyhow::bail!("partition {partition}: record {at} is {to:?}, not {from:?}");
            }
        }
        Ok(plain)
    }

    fn total(&self) -> Result<usize> {
        let all = (0..PARTITIONS).map(|partition| Ok(committed(&self.source, "t", partition)?.len()));
        all.sum()
    }
}

/// From owner to owner, while records arrive and much goes wrong.
async fn run(seed: u64, release: Release) -> Result<()> {
    let mut story = Story::begin(seed, release).await?;
    story.write(100, 0);
    story.faults();
    let (mut owner, mut others) = (story.own()?, Vec::new());
    for _ in 1..OWNERS {
        // Some come before the one before them has written anything, or in the middle of its takeover.
        let most = [15, 60, 300][story.random.random_range(0..3)];
        for _ in 0..3 {
            let batches = story.random.random_range(0..12);
            story.write(batches, 0);
            if story.chance(20) {
                let partition = story.random.random_range(0..PARTITIONS);
                story.source.move_leader("t", partition);
            }
            let pause = story.random.random_range(0..most);
            sleep(Duration::from_millis(pause)).await;
        }
        let next = story.own()?;
        let before = std::mem::replace(&mut owner, next);
        if story.chance(50) {
            // It knows of nothing, and goes on writing.
            others.push(before);
        }
    }
    story.target.clear_faults();
    story.write(20, 0);
    story.caught_up(&owner).await?;
    let plain = story.compare()?;
    ensure!(plain == story.total()?, "all of it was written without transactions: {plain}");
    drop(others);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_everything_sees_every_record_once_however_owners_end() -> Result<()> {
    if let Ok(filter) = std::env::var("TWINLOG_TEST_LOG") {
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    }
    for seed in seeds(SEEDS) {
        for release in [Release::V3_9, Release::V4_3] {
            let begun = std::time::Instant::now();
            run(seed, release).await.with_context(|| format!("{release:?}, seed {seed}"))?;
            eprintln!("{release:?}, seed {seed}: {:?}", begun.elapsed());
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn history_goes_in_transactions_and_what_is_recent_without() -> Result<()> {
    let mut story = Story::begin(1, Release::V4_3).await?;
    story.write(60, DAY);
    let owner = story.own()?;
    story.caught_up(&owner).await?;
    ensure!(story.compare()? == 0, "all of it is old");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_id_that_is_used_up_is_left_behind_a_fence() -> Result<()> {
    let mut story = Story::begin(2, Release::V4_3).await?;
    story.write(60, 0);
    let first = story.own()?;
    story.caught_up(&first).await?;
    let before = story.target.transaction(ID).context("it was used")?.producer_id;
    story.target.set_epoch(ID, 32_740);
    story.write(10, 0);
    let second = story.own()?;
    story.caught_up(&second).await?;
    let after = story.target.transaction(ID).context("it was used")?;
    ensure!(after.producer_id != before && after.epoch < 100, "{after:?}");
    for partition in 0..PARTITIONS {
        let producers = story.target.producers("a.t", partition);
        let old = producers.iter().find(|producer| producer.id == before).context("it has written")?;
        ensure!(old.epoch > 32_760, "whoever has the old one is fenced: {old:?}");
    }
    story.write(10, 0);
    story.caught_up(&second).await?;
    story.compare()?;
    drop(first);
    Ok(())
}

/// A broker of 4.3 leaves out the marker of a partition that has no leader then, and says that the transaction has ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_marker_was_left_out_is_made_good() -> Result<()> {
    for of_progress in [true, false] {
        let mut story = Story::begin(3, Release::V4_3).await?;
        story.in_transactions = true;
        story.write(30, 0);
        let first = story.own()?;
        story.caught_up(&first).await?;
        story.target.hold_markers(true);
        for _ in 0..10 {
            story.write(3, 0);
        }
        let is_decided = || {
            let stage = story.target.transaction(ID).map(|transaction| format!("{:?}", transaction.stage));
            stage.is_some_and(|stage| stage == "PrepareCommit")
        };
        while !is_decided() {
            sleep(Duration::from_millis(1)).await;
        }
        drop(first);
        let is_used = |partition: &i32| story.target.bounds(PROGRESS, *partition).end > 0;
        let (topic, partition) = match of_progress {
            true => (PROGRESS, (0..25).find(is_used).context("there is progress")?),
            false => ("a.t", 1),
        };
        let leader = story.target.leader(topic, partition).0;
        story.target.set_leader(topic, partition, None);
        story.target.hold_markers(false);
        story.target.set_leader(topic, partition, leader);
        let open = |story: &Story| {
            story.target.producers(topic, partition).iter().any(|producer| producer.open_since.is_some())
        };
        ensure!(open(&story), "the marker was left out");
        let second = story.own()?;
        story.caught_up(&second).await?;
        drop(second);
        ensure!(!open(&story), "and is there");
        for partition in 0..PARTITIONS {
            same(&story.source, &story.target, "t", partition)?;
        }
    }
    Ok(())
}

/// What was copied after the last progress is recognised although the source has lost some of it to compaction since.
#[tokio::test(flavor = "multi_thread")]
async fn what_compaction_has_taken_since_is_not_copied_twice() -> Result<()> {
    let mut story = Story::begin(4, Release::V4_3).await?;
    story.write(30, 0);
    let first = story.own()?;
    story.caught_up(&first).await?;
    // Progress was written a moment ago: this comes after it.
    story.write(60, 0);
    story.caught_up(&first).await?;
    drop(first);
    let copied = |story: &Story, partition| committed(&story.target, "a.t", partition);
    let before: Vec<_> = (0..PARTITIONS).map(|p| copied(&story, p)).collect::<Result<_>>()?;
    let mut ends = Vec::new();
    for partition in 0..PARTITIONS {
        let end = story.source.bounds("t", partition).end;
        story.source.compact("t", partition, |offset, _| offset % 3 == 1 || offset + 5 > end, false);
        ends.push(end);
    }
    story.write(30, 0);
    let second = story.own()?;
    story.caught_up(&second).await?;
    drop(second);
    for partition in 0..PARTITIONS {
        let at = usize::try_from(partition)?;
        let new = story.source.entries("t", partition)?;
        let new = new.iter().filter(|e| e.offset >= ends[at] && e.marker.is_none());
        let expected: Vec<Content> =
            before[at].iter().cloned().chain(new.map(reader::Entry::content)).collect();
        let got = copied(&story, partition)?;
        ensure!(got == expected, "partition {partition}: {} records, not {}", got.len(), expected.len());
    }
    Ok(())
}

/// librdkafka takes over from an owner that writes without transactions, and is still there.
#[tokio::test(flavor = "multi_thread")]
async fn who_writes_without_transactions_is_fenced_by_the_other_engine_too() -> Result<()> {
    let mut story = Story::begin(5, Release::V4_3).await?;
    story.write(30, 0);
    let first = story.own()?;
    story.caught_up(&first).await?;
    story.engine = v1::Engine::Librdkafka;
    story.target.fault(Rule::every(ApiKey::Produce, Fault::Delay(Duration::from_millis(5))).by_chance(300));
    story.write(60, 0);
    let second = story.own()?;
    for _ in 0..20 {
        story.write(3, 0);
        sleep(Duration::from_millis(10)).await;
    }
    story.caught_up(&second).await?;
    story.engine = v1::Engine::Native;
    let third = story.own()?;
    story.write(30, 0);
    story.caught_up(&third).await?;
    for partition in 0..PARTITIONS {
        same(&story.source, &story.target, "t", partition)?;
    }
    drop((first, second));
    Ok(())
}

/// Whether the fence is there can't be seen: then what is written is in transactions.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_see_the_fence_it_goes_in_transactions() -> Result<()> {
    let mut story = Story::begin(6, Release::V4_3).await?;
    let refused = Fault::Refuse(E::TopicAuthorizationFailed);
    story.target.fault(Rule::every(ApiKey::DescribeProducers, refused));
    for _ in 0..2 {
        story.write(30, 0);
        let owner = story.own()?;
        story.caught_up(&owner).await?;
    }
    for partition in 0..PARTITIONS {
        same(&story.source, &story.target, "t", partition)?;
    }
    Ok(())
}

/// Every acknowledgement has to say the offset that is next: where it doesn't, what lies before it is looked at.
#[tokio::test(flavor = "multi_thread")]
async fn what_lies_where_a_record_should_is_looked_at() -> Result<()> {
    let mut story = Story::begin(7, Release::V4_3).await?;
    story.write(30, 0);
    let owner = story.own()?;
    story.caught_up(&owner).await?;
    let id = story.target.transaction(ID).context("it was used")?;
    story.target.append_marker("a.t", 0, id.producer_id, id.epoch, false);
    story.write(30, 0);
    story.caught_up(&owner).await?;
    story.compare().context("a late marker is in nobody's way")?;
    story.target.append("a.t", 1, &Spec::numbered("somebody's", 3, now()).batch());
    story.write(30, 0);
    let mut status = owner.lane.status();
    let named = status.wait_for(|status| {
        let mut causes =
            status.partitions.iter().filter_map(|p| Some((p.partition, p.cause.as_ref()?.reason)));
        causes.any(|found| found == (1, Reason::TARGET_FOREIGN_WRITES))
    });
    let named = timeout(SOON, named).await.map(|_| ());
    named.with_context(|| format!("who wrote there is named: {:?}", owner.lane.status().borrow().clone()))
}
