//! Consumer groups of every kind keep their place, whatever is switched on and off around them.

use std::time::Duration;

use anyhow::{Context, Result};
use prost_types::{Duration as Wire, FieldMask};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use twinlog_proto::v1;
use twinlog_tests::api::told;
use twinlog_tests::sandbox::{Kafka, wait_until};
use twinlog_tests::tools::{Committed, Isolation, LoadOptions};
use twinlog_tests::verify::expected_offset;
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::beside;

const SEEN: Duration = Duration::from_secs(30);
const TOPIC: &str = "g.orders";
/// Commas, spaces, and what isn't ASCII.
const IDLE: &str = "g-a,b c größe";
const MODERN: &str = "g-kip848";
const SHARE: &str = "g-share";

fn at(topic: &str, partition: i32, offset: i64) -> Committed {
    Committed { topic: topic.into(), partition, offset, metadata: String::new() }
}

fn update(world: &World, path: &str, change: impl FnOnce(&mut v1::Mirror)) -> Result<()> {
    let get = v1::GetMirrorRequest { name: "mirrors/m".into() };
    let mut mirror = world.api.get_mirror(get).map_err(told)?;
    change(&mut mirror);
    let update_mask = Some(FieldMask { paths: vec![path.into()] });
    let request = v1::UpdateMirrorRequest { mirror: Some(mirror), update_mask, ..Default::default() };
    world.api.update_mirror(request).map_err(told).map(drop)
}

fn wait_group(world: &World, group: &str, state: &str) -> Result<v1::GroupStatus> {
    let mut last = Vec::new();
    let waited = wait_until(SEEN, &format!("{group} to be {state}"), || {
        last = world.api.status("m")?.groups;
        Ok(last.iter().find(|g| g.group == group && g.state().short_name() == state).cloned())
    });
    waited.with_context(|| format!("{last:#?}"))
}

fn on_target(world: &World, group: &str) -> Result<Vec<Committed>> {
    let mut offsets = world.tools.group_offsets(&world.target, group)?;
    offsets.sort();
    Ok(offsets)
}

fn wait_on_target(world: &World, group: &str, wanted: &[Committed]) -> Result<()> {
    let mut last = Vec::new();
    let waited = wait_until(SEEN, &format!("{group} on the target"), || {
        last = on_target(world, group)?;
        Ok((last == wanted).then_some(()))
    });
    waited.with_context(|| format!("wanted {wanted:?}, found {last:?}"))
}

/// A member of a KIP-848 group, which has committed an offset.
fn modern_member(kafka: &Kafka) -> Result<BaseConsumer> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", kafka.bootstrap())
        .set("group.id", MODERN)
        .set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.set("group.protocol", "consumer").create()?;
    consumer.subscribe(&[TOPIC])?;
    wait_until(SEEN, "the group to be assigned", || {
        let _ = consumer.poll(Duration::from_millis(100));
        Ok((consumer.assignment()?.count() > 0).then_some(()))
    })?;
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(TOPIC, 0, Offset::Offset(77))?;
    consumer.commit(&offsets, CommitMode::Sync)?;
    Ok(consumer)
}

