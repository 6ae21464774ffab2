//! A source of the ZooKeeper era: Kafka 2.8.2, without topic ids, with messages as brokers before 0.11 wrote them (v0, v1).

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use prost_types::FieldMask;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::json;
use twinlog_proto::v1::{GapPolicy, Guarantee, Mirror, Partitioning, UpdateMirrorRequest, naming::Kind};
use twinlog_tests::api::told;
use twinlog_tests::sandbox::{KafkaOptions, wait_until};
use twinlog_tests::tools::{Committed, Isolation};
use twinlog_tests::verify::expected_offset;
use twinlog_tests::world::{World, WorldOptions, mirror, naming};

use crate::beside;

const COPIED: Duration = Duration::from_secs(60);
const PARTITIONS: u32 = 2;
const RECORDS: u64 = 1_000;
/// A message format, and the version of brokers that wrote it.
const V0: (&str, &str) = ("v0", "0.9.0");
const V1: (&str, &str) = ("v1", "0.10.2");
const V2: (&str, &str) = ("v2", "2.7");
const COMPRESSIONS: [&str; 4] = ["none", "gzip", "snappy", "lz4"];

fn world(name: &str, workers: usize) -> Result<World> {
    // Before 2.8 there were no topic ids; from 3.0 on brokers write v2 whatever a topic says.
    let source = KafkaOptions::default().version("2.8.2").prop("inter.broker.protocol.version", "2.7");
    World::start(name, WorldOptions { source, workers, etcd_members: 0, ..WorldOptions::default() })
}

fn create(world: &World, topic: &str, (_, version): (&str, &str)) -> Result<()> {
    world.tools.create_topic(&world.source, topic, PARTITIONS, &[("message.format.version", version)])
}

fn set_format(world: &World, topic: &str, (_, version): (&str, &str)) -> Result<()> {
    world.tools.alter_topic(&world.source, topic, &[("message.format.version", version)])?;
    // The broker learns of it by ZooKeeper.
    std::thread::sleep(Duration::from_millis(500));
    Ok(())
}

/// Starts to write records, some of them without key or value.
fn load(world: &World, topic: &str, compression: &str, rate: f64, records: Option<u64>) -> Result<()> {
    let mut load = json!({
        "bootstrap": world.source.bootstrap(), "name": topic, "topic": topic, "partitions": PARTITIONS,
        "rate": rate, "value_bytes": 100, "compression": compression, "idempotent": "false", "nulls": true,
    });
    if let Some(records) = records {
        load["records"] = json!(records);
    }
    world.tools.call("load_start", load).map(drop)
}

fn fill(world: &World, topic: &str, compression: &str) -> Result<()> {
    load(world, topic, compression, 20_000.0, Some(RECORDS))?;
    wait_until(COPIED, &format!("all records of {topic} on the source"), || {
        Ok((world.tools.load_stats(topic)?.values().sum::<u64>() == RECORDS).then_some(()))
    })?;
    world.tools.stop_load(topic).map(drop)
}

/// Issue 4, 10.
#[test]
fn every_message_format_and_codec_is_copied_exactly() -> Result<()> {
    let _beside = beside();
    let world = world("legacy", 1)?;
    let mut topics = vec!["old.v2.lz4".to_owned()];
    create(&world, &topics[0], V2)?;
    fill(&world, &topics[0], "lz4")?;
    // All formats in one fetch answer, also backwards.
    let mixed = ["none", "lz4"].map(|compression| format!("old.mixed.{compression}"));
    for (topic, compression) in mixed.iter().zip(["none", "lz4"]) {
        create(&world, topic, V0)?;
        for format in [V0, V2, V1, V2] {
            set_format(&world, topic, format)?;
            fill(&world, topic, compression)?;
        }
    }
    for format in [V0, V1] {
        for compression in COMPRESSIONS {
            let topic = format!("old.{}.{compression}", format.0);
            create(&world, &topic, format)?;
            fill(&world, &topic, compression)?;
            topics.push(topic);
        }
    }
    world.api.add_mirror("m", Mirror { groups: vec!["billing".into()], ..mirror(&[r"old\..*"]) })?;
    other_ways(&world)?;
    for topic in &topics {
        let verdict = world.wait_exact(topic, &format!("a.{topic}"), COPIED)?;
        assert_eq!(verdict.source_records as u64, RECORDS, "{topic}");
    }
    for topic in mixed {
        let verdict = world.wait_exact(&topic, &format!("a.{topic}"), COPIED)?;
        assert_eq!(verdict.source_records as u64, 4 * RECORDS, "{topic}");
    }
    // v0 has no timestamps, and its copies have none.
    let copied = world.tools.dump(&world.target, "a.old.v0.gzip", Isolation::Committed)?;
    assert!(copied.partitions.values().flat_map(|p| &p.records).all(|r| r.timestamp == -1));
    // A setting of old brokers that new ones refuse is not copied.
    let configs = world.tools.topic_configs(&world.target, "a.old.v2.lz4")?;
    assert!(!configs.contains_key("message.format.version"), "{configs:?}");

    for (topic, offset) in [("old.v2.lz4", 321), ("old.v1.gzip", 123), ("old.v0.none", 400)] {
        translated(&world, topic, offset)?;
    }
    // At the end of an old log there is no lag, and what comes then is copied too.
    wait_until(COPIED, "no lag", || {
        let ranges = world.api.ranges("m")?;
        let mut partitions = ranges.iter().flat_map(|r| &r.partitions);
        Ok(partitions.all(|p| p.source_end.is_some() && p.lag_records == Some(0)).then_some(()))
    })?;
    for topic in ["old.v0.none", "old.v1.snappy"] {
        fill(&world, topic, "snappy")?;
        let verdict = world.wait_exact(topic, &format!("a.{topic}"), COPIED)?;
        assert_eq!(verdict.source_records as u64, 2 * RECORDS, "{topic}");
    }
    Ok(())
}

