//! Workers freeze and leave at full rate, and engines change: others take over, nothing is lost, and exactly-once stays exact.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use twinlog_proto::v1::{self, Engine, Guarantee, Mirror, Naming, naming::Kind};
use twinlog_tests::sandbox::wait_until;
use twinlog_tests::tools::{Isolation, LoadOptions};
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::alone;

pub(crate) const TOPIC: &str = "numbers";
pub(crate) const ONCE: &str = "a.numbers";
pub(crate) const LEAST: &str = "a-numbers";
const PARTITIONS: u32 = 12;
const RATE: f64 = 10_000.0;
const TAKEN_OVER: Duration = Duration::from_secs(30);
/// The bound a busy CI machine must keep; what is usual is printed.
const SILENCE: Duration = Duration::from_secs(15);
const WORKERS: Duration = Duration::from_secs(20);

fn flowing(name: &str) -> Result<World> {
    flow(World::start(name, WorldOptions::default())?, Engine::Unspecified, RATE)
}

/// A load on the source, copied by two mirrors: exactly once to `a.numbers`, at least once to `a-numbers`.
pub(crate) fn flow(world: World, engine: Engine, rate: f64) -> Result<World> {
    world.tools.create_topic(&world.source, TOPIC, PARTITIONS, &[])?;
    // The native engine leaves nothing there that has to be left out.
    let is_native =
        std::env::var("TWINLOG_TEST_ENGINE").is_ok_and(|engine| engine.eq_ignore_ascii_case("native"));
    let isolation = if is_native { Isolation::Uncommitted } else { Isolation::Committed };
    world.tools.tail(&world.target, ONCE, isolation)?;
    world.tools.tail(&world.target, LEAST, Isolation::Committed)?;
    world.tools.load(&world.source, TOPIC, &LoadOptions { rate, ..LoadOptions::new(PARTITIONS) })?;
    let base = Mirror { block_size: 2, engine: engine.into(), ..mirror(&[TOPIC]) };
    world.api.add_mirror("once", Mirror { guarantee: Guarantee::ExactlyOnce.into(), ..base.clone() })?;
    let separator = Naming { kind: Kind::Prefix.into(), separator: "-".into(), ..Default::default() };
    let least = Mirror { guarantee: Guarantee::AtLeastOnce.into(), naming: Some(separator), ..base };
    world.api.add_mirror("least", least)?;
    for topic in [ONCE, LEAST] {
        wait_caught_up(&world, topic)?;
    }
    Ok(world)
}

/// Waits until every partition holds what had been produced when this was called.
pub(crate) fn wait_caught_up(world: &World, topic: &str) -> Result<()> {
    let made = world.tools.load_stats(TOPIC)?;
    wait_passed(world, topic, &made)
}

fn wait_passed(world: &World, topic: &str, made: &BTreeMap<i32, u64>) -> Result<()> {
    wait_until(TAKEN_OVER, &format!("{topic} to pass {made:?}"), || {
        let seen = world.tools.tail_stats(topic, false)?.partitions;
        let passed = made.iter().all(|(p, n)| *n == 0 || seen.get(p).is_some_and(|s| s.next >= *n));
        Ok(passed.then_some(()))
    })
}

/// Stops the load; the exact topic must be exact, the other complete.
pub(crate) fn finish(world: &World) -> Result<()> {
    let standing = world.tools.stop_load(TOPIC)?;
    for topic in [ONCE, LEAST] {
        wait_passed(world, topic, &standing)?;
    }
    world.wait_exact(TOPIC, ONCE, TAKEN_OVER)?;
    let once = world.tools.stop_tail(ONCE)?;
    assert_eq!(once.wrong, 0, "exactly once, as it arrived: {}", once.first_wrong);
    let least = world.tools.stop_tail(LEAST)?;
    for (partition, seen) in &least.partitions {
        assert_eq!(
            (seen.missing, seen.misplaced),
            (0, 0),
            "at least once, partition {partition}: {}",
            least.first_wrong
        );
        assert_eq!(seen.next, standing[partition], "at least once, partition {partition}");
    }
    let twice: u64 = least.partitions.values().map(|p| p.duplicates).sum();
    println!(
        "{} records; at least once wrote {twice} of them twice, exactly once none",
        standing.values().sum::<u64>()
    );
    Ok(())
}

