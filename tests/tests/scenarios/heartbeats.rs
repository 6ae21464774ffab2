//! Heartbeats: one for a pair of clusters whatever the number of mirrors, copied once, and only those of clusters that exist.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use twinlog_proto::v1::{self, Mirror};
use twinlog_tests::api::told;
use twinlog_tests::sandbox::{Kafka, wait_until};
use twinlog_tests::tools::Isolation;
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::beside;

const SEEN: Duration = Duration::from_secs(60);
/// How long beats are counted.
const COUNTED: u64 = 10;

/// A record that is so old.
fn produce(kafka: &Kafka, topic: &str, key: &[u8], value: &[u8], age: Duration) -> Result<()> {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", kafka.bootstrap()).create()?;
    let at = millis() - i64::try_from(age.as_millis())?;
    let record = BaseRecord::to(topic).key(key).payload(value).timestamp(at);
    producer.send(record).map_err(|(error, _)| error)?;
    producer.flush(Duration::from_secs(30))?;
    Ok(())
}

fn millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or_default()
}

/// As MirrorMaker writes it: two texts as the key; a version and a time.
fn beat(kafka: &Kafka, topic: &str, flow: (&str, &str), age: Duration) -> Result<()> {
    let mut key = Vec::new();
    for text in [flow.0, flow.1] {
        key.extend(u16::try_from(text.len())?.to_be_bytes());
        key.extend(text.as_bytes());
    }
    let value = [&[0, 0][..], &millis().to_be_bytes()].concat();
    produce(kafka, topic, &key, &value, age)
}

/// Data-path 16, failover 10.
#[test]
fn one_heartbeat_for_a_pair_of_clusters_and_none_of_clusters_that_are_no_more() -> Result<()> {
    let _beside = beside();
    let world =
        World::start("heartbeats", WorldOptions { workers: 1, etcd_members: 0, ..WorldOptions::default() })?;
    let topics = [
        "x.heartbeats",
        "old.heartbeats",
        "z.y.heartbeats",
        "iot.heartbeats",
        "iot2.heartbeats",
        "t1",
        "t2",
        "t3",
    ];
    for topic in topics {
        world.tools.create_topic(&world.source, topic, 1, &[])?;
    }
    beat(&world.source, "x.heartbeats", ("w", "x"), Duration::ZERO)?;
    beat(&world.source, "old.heartbeats", ("v", "old"), Duration::from_secs(3_600))?;
    for topic in ["iot.heartbeats", "iot2.heartbeats"] {
        produce(&world.source, topic, b"sensor-7", b"{\"alive\": true}", Duration::ZERO)?;
    }
    for (id, topics) in [("m1", "t1"), ("m2", "t2"), ("m3", "t3"), ("m4", r"iot\..*")] {
        let groups = vec!["g".into()];
        world.api.add_mirror(id, Mirror { groups, ..mirror(&[topics]) })?;
    }
    for copy in ["a.heartbeats", "a.x.heartbeats", "a.iot.heartbeats", "a.t3"] {
        wait_until(SEEN, copy, || {
            Ok(world.tools.topics(&world.target)?.iter().any(|t| t == copy).then_some(()))
        })?;
    }
    world.wait_exact("x.heartbeats", "a.x.heartbeats", SEEN)?;
    world.wait_exact("iot.heartbeats", "a.iot.heartbeats", SEEN)?;
    beats_once(&world)?;
    said_why(&world)?;
    let on_target = world.tools.topics(&world.target)?;
    for never in ["a.old.heartbeats", "a.z.y.heartbeats", "a.iot2.heartbeats"] {
        ensure!(!on_target.iter().any(|topic| topic == never), "{never} was made");
    }
    another_mirror_takes_over(&world)
}

/// Values of all beats in a topic, and how many records there are.
fn beats(world: &World, kafka: &Kafka, topic: &str) -> Result<(BTreeSet<String>, usize)> {
    let dump = world.tools.dump(kafka, topic, Isolation::Committed)?;
    let records = || dump.partitions.values().flat_map(|p| &p.records);
    Ok((records().map(|record| format!("{} {}", record.key, record.value)).collect(), records().count()))
}

fn beats_once(world: &World) -> Result<()> {
    let count = || -> Result<[usize; 2]> {
        Ok([beats(world, &world.source, "heartbeats")?.1, beats(world, &world.target, "heartbeats")?.1])
    };
    let before = count()?;
    std::thread::sleep(Duration::from_secs(COUNTED));
    let after = count()?;
    for (before, after) in before.into_iter().zip(after) {
        let made = after - before;
        // A dump takes a while, too; four mirrors would make 40.
        ensure!((COUNTED as usize / 2..=COUNTED as usize * 2).contains(&made), "{made} beats in {COUNTED} s");
    }
    let (values, records) = beats(world, &world.target, "a.heartbeats")?;
    ensure!(values.len() == records, "{records} copies of {} beats", values.len());
    Ok(())
}

fn said_why(world: &World) -> Result<()> {
    let copied = |mirror: &str| -> Result<Vec<(String, String)>> {
        let topics = world.api.status(mirror)?.topics;
        Ok(topics.into_iter().map(|topic| (topic.source_topic, topic.note)).collect())
    };
    let of_m1 = copied("m1")?;
    let note = |topic: &str| of_m1.iter().find(|(name, _)| name == topic).map(|(_, note)| note.clone());
    ensure!(note("x.heartbeats").is_some_and(|note| note.contains("x, upstream of a")), "{of_m1:?}");
    ensure!(note("heartbeats").is_some_and(|note| note.contains("heartbeats of a")), "{of_m1:?}");
    ensure!(note("t1") == Some(String::new()), "{of_m1:?}");
    ensure!(copied("m2")? == [("t2".to_owned(), String::new())], "{:?}", copied("m2")?);
    let request = |name: &str| v1::PlanMirrorRequest { name: format!("mirrors/{name}") };
    let planned = |mirror: &str, topic: &str| -> Result<String> {
        let plan = world.api.plan_mirror(request(mirror)).map_err(told)?;
        let topic = plan.topics.into_iter().find(|planned| planned.source_topic == topic);
        Ok(topic.with_context(|| format!("not in the plan of {mirror}"))?.reason)
    };
    for (mirror, topic, reason) in [
        ("m1", "x.heartbeats", "upstream of a"),
        ("m2", "x.heartbeats", "mirrors/m1"),
        ("m1", "old.heartbeats", "without a heartbeat of the last 10 minutes"),
        ("m1", "iot2.heartbeats", "name it in topics"),
    ] {
        let said = planned(mirror, topic)?;
        ensure!(said.contains(reason), "{mirror} says of {topic}: {said}");
    }
    Ok(())
}

fn another_mirror_takes_over(world: &World) -> Result<()> {
    let pause = v1::PauseMirrorRequest { name: "mirrors/m1".into(), ..Default::default() };
    world.api.pause_mirror(pause).map_err(told)?;
    wait_until(SEEN, "m2 to copy heartbeats", || {
        Ok(world
            .api
            .status("m2")?
            .topics
            .iter()
            .any(|topic| topic.source_topic == "heartbeats")
            .then_some(()))
    })?;
    let (before, _) = beats(world, &world.source, "heartbeats")?;
    wait_until(SEEN, "newer beats on the target", || {
        let (now, _) = beats(world, &world.target, "a.heartbeats")?;
        Ok(now.iter().any(|beat| !before.contains(beat)).then_some(()))
    })
}
