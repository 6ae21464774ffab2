//! A lane of the native engine between two fakes, while a schedule that is drawn from a seed lets everything go wrong that may: afterwards the
//! copy is compared with the source record by record.
//!
//! `TWINLOG_SEEDS=40-60` runs others than the usual ones, `TWINLOG_TEST_LOG=debug` shows what the lane says.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::ApiKey;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{sleep, timeout};
use twinlog_proto::id::{Epoch, TaskName, WorkerId};
use twinlog_proto::v1;
use twinlog_tests::broker::codec::CODECS;
use twinlog_tests::broker::golden::{Spec, Writer};
use twinlog_tests::broker::reader::{self, Content};
use twinlog_tests::broker::{FakeKafka, Fault, Options, Rule};
use twinlog_worker::budget::Budget;
use twinlog_worker::lane::{LaneHandle, LaneSpec, start};

use crate::lane::{committed, handle, mirror, range};
use crate::script::now;

/// For what must come, on a machine that may be busy with other things.
const SOON: Duration = Duration::from_secs(90);
const PARTITIONS: i32 = 4;
const BROKERS: i32 = 3;
/// What happens in one schedule.
const EVENTS: usize = 60;
/// Seeds of every run.
const SEEDS: std::ops::Range<u64> = 0..4;

struct Story {
    source: FakeKafka,
    target: FakeKafka,
    random: StdRng,
    /// Tells every record from every other.
    written: usize,
    /// Producers of transactions that are open at the source, with how much they have written, by partition.
    open: Vec<Option<(i64, i32)>>,
    down: Option<i32>,
    guarantee: v1::Guarantee,
    /// Exactly once in transactions, although all of it is recent.
    in_transactions: bool,
}

