//! W10: what MirrorMaker 2 keeps for itself has grown large; taking over still takes seconds.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use twinlog_proto::v1::{Mirror, TakeOver};
use twinlog_tests::sandbox::{Kafka, wait_until};
use twinlog_tests::tools::{Isolation, LoadOptions};
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::alone;

const SETTLED: Duration = Duration::from_secs(180);
/// From the command to the first record of the last range, without compaction having helped: 200,000 entries each. 5 s on a quiet
/// machine; reading them for each of the 32 ranges would take minutes.
const BEGINS: Duration = Duration::from_secs(30);
const ENTRIES: u32 = 200_000;
const TOPICS: u32 = 8;
const PARTITIONS: u32 = 4;
/// Of each partition, and how many of them MM2 has copied.
const RECORDS: u64 = 1_000;
const COPIED: i64 = 600;

fn topic(number: u32) -> String {
    format!("big.{number}")
}

/// Many small records, as fast as the broker takes them.
fn fill(kafka: &Kafka, name: &str, records: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<()> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .set("linger.ms", "50")
        .set("partitioner", "murmur2_random")
        .create()?;
    for (key, value) in records {
        let mut record = BaseRecord::to(name).key(&key).payload(&value);
        while let Err((error, again)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            producer.poll(Duration::from_millis(20));
            record = again;
        }
    }
    producer.flush(SETTLED).context("filling a topic")
}

/// As Connect writes it.
fn position(topic: &str, partition: u32, offset: i64) -> (Vec<u8>, Vec<u8>) {
    let key =
        format!(r#"["MirrorSourceConnector",{{"cluster":"a","partition":{partition},"topic":"{topic}"}}]"#);
    (key.into_bytes(), format!(r#"{{"offset":{offset}}}"#).into_bytes())
}

/// As MM2 writes it.
fn sync(topic: &str, partition: u32, source: i64, target: i64) -> (Vec<u8>, Vec<u8>) {
    let length = u16::try_from(topic.len()).expect("a short name");
    let key = [&length.to_be_bytes()[..], topic.as_bytes(), &partition.to_be_bytes()].concat();
    (key, [source.to_be_bytes(), target.to_be_bytes()].concat())
}

/// MM2 has run for long: every key was written many times, and thousands of topics are there no more.
fn arrange(world: &World) -> Result<()> {
    let (source, target) = (&world.source, &world.target);
    for number in 0..TOPICS {
        let name = topic(number);
        world.tools.create_topic(source, &name, PARTITIONS, &[])?;
        let records = Some(RECORDS * u64::from(PARTITIONS));
        world.tools.load(
            source,
            &name,
            &LoadOptions { rate: 50_000.0, records, ..LoadOptions::new(PARTITIONS) },
        )?;
    }
    let compact = [("cleanup.policy", "compact")];
    world.tools.create_topic(target, "mm2-offsets.a.internal", 25, &compact)?;
    world.tools.create_topic(source, "mm2-offset-syncs.b.internal", 1, &compact)?;
    let of = |entry: u32| match entry % 4 {
        0 => (topic(entry / 4 % TOPICS), entry / 4 / TOPICS % PARTITIONS),
        _ => (format!("gone.{}", entry % 20_000), entry % PARTITIONS),
    };
    let older = |entry: u32| i64::from(entry) * (COPIED - 2) / i64::from(ENTRIES);
    let entries = (0..ENTRIES).map(|entry| (of(entry), older(entry)));
    fill(target, "mm2-offsets.a.internal", entries.clone().map(|((t, p), at)| position(&t, p, at)))?;
    fill(source, "mm2-offset-syncs.b.internal", entries.map(|((t, p), at)| sync(&t, p, at, at)))?;
    let all = || (0..TOPICS).flat_map(|n| (0..PARTITIONS).map(move |p| (topic(n), p)));
    fill(target, "mm2-offsets.a.internal", all().map(|(t, p)| position(&t, p, COPIED - 1)))
}

#[test]
fn a_take_over_with_large_internal_topics_begins_within_seconds() -> Result<()> {
    let _alone = alone();
    let world = World::start("handover-large", WorldOptions { etcd_members: 0, ..WorldOptions::default() })?;
    arrange(&world)?;
    for number in 0..TOPICS {
        world.tools.tail(&world.target, &format!("a.{}", topic(number)), Isolation::Committed)?;
    }
    let begin = Instant::now();
    let take_over = Some(TakeOver::default());
    world.api.add_mirror("m", Mirror { take_over, block_size: 2, ..mirror(&[r"big\..*"]) })?;
    wait_until(SETTLED, "every partition to be copied from where MM2 stopped", || {
        for number in 0..TOPICS {
            let seen = world.tools.tail_stats(&format!("a.{}", topic(number)), false)?;
            if seen.partitions.len() < PARTITIONS as usize {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })?;
    let took = begin.elapsed();
    println!(
        "taken over, with {ENTRIES} positions and {ENTRIES} offset syncs: every range flows after {took:.2?}"
    );
    assert!(took < BEGINS, "{took:?}");
    for number in 0..TOPICS {
        let copy = format!("a.{}", topic(number));
        let rest = RECORDS - COPIED.unsigned_abs();
        wait_until(SETTLED, &format!("the rest of {copy}"), || {
            let seen = world.tools.tail_stats(&copy, false)?;
            Ok(seen.partitions.values().all(|p| p.next == RECORDS).then_some(()))
        })?;
        let seen = world.tools.stop_tail(&copy)?;
        for (partition, found) in &seen.partitions {
            let counted = (found.records, found.missing, found.duplicates);
            // The target was empty: what MM2 had copied is what the reader misses.
            assert_eq!(counted, (rest, COPIED.unsigned_abs(), 0), "{copy} partition {partition}");
        }
    }
    Ok(())
}
