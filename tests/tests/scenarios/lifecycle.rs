//! A mirror from its plan to its end: planned without a trace, paused, resumed, moved off a drained worker, deleted.

use std::time::Duration;

use anyhow::{Context, Result};
use twinlog_proto::v1::{self, Mirror};
use twinlog_tests::api::told;
use twinlog_tests::sandbox::wait_until;
use twinlog_tests::tools::{Isolation, LoadOptions};
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::beside;

const SETTLED: Duration = Duration::from_secs(30);
const TOPIC: &str = "orders";
const COPY: &str = "a.orders";
const PARTITIONS: u32 = 6;

fn wait_caught_up(world: &World) -> Result<()> {
    let made = world.tools.load_stats(TOPIC)?;
    wait_until(SETTLED, "the copy to hold what was made", || {
        let seen = world.tools.tail_stats(COPY, false)?.partitions;
        Ok(made.iter().all(|(p, n)| seen.get(p).is_some_and(|s| s.next >= *n)).then_some(()))
    })
}

#[test]
fn a_mirror_is_planned_paused_resumed_drained_and_deleted() -> Result<()> {
    let _beside = beside();
    let world = World::start("lifecycle", WorldOptions::default())?;
    world.tools.create_topic(&world.source, TOPIC, PARTITIONS, &[])?;
    world.tools.load(&world.source, TOPIC, &LoadOptions { rate: 1_000.0, ..LoadOptions::new(PARTITIONS) })?;
    world.tools.tail(&world.target, COPY, Isolation::Committed)?;
    planned_without_a_trace(&world)?;

    world.api.add_mirror("m", Mirror { block_size: 2, ..mirror(&[TOPIC]) })?;
    wait_caught_up(&world)?;
    paused_and_resumed(&world)?;
    drained(&world)?;

    world.tools.stop_load(TOPIC)?;
    world.wait_exact(TOPIC, COPY, SETTLED)?;
    let tail = world.tools.stop_tail(COPY)?;
    assert_eq!(tail.wrong, 0, "{}", tail.first_wrong);
    world.api.remove_mirror("m")?;
    assert!(world.compare(TOPIC, COPY)?.is_exact(), "what was copied stays");
    Ok(())
}

fn planned_without_a_trace(world: &World) -> Result<()> {
    let request = v1::CreateMirrorRequest {
        mirror_id: "m".into(),
        mirror: Some(mirror(&[TOPIC])),
        validate_only: true,
        ..Default::default()
    };
    let plan = world.api.create_mirror(request).map_err(told)?.plan.context("no plan")?;
    let topic = plan.topics.iter().find(|t| t.source_topic == TOPIC).context("the topic isn't planned")?;
    assert_eq!((topic.target_topic.as_str(), topic.source_partitions), (COPY, PARTITIONS as i32));
    assert_eq!(topic.action(), v1::planned_topic::Action::Create);
    assert!(world.api.status("m").is_err(), "no mirror was created");
    assert!(!world.tools.topics(&world.target)?.contains(&COPY.to_owned()), "no topic was created");
    Ok(())
}

fn paused_and_resumed(world: &World) -> Result<()> {
    let name = || "mirrors/m".to_owned();
    world.api.pause_mirror(v1::PauseMirrorRequest { name: name(), ..Default::default() }).map_err(told)?;
    wait_until(SETTLED, "the mirror to be paused", || {
        Ok((world.api.status("m")?.state() == v1::State::Paused).then_some(()))
    })?;
    let before = world.tools.offsets(&world.target, COPY)?;
    let made = world.tools.load_stats(TOPIC)?;
    wait_until(SETTLED, "the source to grow by 1,000", || {
        let now: u64 = world.tools.load_stats(TOPIC)?.values().sum();
        Ok((now > made.values().sum::<u64>() + 1_000).then_some(()))
    })?;
    assert_eq!(world.tools.offsets(&world.target, COPY)?, before, "a paused mirror writes nothing");
    world.api.resume_mirror(v1::ResumeMirrorRequest { name: name(), ..Default::default() }).map_err(told)?;
    wait_caught_up(world)
}

fn drained(world: &World) -> Result<()> {
    let workers = world.api.workers()?;
    let busy = workers.iter().find(|w| w.ranges() > 0).context("nobody copies")?.name.clone();
    world.tools.tail_stats(COPY, true)?;
    world.api.drain_worker(v1::DrainWorkerRequest { name: busy.clone(), cancel: false }).map_err(told)?;
    wait_until(SETTLED, &format!("{busy} to be empty"), || {
        let worker = world.api.workers()?.into_iter().find(|w| w.name == busy);
        Ok(worker.is_some_and(|w| w.tasks() == 0).then_some(()))
    })?;
    wait_caught_up(world)?;
    let silence = world.tools.tail_stats(COPY, false)?.silence_ms;
    println!("drained {busy}: longest silence {silence} ms");
    world.api.drain_worker(v1::DrainWorkerRequest { name: busy, cancel: true }).map_err(told)?;
    Ok(())
}
