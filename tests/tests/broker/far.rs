//! One partition of a source that is far away: the copy goes as fast as the line carries, though every byte is on its way for long.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use tokio::time::sleep;
use twinlog_proto::id::{Epoch, TaskName, WorkerId};
use twinlog_proto::v1;
use twinlog_tests::broker::golden::Spec;
use twinlog_tests::broker::record::Record;
use twinlog_tests::broker::{FakeKafka, Options};
use twinlog_tests::sandbox::Line;
use twinlog_worker::budget::Budget;
use twinlog_worker::lane::{LaneSpec, start};

use crate::lane::{handle, mirror, range, same};
use crate::script::now;

/// Each way.
const DELAY: Duration = Duration::from_millis(50);
/// Of one batch, which holds one record, bytes; and how many there are.
const SIZE: usize = 900_000;
const BATCHES: usize = 150;
/// For what must come, on a machine that may be busy with other things.
const SOON: Duration = Duration::from_secs(60);
/// The copy is looked at this often.
const LOOK: Duration = Duration::from_millis(1);
/// The bounds that a debug build keeps beside other tests; what is usual is printed.
const AT_LEAST: f64 = 20.0;
const FIRST: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn one_partition_is_as_fast_as_the_line_carries() -> Result<()> {
    let source = FakeKafka::start(Options::default()).await?;
    let target = FakeKafka::start(Options::default()).await?;
    let line = Line::start(DELAY)?;
    line.lead_to(&source.address(1));
    source.advertise(1, line.port());
    source.create_topic("t", 1, 1, &[]);
    target.create_topic("a.t", 1, 1, &[]);
    for number in 0..BATCHES {
        let (key, value) = (Bytes::from(number.to_string()), Bytes::from(vec![number as u8; SIZE]));
        let record = Record {
            timestamp_delta: 0,
            offset_delta: 0,
            key: Some(key),
            value: Some(value),
            headers: vec![],
        };
        let spec = Spec { base_timestamp: now(), records: vec![record], ..Spec::default() };
        source.append("t", 0, &spec.batch());
    }
    let spec = LaneSpec {
        task: TaskName::Replicate { mirror: "m".parse()?, target_topic: "a.t".to_owned(), block: 0 },
        epoch: Epoch(1),
        worker: WorkerId::new("w".to_owned())?,
        mirror: mirror(v1::Engine::Native, v1::Guarantee::AtLeastOnce),
        range: range(1),
        source: handle("a", &source)?,
        target: handle("b", &target)?,
    };
    let began = Instant::now();
    let mut lane = start(spec, &Budget::new(256 << 20));
    let (mut first, mut here) = (None, 0);
    while here < BATCHES as i64 {
        ensure!(
            began.elapsed() < SOON,
            "{here} of {BATCHES} batches are there: {:?}",
            lane.status().borrow().clone()
        );
        sleep(LOOK).await;
        here = target.bounds("a.t", 0).end;
        if here > 0 {
            first.get_or_insert_with(Instant::now);
        }
    }
    let first = first.unwrap_or(began);
    let (waited, rate) = (first - began, (BATCHES * SIZE) as f64 / first.elapsed().as_secs_f64() / 1e6);
    println!("over {:?} there and back: the first record after {waited:.2?}, then {rate:.0} MB/s", 2 * DELAY);
    lane.drain();
    lane.stopped().await;
    same(&source, &target, "t", 0)?;
    ensure!(rate >= AT_LEAST, "{rate} MB/s");
    ensure!(waited < FIRST, "the first record came after {waited:?}");
    Ok(())
}
