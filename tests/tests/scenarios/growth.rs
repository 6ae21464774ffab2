//! Topics and partitions that appear while a mirror runs flow within five seconds.

use std::time::{Duration, Instant};

use anyhow::Result;
use twinlog_tests::sandbox::wait_until;
use twinlog_tests::tools::{Isolation, LoadOptions};
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::alone;

const FLOWS: Duration = Duration::from_secs(5);
const SETTLED: Duration = Duration::from_secs(30);

/// Waits until so many partitions of the copy have records, and says how long it took since `begin`.
fn flows_within(world: &World, copy: &str, partitions: usize, begin: Instant) -> Result<()> {
    wait_until(SETTLED, &format!("records in {partitions} partitions of {copy}"), || {
        Ok((world.tools.tail_stats(copy, false)?.partitions.len() >= partitions).then_some(()))
    })?;
    let took = begin.elapsed();
    println!("{copy}: {partitions} partitions flowing after {took:.2?}");
    assert!(took < FLOWS, "{copy}: {took:?}");
    Ok(())
}

#[test]
fn new_topics_and_partitions_flow_within_five_seconds() -> Result<()> {
    let _alone = alone();
    let world = World::start("growth", WorldOptions::default())?;
    world.tools.create_topic(&world.source, "grow.first", 2, &[])?;
    world.tools.create_topic(&world.source, "other", 1, &[])?;
    world.api.add_mirror("m", mirror(&[r"grow\..*"]))?;
    wait_until(SETTLED, "the first topic to exist on the target", || {
        Ok((world.tools.partitions(&world.target, "a.grow.first")? == 2).then_some(()))
    })?;

    for topic in ["grow.second", "grow.third"] {
        let copy = format!("a.{topic}");
        world.tools.tail(&world.target, &copy, Isolation::Committed)?;
        let begin = Instant::now();
        world.tools.create_topic(&world.source, topic, 4, &[])?;
        world.tools.load(&world.source, topic, &LoadOptions { rate: 500.0, ..LoadOptions::new(4) })?;
        flows_within(&world, &copy, 4, begin)?;
    }

    // 2 to 20 partitions: the first block grows, and two more are added.
    world.tools.tail(&world.target, "a.grow.first", Isolation::Committed)?;
    let begin = Instant::now();
    world.tools.add_partitions(&world.source, "grow.first", 20)?;
    world.tools.load(&world.source, "grow.first", &LoadOptions { rate: 500.0, ..LoadOptions::new(20) })?;
    flows_within(&world, "a.grow.first", 20, begin)?;

    for topic in ["grow.first", "grow.second", "grow.third"] {
        world.tools.stop_load(topic)?;
        world.wait_exact(topic, &format!("a.{topic}"), SETTLED)?;
        assert_eq!(world.tools.stop_tail(&format!("a.{topic}"))?.wrong, 0);
    }
    let topics = world.tools.topics(&world.target)?;
    assert!(!topics.iter().any(|t| t.ends_with("other")), "only what the pattern names: {topics:?}");
    Ok(())
}
