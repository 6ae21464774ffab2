//! Reading from the replica in the reader's rack (KIP-392), and from the leader where that one fails: a whole lane of the native engine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::ApiKey;
use twinlog_proto::id::{ClusterId, Epoch, TaskName, WorkerId};
use twinlog_proto::{model, v1};
use twinlog_tests::broker::golden::Spec;
use twinlog_tests::broker::{FakeKafka, Fault, Options, Rule};
use twinlog_worker::budget::Budget;
use twinlog_worker::cluster::ClusterHandle;
use twinlog_worker::lane::{LaneHandle, LaneSpec, start};

use crate::lane::{handle, mirror, range, same};
use crate::script::now;

/// For what must come, on a machine that may be busy with other things.
const SOON: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 3;
/// In the reader's rack.
const NEAR: i32 = 3;

struct Story {
    source: FakeKafka,
    target: FakeKafka,
    lane: LaneHandle,
    written: usize,
}

impl Story {
    /// Three brokers, each in a rack of its own, which leads one partition.
    async fn begin(property: &str) -> Result<Self> {
        let racks = ["x", "y", "z"].map(str::to_owned).to_vec();
        let source = FakeKafka::start(Options { brokers: 3, racks, ..Options::default() }).await?;
        let target = FakeKafka::start(Options { brokers: 1, seed: 7, ..Options::default() }).await?;
        source.create_topic("t", usize::try_from(PARTITIONS)?, 3, &[]);
        target.create_topic("a.t", usize::try_from(PARTITIONS)?, 1, &[]);
        let cluster = model::Cluster {
            id: ClusterId::new("a")?,
            bootstrap_servers: source.bootstrap().split(',').map(str::to_owned).collect(),
            properties: BTreeMap::from([(property.to_owned(), "z".to_owned())]),
        };
        let spec = LaneSpec {
            task: TaskName::Replicate { mirror: "m".parse()?, target_topic: "a.t".to_owned(), block: 0 },
            epoch: Epoch(1),
            worker: WorkerId::new("w".to_owned())?,
            mirror: mirror(v1::Engine::Native, v1::Guarantee::ExactlyOnce),
            range: range(PARTITIONS),
            source: Arc::new(ClusterHandle::open(&cluster)?),
            target: handle("b", &target)?,
        };
        Ok(Self { lane: start(spec, &Budget::new(64 << 20)), source, target, written: 0 })
    }

    /// Some more records in each partition, and a wait until they are copied.
    async fn goes_on(&mut self) -> Result<()> {
        for partition in 0..PARTITIONS {
            self.written += 1;
            self.source.append("t", partition, &Spec::numbered(&self.written.to_string(), 5, now()).batch());
        }
        let ends: Vec<i64> =
            (0..PARTITIONS).map(|partition| self.source.bounds("t", partition).end).collect();
        let mut status = self.lane.status();
        let done = status.wait_for(|status| {
            let positions = status.partitions.iter().map(|p| p.position.map_or(-1, |at| at.0));
            positions.collect::<Vec<_>>() == ends
        });
        let done = tokio::time::timeout(SOON, done).await.map(|_| ());
        done.with_context(|| format!("not copied in time: {:?}", self.lane.status().borrow().clone()))
    }

    /// How often a partition was asked of the replica while records came.
    async fn asked_near(&mut self) -> Result<usize> {
        let before = self.source.faults_struck();
        let rule = Rule::every(ApiKey::Fetch, Fault::Delay(Duration::ZERO)).on_node(NEAR);
        self.source.fault(rule);
        self.goes_on().await?;
        self.source.clear_faults();
        Ok(self.source.faults_struck() - before)
    }

    async fn end(mut self) -> Result<()> {
        self.lane.drain();
        self.lane.stopped().await;
        for partition in 0..PARTITIONS {
            let from = same(&self.source, &self.target, "t", partition)?;
            ensure!(!from.is_empty(), "partition {partition} has records");
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_reads_in_its_own_rack() -> Result<()> {
    for property in ["client.rack", "consumer.client.rack"] {
        let mut story = Story::begin(property).await?;
        story.goes_on().await?;
        // A leader that is told the rack gives nothing itself: only the replica can have answered.
        let refusing = |node| Rule::every(ApiKey::Fetch, Fault::Close).on_node(node);
        story.source.fault(refusing(1));
        story.source.fault(refusing(2));
        story.goes_on().await.context("all partitions are read from the third broker")?;
        story.source.clear_faults();
        story.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_replica_fails_the_leader_is_read_from() -> Result<()> {
    // Dead, though nobody misses it; behind; no replica any more; behind in what it knows of leaders.
    let faults = [
        Fault::Close,
        Fault::Refuse(E::OffsetOutOfRange),
        Fault::Refuse(E::NotLeaderOrFollower),
        Fault::Refuse(E::UnknownLeaderEpoch),
        Fault::Refuse(E::OffsetNotAvailable),
    ];
    for fault in faults {
        let mut story = Story::begin("client.rack").await?;
        story.goes_on().await?;
        ensure!(story.asked_near().await? > 0, "it is read from first");
        story.source.fault(Rule::every(ApiKey::Fetch, fault.clone()).on_node(NEAR).on_partition("t", 0));
        // Twice: the leader would go on to name the replica.
        for _ in 0..2 {
            story.goes_on().await.with_context(|| format!("{fault:?}"))?;
        }
        story.end().await.with_context(|| format!("{fault:?}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_dies_or_comes_to_lead_holds_nothing_up() -> Result<()> {
    let mut story = Story::begin("client.rack").await?;
    story.goes_on().await?;
    for partition in 0..PARTITIONS {
        story.source.move_leader("t", partition);
    }
    story.goes_on().await.context("leaders moved")?;
    story.source.kill_broker(NEAR);
    story.goes_on().await.context("the replica died")?;
    story.end().await
}
