//! Ranges that a worker is given together: how soon each has copied a record, and what they ask for that. `TWINLOG_RANGES=1000` and
//! `--nocapture` show it for more of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kafka_protocol::messages::ApiKey;
use tokio::time::sleep;
use twinlog_proto::id::{Epoch, TaskName, WorkerId};
use twinlog_proto::v1;
use twinlog_tests::broker::golden::Spec;
use twinlog_tests::broker::{FakeKafka, Options};
use twinlog_worker::budget::Budget;
use twinlog_worker::cluster::ClusterHandle;
use twinlog_worker::lane::{LaneHandle, LaneSpec, Range, start};

use crate::lane::{handle, mirror, range};
use crate::script::now;

/// Ranges, unless `TWINLOG_RANGES` says otherwise.
const RANGES: usize = 100;
/// For what must come, on a machine that may be busy with other things.
const SOON: Duration = Duration::from_secs(60);
/// From the order to the first record of a lone range: some 50 ms on a quiet machine.
const LONE: Duration = Duration::from_secs(1);
/// The copies are looked at this often.
const LOOK: Duration = Duration::from_millis(1);

struct Story {
    source: FakeKafka,
    target: FakeKafka,
    handles: [Arc<ClusterHandle>; 2],
    budget: Arc<Budget>,
    guarantee: v1::Guarantee,
}

impl Story {
    async fn begin(guarantee: v1::Guarantee) -> Result<Self> {
        let source = FakeKafka::start(Options::default()).await?;
        let target = FakeKafka::start(Options::default()).await?;
        let handles = [handle("a", &source)?, handle("b", &target)?];
        Ok(Self { source, target, handles, budget: Budget::new(128 << 20), guarantee })
    }

    fn write(&self, ranges: usize) {
        for number in 0..ranges {
            let topic = format!("t{number}");
            self.source.append(&topic, 0, &Spec::numbered(&topic, 1, now()).batch());
        }
    }

    fn lane(&self, number: usize, epoch: i64) -> Result<LaneHandle> {
        let (topic, copy) = (format!("t{number}"), format!("a.t{number}"));
        let [source, target] = self.handles.clone();
        let spec = LaneSpec {
            task: TaskName::Replicate { mirror: "m".parse()?, target_topic: copy.clone(), block: 0 },
            epoch: Epoch(epoch),
            worker: WorkerId::new("w".to_owned())?,
            mirror: mirror(v1::Engine::Native, self.guarantee),
            range: Range { source_topic: topic, target_topic: copy, ..range(1) },
            source,
            target,
        };
        Ok(start(spec, &self.budget))
    }

    /// Starts lanes, and waits until each has copied a record. Says how long that took.
    async fn run(&self, ranges: usize, epoch: i64) -> Result<Duration> {
        let end = |number| self.target.bounds(&format!("a.t{number}"), 0).end;
        let ends: Vec<i64> = (0..ranges).map(end).collect();
        let began = Instant::now();
        let mut lanes: Vec<LaneHandle> =
            (0..ranges).map(|number| self.lane(number, epoch)).collect::<Result<_>>()?;
        let here = |number: usize| self.target.bounds(&format!("a.t{number}"), 0).end;
        let mut missing: Vec<usize> = (0..ranges).collect();
        while !missing.is_empty() {
            ensure!(began.elapsed() < SOON, "{missing:?} are not copied");
            sleep(LOOK).await;
            missing.retain(|number| here(*number) == ends[*number]);
        }
        let took = began.elapsed();
        for lane in &lanes {
            lane.drain();
        }
        for lane in &mut lanes {
            lane.stopped().await;
        }
        Ok(took)
    }

    fn requests(&self, api: ApiKey) -> usize {
        self.source.requests(api) + self.target.requests(api)
    }
}

async fn taken_over(guarantee: v1::Guarantee) -> Result<()> {
    let ranges = std::env::var("TWINLOG_RANGES").ok().and_then(|text| text.parse().ok()).unwrap_or(RANGES);
    let story = Story::begin(guarantee).await?;
    for number in 0..ranges {
        story.source.create_topic(&format!("t{number}"), 1, 1, &[]);
        story.target.create_topic(&format!("a.t{number}"), 1, 1, &[]);
    }
    story.write(ranges);
    let first = story.run(ranges, 1).await?;
    story.write(ranges);
    let apis = [ApiKey::Metadata, ApiKey::DescribeCluster, ApiKey::ListOffsets];
    let before = apis.map(|api| story.requests(api));
    let again = story.run(ranges, 2).await?;
    let asked: Vec<usize> =
        apis.iter().zip(before).map(|(api, before)| story.requests(*api) - before).collect();
    story.write(1);
    let alone = story.run(1, 3).await?;
    println!(
        "{guarantee:?}: {ranges} ranges have copied a record {first:.2?} after they began, taken over {again:.2?}, one alone {alone:.2?}; \
         asked by {apis:?}: {asked:?}"
    );
    // Of topics and ends of partitions each range still asks by itself, too.
    let clusters = asked[1];
    ensure!(clusters < ranges, "{clusters} questions for two clusters, of {ranges} ranges");
    ensure!(alone < LONE, "a lone range began after {alone:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_that_are_taken_over_begin_soon() -> Result<()> {
    taken_over(v1::Guarantee::AtLeastOnce).await?;
    taken_over(v1::Guarantee::ExactlyOnce).await
}
