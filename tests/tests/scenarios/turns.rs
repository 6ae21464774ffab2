//! More ranges with clients of their own, librdkafka's, than the worker's memory or its file descriptors suffice for at once: all are
//! copied, in turns. Those of the native engine share what they need (`wide.rs`).

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use twinlog_proto::v1::{self, State};
use twinlog_tests::api::causes;
use twinlog_tests::sandbox::{Worker, WorkerOptions, wait_until};
use twinlog_tests::tools::LoadOptions;
use twinlog_tests::world::{World, WorldOptions};

use crate::alone;

const TOPICS: u64 = 60;
const RECORDS: u64 = 20;
const COPIED: Duration = Duration::from_secs(90);

fn mirror(topics: &[&str]) -> v1::Mirror {
    v1::Mirror { engine: v1::Engine::Librdkafka.into(), ..twinlog_tests::world::mirror(topics) }
}

fn name(topic: u64) -> String {
    format!("many-{topic}")
}

/// More records for every `step`th topic.
fn load(world: &World, step: usize) -> Result<()> {
    let options = LoadOptions { records: Some(RECORDS), ..LoadOptions::new(1) };
    for topic in (0..TOPICS).step_by(step) {
        world.tools.load(&world.source, &name(topic), &options)?;
    }
    for topic in (0..TOPICS).step_by(step) {
        wait_until(COPIED, "the load to end", || {
            Ok((world.tools.load_stats(&name(topic))?[&0] >= RECORDS).then_some(()))
        })?;
        world.tools.stop_load(&name(topic))?;
    }
    Ok(())
}

/// A mirror whose copy others have written to; the worker that found it, and how many records are not copied behind that.
fn halt(world: &World) -> Result<(String, i64)> {
    let produce = |kafka, topic: &str, records| {
        world.tools.load(kafka, topic, &LoadOptions { records: Some(records), ..LoadOptions::new(1) })?;
        wait_until(COPIED, "the load to end", || {
            Ok((world.tools.load_stats(topic)?[&0] >= records).then_some(()))
        })?;
        world.tools.stop_load(topic)
    };
    world.tools.create_topic(&world.source, "halted", 1, &[])?;
    produce(&world.source, "halted", 20)?;
    world.api.add_mirror("halted", mirror(&["halted"]))?;
    world.wait_exact("halted", "a.halted", COPIED)?;
    let end = || Ok::<_, anyhow::Error>(world.tools.offsets(&world.source, "halted")?[&0].1);
    let copied = end()?;
    produce(&world.target, "a.halted", 5)?;
    produce(&world.source, "halted", 10)?;
    world.api.wait_cause("halted", "TARGET_FOREIGN_WRITES", COPIED)?;
    Ok((halted(world)?.worker, end()? - copied))
}

/// Its range.
fn halted(world: &World) -> Result<v1::RangeStatus> {
    let ranges = world.api.ranges("halted")?;
    ranges.into_iter().find(|range| range.source_topic == "halted").context("no range")
}

/// Second look, D4: once the worker has found why a range is halted the range keeps cause and lag while all others take turns, and has
/// no turn itself; it goes on when the cause is mended.
fn halted_stays_halted(world: &World, (before, missing): (String, i64)) -> Result<()> {
    let shown = || {
        let range = halted(world)?;
        let lag = range.partitions.first().and_then(|partition| partition.lag_records);
        let reason = range.cause.as_ref().map(|cause| cause.reason.clone());
        Ok::<_, anyhow::Error>((range.worker.clone(), range.state(), reason, lag))
    };
    let rightly = |(worker, state, reason, lag): &(String, State, Option<String>, Option<i64>)| {
        let named = reason.as_deref() == Some("TARGET_FOREIGN_WRITES");
        *worker != before && *state == State::Stopped && named && *lag == Some(missing)
    };
    wait_until(COPIED, "the new worker to find it halted", || Ok(rightly(&shown()?).then_some(())))?;
    let until = Instant::now() + Duration::from_secs(45);
    while Instant::now() < until {
        let now = shown()?;
        assert!(rightly(&now), "{missing} are missing: {now:?}");
        std::thread::sleep(Duration::from_millis(250));
    }
    world.controllers[0].cli(&["mirror", "update", "halted", "--allow-foreign-writes", "true"])?;
    wait_until(COPIED, "the rest to be copied behind what others wrote", || {
        let (_, state, cause, lag) = shown()?;
        Ok((state == State::Active && cause.is_none() && lag == Some(0)).then_some(()))
    })
}

