//! Partitioning by key: a topic of twelve partitions into one of five, as MirrorMaker 1 did it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use twinlog_proto::v1::{
    Engine, Guarantee, Mirror, Naming, Partitioning, SourceOffset, TranslateOffsetsRequest, naming::Kind,
};
use twinlog_tests::api::told;
use twinlog_tests::sandbox::wait_until;
use twinlog_tests::tools::{Isolation, LoadOptions};
use twinlog_tests::verify::{Dump, Record};
use twinlog_tests::world::{World, WorldOptions, mirror, naming};

use crate::beside;

const TOPIC: &str = "orders";
const LEAST: &str = "a-orders";
const SOURCE: u32 = 12;
const TARGET: u32 = 5;
const MIXED: usize = 6_000;
const SETTLED: Duration = Duration::from_secs(60);

/// Records with and without keys, some keys empty; the same keys in every partition.
fn fill(world: &World) -> Result<()> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", world.source.bootstrap())
        .set("enable.idempotence", "true")
        .create()?;
    for n in 0..MIXED {
        let partition = (n % SOURCE as usize) as i32;
        let (key, value) = (format!("key {}", n % 89), format!("mixed {partition} {n:80}"));
        let record = BaseRecord::<str, str>::to(TOPIC).partition(partition).payload(&value);
        let record = match n % 10 {
            0..3 => record,
            3 => record.key(""),
            _ => record.key(&key),
        };
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(SETTLED)?;
    Ok(())
}

fn add_mirrors(world: &World) -> Result<()> {
    let base = Mirror { partitioning: Partitioning::ByKey.into(), block_size: 3, ..mirror(&[TOPIC]) };
    let once = Guarantee::ExactlyOnce.into();
    world
        .api
        .add_mirror("once", Mirror { guarantee: once, naming: naming(Kind::Identity), ..base.clone() })?;
    let prefix = Naming { kind: Kind::Prefix.into(), separator: "-".into(), ..Default::default() };
    let least = Guarantee::AtLeastOnce.into();
    world.api.add_mirror("least", Mirror { guarantee: least, naming: Some(prefix), ..base })?;
    Ok(())
}

/// What can't be matched between two dumps by partition is matched by its value, which is unique.
fn by_value(dump: &Dump) -> HashMap<&str, (i32, &Record)> {
    let records = dump.partitions.iter().flat_map(|(p, all)| all.records.iter().map(|r| (*p, r)));
    records.map(|(p, r)| (r.value.as_str(), (p, r))).collect()
}

/// Nothing lost or changed, every key where Kafka's producer puts it, order kept per source partition and key.
/// Returns how many records are there twice.
fn check(world: &World, topic: &str) -> Result<usize> {
    let source = world.tools.dump(&world.source, TOPIC, Isolation::Committed)?;
    let target = world.tools.dump(&world.target, topic, Isolation::Committed)?;
    let (wanted, found) = (by_value(&source), by_value(&target));
    for (value, (partition, record)) in &wanted {
        let (_, copy) =
            found.get(value).with_context(|| format!("{topic}: {record} of {partition} is missing"))?;
        let same =
            (&copy.key, copy.timestamp, &copy.headers) == (&record.key, record.timestamp, &record.headers);
        ensure!(same, "{topic}: {record} became {copy}");
    }
    ensure!(found.len() == wanted.len(), "{topic} holds what the source doesn't");
    let partitions = world.tools.partitions(&world.target, topic)?;
    let keys: BTreeSet<String> = target
        .partitions
        .values()
        .flat_map(|p| &p.records)
        .map(|r| r.key.clone())
        .filter(|k| k != "-")
        .collect();
    let keys: Vec<String> = keys.into_iter().collect();
    let expected: HashMap<&String, i32> =
        keys.iter().zip(world.tools.partitions_for_keys(&keys, partitions)?).collect();
    let mut keyless = BTreeSet::new();
    for (partition, all) in &target.partitions {
        let mut last: BTreeMap<(&str, i32), i64> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for record in &all.records {
            if record.key == "-" {
                keyless.insert(*partition);
                continue;
            }
            ensure!(expected[&record.key] == *partition, "{topic}: {record} is in partition {partition}");
            let (from, original) = wanted[record.value.as_str()];
            let before = last.insert((&record.key, from), original.offset);
            // At least once, what is copied again is in order, too.
            let again = !seen.insert(&record.value);
            ensure!(
                again || before < Some(original.offset),
                "{topic}: {record} comes after offset {before:?}"
            );
        }
    }
    ensure!(keyless.len() > 1, "{topic}: records without a key are all in {keyless:?}");
    Ok(target.records() - source.records())
}