impl Story {
    async fn begin(seed: u64, (guarantee, in_transactions): (v1::Guarantee, bool)) -> Result<Self> {
        let brokers = usize::try_from(BROKERS)?;
        let source = FakeKafka::start(Options { brokers, seed, ..Options::default() }).await?;
        let target = FakeKafka::start(Options { brokers, seed: seed + 1, ..Options::default() }).await?;
        let partitions = usize::try_from(PARTITIONS)?;
        source.create_topic("t", partitions, 3, &[]);
        target.create_topic("a.t", partitions, 3, &[("min.insync.replicas", "2")]);
        let open = vec![None; partitions];
        let random = StdRng::seed_from_u64(seed);
        Ok(Self { source, target, random, written: 0, open, down: None, guarantee, in_transactions })
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    fn partition(&mut self) -> i32 {
        self.random.random_range(0..PARTITIONS)
    }

    /// One more batch at the source: alone, or in a transaction that is open.
    fn write(&mut self, partition: i32) {
        let mark = format!("{}", self.written);
        self.written += 1;
        let large = self.chance(5);
        let count = if large { self.random.random_range(500..3000) } else { self.random.random_range(1..40) };
        let codec = CODECS[self.random.random_range(0..CODECS.len())];
        let mut spec = Spec::numbered(&mark, count, now()).codec(codec);
        spec.log_append_time = self.chance(10);
        if let Some((id, sequence)) = &mut self.open[partition as usize] {
            spec = spec.writer(Writer::Transactional { id: *id, epoch: 0, sequence: *sequence });
            *sequence += count;
        }
        self.source.append("t", partition, &spec.batch());
    }

    /// Begins or ends a transaction at the source.
    fn turn_transaction(&mut self, partition: i32) {
        let commit = self.chance(50);
        match self.open[partition as usize].take() {
            Some((id, _)) => self.source.append_marker("t", partition, id, 0, commit),
            None => {
                self.written += 1;
                self.open[partition as usize] = Some((100_000 + self.written as i64, 0));
            }
        }
    }

    fn fill(&mut self, times: usize) {
        for _ in 0..times {
            let partition = self.partition();
            if self.chance(10) {
                self.turn_transaction(partition);
            } else {
                self.write(partition);
            }
        }
    }

    /// Holes, and batches of which nothing is left, in what isn't being copied yet.
    fn compact(&mut self) {
        for partition in 0..PARTITIONS {
            let (divisor, keep_empty) = (self.random.random_range(2..9), self.chance(50));
            self.source.compact(
                "t",
                partition,
                |offset, _| (offset / 11) % divisor != 1 && offset % divisor != 0,
                keep_empty,
            );
        }
    }

    /// What goes wrong now and then, all the time.
    fn faults(&mut self) {
        let at_target = [
            Rule::every(ApiKey::Produce, Fault::LoseAnswer),
            Rule::every(ApiKey::Produce, Fault::Close),
            Rule::every(ApiKey::Produce, Fault::MoveLeader),
            Rule::every(ApiKey::Produce, Fault::MoveLeaderAfter),
            Rule::every(ApiKey::Produce, Fault::Refuse(E::NotEnoughReplicas)),
            Rule::every(ApiKey::Produce, Fault::RefuseAfter(E::NotEnoughReplicasAfterAppend)),
            Rule::every(ApiKey::Produce, Fault::RefuseAfter(E::RequestTimedOut)),
            Rule::every(ApiKey::Produce, Fault::Delay(Duration::from_millis(30))),
            Rule::every(ApiKey::Produce, Fault::Pieces(7, Duration::from_millis(1))),
            Rule::every(ApiKey::Produce, Fault::Cut(5)),
            Rule::every(ApiKey::Produce, Fault::Claim(2 << 30)),
            Rule::every(ApiKey::Produce, Fault::Throttle(Duration::from_millis(80))),
            Rule::every(ApiKey::EndTxn, Fault::LoseAnswer),
            Rule::every(ApiKey::EndTxn, Fault::Close),
            Rule::every(ApiKey::EndTxn, Fault::Refuse(E::CoordinatorLoadInProgress)),
            Rule::every(ApiKey::AddPartitionsToTxn, Fault::LoseAnswer),
            Rule::every(ApiKey::AddPartitionsToTxn, Fault::Refuse(E::ConcurrentTransactions)),
            Rule::every(ApiKey::Metadata, Fault::LoseAnswer),
            Rule::every(ApiKey::InitProducerId, Fault::LoseAnswer),
        ];
        let at_source = [
            Rule::every(ApiKey::Fetch, Fault::LoseAnswer),
            Rule::every(ApiKey::Fetch, Fault::Close),
            Rule::every(ApiKey::Fetch, Fault::Refuse(E::NotLeaderOrFollower)),
            Rule::every(ApiKey::Fetch, Fault::Refuse(E::KafkaStorageError)),
            Rule::every(ApiKey::Fetch, Fault::MoveLeader),
            Rule::every(ApiKey::Fetch, Fault::Delay(Duration::from_millis(50))),
            Rule::every(ApiKey::Fetch, Fault::Pieces(1000, Duration::from_millis(1))),
            Rule::every(ApiKey::Fetch, Fault::Cut(50)),
            Rule::every(ApiKey::Fetch, Fault::Claim(2 << 30)),
            Rule::every(ApiKey::Fetch, Fault::Throttle(Duration::from_millis(80))),
            Rule::every(ApiKey::Metadata, Fault::Close),
        ];
        for (kafka, rules) in [(0, &at_target[..]), (1, &at_source[..])] {
            for rule in rules {
                if self.chance(40) {
                    let rule = rule.clone().by_chance(self.random.random_range(5..60));
                    [&self.target, &self.source][kafka].fault(rule);
                }
            }
        }
        let exact = self.guarantee == v1::Guarantee::ExactlyOnce;
        // Whoever is forgotten may have what was lost stored twice: that at least once allows.
        if !exact && self.chance(30) {
            self.target.fault(Rule::every(ApiKey::Produce, Fault::ForgetProducers).by_chance(20));
        }
    }

    async fn event(&mut self) -> Result<()> {
        let node = self.random.random_range(1..=BROKERS);
        let partition = self.partition();
        match self.random.random_range(0..20) {
            0 => self.target.cut_connections(node),
            1 => self.source.cut_connections(node),
            2 => self.target.move_leader("a.t", partition),
            3 => self.source.move_leader("t", partition),
            4 => self.source.forget_sessions(node),
            5 => self.source.session_slots(node, self.random.random_range(0..2) * 100),
            6 => {
                let alone = self.target.leader("a.t", partition).0.unwrap_or(1);
                self.target.set_in_sync("a.t", partition, &[alone]);
                self.pause(150).await;
                self.target.set_in_sync("a.t", partition, &[1, 2, 3]);
            }
            7 => match self.down.take() {
                Some(node) => self.target.start_broker(node).await?,
                None => {
                    self.target.kill_broker(node);
                    self.down = Some(node);
                }
            },
            8 => {
                self.target.hold_high_watermark("a.t", partition, true);
                self.pause(150).await;
                self.target.hold_high_watermark("a.t", partition, false);
            }
            9 => {
                self.source.set_leader("t", partition, None);
                self.pause(150).await;
                self.source.set_leader("t", partition, Some(node));
            }
            10 => {
                self.target.hold_markers(true);
                self.pause(150).await;
                self.target.hold_markers(false);
            }
            11 => self.source.hold_high_watermark("t", partition, true),
            12 => (0..PARTITIONS).for_each(|p| self.source.hold_high_watermark("t", p, false)),
            _ => {
                let times = self.random.random_range(1..20);
                self.fill(times);
            }
        }
        Ok(())
    }

    async fn pause(&mut self, most: u64) {
        sleep(Duration::from_millis(self.random.random_range(0..most))).await;
    }

    /// Everything works again, and nothing is open.
    async fn heal(&mut self) -> Result<()> {
        self.target.clear_faults();
        self.source.clear_faults();
        if let Some(node) = self.down.take() {
            self.target.start_broker(node).await?;
        }
        for partition in 0..PARTITIONS {
            self.source.hold_high_watermark("t", partition, false);
            self.target.set_in_sync("a.t", partition, &[1, 2, 3]);
            if self.open[partition as usize].is_some() {
                self.turn_transaction(partition);
            }
            self.write(partition);
        }
        Ok(())
    }

    fn lane(&self) -> Result<LaneHandle> {
        let mut mirror = (*mirror(v1::Engine::Native, self.guarantee)).clone();
        mirror.always_transactions = self.in_transactions;
        let spec = LaneSpec {
            task: TaskName::Replicate { mirror: "m".parse()?, target_topic: "a.t".to_owned(), block: 0 },
            epoch: Epoch(1),
            worker: WorkerId::new("w".to_owned())?,
            mirror: mirror.into(),
            range: range(PARTITIONS),
            source: handle("a", &self.source)?,
            target: handle("b", &self.target)?,
        };
        Ok(start(spec, &Budget::new(64 << 20)))
    }

    /// Everything is said to be copied.
    async fn caught_up(&self, lane: &LaneHandle) -> Result<()> {
        let ends: Vec<i64> =
            (0..PARTITIONS).map(|partition| self.source.bounds("t", partition).end).collect();
        let mut status = lane.status();
        let done = status.wait_for(|status| {
            let positions = status.partitions.iter().map(|p| p.position.map_or(-1, |at| at.0));
            positions.collect::<Vec<_>>() == ends
        });
        let done = timeout(SOON, done).await.map(|_| ());
        done.with_context(|| {
            format!(
                "not copied to {ends:?} in time: {:?}\n{}",
                lane.status().borrow().clone(),
                self.own_topics()
            )
        })
    }

    /// How the mirror's own topics end, for whoever looks for the reason.
    fn own_topics(&self) -> String {
        let mut said = String::new();
        for topic in ["__twinlog.m.progress", "__twinlog.m.offsets"] {
            for partition in 0..25 {
                let bounds = self.target.bounds(topic, partition);
                let (leader, producers) =
                    (self.target.leader(topic, partition), self.target.producers(topic, partition));
                if bounds.end > 0 {
                    said += &format!("{topic}-{partition}: {leader:?} {bounds:?} {producers:?}\n");
                    let of =
                        |e: &reader::Entry| (e.offset, e.producer_id, e.producer_epoch, e.sequence, e.marker);
                    said += &format!(
                        "{:?}\n",
                        self.target
                            .entries(topic, partition)
                            .map(|all| all.iter().map(of).collect::<Vec<_>>())
                    );
                }
            }
        }
        said + &format!("{:?}", self.target.transaction("twinlog.m.a.t.0"))
    }

    fn compare(&self) -> Result<()> {
        for partition in 0..PARTITIONS {
            let from = committed(&self.source, "t", partition)?;
            let to = match self.guarantee {
                v1::Guarantee::ExactlyOnce => committed(&self.target, "a.t", partition)?,
                _ => firsts(&self.target, partition)?,
            };
            if let Some(at) = (0..from.len().max(to.len())).find(|at| from.get(*at) != to.get(*at)) {
                let (from, to) = (from.get(at).map(|r| &r.0), to.get(at).map(|r| &r.0));
                anyhow::bail!("partition {partition}: record {at} is {to:?}, not {from:?}");
            }
        }
        Ok(())
    }
}

/// Every record of the copy where it is for the first time.
fn firsts(target: &FakeKafka, partition: i32) -> Result<Vec<Content>> {
    let (mut seen, mut all) = (HashSet::new(), Vec::new());
    for entry in target.entries("a.t", partition)?.iter().map(reader::Entry::content) {
        if seen.insert(entry.0.clone()) {
            all.push(entry);
        }
    }
    Ok(all)
}

async fn run(seed: u64, way: (v1::Guarantee, bool)) -> Result<()> {
    let mut story = Story::begin(seed, way).await?;
    story.fill(150);
    story.compact();
    story.faults();
    let mut lane = story.lane()?;
    for _ in 0..EVENTS {
        story.event().await?;
        story.pause(60).await;
        if story.chance(2) {
            lane.drain();
            lane.stopped().await;
            lane = story.lane()?;
        }
    }
    story.heal().await?;
    story.caught_up(&lane).await?;
    lane.drain();
    lane.stopped().await;
    story.compare()?;
    ensure!(story.written > 150, "there was something to copy");
    Ok(())
}

pub(crate) fn seeds(usual: std::ops::Range<u64>) -> Vec<u64> {
    let Ok(given) = std::env::var("TWINLOG_SEEDS") else { return usual.collect() };
    let (from, to) = given.split_once('-').unwrap_or((&given, &given));
    let number =
        |text: &str| text.parse::<u64>().expect("TWINLOG_SEEDS is a number, or two with - between them");
    (number(from)..=number(to)).collect()
}

async fn schedules(way: (v1::Guarantee, bool)) -> Result<()> {
    if let Ok(filter) = std::env::var("TWINLOG_TEST_LOG") {
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    }
    for seed in seeds(SEEDS) {
        let begun = std::time::Instant::now();
        run(seed, way).await.with_context(|| format!("{way:?}, seed {seed}"))?;
        eprintln!("{way:?}, seed {seed}: {:?}", begun.elapsed());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_order_is_kept_whatever_happens() -> Result<()> {
    schedules((v1::Guarantee::AtLeastOnce, false)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_is_exact_whatever_happens() -> Result<()> {
    schedules((v1::Guarantee::ExactlyOnce, false)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_is_exact_in_transactions_whatever_happens() -> Result<()> {
    schedules((v1::Guarantee::ExactlyOnce, true)).await
}