/// A few records a second in half of the topics: their ranges use their turns up.
fn steady(world: &World, on: bool) -> Result<()> {
    for topic in (0..TOPICS).step_by(2) {
        match on {
            true => {
                world.tools.load(
                    &world.source,
                    &name(topic),
                    &LoadOptions { rate: 10.0, ..LoadOptions::new(1) },
                )?;
            }
            false => drop(world.tools.stop_load(&name(topic))?),
        }
    }
    Ok(())
}

fn all_copied(world: &World) -> Result<()> {
    for topic in 0..TOPICS {
        let (source, copy) = (name(topic), format!("a.{}", name(topic)));
        let ends = |kafka, topic: &str| Ok::<_, anyhow::Error>(world.tools.offsets(kafka, topic)?[&0].1);
        wait_until(COPIED, &format!("{copy} to have got everything"), || {
            // Transactions have markers.
            Ok((ends(&world.target, &copy)? > ends(&world.source, &source)?).then_some(()))
        })?;
        world.wait_exact(&source, &copy, COPIED)?;
    }
    Ok(())
}

/// Starts another worker and ends the one before.
fn replace(world: &mut World, name: &str, memory: Option<&str>, limit: Option<(u64, u64)>) -> Result<()> {
    let mut options = WorkerOptions::of(&[&world.controllers[0]]);
    (options.memory, options.descriptors) = (memory.map(str::to_owned), limit);
    world.workers.clear();
    world.workers.push(world.sandbox.worker(name, options)?);
    Ok(())
}

fn calm(world: &World) -> Result<()> {
    wait_until(COPIED, "all ranges to be active without a cause", || {
        let status = world.api.status("m")?;
        let lag = status.totals.as_ref().and_then(|totals| totals.lag_records).unwrap_or(-1);
        Ok((status.state() == State::Active && causes(&status).is_empty() && lag == 0).then_some(()))
    })
}

/// The soft limit that a running worker has now.
fn descriptors_of(worker: &Worker) -> Result<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", worker.process.pid().unwrap_or(0)))?;
    let line = limits.lines().find(|line| line.starts_with("Max open files")).context("no such limit")?;
    Ok(line.split_whitespace().nth(3).context("no number")?.parse()?)
}

/// The number behind `before` in a text.
fn number(text: &str, before: &str) -> Result<u64> {
    let rest = text.split_once(before).with_context(|| format!("no {before:?} in {text}"))?.1;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().with_context(|| format!("no number behind {before:?} in {text}"))
}

#[test]
fn everything_flows_in_little_memory_and_with_few_descriptors() -> Result<()> {
    let _alone = alone();
    let worker_args = vec!["--memory".to_owned(), "8MiB".to_owned()];
    let options = WorldOptions { workers: 1, etcd_members: 0, worker_args, ..Default::default() };
    let mut world = World::start("turns", options)?;
    for topic in 0..TOPICS {
        world.tools.create_topic(&world.source, &name(topic), 1, &[])?;
    }
    load(&world, 1)?;

    // Memory for eight.
    world.api.add_mirror("m", mirror(&["many-.*"]))?;
    let cause = world.api.wait_cause("m", "MEMORY_LIMIT", COPIED)?;
    assert!(cause.contains("may hold 8 MiB"), "{cause}");
    let memory = format!("{}MiB", number(&cause, "--memory ")?);
    all_copied(&world)?;
    calm(&world)?;
    let resident = world.workers[0].process.resident_bytes()? >> 20;
    println!("{TOPICS} ranges in 8 MiB ({resident} MiB resident): all copied. It said: {cause}");

    // Descriptors for a few, and ranges that rest notice what is new.
    let left = halt(&world)?;
    replace(&mut world, "few", None, Some((200, 256)))?;
    steady(&world, true)?;
    halted_stays_halted(&world, left)?;
    steady(&world, false)?;
    load(&world, 3)?;
    let cause = world.api.wait_cause("m", "DESCRIPTORS_LIMIT", COPIED)?;
    assert!(cause.contains("limit of the process is 256"), "{cause}");
    all_copied(&world)?;
    calm(&world)?;
    assert_eq!(descriptors_of(&world.workers[0])?, 256, "the soft limit is raised to the hard one");
    load(&world, 7)?;
    all_copied(&world)?;
    println!("{TOPICS} ranges with 256 descriptors: all copied. It said: {cause}");

    // What it asked for is enough.
    let asked = number(&cause, "ulimit -n ")?;
    replace(&mut world, "enough", Some(&memory), Some((200, asked)))?;
    load(&world, 1)?;
    all_copied(&world)?;
    calm(&world)?;
    let log = world.workers[0].process.log();
    assert!(!log.contains("take turns"), "{log}");
    let resident = world.workers[0].process.resident_bytes()? >> 20;
    println!("with {asked} descriptors and {memory} no range waits; {resident} MiB resident");
    Ok(())
}
