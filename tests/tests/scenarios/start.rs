//! A mirror that starts at the end: what was there stays behind, what comes later is copied whole.

use std::time::Duration;

use anyhow::Result;
use twinlog_proto::v1::{Mirror, RefreshIntervals, StartPosition, start_position};
use twinlog_tests::sandbox::wait_until;
use twinlog_tests::tools::{Isolation, LoadOptions};
use twinlog_tests::verify::compare;
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::alone;

const SETTLED: Duration = Duration::from_secs(30);
const RECORDS: u64 = 3_000;

/// Writes records and returns when all are there.
fn fill(world: &World, topic: &str, partitions: u32) -> Result<()> {
    let load = LoadOptions { rate: 50_000.0, records: Some(RECORDS), ..LoadOptions::new(partitions) };
    world.tools.load(&world.source, topic, &load)?;
    wait_until(SETTLED, "the records to be written", || {
        let written: u64 = world.tools.load_stats(topic)?.values().sum();
        Ok((written >= RECORDS).then_some(()))
    })?;
    world.tools.stop_load(topic)?;
    Ok(())
}

/// Waits until every partition of the topic is copied by a lane that knows where it is.
fn wait_runs(world: &World, topic: &str, partitions: usize) -> Result<()> {
    wait_until(SETTLED, &format!("{partitions} partitions of {topic} to run"), || {
        let ranges = world.api.ranges("m")?;
        let ranges = ranges.iter().filter(|r| r.target_topic == format!("a.{topic}"));
        let running: usize =
            ranges.map(|r| r.partitions.iter().filter(|p| p.source_end.is_some()).count()).sum();
        Ok((running == partitions).then_some(()))
    })
}

/// Waits until the copy of a topic is there, and equal.
fn wait_copied(world: &World, topic: &str, partitions: u32) -> Result<()> {
    let copy = format!("a.{topic}");
    wait_until(SETTLED, &format!("{copy} to exist"), || {
        Ok((world.tools.partitions(&world.target, &copy)? == partitions).then_some(()))
    })?;
    world.wait_exact(topic, &copy, SETTLED)?;
    Ok(())
}

/// I19: a mirror that starts at the end begins there for what existed; a topic or partition that appears later is copied from
/// its first record, however late it is noticed, also when it appeared while nothing of Twinlog ran.
#[test]
fn what_appears_after_a_mirror_that_starts_at_the_end_is_copied_from_its_first_record() -> Result<()> {
    let _alone = alone();
    let world = World::start("start", WorldOptions::default())?;
    world.tools.create_topic(&world.source, "late.old", 2, &[])?;
    fill(&world, "late.old", 2)?;
    let latest =
        StartPosition { position: Some(start_position::Position::Latest(true)), ..Default::default() };
    let refresh = RefreshIntervals { topics: Some(Duration::from_secs(3).try_into()?), groups: None };
    let wanted = Mirror { start: Some(latest), refresh: Some(refresh), ..mirror(&[r"late\..*"]) };
    world.api.add_mirror("m", wanted)?;
    wait_runs(&world, "late.old", 2)?;

    // Filled before any survey can have seen them.
    world.tools.create_topic(&world.source, "late.topic", 3, &[])?;
    fill(&world, "late.topic", 3)?;
    world.tools.add_partitions(&world.source, "late.old", 12)?;
    fill(&world, "late.old", 12)?;
    wait_copied(&world, "late.topic", 3)?;
    wait_runs(&world, "late.old", 12)?;

    for worker in &world.workers {
        worker.process.kill9()?;
    }
    world.controllers[0].process.kill9()?;
    world.tools.create_topic(&world.source, "late.night", 2, &[])?;
    fill(&world, "late.night", 2)?;
    world.controllers[0].process.start_again()?;
    for worker in &world.workers {
        worker.process.start_again()?;
    }
    wait_copied(&world, "late.night", 2)?;
    wait_until(SETTLED, "the grown topic to have what came later", || {
        Ok(grown_topic_has_what_came_later(&world)?.then_some(()))
    })
}

/// Of the two old partitions only what came after the mirror, of the ten new ones all.
fn grown_topic_has_what_came_later(world: &World) -> Result<bool> {
    let mut source = world.tools.dump(&world.source, "late.old", Isolation::Committed)?;
    let target = world.tools.dump(&world.target, "a.late.old", Isolation::Committed)?;
    for partition in 0..2 {
        let records = &mut source.partitions.get_mut(&partition).expect("it was listed").records;
        let copied = target.partitions[&partition].records.len();
        assert!(copied < records.len(), "partition {partition}: what was there before is not copied");
        records.drain(..RECORDS as usize / 2);
    }
    Ok(compare(&source, &target).is_exact())
}
