//! What keeps a mirror from copying, or slows it down, is named with its remedy; and the remedy works.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use twinlog_proto::v1::{self, Guarantee, State, naming::Kind};
use twinlog_tests::api::causes;
use twinlog_tests::sandbox::{Kafka, KafkaOptions, wait_until};
use twinlog_tests::tools::LoadOptions;
use twinlog_tests::world::{World, WorldOptions, mirror, naming};

use crate::alone;

const SOON: Duration = Duration::from_secs(60);

fn copied(world: &World, mirror: &str, topic: &str) -> Result<i64> {
    let status = world.api.status(mirror)?;
    let topic = status.topics.iter().find(|t| t.source_topic == topic);
    Ok(topic.and_then(|t| t.totals).map_or(0, |totals| totals.records))
}

fn load(world: &World, topic: &str, records: u64, value_bytes: u32) -> Result<()> {
    let options =
        LoadOptions { records: Some(records), value_bytes, compression: "none", ..LoadOptions::new(1) };
    world.tools.load(&world.source, topic, &options)?;
    wait_until(
        SOON,
        "the load to end",
        || Ok((world.tools.load_stats(topic)?[&0] >= records).then_some(())),
    )?;
    world.tools.stop_load(topic).map(drop)
}

fn gone(world: &World, mirror: &str, reason: &str) -> Result<()> {
    wait_until(SOON, &format!("{reason} to be over"), || {
        let status = world.api.status(mirror)?;
        Ok((!causes(&status).iter().any(|cause| cause.reason == reason)).then_some(()))
    })
}

/// What the target can't take, on a source of an older version.
#[test]
fn what_the_target_refuses_is_named_and_the_remedies_work() -> Result<()> {
    let _alone = alone();
    let source = KafkaOptions::default().version("3.9.2");
    let target = KafkaOptions::default().prop("transaction.state.log.replication.factor", "3");
    let options = WorldOptions { source, target, workers: 1, etcd_members: 0, ..Default::default() };
    let world = World::start("causes", options)?;
    world.tools.create_topic(&world.source, "plain", 1, &[])?;
    load(&world, "plain", 50, 100)?;
    without_transactions(&world)?;
    refused_configs(&world)?;
    silent_bootstrap_servers(&world)
}

/// Data-path row 12.
fn without_transactions(world: &World) -> Result<()> {
    let begin = Instant::now();
    world.api.add_mirror("once", mirror(&["plain", "old-.*"]))?;
    let cause = world.api.wait_cause("once", "TRANSACTIONS_UNAVAILABLE", SOON)?;
    println!("named after {:?}: {cause}", begin.elapsed());
    for part in [
        "__transaction_state",
        "there is 1",
        "transaction.state.log.replication.factor=1",
        "transaction.state.log.min.isr=1",
        "--guarantee at-least-once",
    ] {
        ensure!(cause.contains(part), "no {part:?} in {cause}");
    }
    // One remedy: do without.
    let least = v1::Mirror {
        guarantee: Guarantee::AtLeastOnce.into(),
        naming: naming(Kind::Identity),
        ..mirror(&["plain"])
    };
    world.api.add_mirror("least", least)?;
    world.wait_exact("plain", "plain", SOON)?;
    world.api.remove_mirror("least")?;
    // The other one: the two settings, and a restart.
    let broker = world.target.broker(1);
    let file = broker.log_path().with_file_name("server.properties");
    let settings = std::fs::read_to_string(&file)?;
    let mended = settings
        .replace("transaction.state.log.replication.factor=3", "transaction.state.log.replication.factor=1");
    ensure!(mended != settings, "the setting isn't in {settings}");
    std::fs::write(&file, mended)?;
    broker.restart()?;
    world.target.wait_ready()?;
    world.wait_exact("plain", "a.plain", SOON)?;
    gone(world, "once", "TRANSACTIONS_UNAVAILABLE")
}