/// At least once, and by key.
fn other_ways(world: &World) -> Result<()> {
    let least = Guarantee::AtLeastOnce.into();
    let identity = naming(Kind::Identity);
    let mirror_of = |topic| Mirror { guarantee: least, naming: identity.clone(), ..mirror(&[topic]) };
    world.api.add_mirror("least", mirror_of("old.v1.lz4"))?;
    world.wait_exact("old.v1.lz4", "old.v1.lz4", COPIED)?;
    let by_key = Mirror { partitioning: Partitioning::ByKey.into(), ..mirror_of("old.v0.lz4") };
    world.tools.create_topic(&world.target, "old.v0.lz4", 5, &[])?;
    world.api.add_mirror("by-key", by_key)?;
    let sorted = |kafka| -> Result<Vec<(String, String)>> {
        let dump = world.tools.dump(kafka, "old.v0.lz4", Isolation::Committed)?;
        let records = dump.partitions.into_values().flat_map(|p| p.records);
        let mut records: Vec<_> = records.map(|r| (r.key, r.value)).collect();
        records.sort();
        Ok(records)
    };
    let source = sorted(&world.source)?;
    wait_until(COPIED, "the copy by key to hold the same records", || {
        Ok((sorted(&world.target)? == source).then_some(()))
    })
}

/// The group's offset on a source topic leads to the same record on the target.
fn translated(world: &World, topic: &str, offset: i64) -> Result<()> {
    let committed = Committed { topic: topic.into(), partition: 1, offset, metadata: "m".into() };
    world.tools.commit(&world.source, "billing", std::slice::from_ref(&committed))?;
    let copy = format!("a.{topic}");
    let source = world.tools.dump(&world.source, topic, Isolation::Committed)?;
    let target = world.tools.dump(&world.target, &copy, Isolation::Committed)?;
    let expected = expected_offset(&source, &target, 1, offset).context("the copy is complete")?;
    wait_until(COPIED, &format!("the group's checkpoint on {topic}"), || {
        if !world.tools.topics(&world.target)?.iter().any(|topic| topic == "a.checkpoints.internal") {
            return Ok(None);
        }
        let view = world.tools.mirror_client(&world.target, "a", "billing")?;
        let found = view.offsets.iter().find(|o| o.topic == copy && o.partition == 1);
        Ok(found.is_some_and(|o| o.offset == expected).then_some(()))
    })
}

/// Topics change their format while they are written and mirrored: upwards, as clusters are upgraded, and back.
#[test]
fn a_log_that_changes_its_format_is_copied_exactly_also_through_a_kill() -> Result<()> {
    let _beside = beside();
    let world = world("legacy-turns", 2)?;
    let topics = [("up", "lz4", V0), ("back.none", "none", V2), ("back.gzip", "gzip", V2)];
    for (topic, compression, format) in topics {
        create(&world, topic, format)?;
        load(&world, topic, compression, 1_000.0, None)?;
    }
    world.api.add_mirror("m", Mirror { block_size: 1, ..mirror(&["up", r"back\..*"]) })?;
    for (topic, ..) in topics {
        wait_some(&world, topic)?;
    }
    hard_to_read(&world)?;
    let turn = |formats: [(&str, &str); 3]| -> Result<()> {
        for ((topic, ..), format) in topics.iter().zip(formats) {
            set_format(&world, topic, format)?;
        }
        std::thread::sleep(Duration::from_secs(2));
        Ok(())
    };
    turn([V1, V1, V1])?;
    for worker in &world.workers {
        worker.process.check_running()?;
        worker.process.kill9()?;
        std::thread::sleep(Duration::from_secs(2));
        worker.process.start_again()?;
    }
    turn([V2, V2, V2])?;
    turn([V2, V0, V0])?;
    world.workers.iter().try_for_each(|worker| worker.process.check_running())?;
    for (topic, ..) in topics {
        let written = world.tools.stop_load(topic)?.values().sum::<u64>();
        let verdict = world.wait_exact(topic, &format!("a.{topic}"), COPIED)?;
        assert_eq!(verdict.source_records as u64, written, "{topic}: {verdict}");
        println!("{topic}: {verdict}");
    }
    let logs: String = world.workers.iter().map(|worker| worker.process.log()).collect();
    for topic in ["back.none", "back.gzip"] {
        let noticed = |line: &&str| line.contains("goes on in an old message format") && line.contains(topic);
        let times = logs.lines().filter(noticed).count();
        assert!(times > 0, "nothing in the logs tells that {topic} turned back");
        println!("{topic} was seen to turn back {times} times");
    }
    Ok(())
}

