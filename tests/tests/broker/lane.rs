//! A whole lane between two fakes, through faults that are drawn from a seed: what a reader of committed records sees of the copy is the source.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::ApiKey;
use twinlog_proto::id::{ClusterId, Epoch, TaskName, WorkerId};
use twinlog_proto::{model, v1};
use twinlog_tests::broker::golden::{self, Spec, Writer};
use twinlog_tests::broker::reader::{self, Content};
use twinlog_tests::broker::{FakeKafka, Fault, Options, Rule};
use twinlog_worker::budget::Budget;
use twinlog_worker::cluster::ClusterHandle;
use twinlog_worker::lane::{LaneSpec, Range, start};

use crate::script::now;

/// For what must come, on a machine that may be busy with other things.
pub(crate) const SOON: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 2;
const ENGINES: [v1::Engine; 2] = [v1::Engine::Librdkafka, v1::Engine::Native];

pub(crate) fn handle(id: &str, kafka: &FakeKafka) -> Result<Arc<ClusterHandle>> {
    let cluster = model::Cluster {
        id: ClusterId::new(id)?,
        bootstrap_servers: kafka.bootstrap().split(',').map(str::to_owned).collect(),
        properties: BTreeMap::new(),
    };
    Ok(Arc::new(ClusterHandle::open(&cluster)?))
}

pub(crate) fn mirror(engine: v1::Engine, guarantee: v1::Guarantee) -> Arc<model::Mirror> {
    let mut wire = v1::Mirror {
        name: "mirrors/m".to_owned(),
        source: "clusters/a".to_owned(),
        target: "clusters/b".to_owned(),
        topics: vec![".*".to_owned()],
        ..Default::default()
    };
    wire.set_guarantee(guarantee);
    wire.set_engine(engine);
    Arc::new(model::Mirror::parse(&wire).expect("a valid mirror"))
}

pub(crate) fn range(partitions: i32) -> Range {
    Range {
        source_topic: "t".to_owned(),
        target_topic: "a.t".to_owned(),
        block: 0,
        first_partition: 0,
        partition_count: partitions,
        source_topic_id: None,
        target_max_message_bytes: None,
        initial_partitions: partitions,
        target_topic_id: None,
    }
}

/// Every kind of batch, a transaction that is aborted, one that is kept, holes, an empty batch.
fn fill(source: &FakeKafka) {
    for partition in 0..PARTITIONS {
        for spec in golden::all(now()) {
            source.append("t", partition, &spec.batch());
        }
        source.append_marker("t", partition, 4712, 0, true);
        for (id, commit) in [(1, false), (2, true)] {
            let writer = Writer::Transactional { id, epoch: 0, sequence: 0 };
            source.append("t", partition, &Spec::numbered("txn", 50, now()).writer(writer).batch());
            source.append_marker("t", partition, id, 0, commit);
        }
        source.append("t", partition, &Spec::numbered("gone", 3, now()).batch());
        source.compact("t", partition, |offset, _| offset % 7 != 3, true);
    }
}

pub(crate) fn committed(kafka: &FakeKafka, topic: &str, partition: i32) -> Result<Vec<Content>> {
    Ok(reader::committed(&kafka.entries(topic, partition)?).iter().map(reader::Entry::content).collect())
}

/// The records of a partition, once all of them, and nothing else, are its copy.
pub(crate) fn same(
    source: &FakeKafka,
    target: &FakeKafka,
    topic: &str,
    partition: i32,
) -> Result<Vec<Content>> {
    let (from, to) =
        (committed(source, topic, partition)?, committed(target, &format!("a.{topic}"), partition)?);
    ensure!(from == to, "{topic} partition {partition}: {} records and {}", from.len(), to.len());
    Ok(from)
}

async fn copied(engine: v1::Engine, guarantee: v1::Guarantee, faults: &[Rule]) -> Result<()> {
    let source = FakeKafka::start(Options { brokers: 3, ..Options::default() }).await?;
    let target = FakeKafka::start(Options { brokers: 3, seed: 7, ..Options::default() }).await?;
    let partitions = usize::try_from(PARTITIONS)?;
    source.create_topic("t", partitions, 3, &[]);
    target.create_topic("a.t", partitions, 3, &[]);
    fill(&source);
    for rule in faults {
        target.fault(rule.clone());
    }
    let spec = LaneSpec {
        task: TaskName::Replicate { mirror: "m".parse()?, target_topic: "a.t".to_owned(), block: 0 },
        epoch: Epoch(1),
        worker: WorkerId::new("w".to_owned())?,
        mirror: mirror(engine, guarantee),
        range: range(PARTITIONS),
        source: handle("a", &source)?,
        target: handle("b", &target)?,
    };
    let mut lane = start(spec, &Budget::new(64 << 20));
    let mut status = lane.status();
    let ends: Vec<i64> = (0..PARTITIONS).map(|partition| source.bounds("t", partition).end).collect();
    let done = status.wait_for(|status| {
        let positions = status.partitions.iter().map(|p| p.position.map_or(-1, |at| at.0));
        positions.collect::<Vec<_>>() == ends
    });
    let done = tokio::time::timeout(SOON, done).await.map(|_| ());
    done.with_context(|| format!("not copied in time: {:?}", lane.status().borrow().clone()))?;
    lane.drain();
    lane.stopped().await;
    ensure!(faults.is_empty() || target.faults_struck() > 0, "faults struck");
    for partition in 0..PARTITIONS {
        let from = same(&source, &target, "t", partition)?;
        ensure!(from.len() > 200, "there was something to copy: {}", from.len());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_copies_every_kind_of_batch() -> Result<()> {
    for engine in ENGINES {
        copied(engine, v1::Guarantee::AtLeastOnce, &[]).await?;
        copied(engine, v1::Guarantee::ExactlyOnce, &[]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_is_exact_through_lost_answers_and_moving_leaders() -> Result<()> {
    let faults = [
        Rule::every(ApiKey::Produce, Fault::LoseAnswer).by_chance(100),
        Rule::every(ApiKey::Produce, Fault::MoveLeader).by_chance(100).times(5),
        Rule::every(ApiKey::Produce, Fault::RefuseAfter(E::NotEnoughReplicasAfterAppend)).by_chance(100),
        Rule::every(ApiKey::EndTxn, Fault::LoseAnswer).by_chance(200).times(3),
    ];
    for engine in ENGINES {
        copied(engine, v1::Guarantee::ExactlyOnce, &faults).await?;
    }
    Ok(())
}