/// Data-path row 10.
fn refused_configs(world: &World) -> Result<()> {
    let odd =
        [("old-unknown", "message.downconversion.enable", "false"), ("old-small", "segment.bytes", "16384")];
    for (topic, name, value) in odd {
        world.tools.create_topic(&world.source, topic, 1, &[(name, value), ("retention.ms", "-1")])?;
        load(world, topic, 30, 100)?;
    }
    for (topic, name, value) in odd {
        let copy = format!("a.{topic}");
        world.wait_exact(topic, &copy, SOON)?;
        let drift = wait_until(SOON, &format!("{name} of {copy} to be drift"), || {
            let status = world.api.status("once")?;
            let topic = status.topics.into_iter().find(|t| t.target_topic == copy).context("no status")?;
            Ok(topic.drift.into_iter().find(|d| d.name == name && !d.error.is_empty()))
        })?;
        ensure!(drift.source_value.as_deref() == Some(value), "{drift:?}");
        ensure!(drift.error.contains("--config-exclude"), "{drift:?}");
        println!("{name}: {}", drift.error);
        let configs = world.tools.topic_configs(&world.target, &copy)?;
        ensure!(configs["retention.ms"] == "-1", "the other configs are there: {configs:?}");
    }
    let small = world.tools.topic_configs(&world.target, "a.old-small")?;
    ensure!(small["segment.bytes"] == "1048576", "the nearest legal value: {small:?}");
    // The remedy that it names.
    let exclude = r"message\.downconversion\.enable,segment\.bytes";
    world.controllers[0].cli(&["mirror", "update", "once", "--config-exclude", exclude])?;
    wait_until(SOON, "no more drift", || {
        let status = world.api.status("once")?;
        let warned = status.causes.iter().any(|cause| cause.reason == "CONFIG_SYNC_FAILED");
        Ok((!warned && status.topics.iter().all(|topic| topic.drift.is_empty())).then_some(()))
    })
}

/// Data-path row 18.
fn silent_bootstrap_servers(world: &World) -> Result<()> {
    // It takes connections and never says a word.
    let mute = TcpListener::bind("127.0.0.1:0")?;
    let address = mute.local_addr()?;
    let behind = |kafka: &Kafka| format!("{},nowhere.invalid:9092,{}", address, kafka.bootstrap());
    world.api.add_cluster("c", &behind(&world.source), &[])?;
    world.api.add_cluster("d", &behind(&world.target), &[])?;
    let all = v1::Mirror {
        source: "clusters/c".into(),
        target: "clusters/d".into(),
        naming: naming(Kind::Prefix),
        ..mirror(&["plain"])
    };
    let begin = Instant::now();
    world.api.add_mirror("silent", all)?;
    wait_until(SOON, "c.plain", || Ok(world.tools.partitions(&world.target, "c.plain").ok()))?;
    let created = begin.elapsed();
    world.wait_exact("plain", "c.plain", SOON)?;
    let all = begin.elapsed();
    println!("behind two bad servers: topic created after {created:?}, copied after {all:?}");
    // Planning, assigning and two clusters take a moment, too.
    ensure!(created < Duration::from_secs(6) && all < Duration::from_secs(12), "{created:?}, {all:?}");
    Ok(())
}

