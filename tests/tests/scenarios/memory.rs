//! A worker's memory stays under its bound while the target is down and the source keeps growing.

use std::time::Duration;

use anyhow::Result;
use twinlog_tests::sandbox::wait_until;
use twinlog_tests::tools::LoadOptions;
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::alone;

const TOPIC: &str = "growing";
const COPY: &str = "a.growing";
const PARTITIONS: u32 = 12;
const MIB: u64 = 1024 * 1024;
const BUDGET: u64 = 64 * MIB;
/// The process itself, unoptimised, with librdkafka's threads.
const BESIDES: u64 = 128 * MIB;
/// 1 KiB each: five times what all buffers may hold.
const RECORDS: u64 = 320_000;
const COPIED: Duration = Duration::from_secs(180);

#[test]
fn memory_is_bounded_while_the_target_is_down() -> Result<()> {
    let _alone = alone();
    let worker_args = vec!["--memory".to_owned(), "64MiB".to_owned()];
    let world = World::start("memory", WorldOptions { workers: 1, worker_args, ..Default::default() })?;
    world.tools.create_topic(&world.source, TOPIC, PARTITIONS, &[])?;
    world.api.add_mirror("m", mirror(&[TOPIC]))?;
    wait_until(COPIED, "the copy to exist", || {
        Ok((world.tools.partitions(&world.target, COPY)? == PARTITIONS).then_some(()))
    })?;
    let load = LoadOptions {
        rate: 40_000.0,
        records: Some(RECORDS),
        value_bytes: 1_024,
        compression: "none",
        ..LoadOptions::new(PARTITIONS)
    };
    world.tools.load(&world.source, TOPIC, &load)?;
    world.target.broker(1).kill9()?;
    let worker = &world.workers[0].process;
    wait_until(COPIED, "the source to have grown", || {
        let made: u64 = world.tools.load_stats(TOPIC)?.values().sum();
        assert!(worker.resident_bytes()? < BUDGET + BESIDES, "{} MiB", worker.resident_bytes()? / MIB);
        Ok((made == RECORDS).then_some(()))
    })?;
    world.tools.stop_load(TOPIC)?;

    world.target.broker(1).start_again()?;
    world.target.wait_ready()?;
    let verdict = world.wait_exact(TOPIC, COPY, COPIED)?;
    assert_eq!(verdict.source_records as u64, RECORDS);
    let peak = worker.peak_resident_bytes()?;
    println!("peak memory of the worker: {} MiB, budget {} MiB", peak / MIB, BUDGET / MIB);
    assert!(peak < BUDGET + BESIDES, "{} MiB", peak / MIB);
    Ok(())
}
