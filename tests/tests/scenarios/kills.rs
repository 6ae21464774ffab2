//! Workers are killed and frozen at full rate, while brokers of the target are killed and leaders move: nothing is lost, and who was
//! promised every record once finds it once, and in order.
//!
//! CI does some of it. More, by hand: `TWINLOG_TEST_KILLS=200 cargo test -p twinlog-tests --test scenarios -- --nocapture kills::`

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rand::seq::SliceRandom;
use twinlog_proto::v1::{Engine, Mode};
use twinlog_tests::sandbox::{Kafka, KafkaOptions, Worker, wait_until};
use twinlog_tests::tools::Isolation;
use twinlog_tests::world::{World, WorldOptions};

use crate::alone;
use crate::takeover::{LEAST, ONCE, TOPIC, finish, flow, silences, wait_caught_up};

/// In CI. There is a freeze for every four kills.
const KILLS: usize = 4;
const WORKERS: usize = 3;
/// Records per second, all of which are compared in the end.
const RATE: f64 = 5_000.0;
/// After the worst of it: workers that were killed again and again, and a broker that has just come back.
const RECOVERED: Duration = Duration::from_secs(60);
/// Between what happens to workers, milliseconds.
const PAUSES: std::ops::Range<u64> = 300..1_500;
/// How long a worker is frozen, milliseconds: some wake before others have its ranges, some after.
const FROZEN: std::ops::Range<u64> = 500..6_000;
/// How long a broker is left alone before it is killed, and how long it is away, milliseconds.
const BROKER_RUNS: std::ops::Range<u64> = 500..4_000;
const BROKER_AWAY: std::ops::Range<u64> = 200..3_000;
/// It is seen this often whether the copies go on.
const LOOK: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Kill,
    Freeze,
}

fn acts() -> Result<Vec<Act>> {
    let kills = match std::env::var("TWINLOG_TEST_KILLS") {
        Ok(kills) => kills.parse().context("TWINLOG_TEST_KILLS is no number")?,
        Err(_) => KILLS,
    };
    let mut acts = [vec![Act::Kill; kills], vec![Act::Freeze; kills / 4]].concat();
    acts.shuffle(&mut rand::rng());
    Ok(acts)
}

fn pause(range: std::ops::Range<u64>) {
    std::thread::sleep(Duration::from_millis(rand::random_range(range)));
}

/// A worker that has ranges, as far as its controller knows.
fn busy(world: &World) -> Result<&Worker> {
    wait_until(RECOVERED, "a worker with ranges", || {
        let mut workers: Vec<&Worker> = world.workers.iter().collect();
        workers.shuffle(&mut rand::rng());
        let known = world.api.workers()?;
        let is_busy = |worker: &&Worker| {
            let pid = worker.process.pid().map(|pid| format!("-{pid}-"));
            known
                .iter()
                .any(|known| known.ranges() > 0 && pid.as_ref().is_some_and(|pid| known.name.contains(pid)))
        };
        Ok(workers.into_iter().find(is_busy))
    })
}

/// One of the target's brokers after the other, until there is enough. How many it were.
fn kill_brokers(target: &Kafka, enough: &AtomicBool, killed: &AtomicUsize) -> Result<()> {
    for node in [1, 2, 3].into_iter().cycle() {
        pause(BROKER_RUNS);
        if enough.load(Ordering::Relaxed) {
            return Ok(());
        }
        target.broker(node).kill9()?;
        killed.fetch_add(1, Ordering::Relaxed);
        pause(BROKER_AWAY);
        target.broker(node).start_again()?;
        target.wait_ready()?;
    }
    Ok(())
}

fn all_goes_on(world: &World) -> Result<()> {
    [ONCE, LEAST].into_iter().try_for_each(|topic| wait_caught_up(world, topic))
}

fn kill_workers(world: &World, acts: &[Act]) -> Result<()> {
    for (number, act) in (1..).zip(acts) {
        pause(PAUSES);
        let victim = &busy(world)?.process;
        match act {
            Act::Kill => {
                victim.kill9()?;
                victim.start_again()?;
            }
            Act::Freeze => {
                victim.pause()?;
                pause(FROZEN);
                victim.resume()?;
            }
        }
        if number % LOOK == 0 {
            wait_until(RECOVERED, "the copies to go on", || Ok(all_goes_on(world).ok()))
                .with_context(|| format!("after {number} kills and freezes"))?;
            let (once, least) = silences(world, true)?;
            println!("{number} of {}: silent for {once:.2?} (exactly once), {least:.2?} at most", acts.len());
        }
    }
    Ok(())
}

/// Whether a reader who takes everything is promised each record once, too.
fn is_fenced(world: &World) -> Result<bool> {
    let ranges = world.api.ranges("once")?;
    let mut ours = ranges.iter().filter(|range| range.source_topic == TOPIC);
    Ok(ours.all(|range| range.mode() == Mode::Fenced))
}

#[test]
fn nothing_is_lost_twice_or_out_of_order_whatever_is_killed() -> Result<()> {
    let _alone = alone();
    let acts = acts()?;
    // Leaders go back to where they were, and so move once more.
    let target = KafkaOptions { heap_mib: 384, ..KafkaOptions::default().brokers(3) }
        .prop("leader.imbalance.check.interval.seconds", "3")
        .prop("leader.imbalance.per.broker.percentage", "0");
    let options = WorldOptions { target, workers: WORKERS, ..WorldOptions::default() };
    let world = World::start("kills", options)?;
    let world = flow(world, Engine::Unspecified, RATE)?;
    let fenced = is_fenced(&world)?;
    if fenced {
        world.tools.stop_tail(ONCE)?;
        world.tools.tail(&world.target, ONCE, Isolation::Uncommitted)?;
    }
    let (began, enough, brokers) = (Instant::now(), AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let of_brokers = scope.spawn(|| kill_brokers(&world.target, &enough, &brokers));
        let done = kill_workers(&world, &acts);
        enough.store(true, Ordering::Relaxed);
        let brokers = of_brokers.join().map_err(|_| anyhow!("killing brokers ended in a panic"))?;
        done.and(brokers)
    })?;
    let frozen = acts.iter().filter(|act| **act == Act::Freeze).count();
    println!(
        "{} kills and {frozen} freezes of workers, {} kills of brokers in {:.0?}; read {}",
        acts.len() - frozen,
        brokers.load(Ordering::Relaxed),
        began.elapsed(),
        if fenced { "uncommitted" } else { "committed" },
    );
    wait_until(RECOVERED, "the copies to go on", || Ok(all_goes_on(&world).ok()))?;
    finish(&world)
}
