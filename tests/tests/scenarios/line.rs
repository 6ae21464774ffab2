//! One partition over a line of 100 ms there and back: the copy goes as fast as if the source were near, and begins at once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use twinlog_proto::v1;
use twinlog_tests::sandbox::{Kafka, KafkaOptions, Line, wait_until};
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::alone;

const TOPIC: &str = "far-away";
const COPY: &str = "far.far-away";
/// Each way.
const DELAY: Duration = Duration::from_millis(50);
/// Of one record, bytes.
const SIZE: usize = 32 << 10;
/// Records of the backlog, unless `TWINLOG_LINE_RECORDS` says otherwise.
const RECORDS: usize = 8_000;
/// For what must come, on a machine that may be busy with other things.
const SOON: Duration = Duration::from_secs(60);
/// The bound that a debug build keeps, which shares two cores with both clusters and the line; what is usual is printed.
const AT_LEAST: f64 = 25.0;
const FIRST: Duration = Duration::from_secs(8);

fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config
}

/// Numbered records, in batches nearly as large as a topic takes.
fn fill(kafka: &Kafka, records: usize) -> Result<()> {
    let producer: BaseProducer = config(&kafka.bootstrap())
        .set("enable.idempotence", "true")
        .set("batch.size", "1000000")
        .set("linger.ms", "50")
        .create()?;
    let mut value = vec![7; SIZE];
    for number in 0..records {
        value[..8].copy_from_slice(&(number as u64).to_be_bytes());
        while let Err((_, _)) = producer.send(BaseRecord::<(), [u8]>::to(TOPIC).payload(&value).partition(0))
        {
            producer.poll(Duration::from_millis(10));
        }
    }
    producer.flush(SOON)?;
    Ok(())
}

fn reader(kafka: &Kafka) -> Result<BaseConsumer> {
    let consumer: BaseConsumer = config(&kafka.bootstrap())
        .set("group.id", "nobody")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_uncommitted")
        .create()?;
    Ok(consumer)
}

/// When the copy has its first record, and when it has all.
fn watch(kafka: &Kafka, records: usize) -> Result<(Instant, Instant)> {
    let (reader, mut first, expected) = (reader(kafka)?, None, i64::try_from(records)?);
    wait_until(SOON, "the copy to be whole", || {
        // It isn't there at first.
        let Ok((_, end)) = reader.fetch_watermarks(COPY, 0, Duration::from_secs(1)) else { return Ok(None) };
        if end > 0 {
            first.get_or_insert_with(Instant::now);
        }
        Ok((end >= expected).then_some(()))
    })?;
    Ok((first.context("there were records")?, Instant::now()))
}

/// Every record once, in order.
fn is_exact(kafka: &Kafka, records: usize) -> Result<()> {
    let reader = reader(kafka)?;
    let mut assigned = TopicPartitionList::new();
    assigned.add_partition_offset(COPY, 0, Offset::Beginning)?;
    reader.assign(&assigned)?;
    let (mut expected, until) = (0, Instant::now() + SOON);
    while expected < records as u64 {
        ensure!(Instant::now() < until, "{expected} of {records} records are there");
        let Some(message) = reader.poll(Duration::from_millis(200)) else { continue };
        let message = message?;
        let value = message.payload().context("a copy without a value")?;
        let number = u64::from_be_bytes(value[..8].try_into()?);
        ensure!(number == expected && value.len() == SIZE, "{number} stands in the place of {expected}");
        expected += 1;
    }
    Ok(())
}

#[test]
fn one_partition_over_a_long_line() -> Result<()> {
    let _alone = alone();
    let records =
        std::env::var("TWINLOG_LINE_RECORDS").ok().and_then(|text| text.parse().ok()).unwrap_or(RECORDS);
    let line = Line::start(DELAY)?;
    let source = KafkaOptions::default().listener_at("LINE", "PLAINTEXT", &line.address());
    let world = World::start("line", WorldOptions { source, workers: 1, ..Default::default() })?;
    line.lead_to(&world.source.bootstrap_of("LINE")?);
    world.tools.create_topic(&world.source, TOPIC, 1, &[])?;
    fill(&world.source, records)?;
    world.api.add_cluster("far", &line.address(), &[])?;
    let began = Instant::now();
    let far =
        v1::Mirror { source: "clusters/far".into(), engine: v1::Engine::Native.into(), ..mirror(&[TOPIC]) };
    world.api.add_mirror("m", far)?;
    let (first, all) = watch(&world.target, records)?;
    let rate = (records * SIZE) as f64 / (all - first).as_secs_f64() / 1e6;
    let waited = first - began;
    println!(
        "over a line of {:?} there and back: the first record after {waited:.2?}, then {rate:.0} MB/s; peak {} MiB",
        2 * DELAY,
        world.workers[0].process.peak_resident_bytes()? >> 20
    );
    is_exact(&world.target, records)?;
    ensure!(rate >= AT_LEAST, "{rate} MB/s");
    ensure!(waited < FIRST, "the first record came after {waited:?}");
    Ok(())
}
