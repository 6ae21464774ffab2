//! The store goes away, comes back older, or comes back empty, under a fleet that copies: it is said, nothing is fenced for ever, and
//! nobody restarts anything by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use twinlog_proto::v1::{self, Guarantee, Mirror, State};
use twinlog_tests::api::{causes, refused};
use twinlog_tests::sandbox::{WorkerOptions, wait_until};
use twinlog_tests::tools::LoadOptions;
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::alone;

const TOPIC: &str = "numbers";
const COPY: &str = "a.numbers";
const PARTITIONS: u32 = 6;
/// On a busy machine; a quiet one needs some seconds.
const SETTLED: Duration = Duration::from_secs(60);

fn wanted() -> Mirror {
    Mirror { block_size: 2, guarantee: Guarantee::ExactlyOnce.into(), ..mirror(&[TOPIC]) }
}

/// The ranges of the topic that the test makes, with their epochs, once all are active by later epochs than `after`.
fn active(world: &World, after: i64) -> Result<BTreeMap<String, i64>> {
    let mut last = String::new();
    let active = wait_until(SETTLED, "every range to be active by a later epoch", || {
        let Ok(ranges) = world.api.ranges("m") else { return Ok(None) };
        last = format!("{ranges:#?}");
        let ours: Vec<_> = ranges.into_iter().filter(|range| range.source_topic == TOPIC).collect();
        let good = ours.iter().all(|range| range.state() == State::Active && range.epoch > after);
        Ok((ours.len() == 3 && good).then(|| ours.into_iter().map(|r| (r.task, r.epoch)).collect()))
    });
    active.with_context(|| format!("after epoch {after}: {last}"))
}

fn latest(epochs: &BTreeMap<String, i64>) -> i64 {
    epochs.values().copied().max().unwrap_or(0)
}

/// A pause by the mirror's present etag stops the copy, and a resumption goes on.
fn pause_works(world: &World) -> Result<i64> {
    let get = || world.api.get_mirror(v1::GetMirrorRequest { name: "mirrors/m".into() });
    let etag = get().map_err(twinlog_tests::api::told)?.etag;
    let request = v1::PauseMirrorRequest { name: "mirrors/m".into(), etag, ..Default::default() };
    world.api.pause_mirror(request).map_err(twinlog_tests::api::told)?;
    wait_until(SETTLED, "the mirror to be paused", || {
        Ok((world.api.status("m")?.state() == State::Paused).then_some(()))
    })?;
    let ends = || world.tools.offsets(&world.target, COPY);
    let paused_at = ends()?;
    std::thread::sleep(Duration::from_secs(1));
    ensure!(ends()? == paused_at, "it copies on while it is paused");
    let request = v1::ResumeMirrorRequest { name: "mirrors/m".into(), ..Default::default() };
    world.api.resume_mirror(request).map_err(twinlog_tests::api::told)?;
    Ok(latest(&active(world, 0)?))
}

/// What says so while etcd is away.
fn said_to_be_away(world: &World) -> Result<()> {
    for controller in &world.controllers {
        wait_until(SETTLED, "readiness to say that changes wait", || {
            let (code, text) = controller.page("/readyz")?;
            Ok((code == 503 && text.contains("store can't be used since")).then_some(()))
        })?;
        ensure!(controller.page("/healthz")?.0 == 200, "the process lives");
    }
    wait_until(SETTLED, "the status to say so, of a copy that goes on", || {
        let status = world.api.status("m")?;
        let said = causes(&status).iter().any(|c| c.reason == "STORE_UNAVAILABLE" && c.since.is_some());
        Ok((said && status.state() == State::Active).then_some(()))
    })?;
    let listed = world.api.list_mirrors(v1::ListMirrorsRequest::default());
    ensure!(listed.is_ok_and(|list| list.mirrors.len() == 1), "reads are served");
    Ok(())
}

fn ready(world: &World) -> Result<()> {
    for controller in &world.controllers {
        wait_until(SETTLED, "readiness", || Ok((controller.page("/readyz")?.0 == 200).then_some(())))?;
    }
    Ok(())
}

/// A watch from the last revision of a history that is gone ends: clients list again.
fn history_is_gone(world: &World, revision: i64) -> Result<()> {
    let (code, _, message) = refused(world.api.watch_from(revision));
    ensure!(code == tonic::Code::OutOfRange, "{code:?} {message}");
    Ok(())
}

