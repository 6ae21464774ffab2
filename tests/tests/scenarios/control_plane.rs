//! Controllers and etcd come and go: lanes never notice, and afterwards nothing has moved.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use twinlog_proto::v1::Mirror;
use twinlog_tests::sandbox::wait_until;
use twinlog_tests::tools::{Isolation, LoadOptions};
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::alone;

const TOPIC: &str = "numbers";
const COPY: &str = "a.numbers";
/// Heartbeats that the mirror itself writes to the source become a topic to copy a moment after the others.
const HEARTBEATS: &str = "replicate/m/a.heartbeats/0";
const PARTITIONS: u32 = 12;
const SETTLED: Duration = Duration::from_secs(30);
/// Lanes that don't notice are silent no longer than between two commits. What a busy machine adds is measured first, and this is
/// how much of it an event may take.
const UNNOTICED: Duration = Duration::from_millis(1_500);
const BUSY: u32 = 2;
/// Long enough for every lease and every grace period to run out.
const AWAY: Duration = Duration::from_secs(6);

/// Task to the worker and the epoch it runs with.
type Placement = BTreeMap<String, (String, i64)>;

fn placement(world: &World) -> Result<Placement> {
    let ranges = world.api.ranges("m")?;
    Ok(ranges.into_iter().map(|r| (r.task, (r.worker, r.epoch))).collect())
}

fn wait_placement(world: &World, expected: &Placement) -> Result<()> {
    let mut last = None;
    wait_until(SETTLED, "the same ranges on the same workers", || {
        let now = placement(world)?;
        let same = now == *expected && world.api.workers()?.len() == world.workers.len();
        last = Some(now);
        Ok(same.then_some(()))
    })
    .map_err(|e| e.context(format!("expected {expected:?}, now {last:?}")))
}

/// The longest silence of any partition from before `event` until a while after it.
fn silence(world: &World, event: impl FnOnce() -> Result<()>) -> Result<Duration> {
    world.tools.tail_stats(COPY, true)?;
    event()?;
    // Time must pass here: what is proved is that nothing happens.
    std::thread::sleep(AWAY);
    Ok(Duration::from_millis(world.tools.tail_stats(COPY, false)?.silence_ms))
}

/// What a quiet time looks like on this machine now.
struct Quiet(Duration);

impl Quiet {
    fn measure(world: &World) -> Result<Self> {
        let quiet = silence(world, || Ok(()))?;
        println!("nothing happens: longest silence {quiet:.2?}");
        Ok(Self(quiet))
    }

    /// Demands that records kept arriving in every partition while `event` happened.
    fn unnoticed(&self, world: &World, what: &str, event: impl FnOnce() -> Result<()>) -> Result<()> {
        let silence = silence(world, event)?;
        println!("{what}: longest silence {silence:.2?}");
        let most = UNNOTICED + self.0 * BUSY;
        assert!(silence < most, "{what}: a partition was silent for {silence:?}, more than {most:?}");
        Ok(())
    }
}

#[test]
fn lanes_keep_copying_without_controllers_and_etcd() -> Result<()> {
    let _alone = alone();
    let world = World::start("control", WorldOptions { controllers: 2, ..Default::default() })?;
    world.tools.create_topic(&world.source, TOPIC, PARTITIONS, &[])?;
    world.tools.load(&world.source, TOPIC, &LoadOptions { rate: 2_000.0, ..LoadOptions::new(PARTITIONS) })?;
    world.tools.tail(&world.target, COPY, Isolation::Committed)?;
    world.api.add_mirror("m", Mirror { block_size: 2, ..mirror(&[TOPIC]) })?;
    wait_until(SETTLED, "records in every partition, and balanced ranges", || {
        let seen = world.tools.tail_stats(COPY, false)?.partitions.len() == PARTITIONS as usize;
        let placed = placement(&world)?;
        let workers: std::collections::BTreeSet<_> = placed.values().map(|p| &p.0).collect();
        Ok((seen && workers.len() == 2 && placed.contains_key(HEARTBEATS)).then_some(()))
    })?;
    let made = world.tools.load_stats(TOPIC)?;
    wait_until(SETTLED, "what was made before the mirror to be copied", || {
        let seen = world.tools.tail_stats(COPY, false)?.partitions;
        Ok(made.iter().all(|(p, n)| seen.get(p).is_some_and(|s| s.next >= *n)).then_some(()))
    })?;
    let before = placement(&world)?;
    let quiet = Quiet::measure(&world)?;

    for leader_or_not in &world.controllers {
        quiet.unnoticed(&world, &format!("{} killed", leader_or_not.process.name()), || {
            leader_or_not.process.kill9()
        })?;
        leader_or_not.process.start_again()?;
        leader_or_not.wait_ready()?;
        wait_placement(&world, &before)?;
    }
    quiet.unnoticed(&world, "both controllers killed", || {
        world.controllers.iter().try_for_each(|c| c.process.kill9())
    })?;
    quiet.unnoticed(&world, "etcd killed too", || world.etcd().kill_all())?;
    quiet.unnoticed(&world, "etcd is back", || world.etcd().start_all())?;
    quiet.unnoticed(&world, "the controllers are back", || {
        world.controllers.iter().try_for_each(|c| c.process.start_again())
    })?;
    wait_placement(&world, &before)?;
    quiet.unnoticed(&world, "etcd killed under running controllers", || world.etcd().kill_all())?;
    quiet.unnoticed(&world, "etcd is back again", || world.etcd().start_all())?;
    wait_placement(&world, &before)?;

    world.tools.stop_load(TOPIC)?;
    world.wait_exact(TOPIC, COPY, SETTLED)?;
    assert_eq!(world.tools.stop_tail(COPY)?.wrong, 0);
    Ok(())
}