/// What librdkafka, left to itself, makes something else of, or ends the process at (a null value with another message behind it).
fn hard_to_read(world: &World) -> Result<()> {
    create(world, "back.hard", V2)?;
    fill(world, "back.hard", "none")?;
    world.wait_exact("back.hard", "a.back.hard", COPIED)?;
    set_format(world, "back.hard", V1)?;
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", world.source.bootstrap()).create()?;
    let to = |partition| BaseRecord::<[u8], [u8]>::to("back.hard").partition(partition);
    let large = [7; 200 << 10];
    let records = [
        to(1).key(&large).payload(b"large"),
        to(0).key(b"k"),
        to(0).key(b"k"),
        to(0).key(b"k").timestamp(-1),
    ];
    let count = records.len() as u64;
    for record in records {
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(COPIED)?;
    let verdict = world.wait_exact("back.hard", "a.back.hard", COPIED)?;
    assert_eq!(verdict.source_records as u64, RECORDS + count);
    Ok(())
}

/// Waits until some of a topic is copied.
fn wait_some(world: &World, topic: &str) -> Result<()> {
    let copy = format!("a.{topic}");
    wait_until(COPIED, &format!("records in {copy}"), || {
        if !world.tools.topics(&world.target)?.contains(&copy) {
            return Ok(None);
        }
        Ok((world.tools.dump(&world.target, &copy, Isolation::Committed)?.records() > 0).then_some(()))
    })
}

/// A byte that has changed on the source's disk is never copied: its partition says so, the others go on.
#[test]
fn a_damaged_old_message_stops_its_partition_by_name() -> Result<()> {
    let _beside = beside();
    let world = world("legacy-damage", 1)?;
    create(&world, "worn", V1)?;
    fill(&world, "worn", "gzip")?;
    fill(&world, "worn", "none")?;
    let whole = world.tools.dump(&world.source, "worn", Isolation::Committed)?;
    let offset = damage_middle(&world, "worn-0")?;
    world.api.add_mirror("m", mirror(&["worn"]))?;
    let message = world.api.wait_cause("m", "SOURCE_RECORD_UNREADABLE", COPIED)?;
    let named = ["worn partition 0", "checksum", &format!("offset {offset} ")];
    assert!(named.iter().all(|part| message.contains(part)), "{message}");
    let copied = || world.tools.dump(&world.target, "a.worn", Isolation::Committed);
    wait_until(COPIED, "all that can be read to be copied", || {
        let copied = copied()?;
        let sound = copied.partitions[&1].records.len() == whole.partitions[&1].records.len();
        let before = whole.partitions[&0].records.iter().filter(|r| r.offset < offset).count();
        Ok((sound && copied.partitions[&0].records.len() == before).then_some(()))
    })?;
    // What the message says to do.
    world.tools.delete_records(&world.source, "worn", &[(0, offset + 1)])?;
    let request = UpdateMirrorRequest {
        mirror: Some(Mirror {
            name: "mirrors/m".into(),
            gap_policy: GapPolicy::Resume.into(),
            ..Default::default()
        }),
        update_mask: Some(FieldMask { paths: vec!["gap_policy".into()] }),
        ..Default::default()
    };
    world.api.update_mirror(request).map_err(told)?;
    wait_until(COPIED, "the rest to be copied", || {
        let rest = whole.partitions[&0].records.iter().filter(|r| r.offset != offset).count();
        Ok((copied()?.partitions[&0].records.len() == rest).then_some(()))
    })
}

/// Changes a byte of an uncompressed message in the middle of a partition's log; returns its offset.
fn damage_middle(world: &World, partition: &str) -> Result<i64> {
    let log = world.source.broker(1).folder().join("data").join(partition).join("00000000000000000000.log");
    let mut file = OpenOptions::new().read(true).write(true).open(&log).context(log.display().to_string())?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let middle = bytes.len() / 2;
    let (mut at, mut found) = (0, None);
    while at + 18 <= bytes.len() && found.is_none() {
        let offset = i64::from_be_bytes(bytes[at..at + 8].try_into()?);
        let size = i32::from_be_bytes(bytes[at + 8..at + 12].try_into()?);
        let end = at + 12 + usize::try_from(size)?;
        let is_alone = bytes[at + 17] & 7 == 0;
        found = (is_alone && at > middle).then_some((offset, end - 1));
        at = end;
    }
    let (offset, place) = found.context("no message behind the middle")?;
    file.seek(SeekFrom::Start(place as u64))?;
    file.write_all(&[bytes[place] ^ 1])?;
    Ok(offset)
}