#[test]
fn a_store_that_is_restored_or_wiped_stops_no_copy_for_long() -> Result<()> {
    let _alone = alone();
    let world = World::start("store", WorldOptions { controllers: 2, ..Default::default() })?;
    world.tools.create_topic(&world.source, TOPIC, PARTITIONS, &[])?;
    world.tools.load(&world.source, TOPIC, &LoadOptions { rate: 600.0, ..LoadOptions::new(PARTITIONS) })?;
    world.api.add_mirror("m", wanted())?;
    active(&world, 0)?;
    let pids = || -> Vec<_> {
        let workers = world.workers.iter().map(|worker| worker.process.pid());
        workers.chain(world.controllers.iter().map(|controller| controller.process.pid())).collect()
    };
    let before = pids();

    // Changes after the snapshot: later epochs, and revisions that clients have seen.
    let snapshot = world.etcd().snapshot()?;
    let mut seen = 0;
    for _ in 0..2 {
        seen = pause_works(&world)?;
    }
    let revision =
        world.api.list_mirrors(v1::ListMirrorsRequest::default()).map_err(twinlog_tests::api::told)?.revision;
    world.etcd().kill_all()?;
    said_to_be_away(&world)?;
    world.etcd().restore(&snapshot)?;
    let epochs = active(&world, seen)?;
    println!("restored: goes on by epochs {epochs:?} after {seen}");
    ready(&world)?;
    history_is_gone(&world, revision)?;
    seen = pause_works(&world)?;

    world.etcd().kill_all()?;
    world.etcd().wipe()?;
    wait_until(SETTLED, "the controllers to notice that nothing is there", || {
        let listed = world.api.list_mirrors(v1::ListMirrorsRequest::default());
        Ok(listed.is_ok_and(|list| list.mirrors.is_empty()).then_some(()))
    })?;
    world.api.add_cluster("a", &world.source.bootstrap(), &[])?;
    world.api.add_cluster("b", &world.target.bootstrap(), &[])?;
    world.api.add_mirror("m", wanted())?;
    let epochs = active(&world, seen)?;
    println!("wiped: goes on by epochs {epochs:?} after {seen}");
    pause_works(&world)?;
    ensure!(pids() == before, "a worker or a controller was restarted");

    a_second_worker_with_an_id_is_refused(&world)?;
    a_new_leader_says_what_it_does_not_know(&world)?;
    world.tools.stop_load(TOPIC)?;
    world.wait_exact(TOPIC, COPY, SETTLED)?;
    for process in
        world.controllers.iter().map(|c| &c.process).chain(world.workers.iter().map(|w| &w.process))
    {
        ensure!(!process.log().contains("panicked"), "{} panicked", process.name());
    }
    Ok(())
}

fn a_second_worker_with_an_id_is_refused(world: &World) -> Result<()> {
    let before = active(world, 0)?;
    let id = world.api.workers()?.first().context("a worker")?.name.replace("workers/", "");
    let mut options = WorkerOptions::of(&world.controllers.iter().collect::<Vec<_>>());
    options.args = vec!["--worker-id".into(), id.clone()];
    let second = world.sandbox.worker("twin", options)?;
    let status = second.process.wait_exit(SETTLED)?;
    ensure!(status.code() == Some(2), "{status}");
    let log = second.process.log();
    let says = format!("worker id {id} is in use: another process with this id is connected since");
    ensure!(log.contains(&says) && log.contains("--worker-id"), "{log}");
    ensure!(active(world, 0)? == before, "the first one was disturbed");
    Ok(())
}

/// Workers that are silent while a leader begins: what they run is unknown, not pending, and there are not 0 of them.
fn a_new_leader_says_what_it_does_not_know(world: &World) -> Result<()> {
    world.controllers.iter().try_for_each(|controller| controller.process.kill9())?;
    world.workers.iter().try_for_each(|worker| worker.process.pause())?;
    world.controllers.iter().try_for_each(|controller| controller.process.start_again())?;
    let mut last = String::new();
    let told = wait_until(SETTLED, "a new leader to say what it doesn't know", || {
        let Ok(workers) = world.api.workers() else { return Ok(None) };
        let Ok(status) = world.api.status("m") else { return Ok(None) };
        let away = workers.iter().filter(|worker| worker.state() == v1::worker::State::NotBack).count();
        last = format!("{away} of {} workers not back, mirror {:?}", workers.len(), status.state());
        ensure!(status.state() != State::Pending, "what runs is said to be pending: {last}");
        let settling = world.controllers.iter().any(|controller| {
            controller
                .page("/readyz")
                .is_ok_and(|(code, text)| code == 503 && text.contains("waits for its workers"))
        });
        let unknown = status.state() == State::Unknown && status.totals.is_none();
        Ok((away == 2 && unknown && settling).then_some(()))
    });
    world.workers.iter().try_for_each(|worker| worker.process.resume())?;
    told.with_context(|| last.clone())?;
    active(world, 0)?;
    ready(world)
}