/// I4, I8, I13, I15, K4, K10, K11, W5, W19 on real clusters.
#[test]
fn groups_keep_their_place() -> Result<()> {
    let _beside = beside();
    let world =
        World::start("groups", WorldOptions { workers: 1, etcd_members: 0, ..WorldOptions::default() })?;
    // The last partition, and one topic, stay empty.
    world.tools.create_topic(&world.source, TOPIC, 3, &[])?;
    world.tools.create_topic(&world.source, "g.empty", 1, &[])?;
    let load = LoadOptions { rate: 20_000.0, records: Some(1_000), ..LoadOptions::new(2) };
    world.tools.load(&world.source, TOPIC, &load)?;
    wait_until(SEEN, "the load to be there", || {
        let records = world.tools.dump(&world.source, TOPIC, Isolation::Committed)?.records();
        Ok((records == 1_000).then_some(()))
    })?;
    let refresh = Some(v1::RefreshIntervals { groups: Some(Wire { seconds: 1, nanos: 0 }), topics: None });
    world.api.add_mirror("m", v1::Mirror { refresh, ..mirror(&[r"g\..*"]) })?;
    let placed = [at(TOPIC, 0, 123), at(TOPIC, 1, 456), at(TOPIC, 2, 0), at("g.empty", 0, 0)];
    world.tools.commit(&world.source, IDLE, &placed)?;
    // Kafka 3.9 has neither.
    let modern = world.source.version().starts_with('4');
    let _member = modern.then(|| modern_member(&world.source)).transpose()?;
    if modern {
        world.tools.share_group(&world.source, SHARE, TOPIC)?;
    }
    world.wait_exact(TOPIC, "a.g.orders", SEEN)?;
    // By content: where a transaction ended between two records, its marker takes an offset on the target.
    let dumped = (
        world.tools.dump(&world.source, TOPIC, Isolation::Committed)?,
        world.tools.dump(&world.target, "a.g.orders", Isolation::Committed)?,
    );
    let copy = |partition, offset| {
        let there = expected_offset(&dumped.0, &dumped.1, partition, offset).expect("it is copied");
        at("a.g.orders", partition, there)
    };
    assert!(world.api.status("m")?.groups.is_empty(), "no groups are selected yet");

    // Groups are selected while the mirror runs: checkpoints come, and nothing is committed.
    update(&world, "groups", |m| m.groups = vec!["g-.*".into()])?;
    assert_eq!(wait_group(&world, IDLE, "NOT_SYNCED")?.partitions_waiting, 0);
    if modern {
        let share = wait_group(&world, SHARE, "NOT_SYNCED")?;
        assert!(share.message.contains("share group"), "{share:?}");
    }
    let copied = [at("a.g.empty", 0, 0), copy(0, 123), copy(1, 456), copy(2, 0)];
    assert_eq!(viewed(&world, IDLE)?, copied, "exact, empty partitions too");
    assert!(!world.tools.groups(&world.target)?.contains(&IDLE.to_owned()));

    // Then their offsets are synced: of the idle group, and of the one that is used on the source.
    update(&world, "sync_group_offsets", |m| m.sync_group_offsets = true)?;
    wait_on_target(&world, IDLE, &copied)?;
    if modern {
        wait_on_target(&world, MODERN, &[copy(0, 77)])?;
    }
    wait_group(&world, IDLE, "SYNCED")?;

    // A group that comes later, and one that is set back: its checkpoint follows, its place on the target doesn't.
    world.tools.commit(&world.source, "g-late", &[at(TOPIC, 0, 5)])?;
    wait_on_target(&world, "g-late", &[copy(0, 5)])?;
    world.tools.commit(&world.source, IDLE, &[at(TOPIC, 0, 23)])?;
    wait_until(SEEN, "the checkpoint to go back", || {
        Ok(viewed(&world, IDLE)?.contains(&copy(0, 23)).then_some(()))
    })?;
    wait_group(&world, IDLE, "AHEAD_ON_TARGET")?;
    assert_eq!(on_target(&world, IDLE)?, copied);

    // While the target's only broker comes back, nobody knows its groups: none is taken for new.
    world.target.broker(1).kill9()?;
    world.target.broker(1).start_again()?;
    world.target.wait_ready()?;
    world.tools.commit(&world.source, IDLE, &[at(TOPIC, 1, 460)])?;
    let moved = [at("a.g.empty", 0, 0), copy(0, 123), copy(1, 460), copy(2, 0)];
    wait_on_target(&world, IDLE, &moved)?;

    shown_to_prometheus(&world)?;
    without_checkpoints(&world, &copy(0, 6))?;
    update(&world, "groups", |m| m.groups.clear())?;
    wait_until(SEEN, "no more groups", || Ok(world.api.status("m")?.groups.is_empty().then_some(())))?;
    assert_eq!(on_target(&world, "g-late")?, [copy(0, 6)], "what was committed stays");
    Ok(())
}

/// S14, W14: what MM2's MBeans say, and lag, as `/metrics` of the worker has it.
fn shown_to_prometheus(world: &World) -> Result<()> {
    let text = world.workers[0].metrics()?;
    let value = |name: &str| -> Result<f64> {
        let of_partition = |line: &&str| {
            line.starts_with(&format!("{name}{{"))
                && [r#"source="a""#, r#"target="b""#, r#"topic="a.g.orders""#, r#"partition="0""#]
                    .iter()
                    .all(|label| line.contains(label))
        };
        let line = text.lines().find(of_partition).with_context(|| format!("no {name} in {text}"))?;
        Ok(line.rsplit_once(' ').context("a value")?.1.parse()?)
    };
    assert_eq!(value("twinlog_partition_records_total")?, 500.0);
    assert_eq!(value("twinlog_partition_lag_records")?, 0.0);
    assert_eq!(value("twinlog_partition_replication_latency_seconds_count")?, 500.0);
    for histogram in ["twinlog_replication_latency_seconds", "twinlog_checkpoint_latency_seconds"] {
        assert!(text.contains(&format!("{histogram}_bucket")), "{histogram}");
    }
    Ok(())
}

/// K10: groups are synced without checkpoint records.
fn without_checkpoints(world: &World, next: &Committed) -> Result<()> {
    update(world, "checkpoints", |m| {
        m.checkpoints = Some(v1::Checkpoints { enabled: Some(false), ..Default::default() });
    })?;
    let written = || -> Result<usize> {
        Ok(world.tools.dump(&world.target, "a.checkpoints.internal", Isolation::Committed)?.records())
    };
    wait_group(world, "g-late", "SYNCED")?;
    let before = written()?;
    world.tools.commit(&world.source, "g-late", &[at(TOPIC, 0, 6)])?;
    wait_on_target(world, "g-late", std::slice::from_ref(next))?;
    assert_eq!(written()?, before);
    Ok(())
}

fn viewed(world: &World, group: &str) -> Result<Vec<Committed>> {
    let mut offsets = world.tools.mirror_client(&world.target, "a", group)?.offsets;
    offsets.sort();
    Ok(offsets)
}