/// Waits until every worker copies something: killing an idle one proves nothing.
fn wait_all_busy(world: &World) -> Result<()> {
    wait_until(TAKEN_OVER, "every worker to have ranges", || {
        let workers = world.api.workers()?;
        Ok((workers.len() == world.workers.len() && workers.iter().all(|w| w.ranges() > 0)).then_some(()))
    })
}

pub(crate) fn silences(world: &World, reset: bool) -> Result<(Duration, Duration)> {
    let of = |topic| world.tools.tail_stats(topic, reset).map(|s| Duration::from_millis(s.silence_ms));
    Ok((of(ONCE)?, of(LEAST)?))
}

#[test]
fn a_worker_that_wakes_after_its_lease_is_fenced() -> Result<()> {
    let _alone = alone();
    let world = flowing("frozen")?;
    for frozen in &world.workers {
        wait_all_busy(&world)?;
        silences(&world, true)?;
        frozen.process.pause()?;
        for topic in [ONCE, LEAST] {
            wait_caught_up(&world, topic)?;
        }
        world.api.wait_workers(1, WORKERS)?;
        let (once, least) = silences(&world, false)?;
        println!(
            "{} frozen: silent for {once:.2?} (exactly once), {least:.2?} (at least once)",
            frozen.process.name()
        );
        frozen.process.resume()?;
        world.api.wait_workers(2, WORKERS)?;
        for topic in [ONCE, LEAST] {
            wait_caught_up(&world, topic)?;
        }
    }
    finish(&world)
}

#[test]
fn a_worker_that_is_asked_to_stop_hands_over() -> Result<()> {
    let _alone = alone();
    let world = flowing("leave")?;
    wait_all_busy(&world)?;
    silences(&world, true)?;
    let leaver = &world.workers[0].process;
    let status = leaver.terminate()?;
    assert!(status.success(), "{status}: {}", leaver.log_tail());
    for topic in [ONCE, LEAST] {
        wait_caught_up(&world, topic)?;
    }
    let (once, least) = silences(&world, false)?;
    println!("asked to stop: silent for {once:.2?} (exactly once), {least:.2?} (at least once)");
    assert!(once < SILENCE && least < SILENCE);
    finish(&world)
}

/// Waits until every range of both mirrors is moved by this engine.
fn wait_moved_by(world: &World, engine: Engine) -> Result<()> {
    for id in ["once", "least"] {
        wait_until(TAKEN_OVER, &format!("{engine:?} to move all of {id}"), || {
            let ranges = world.api.ranges(id)?;
            let ours = ranges.iter().filter(|range| range.source_topic == TOPIC);
            Ok(ours.map(v1::RangeStatus::engine).all(|moved_by| moved_by == engine).then_some(()))
        })?;
    }
    Ok(())
}

/// An upgrade, and the way back: AUTO means another engine, while who had the range until then is frozen and wakes when others have it.
#[test]
fn another_engine_goes_on_where_the_one_before_was() -> Result<()> {
    let _alone = alone();
    let world = flow(World::start("engines", WorldOptions::default())?, Engine::Librdkafka, RATE)?;
    wait_moved_by(&world, Engine::Librdkafka)?;
    let changes = [("auto", Engine::Native), ("librdkafka", Engine::Librdkafka)];
    for (frozen, (asked, engine)) in world.workers.iter().zip(changes) {
        wait_all_busy(&world)?;
        frozen.process.pause()?;
        for id in ["once", "least"] {
            world.controllers[0].cli(&["mirror", "update", id, "--engine", asked])?;
        }
        wait_moved_by(&world, engine)?;
        world.api.wait_workers(1, WORKERS)?;
        frozen.process.resume()?;
        world.api.wait_workers(2, WORKERS)?;
        for topic in [ONCE, LEAST] {
            wait_caught_up(&world, topic)?;
        }
    }
    finish(&world)
}
