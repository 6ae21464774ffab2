//! W24: records whose timestamps the target doesn't take, and targets that replace timestamps.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use twinlog_proto::v1;
use twinlog_tests::api::causes;
use twinlog_tests::sandbox::{Kafka, wait_until};
use twinlog_tests::tools::{Isolation, LoadOptions};
use twinlog_tests::world::{World, WorldOptions, mirror, naming};

use crate::alone;

const SAID: Duration = Duration::from_secs(40);
/// Partitions that stopped are tried again every 30 s.
const HEALED: Duration = Duration::from_secs(75);
const DAY: i64 = 24 * 3_600_000;
const MIXED: &str = "t.mixed";
/// Year 292278994: no calendar has it.
const LAST: i64 = i64::MAX;

fn now() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis())?)
}

/// Writes records with these timestamps to a partition, as few batches as may be.
fn produce(kafka: &Kafka, topic: &str, partition: i32, timestamps: &[i64]) -> Result<()> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .set("enable.idempotence", "true")
        .set("linger.ms", "50")
        .create()?;
    for (number, timestamp) in timestamps.iter().enumerate() {
        let (key, value) = (format!("{partition}-{number}"), format!("{timestamp}"));
        let record =
            BaseRecord::to(topic).partition(partition).timestamp(*timestamp).key(&key).payload(&value);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(SAID).context("the source takes any timestamp")
}

/// Fifty of now, then `odd`, then fifty of now.
fn around(odd: &[i64]) -> Result<Vec<i64>> {
    let good = vec![now()?; 50];
    Ok([&good, odd, &good].concat())
}

/// Source topics take any time, copies only an hour around now. One range has all partitions of the mixed topic.
fn arrange(world: &World) -> Result<()> {
    let (source, target) = (&world.source, &world.target);
    let open = ["message.timestamp.before.max.ms", "message.timestamp.after.max.ms"]
        .map(|name| (name, "9223372036854775807"));
    let narrow = open.map(|(name, _)| (name, "3600000"));
    world.tools.create_topic(source, MIXED, 4, &open)?;
    for copy in ["a.t.mixed", MIXED] {
        world.tools.create_topic(target, copy, 4, &narrow)?;
    }
    produce(source, MIXED, 0, &around(&[now()? - 10 * DAY, now()? - 9 * DAY, 1])?)?;
    produce(source, MIXED, 1, &around(&[now()? + 2 * DAY, LAST])?)?;
    produce(source, MIXED, 2, &around(&[])?)?;
    world.tools.create_topic(source, "t.stamped", 1, &[])?;
    world.tools.create_topic(target, "a.t.stamped", 1, &[("message.timestamp.type", "LogAppendTime")])?;
    produce(source, "t.stamped", 0, &around(&[now()? - DAY])?)?;
    world.tools.create_topic(source, "t.steady", 2, &[])?;
    world.tools.tail(target, "a.t.steady", Isolation::Committed)?;
    world.tools.load(source, "t.steady", &LoadOptions { rate: 500.0, ..LoadOptions::new(2) })
}

/// What stops partition 0 or 1 of the mixed topic, once it is said.
fn wait_stopped(world: &World, id: &str, partition: i32) -> Result<String> {
    wait_until(SAID, &format!("{id}: {MIXED} partition {partition} to stop by name"), || {
        let ranges = world.api.ranges(id)?;
        let partitions = ranges.iter().filter(|r| r.source_topic == MIXED).flat_map(|r| &r.partitions);
        let stopped = partitions.filter(|p| p.partition == partition && p.state() == v1::State::Stopped);
        Ok(stopped.filter_map(|p| p.cause.as_ref()).next().cloned())
    })
    .and_then(|cause| {
        ensure!(cause.reason == "RECORD_REFUSED", "{cause:?}");
        Ok(cause.message)
    })
}

