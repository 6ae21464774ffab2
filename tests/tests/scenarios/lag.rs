//! How far a mirror is behind, in every state: what is not copied is shown where nothing runs, and what isn't known is no 0.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;
use twinlog_proto::v1::{self, Mirror, State};
use twinlog_tests::api::told;
use twinlog_tests::sandbox::{Kafka, wait_until};
use twinlog_tests::tools::Committed;
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::alone;

const SAID: Duration = Duration::from_secs(40);
const COPIED: Duration = Duration::from_secs(60);
const KAFKA: Duration = Duration::from_secs(20);
/// Three seconds on a quiet machine.
const NOTICED: Duration = Duration::from_secs(10);

fn producer(kafka: &Kafka, transactional_id: Option<&str>) -> Result<BaseProducer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap()).set("linger.ms", "0");
    if let Some(id) = transactional_id {
        config.set("transactional.id", id).set("transaction.timeout.ms", "600000");
    }
    Ok(config.create()?)
}

fn send(producer: &BaseProducer, topic: &str, records: u32) -> Result<()> {
    for i in 0..records {
        let value = i.to_string();
        let record = BaseRecord::<(), str>::to(topic).partition(0).payload(&value);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    Ok(producer.flush(KAFKA)?)
}

fn produce(world: &World, topic: &str, records: u32) -> Result<()> {
    send(&producer(&world.source, None)?, topic, records)
}

/// Only the topic: a heartbeats topic would never stand still.
fn only(topic: &str) -> Mirror {
    let heartbeats = v1::Heartbeats {
        enabled: Some(false),
        replicate: Some(false),
        on_source: Some(false),
        ..Default::default()
    };
    Mirror { heartbeats: Some(heartbeats), ..mirror(&[topic]) }
}

/// A topic of one partition with so many records.
fn topic(world: &World, name: &str, records: u32) -> Result<()> {
    world.tools.create_topic(&world.source, name, 1, &[])?;
    produce(world, name, records)
}

fn status(world: &World, mirror: &str) -> Result<Value> {
    let text = world.controllers[0].cli(&["mirror", "status", mirror, "--ranges", "-o", "json"])?;
    Ok(serde_json::from_str(&text)?)
}

/// The sample of a metric of the controller; `None`: it has none.
fn metric(world: &World, name: &str, mirror: &str) -> Result<Option<f64>> {
    let text = world.controllers[0].metrics()?;
    let wanted = format!("{name}{{mirror=\"{mirror}\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&wanted).map(str::to_owned));
    value.map(|value| Ok(value.parse()?)).transpose()
}

/// Waits until status, metrics and tables all say this lag; `at_least`: of a source that doesn't answer.
fn wait_lag(world: &World, mirror: &str, lag: i64, at_least: bool) -> Result<Value> {
    let mut last = Value::Null;
    let told = wait_until(SAID, &format!("{mirror} to be {lag} behind"), || {
        last = status(world, mirror)?;
        let totals = &last["totals"];
        ensure!(totals.get("lag_records") != Some(&Value::from(0)) || lag == 0, "never 0: {last:#}");
        let sample = metric(world, "twinlog_mirror_lag_records", mirror)?;
        let equal = totals["lag_records"] == lag && sample == Some(lag as f64);
        Ok((equal && totals["lag_at_least"] == at_least).then_some(()))
    });
    told.with_context(|| format!("{last:#}"))?;
    let table = world.controllers[0].cli(&["mirror", "status", mirror])?;
    let expected =
        if at_least { format!("lag at least {lag} (unknown since 20") } else { format!("lag {lag},") };
    ensure!(table.contains(&expected), "{table}");
    Ok(last)
}

/// Waits until the lag is said to be unknown, in every place.
fn wait_unknown(world: &World, mirror: &str) -> Result<Value> {
    let mut last = Value::Null;
    let told = wait_until(SAID, &format!("the lag of {mirror} to be unknown"), || {
        last = status(world, mirror)?;
        let sample = metric(world, "twinlog_mirror_lag_records", mirror)?;
        let unknown = metric(world, "twinlog_mirror_partitions_lag_unknown", mirror)?;
        Ok((last["totals"].get("lag_records").is_none() && sample.is_none() && unknown == Some(1.0))
            .then_some(()))
    });
    told.with_context(|| format!("{last:#}"))?;
    let table = world.controllers[0].cli(&["mirror", "status", mirror])?;
    ensure!(table.contains("lag unknown since 20"), "{table}");
    Ok(last)
}

fn wait_state(world: &World, mirror: &str, state: State, deadline: Duration) -> Result<Duration> {
    let begin = Instant::now();
    wait_until(deadline, &format!("{mirror} to be {state:?}"), || {
        Ok((world.api.status(mirror)?.state() == state).then_some(()))
    })
    .with_context(|| format!("{:#?}", world.api.status(mirror)))?;
    Ok(begin.elapsed())
}

fn pause(world: &World, mirror: &str) -> Result<()> {
    let name = format!("mirrors/{mirror}");
    world.api.pause_mirror(v1::PauseMirrorRequest { name, ..Default::default() }).map_err(told)?;
    wait_state(world, mirror, State::Paused, SAID).map(drop)
}

#[test]
fn lag_is_shown_in_every_state_and_unknown_is_never_0() -> Result<()> {
    let _alone = alone();
    let options = WorldOptions { workers: 1, etcd_members: 0, ..WorldOptions::default() };
    let world = World::start("lag", options)?;
    for (name, records) in [("live", 100), ("blocked", 900), ("far", 900), ("paused", 100), ("halted", 100)] {
        topic(&world, name, records)?;
    }
    world.api.add_cluster("nowhere", "127.0.0.1:1", &[])?;
    let creation = v1::TopicCreation {
        enabled: Some(true),
        // There is one broker.
        replication_factor: 3,
        ..Default::default()
    };
    world.api.add_mirror("blocked", Mirror { topic_creation: Some(creation), ..only("blocked") })?;
    world.api.add_mirror("far", Mirror { target: "clusters/nowhere".into(), ..only("far") })?;
    let offset = Committed { topic: "paused".into(), partition: 0, offset: 60, metadata: String::new() };
    world.tools.commit(&world.source, "readers", &[offset])?;
    for name in ["live", "paused", "halted"] {
        let groups = if name == "paused" { vec!["readers".to_owned()] } else { Vec::new() };
        world.api.add_mirror(name, Mirror { groups, sync_group_offsets: true, ..only(name) })?;
        world.wait_exact(name, &format!("a.{name}"), COPIED)?;
    }
    wait_lag(&world, "live", 0, false)?;

    let causes = |status: &Value| status["causes"].to_string();
    world.api.wait_cause("blocked", "KAFKA_ERROR", SAID)?;
    let blocked = wait_lag(&world, "blocked", 900, false)?;
    assert!(causes(&blocked).contains("INVALID_REPLICATION_FACTOR"), "{blocked:#}");
    world.api.wait_cause("far", "CLUSTER_UNREACHABLE", SAID)?;
    let far = wait_lag(&world, "far", 900, false)?;
    assert!(causes(&far).contains("CLUSTER_UNREACHABLE") && far["state"] == "STATE_WAITING", "{far:#}");
    paused(&world)?;
    halted(&world)?;
    held(&world)?;
    source_dies(&world)
}

/// Paused: since when, how far behind, and everything as it was, also for a controller that has started since.
fn paused(world: &World) -> Result<()> {
    wait_until(SAID, "the group to be in step", || {
        let groups = world.api.status("paused")?.groups;
        Ok((groups.len() == 1 && groups[0].state() == v1::group_status::State::Synced).then_some(()))
    })?;
    pause(world, "paused")?;
    produce(world, "paused", 50)?;
    let paused = wait_lag(world, "paused", 50, false)?;
    let cause = &paused["causes"][0];
    assert!(cause["reason"] == "PAUSED" && cause["since"].is_string(), "{paused:#}");
    let topic = &paused["topics"][0];
    assert!(topic["state"] == "STATE_PAUSED" && topic["causes"] == serde_json::json!([]), "{paused:#}");
    let partition = &topic["ranges"][0]["partitions"][0];
    assert!(partition["position"] == 100 && partition["source_high_watermark"] == 150, "{paused:#}");
    let group = &paused["groups"][0];
    assert!(group["group"] == "readers" && group["sync_time"].is_string(), "{paused:#}");
    assert!(paused["groups_time"].is_string(), "nobody looks at them now: {paused:#}");
    world.controllers[0].process.restart()?;
    world.controllers[0].wait_ready()?;
    let first = status(world, "paused")?;
    assert_ne!(first["totals"].get("lag_records"), Some(&Value::from(0)), "{first:#}");
    let again = wait_lag(world, "paused", 50, false)?;
    for shown in [&first, &again] {
        for part in ["groups", "groups_time"] {
            assert_eq!(shown[part], paused[part], "{part} before and after: {shown:#}");
        }
    }
    let table = world.controllers[0].cli(&["mirror", "status", "paused"])?;
    assert!(table.contains("groups as they were ") && table.contains("readers"), "{table}");
    Ok(())
}

/// Halted: what is lost counts, because it isn't on the target.
fn halted(world: &World) -> Result<()> {
    pause(world, "halted")?;
    produce(world, "halted", 70)?;
    world.tools.delete_records(&world.source, "halted", &[(0, 120)])?;
    let name = "mirrors/halted".to_owned();
    world.api.resume_mirror(v1::ResumeMirrorRequest { name, ..Default::default() }).map_err(told)?;
    world.api.wait_cause("halted", "SOURCE_OFFSETS_LOST", SAID)?;
    wait_lag(world, "halted", 70, false).map(drop)
}

/// Records behind a transaction that nobody ends: counted, the producer named, and the remedy that is printed works.
fn held(world: &World) -> Result<()> {
    topic(world, "held", 10)?;
    let hanging = producer(&world.source, Some("hanging"))?;
    hanging.init_transactions(KAFKA)?;
    hanging.begin_transaction()?;
    send(&hanging, "held", 1)?;
    produce(world, "held", 30)?;
    world.api.add_mirror("held", only("held"))?;
    let message = world.api.wait_cause("held", "HELD_BY_OPEN_TRANSACTION", SAID)?;
    assert!(message.contains("at offset 10 by an open transaction of producer id "), "{message}");
    let status = wait_lag(world, "held", 31, false)?;
    assert_eq!(status["state"], "STATE_WAITING", "{status:#}");
    let line = world.controllers[0].cli(&["mirror", "list"])?;
    assert!(line.lines().any(|line| line.starts_with("held") && line.contains(" 31 ")), "{line}");

    let (_, remedy) = message.split_once("kafka-transactions.sh ").context(message.clone())?;
    let said = world.tools.transactions(&remedy.split_whitespace().collect::<Vec<_>>())?;
    wait_until(COPIED, "what was held back to be copied", || {
        let copied = world.tools.dump(&world.target, "a.held", twinlog_tests::tools::Isolation::Committed)?;
        Ok((copied.partitions[&0].records.len() == 40).then_some(()))
    })
    .with_context(|| said)?;
    wait_lag(world, "held", 0, false)?;
    wait_state(world, "held", State::Active, SAID)?;
    // Twenty more that can't be read when the source dies. The transaction that was aborted is the producer's last.
    let hanging = producer(&world.source, Some("hanging again"))?;
    hanging.init_transactions(KAFKA)?;
    hanging.begin_transaction()?;
    send(&hanging, "held", 1)?;
    produce(world, "held", 20)?;
    wait_lag(world, "held", 21, false)?;
    // It is kept on the target by then.
    std::thread::sleep(Duration::from_secs(12));
    Ok(())
}

/// The source dies, then the worker and the controller: state, last known lag and its age outlive them.
fn source_dies(world: &World) -> Result<()> {
    world.source.broker(1).kill9()?;
    let took = wait_state(world, "live", State::Waiting, NOTICED)?;
    println!("a dead source is noticed after {took:?}");
    let check = |remembered: bool| -> Result<()> {
        let live = wait_unknown(world, "live")?;
        assert!(live["state"] == "STATE_WAITING" && live["source_contact_time"].is_string(), "{live:#}");
        let states = world.controllers[0].metrics()?;
        assert!(states.contains(r#"twinlog_mirror_state{mirror="live",state="WAITING"} 1"#), "{states}");
        let causes = live["causes"].as_array().context("causes")?;
        let unreachable = causes
            .iter()
            .filter(|cause| cause["message"].as_str().is_some_and(|text| text.contains("cluster a")))
            .count();
        assert_eq!(unreachable, 1, "said once: {live:#}");
        wait_lag(world, "held", 21, true)?;
        wait_lag(world, "halted", 70, true)?;
        let paused = wait_lag(world, "paused", 50, true)?;
        assert_eq!(
            (&paused["state"], &paused["groups"][0]["group"]),
            (&"STATE_PAUSED".into(), &"readers".into()),
            "{paused:#}"
        );
        // Its topics on the target, where ends are kept, are what can't be made: only who saw the source knows.
        if remembered {
            wait_lag(world, "blocked", 900, true)?;
        } else {
            let blocked = status(world, "blocked")?;
            ensure!(blocked["totals"].get("lag_records").is_none(), "unknown: {blocked:#}");
            ensure!(metric(world, "twinlog_mirror_lag_records", "blocked")?.is_none(), "no sample");
        }
        for mirror in ["live", "held", "paused"] {
            let status = status(world, mirror)?;
            let partitions = &status["topics"][0]["ranges"][0]["partitions"];
            assert!(partitions[0]["position"].as_i64() > Some(0), "{status:#}");
            assert!(metric(world, "twinlog_mirror_source_contact_age_seconds", mirror)? > Some(0.0));
        }
        Ok(())
    };
    check(true).context("while the worker runs")?;
    world.workers[0].process.kill9()?;
    world.controllers[0].process.restart()?;
    world.controllers[0].wait_ready()?;
    world.workers[0].process.start_again()?;
    wait_state(world, "live", State::Waiting, SAID)?;
    check(false).context("after everything was restarted")
}
