//! A topic that is deleted, made anew and filled beyond the position while a fetch is on its way: the fetch goes on by name, in another log.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kafka_protocol::messages::ApiKey;
use tokio::time::{sleep, timeout};
use twinlog_proto::id::{Epoch, TaskName, WorkerId};
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;
use twinlog_tests::broker::golden::Spec;
use twinlog_tests::broker::{FakeKafka, Fault, Options, Rule};
use twinlog_worker::budget::Budget;
use twinlog_worker::lane::{LaneSpec, start};

use crate::lane::{committed, handle, mirror, range};
use crate::script::now;

/// For what must come, on a machine that may be busy with other things.
const SOON: Duration = Duration::from_secs(60);
/// Longer than a broker lets a fetch wait.
const FETCHES: Duration = Duration::from_secs(1);

async fn made_anew(engine: v1::Engine) -> Result<()> {
    let source = FakeKafka::start(Options::default()).await?;
    let target = FakeKafka::start(Options { seed: 7, ..Options::default() }).await?;
    source.create_topic("t", 1, 1, &[]);
    target.create_topic("a.t", 1, 1, &[]);
    for mark in ["a", "b", "c"] {
        source.append("t", 0, &Spec::numbered(mark, 10, now()).batch());
    }
    let spec = LaneSpec {
        task: TaskName::Replicate { mirror: "m".parse()?, target_topic: "a.t".to_owned(), block: 0 },
        epoch: Epoch(1),
        worker: WorkerId::new("w".to_owned())?,
        mirror: mirror(engine, v1::Guarantee::AtLeastOnce),
        range: range(1),
        source: handle("a", &source)?,
        target: handle("b", &target)?,
    };
    let mut lane = start(spec, &Budget::new(64 << 20));
    let mut status = lane.status();
    let copied = status.wait_for(|status| {
        let position = status.partitions.first().and_then(|partition| partition.position);
        position.is_some_and(|at| at.0 == 30)
    });
    timeout(SOON, copied).await.context("the first records")??;
    let before = committed(&source, "t", 0)?;

    // Every fetch stands still, and is done later, in what then has the name.
    let waits = Rule::every(ApiKey::Fetch, Fault::Delay(FETCHES * 2)).on_topic("t");
    source.fault(waits);
    sleep(FETCHES).await;
    source.recreate_topic("t");
    for mark in ["d", "e", "f", "g", "h"] {
        source.append("t", 0, &Spec::numbered(mark, 10, now()).batch());
    }
    source.clear_faults();
    let named = status.wait_for(|status| {
        let cause = status.partitions.first().and_then(|partition| partition.cause.as_ref());
        cause.is_some_and(|cause| cause.reason == Reason::SOURCE_TOPIC_RECREATED)
    });
    let named = timeout(SOON, named).await.map(|_| ());
    let copy = committed(&target, "a.t", 0)?;
    ensure!(copy == before, "{} records of the first topic became {}", before.len(), copy.len());
    named.with_context(|| format!("not named: {:?}", lane.status().borrow().clone()))?;
    lane.drain();
    lane.stopped().await;
    ensure!(committed(&target, "a.t", 0)? == before, "nothing came afterwards");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn librdkafka_does_not_go_on_in_a_topic_of_the_same_name() -> Result<()> {
    made_anew(v1::Engine::Librdkafka).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_native_engine_does_not_go_on_in_a_topic_of_the_same_name() -> Result<()> {
    made_anew(v1::Engine::Native).await
}