fn wait_complete(world: &World, topic: &str) -> Result<()> {
    let written = world.tools.dump(&world.source, TOPIC, Isolation::Committed)?.records();
    wait_until(SETTLED, &format!("{topic} to hold {written} records"), || {
        let copied = world.tools.dump(&world.target, topic, Isolation::Committed)?.records();
        Ok((copied >= written).then_some(()))
    })
}

#[test]
fn keys_land_where_kafkas_producer_puts_them_also_through_a_kill() -> Result<()> {
    let _beside = beside();
    let world = World::start("by-key", WorldOptions::default())?;
    world.tools.create_topic(&world.source, TOPIC, SOURCE, &[])?;
    world.tools.create_topic(&world.target, TOPIC, TARGET, &[])?;
    fill(&world)?;
    add_mirrors(&world)?;
    let load = LoadOptions { rate: 3_000.0, value_bytes: 24, ..LoadOptions::new(SOURCE) };
    world.tools.load(&world.source, TOPIC, &load)?;
    for victim in &world.workers {
        wait_until(SETTLED, "every worker to have ranges", || {
            let workers = world.api.workers()?;
            Ok((workers.len() == world.workers.len() && workers.iter().all(|w| w.ranges() > 0)).then_some(()))
        })?;
        std::thread::sleep(Duration::from_secs(1));
        victim.process.kill9()?;
        victim.process.start_again()?;
    }
    std::thread::sleep(Duration::from_secs(1));
    world.tools.stop_load(TOPIC)?;
    for topic in [TOPIC, LEAST] {
        wait_complete(&world, topic)?;
    }
    assert_eq!(check(&world, TOPIC)?, 0, "exactly once");
    println!("at least once wrote {} records twice", check(&world, LEAST)?);
    assert_eq!(world.tools.partitions(&world.target, LEAST)?, SOURCE, "created with the source's partitions");
    assert_eq!(world.tools.partitions(&world.target, TOPIC)?, TARGET, "left as it was");
    who_moves_it_is_said(&world)?;
    translation_is_refused(&world)
}

fn who_moves_it_is_said(world: &World) -> Result<()> {
    let ranges = world.api.ranges("once")?;
    let range = ranges.iter().find(|range| range.source_topic == TOPIC).context("a range")?;
    assert_eq!(
        (range.engine(), range.engine_note.contains("by key")),
        (Engine::Librdkafka, true),
        "{range:?}"
    );
    let table = world.controllers[0].cli(&["mirror", "status", "once", "--ranges"])?;
    assert!(table.contains("librdkafka, transactions (copies are spread by key)"), "{table}");
    Ok(())
}

fn translation_is_refused(world: &World) -> Result<()> {
    let asked = SourceOffset { topic: TOPIC.into(), partition: 3, offset: 1 };
    let request =
        TranslateOffsetsRequest { mirror: "mirrors/once".into(), offsets: vec![asked], ..Default::default() };
    let answer = world.api.translate_offsets(request).map_err(told)?;
    let told: Vec<_> = answer.offsets.iter().map(|o| (o.target_offset, o.reason.as_str())).collect();
    assert_eq!(told, [(None, "PARTITIONED_BY_KEY")]);
    Ok(())
}
