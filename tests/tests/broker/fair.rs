//! What is slow at the target holds back only its own: a broker that answers nothing leaves memory for what goes elsewhere, a partition that
//! is not replicated leaves the connection to what goes beside it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use tokio::time::{sleep, timeout};
use twinlog_proto::id::{Epoch, TaskName, WorkerId};
use twinlog_proto::v1;
use twinlog_tests::broker::golden::Spec;
use twinlog_tests::broker::record::Record;
use twinlog_tests::broker::{FakeKafka, Fault, Options, Rule};
use twinlog_worker::budget::Budget;
use twinlog_worker::cluster::ClusterHandle;
use twinlog_worker::lane::{LaneHandle, LaneSpec, Range, start};

use crate::lane::{handle, mirror, range, same};
use crate::script::now;

/// The broker that is slow, and the other.
const SLOW: i32 = 2;
const QUICK: i32 = 1;
/// Of one record's value, bytes.
const VALUE: usize = 100 << 10;
/// Topics that go to the slow broker.
const MANY: usize = 4;
/// Of records in flight: half of it for the native engine, a quarter of what the slow broker's topics hold.
const MEMORY: u64 = 8 << 20;
/// For what must come, on a machine that may be busy with other things: well before a request to the slow broker is given up.
const SOON: Duration = Duration::from_secs(15);
/// After it the slow ones have taken what they get.
const TAKEN: Duration = Duration::from_secs(2);

/// A source of one broker and a target of two, and one lane for each topic.
struct Story {
    source: FakeKafka,
    target: FakeKafka,
    /// What all ranges of a worker share.
    handles: [Arc<ClusterHandle>; 2],
    budget: Arc<Budget>,
}

impl Story {
    async fn begin(memory: u64) -> Result<Self> {
        let source = FakeKafka::start(Options::default()).await?;
        let target = FakeKafka::start(Options { brokers: 2, ..Options::default() }).await?;
        // Progress of what is quick is not to wait for the slow broker either.
        for own in ["__twinlog.m.progress", "__twinlog.m.offsets"] {
            target.create_topic(own, 25, 2, &[("cleanup.policy", "compact")]);
            (0..25).for_each(|partition| target.set_leader(own, partition, Some(QUICK)));
        }
        let handles = [handle("a", &source)?, handle("b", &target)?];
        Ok(Self { source, target, handles, budget: Budget::new(memory) })
    }

    fn topic(&self, name: &str, leader: i32) {
        let copy = format!("a.{name}");
        self.source.create_topic(name, 1, 1, &[]);
        self.target.create_topic(&copy, 1, 2, &[]);
        self.target.set_leader(&copy, 0, Some(leader));
    }

    fn write(&self, topic: &str, records: usize, size: usize) {
        for number in 0..records {
            let value = Bytes::from(vec![number as u8; size]);
            let key = Some(Bytes::from(format!("{topic}-{number}")));
            let record =
                Record { timestamp_delta: 0, offset_delta: 0, key, value: Some(value), headers: vec![] };
            let spec = Spec { base_timestamp: now(), records: vec![record], ..Spec::default() };
            self.source.append(topic, 0, &spec.batch());
        }
    }

    fn lane(&self, topic: &str) -> Result<LaneHandle> {
        let copy = format!("a.{topic}");
        let [source, target] = self.handles.clone();
        let spec = LaneSpec {
            task: TaskName::Replicate { mirror: "m".parse()?, target_topic: copy.clone(), block: 0 },
            epoch: Epoch(1),
            worker: WorkerId::new("w".to_owned())?,
            mirror: mirror(v1::Engine::Native, v1::Guarantee::AtLeastOnce),
            range: Range { source_topic: topic.to_owned(), target_topic: copy, ..range(1) },
            source,
            target,
        };
        Ok(start(spec, &self.budget))
    }

    async fn copied(&self, lane: &LaneHandle, topic: &str) -> Result<Duration> {
        let (began, end) = (Instant::now(), self.source.bounds(topic, 0).end);
        let mut status = lane.status();
        let done = status
            .wait_for(|s| s.partitions.first().is_some_and(|p| p.position.is_some_and(|at| at.0 == end)));
        let done = timeout(SOON, done).await.map(|_| ());
        done.with_context(|| format!("{topic} is not copied: {:?}", lane.status().borrow().clone()))?;
        same(&self.source, &self.target, topic, 0)?;
        Ok(began.elapsed())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_answers_nothing_leaves_memory_for_the_others() -> Result<()> {
    let story = Story::begin(MEMORY).await?;
    let slow: Vec<String> = (0..MANY).map(|number| format!("slow-{number}")).collect();
    for topic in &slow {
        story.topic(topic, SLOW);
        story.write(topic, 60, VALUE);
    }
    story.topic("quick", QUICK);
    story.write("quick", 200, VALUE);
    let held = Fault::Delay(Duration::from_secs(600));
    story.target.fault(Rule::every(ApiKey::Produce, held).on_node(SLOW));
    let mut lanes: Vec<LaneHandle> = slow.iter().map(|topic| story.lane(topic)).collect::<Result<_>>()?;
    sleep(TAKEN).await;
    let lane = story.lane("quick")?;
    let took = story.copied(&lane, "quick").await?;
    println!("20 MiB went to the quick broker in {took:?}");
    ensure!(
        slow.iter().all(|topic| story.target.bounds(&format!("a.{topic}"), 0).end == 0),
        "it took nothing"
    );
    story.target.clear_faults();
    story.target.cut_connections(SLOW);
    for (lane, topic) in lanes.iter().zip(&slow) {
        story.copied(lane, topic).await?;
    }
    lanes.push(lane);
    for mut lane in lanes {
        lane.drain();
        lane.stopped().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_not_replicated_leaves_the_connection_to_the_others() -> Result<()> {
    let story = Story::begin(64 << 20).await?;
    for topic in ["stuck", "quick"] {
        story.topic(topic, QUICK);
        story.write(topic, 1, 100);
    }
    let (mut stuck, mut quick) = (story.lane("stuck")?, story.lane("quick")?);
    story.copied(&stuck, "stuck").await?;
    story.copied(&quick, "quick").await?;
    story.target.hold_high_watermark("a.stuck", 0, true);
    // The first one finds out which it is that holds up the others.
    for _ in 0..2 {
        story.write("stuck", 1, 100);
        story.write("quick", 1, 100);
        sleep(TAKEN).await;
    }
    story.copied(&quick, "quick").await?;
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        story.write("stuck", 1, 100);
        story.write("quick", 1, 100);
        sleep(Duration::from_millis(50)).await;
        longest = longest.max(story.copied(&quick, "quick").await?);
    }
    println!("beside a partition that is stuck, the others waited {longest:?} at most");
    ensure!(longest < Duration::from_secs(2), "waited {longest:?}");
    let bounds = story.target.bounds("a.stuck", 0);
    ensure!(bounds.high_watermark < bounds.end, "it was stuck all the time: {bounds:?}");
    story.target.hold_high_watermark("a.stuck", 0, false);
    story.copied(&stuck, "stuck").await?;
    for lane in [&mut stuck, &mut quick] {
        lane.drain();
        lane.stopped().await;
    }
    Ok(())
}