/// Data-path row 5. The first ten seconds' worth of a quota is free.
#[test]
fn a_quota_of_the_target_is_used_and_named() -> Result<()> {
    const QUOTA: u32 = 40_000;
    const RECORDS: u64 = 60;
    const BYTES: u32 = 20_000;
    let _alone = alone();
    let options = WorldOptions { workers: 1, etcd_members: 0, ..Default::default() };
    let world = World::start("quota", options)?;
    world.tools.create_topic(&world.source, "slow", 1, &[])?;
    load(&world, "slow", RECORDS, BYTES)?;
    world.tools.quota(&world.target, "producer_byte_rate", Some(QUOTA))?;
    let begin = Instant::now();
    let uncompressed = v1::Mirror { compression: v1::Compression::None.into(), ..mirror(&["slow"]) };
    world.api.add_mirror("m", uncompressed)?;
    world.api.wait_cause("m", "THROTTLED", SOON)?;
    // The cluster is asked which quota it is.
    let cause = wait_until(SOON, "the quota to be named", || {
        let all = causes(&world.api.status("m")?);
        Ok(all.into_iter().map(|c| c.message).find(|message| message.contains("producer_byte_rate=40000")))
    })?;
    println!("after {:?}: {cause}", begin.elapsed());
    for part in ["producer_byte_rate=40000", "every client id", "client id twinlog", "kafka-configs.sh"] {
        ensure!(cause.contains(part), "no {part:?} in {cause}");
    }
    let (mut counts, mut states) = (Vec::new(), Vec::new());
    while begin.elapsed() < Duration::from_secs(60) && counts.last().is_none_or(|done| *done < RECORDS as i64)
    {
        std::thread::sleep(Duration::from_secs(1));
        counts.push(copied(&world, "m", "slow")?);
        states.push(world.api.status("m")?.state());
    }
    println!("records after each second: {counts:?}");
    let expected = f64::from(QUOTA) * begin.elapsed().as_secs_f64() / f64::from(BYTES);
    let done = *counts.last().unwrap_or(&0);
    ensure!(done as f64 > expected * 0.5 || done >= RECORDS as i64, "{done} of about {expected}");
    ensure!(counts.windows(21).all(|w| w[20] > w[0]), "no progress for 20 s: {counts:?}");
    ensure!(!states.contains(&State::Waiting), "{states:?}");
    // The remedy: a higher quota.
    world.tools.quota(&world.target, "producer_byte_rate", Some(100_000_000))?;
    world.wait_exact("slow", "a.slow", SOON)?;
    gone(&world, "m", "THROTTLED")
}

/// Data-path row 19: a partition without a leader, and idle connections that brokers close.
#[test]
fn the_log_says_what_changes_and_no_more() -> Result<()> {
    let _alone = alone();
    let target = KafkaOptions::default()
        .brokers(3)
        .prop("connections.max.idle.ms", "2000")
        .prop("default.replication.factor", "1")
        .prop("min.insync.replicas", "1");
    let source = KafkaOptions::default().prop("connections.max.idle.ms", "2000");
    let options = WorldOptions { source, target, workers: 1, etcd_members: 0, ..Default::default() };
    let world = World::start("log", options)?;
    world.tools.create_topic(&world.source, "t", 3, &[])?;
    let steady = LoadOptions { rate: 50.0, ..LoadOptions::new(3) };
    world.tools.load(&world.source, "t", &steady)?;
    world.api.add_mirror("m", v1::Mirror { block_size: 1, ..mirror(&["t"]) })?;
    wait_until(SOON, "a copy", || Ok((copied(&world, "m", "t")? > 50).then_some(())))?;
    let lines = || -> Vec<String> { world.workers[0].process.log().lines().map(str::to_owned).collect() };
    world.tools.stop_load("t")?;
    // The copy of the heartbeats topic comes a few seconds after the first one.
    wait_until(SOON, "the log to stand still after the start", || {
        let before = lines().len();
        std::thread::sleep(Duration::from_secs(4));
        Ok((lines().len() == before).then_some(()))
    })?;
    let before = lines().len();
    std::thread::sleep(Duration::from_secs(8));
    let idle = lines().split_off(before);
    println!("while idle connections are closed: {idle:#?}");
    ensure!(idle.len() <= 3, "{} lines", idle.len());

    // Its partitions have no other replica.
    world.tools.load(&world.source, "t", &steady)?;
    let before = lines().len();
    world.target.broker(3).kill9()?;
    std::thread::sleep(Duration::from_secs(12));
    let leaderless = lines().split_off(before);
    println!("without a leader: {leaderless:#?}");
    ensure!(leaderless.len() <= 12, "{} lines", leaderless.len());
    world.target.broker(3).start_again()?;
    world.target.wait_ready()?;
    world.tools.stop_load("t")?;
    world.wait_exact("t", "a.t", SOON)?;
    let all = lines();
    ensure!(!all.iter().any(|line| line.contains("ERROR")), "{all:#?}");
    let odd = ["brokers are down", "AllBrokersDown", "within 0 ms"];
    ensure!(!all.iter().any(|line| odd.iter().any(|text| line.contains(text))), "{all:#?}");
    Ok(())
}
