//! MirrorMaker's own topics: where they are, what is in them, and that trouble with one of them stops nothing.

use std::time::Duration;

use anyhow::{Context, Result};
use twinlog_proto::v1;
use twinlog_proto::v1::offset_syncs::Location;
use twinlog_tests::sandbox::wait_until;
use twinlog_tests::tools::{Isolation, LoadOptions};
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::beside;

const SEEN: Duration = Duration::from_secs(30);

fn syncs(location: Location, replication_factor: i32, lag_max: i64) -> Option<v1::OffsetSyncs> {
    Some(v1::OffsetSyncs { location: location.into(), replication_factor, lag_max: Some(lag_max) })
}

fn copied(world: &World, topic: &str, copy: &str) -> Result<()> {
    let load = LoadOptions { rate: 2_000.0, records: Some(500), ..LoadOptions::new(1) };
    world.tools.load(&world.source, topic, &load)?;
    world.wait_exact(topic, copy, SEEN).map(drop)
}

/// S15, I3, I11, I12, H1 on real clusters.
#[test]
fn trouble_with_internal_topics_is_said_and_stops_nothing() -> Result<()> {
    let _beside = beside();
    let world =
        World::start("internal", WorldOptions { workers: 1, etcd_members: 0, ..WorldOptions::default() })?;
    for topic in ["i.one", "i.two", "i.slow"] {
        world.tools.create_topic(&world.source, topic, 1, &[])?;
    }
    // More replicas than the cluster has brokers; and heartbeats on the target only.
    let heartbeats = v1::Heartbeats { on_source: Some(false), ..Default::default() };
    let one = v1::Mirror {
        offset_syncs: syncs(Location::Target, 3, 100),
        heartbeats: Some(heartbeats),
        ..mirror(&[r"i\.one"])
    };
    world.api.add_mirror("one", one)?;
    copied(&world, "i.one", "a.i.one")?;
    let message = world.api.wait_cause("one", "TOPIC_CREATION_FAILED", SEEN)?;
    assert!(
        message.contains("mm2-offset-syncs.a.internal") && message.contains("replication factor"),
        "{message}"
    );

    // `a.x` and `a_x` can't both exist: the second mirror does without its checkpoints topic and says so.
    let no_heartbeats =
        Some(v1::Heartbeats { enabled: Some(false), replicate: Some(false), ..Default::default() });
    let two = v1::Mirror {
        naming: Some(v1::Naming { separator: "_".into(), ..Default::default() }),
        offset_syncs: syncs(Location::Disabled, 0, 100),
        heartbeats: no_heartbeats,
        ..mirror(&[r"i\.two"])
    };
    world.api.add_mirror("two", two)?;
    copied(&world, "i.two", "a_i.two")?;
    let message = world.api.wait_cause("two", "TOPIC_CREATION_FAILED", SEEN)?;
    assert!(message.contains("a_checkpoints_internal") && message.contains("collides"), "{message}");

    offset_syncs_on_the_source(&world, no_heartbeats)?;
    let (source, target) = (world.tools.topics(&world.source)?, world.tools.topics(&world.target)?);
    let has = |topics: &[String], name: &str| topics.iter().any(|topic| topic == name);
    assert!(
        has(&target, "heartbeats") && !has(&source, "heartbeats"),
        "heartbeats only where they are wanted"
    );
    assert!(has(&source, "mm2-offset-syncs.b.internal"));
    assert!(!target.iter().any(|topic| topic.starts_with("mm2-offset-syncs")), "{target:?}");
    Ok(())
}

/// S12: with `offset.lag.max` 0 every record is told, as far as they come one by one; the last one always.
fn offset_syncs_on_the_source(world: &World, heartbeats: Option<v1::Heartbeats>) -> Result<()> {
    let slow = v1::Mirror {
        offset_syncs: syncs(Location::Source, 0, 0),
        heartbeats,
        guarantee: v1::Guarantee::AtLeastOnce.into(),
        ..mirror(&[r"i\.slow"])
    };
    world.api.add_mirror("slow", slow)?;
    const RECORDS: i64 = 8;
    let load = LoadOptions { rate: 2.0, records: Some(8), ..LoadOptions::new(1) };
    world.tools.load(&world.source, "i.slow", &load)?;
    // Topic i.slow, partition 0; upstream and downstream offset of the last record.
    let key = format!("0006{}00000000", "692e736c6f77");
    let last = format!("{:016x}{:016x}", RECORDS - 1, RECORDS - 1);
    let told = wait_until(SEEN, "a sync of the last record", || {
        let dump = world.tools.dump(&world.source, "mm2-offset-syncs.b.internal", Isolation::Committed)?;
        let records = dump.partitions.get(&0).context("it has one partition")?.records.clone();
        Ok(records.iter().any(|r| r.key == key && r.value == last).then_some(records))
    })?;
    assert!(told.len() as i64 >= RECORDS - 2, "{} syncs for {RECORDS} records", told.len());
    Ok(())
}