fn named(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

/// The partitions stop before the first record that is refused, the others go on, and so do these once the topic takes the records.
#[test]
fn records_that_the_target_finds_too_old_or_too_young_stop_their_partition_by_name() -> Result<()> {
    let _alone = alone();
    let world = World::start("timestamps", WorldOptions { etcd_members: 0, ..WorldOptions::default() })?;
    arrange(&world)?;
    world.api.add_mirror("m", mirror(&[r"t\..*"]))?;
    let at_least_once = v1::Mirror {
        guarantee: v1::Guarantee::AtLeastOnce.into(),
        naming: naming(v1::naming::Kind::Identity),
        ..mirror(&[r"t\.mixed"])
    };
    world.api.add_mirror("n", at_least_once)?;

    let copies = [("m", "a.t.mixed"), ("n", MIXED)];
    for (id, copy) in copies {
        let message = wait_stopped(&world, id, 0)?;
        let before =
            ["t.mixed partition 0 offset 50:", copy, "past", "message.timestamp.before.max.ms=3600000"];
        named(&message, &before);
        let message = wait_stopped(&world, id, 1)?;
        let after =
            ["t.mixed partition 1 offset 50:", copy, "future", "message.timestamp.after.max.ms=3600000"];
        named(&message, &after);
    }
    println!("{}", wait_stopped(&world, "m", 0)?);
    replaced_timestamps_are_named(&world)?;

    // What is sound goes on: before the refused records, in the same range, and in another.
    produce(&world.source, MIXED, 2, &around(&[])?)?;
    for (_, copy) in copies {
        wait_until(SAID, &format!("all of {copy} that can be copied"), || {
            let dump = world.tools.dump(&world.target, copy, Isolation::Committed)?;
            let counts = [0, 1, 2].map(|p| dump.partitions[&p].records.len());
            ensure!(counts[0] <= 50 && counts[1] <= 50, "records behind a refused one: {counts:?}");
            Ok((counts == [50, 50, 200]).then_some(()))
        })?;
    }
    let steady = world.tools.tail_stats("a.t.steady", false)?;
    println!("another topic meanwhile: silent for {} ms at most", steady.silence_ms);
    assert!(steady.wrong == 0 && steady.silence_ms < 3_000, "{steady:?}");

    // Only the past is allowed first: the other partition still says what it waits for.
    for (id, copy) in copies {
        world.tools.alter_topic(&world.target, copy, &[("message.timestamp.before.max.ms", "")])?;
        if id == "m" {
            world.tools.alter_topic(
                &world.target,
                copy,
                &[("message.timestamp.after.max.ms", "9223372036854775807")],
            )?;
        }
    }
    world.wait_exact(MIXED, "a.t.mixed", HEALED)?;
    let only_past = wait_until(HEALED, "partition 0 of the other copy", || {
        let dump = world.tools.dump(&world.target, MIXED, Isolation::Committed)?;
        let counts = [0, 1].map(|p| dump.partitions[&p].records.len());
        Ok((counts[0] == 103).then_some(counts))
    })?;
    assert_eq!(only_past, [103, 50]);
    named(&wait_stopped(&world, "n", 1)?, &["message.timestamp.after.max.ms"]);
    world.tools.stop_load("t.steady")?;
    world.wait_exact("t.steady", "a.t.steady", SAID)?;
    assert_eq!(world.tools.stop_tail("a.t.steady")?.wrong, 0);
    Ok(())
}

/// Nobody changes what is set by hand on the copy, but it isn't silent.
fn replaced_timestamps_are_named(world: &World) -> Result<()> {
    let message = world.api.wait_cause("m", "TIMESTAMPS_REPLACED", SAID)?;
    named(&message, &["a.t.stamped", "message.timestamp.type=CreateTime"]);
    assert!(!message.contains("mixed"), "only what replaces timestamps: {message}");
    let plan = v1::PlanMirrorRequest { name: "mirrors/m".into() };
    let plan = world.api.plan_mirror(plan).map_err(twinlog_tests::api::told)?;
    assert!(plan.warnings.iter().any(|w| w.reason == "TIMESTAMPS_REPLACED"), "{:?}", plan.warnings);
    world.tools.alter_topic(&world.target, "a.t.stamped", &[("message.timestamp.type", "CreateTime")])?;
    wait_until(SAID, "nothing more to be said of it", || {
        let said = causes(&world.api.status("m")?);
        Ok(said.iter().all(|cause| cause.reason != "TIMESTAMPS_REPLACED").then_some(()))
    })
}
