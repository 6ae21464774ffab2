//! A copy, a source or the progress between them is not what it was: named before the next record is written, and each remedy that is
//! printed does what it says.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use twinlog_proto::v1::naming::Kind;
use twinlog_proto::v1::{self, Guarantee, Mirror};
use twinlog_tests::api::{causes, told};
use twinlog_tests::sandbox::{Kafka, KafkaOptions, wait_until};
use twinlog_tests::tools::{Isolation, LoadOptions};
use twinlog_tests::world::{World, WorldOptions, mirror, naming};

use crate::beside;

const SAID: Duration = Duration::from_secs(60);
const COPIED: Duration = Duration::from_secs(60);
const PARTITIONS: u32 = 2;

fn start(name: &str) -> Result<World> {
    World::start(name, WorldOptions { etcd_members: 0, workers: 1, ..WorldOptions::default() })
}

fn produce(world: &World, kafka: &Kafka, topic: &str, records: u64) -> Result<()> {
    let load = LoadOptions { rate: 20_000.0, records: Some(records), ..LoadOptions::new(PARTITIONS) };
    world.tools.load(kafka, topic, &load)?;
    wait_until(COPIED, "the records to be made", || {
        Ok((world.tools.load_stats(topic)?.values().sum::<u64>() == records).then_some(()))
    })?;
    world.tools.stop_load(topic).map(drop)
}

/// A topic of 200 records, mirrored by a mirror of its name with one range for each partition.
fn mirrored(world: &World, topic: &str, more: Mirror) -> Result<()> {
    world.tools.create_topic(&world.source, topic, PARTITIONS, &[])?;
    produce(world, &world.source, topic, 200)?;
    let refresh =
        Some(v1::RefreshIntervals { topics: Some(Duration::from_secs(1).try_into()?), groups: None });
    world.api.add_mirror(topic, Mirror { refresh, block_size: 1, ..more })?;
    Ok(())
}

/// Everything that a reader sees in a topic, as a set and as a number.
pub(crate) fn values(world: &World, kafka: &Kafka, topic: &str) -> Result<(BTreeSet<(i32, String)>, usize)> {
    let dump = world.tools.dump(kafka, topic, Isolation::Committed)?;
    let values =
        dump.partitions.iter().flat_map(|(p, part)| part.records.iter().map(|r| (*p, r.value.clone())));
    let values: Vec<_> = values.collect();
    Ok((values.iter().cloned().collect(), values.len()))
}

/// The command that a message names, with the flag that it is to have, as it stands there.
fn remedy(message: &str, flag: &str) -> Result<Vec<String>> {
    let commands = message.match_indices("twinlog mirror update ").map(|(at, _)| &message[at..]);
    let words = commands.map(|text| {
        let mut words = text.split_whitespace().skip(1).map(|w| w.trim_end_matches(['.', ',', ')', ':']));
        let mut words: Vec<String> = words.by_ref().take(5).map(str::to_owned).collect();
        if words.get(3).is_some_and(|flag| flag.contains('=')) {
            words.truncate(4);
        }
        words
    });
    let found = words.into_iter().find(|words| words.get(3).is_some_and(|word| word.starts_with(flag)));
    found.with_context(|| format!("no command with {flag} in {message:?}"))
}

fn follow(world: &World, message: &str, flag: &str) -> Result<()> {
    let words = remedy(message, flag)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    world.controllers[0].cli(&words).map(drop)
}

fn delete(world: &World, kafka: &Kafka, topic: &str) -> Result<()> {
    world.tools.delete_topic(kafka, topic)
}

/// Data path 3: a copy that is deleted while the mirror runs is named, not filled from where it was; the remedy brings all of it back, at
/// once or, where the source has lost some meanwhile, with the gap recorded. Also while the mirror rests, and for at least once.
#[test]
fn a_copy_deleted_while_the_mirror_runs_is_named_and_filled_again() -> Result<()> {
    let _beside = beside();
    let world = start("deleted-copy")?;
    mirrored(&world, "gone", mirror(&["gone"]))?;
    mirrored(&world, "least", Mirror { guarantee: Guarantee::AtLeastOnce.into(), ..mirror(&["least"]) })?;
    mirrored(&world, "trimmed", mirror(&["trimmed"]))?;
    for topic in ["gone", "least", "trimmed"] {
        world.wait_exact(topic, &format!("a.{topic}"), COPIED)?;
    }
    for topic in ["gone", "least", "trimmed"] {
        delete(&world, &world.target, &format!("a.{topic}"))?;
        // "trimmed" rests: nobody writes to it.
        if topic != "trimmed" {
            produce(&world, &world.source, topic, 50)?;
        }
    }
    let mut messages = Vec::new();
    for topic in ["gone", "least", "trimmed"] {
        let message = world.api.wait_cause(topic, "TARGET_TOPIC_RECREATED", SAID)?;
        assert!(message.contains(&format!("a.{topic} was deleted and created again")), "{message}");
        messages.push(message);
    }
    assert_eq!(values(&world, &world.target, "a.gone")?.1, 0, "nothing is written before someone decides");
    world.tools.delete_records(&world.source, "trimmed", &[(0, 40)])?;
    for message in &messages {
        follow(&world, message, "--gap-policy")?;
    }
    world.wait_exact("gone", "a.gone", COPIED)?;
    wait_until(COPIED, "a.least to hold everything", || {
        let (source, copy) =
            (values(&world, &world.source, "least")?, values(&world, &world.target, "a.least")?);
        Ok((source.0 == copy.0).then_some(()))
    })?;
    world.wait_exact("trimmed", "a.trimmed", COPIED)?;
    // A worker says it a second after it has recorded it.
    let gap = wait_until(SAID, "what the source has no more to be recorded", || {
        let ranges = world.api.ranges("trimmed")?;
        Ok(ranges.iter().flat_map(|r| &r.partitions).flat_map(|p| &p.gaps).next().cloned())
    })?;
    assert_eq!((gap.first_offset, gap.end_offset), (0, 40));
    fewer_partitions(&world)
}

/// Second look, D3: a source topic that is made anew with fewer partitions is copied, and all of its lag is known: what no longer exists
/// doesn't count.
fn fewer_partitions(world: &World) -> Result<()> {
    mirrored(world, "fewer", mirror(&["fewer"]))?;
    world.wait_exact("fewer", "a.fewer", COPIED)?;
    delete(world, &world.source, "fewer")?;
    wait_until(SAID, "the topic to be gone", || {
        Ok((!world.tools.topics(&world.source)?.contains(&"fewer".to_owned())).then_some(()))
    })?;
    world.tools.create_topic(&world.source, "fewer", 1, &[])?;
    world.tools.load(&world.source, "fewer", &LoadOptions { records: Some(30), ..LoadOptions::new(1) })?;
    world.api.wait_cause("fewer", "SOURCE_TOPIC_RECREATED", SAID)?;
    world.controllers[0].cli(&["mirror", "update", "fewer", "--gap-policy", "resume"])?;
    let caught_up = || {
        wait_until(SAID, "all of the lag to be known, and 0", || {
            let status = world.api.status("fewer")?;
            let lag = status.totals.and_then(|totals| totals.lag_records.filter(|_| !totals.lag_at_least));
            let copied = values(world, &world.target, "a.fewer")?.1 == 230;
            Ok((copied && lag == Some(0) && status.state() == v1::State::Active).then_some(()))
        })
    };
    caught_up()?;
    // What earlier owners noted is read again by every new survey.
    world.workers[0].process.kill9()?;
    world.workers[0].process.start_again()?;
    world.api.wait_workers(1, SAID)?;
    std::thread::sleep(Duration::from_secs(5));
    caught_up()
}

/// Data path 13 and 14: without a position nothing is copied into a copy that holds records. That the progress is gone is said as that,
/// also where it is deleted while the mirror runs; the remedies continue exactly where the copy ends, or copy behind it.
#[test]
fn without_a_position_a_copy_is_never_filled_from_the_start_unasked() -> Result<()> {
    let _beside = beside();
    let world = start("no-position")?;
    mirrored(&world, "running", mirror(&["running"]))?;
    mirrored(&world, "paused", mirror(&["paused"]))?;
    for topic in ["running", "paused"] {
        world.wait_exact(topic, &format!("a.{topic}"), COPIED)?;
    }
    let name = || "mirrors/paused".to_owned();
    world.api.pause_mirror(v1::PauseMirrorRequest { name: name(), ..Default::default() }).map_err(told)?;
    wait_until(SAID, "the mirror to be paused", || {
        Ok((world.api.status("paused")?.state() == v1::State::Paused).then_some(()))
    })?;
    for mirror in ["running", "paused"] {
        let topics = world.tools.topics(&world.target)?;
        let progress = format!("__twinlog.{mirror}.progress");
        let progress = topics.into_iter().find(|t| *t == progress).context("its progress topic")?;
        delete(&world, &world.target, &progress)?;
        produce(&world, &world.source, mirror, 50)?;
    }
    world.api.resume_mirror(v1::ResumeMirrorRequest { name: name(), ..Default::default() }).map_err(told)?;
    for mirror in ["running", "paused"] {
        let copy = format!("a.{mirror}");
        let message = wait_until(SAID, "the loss to be named, or made good", || {
            let named = causes(&world.api.status(mirror)?).into_iter().find(|c| c.reason == "PROGRESS_LOST");
            match named {
                Some(cause) => Ok(Some(Some(cause.message))),
                // Another lane of it had made the topic again before this one noticed, which knows its place and writes it down.
                None if mirror == "running" && world.compare(mirror, &copy)?.is_exact() => Ok(Some(None)),
                None => Ok(None),
            }
        })?;
        println!("{mirror}: {message:?}");
        if let Some(message) = message {
            assert!(message.contains(&format!("progress of mirror {mirror}")), "{message}");
            follow(&world, &message, "--onto-existing=align")?;
        }
        world.wait_exact(mirror, &copy, COPIED)?;
    }
    not_empty(&world)
}

fn not_empty(world: &World) -> Result<()> {
    world.tools.create_topic(&world.target, "a.other", PARTITIONS, &[])?;
    produce(world, &world.target, "a.other", 100)?;
    world.tools.create_topic(&world.source, "other", PARTITIONS, &[])?;
    produce(world, &world.source, "other", 30)?;
    let create = ["mirror", "create", "other", "--source", "a", "--target", "b", "--topics", "other"];
    let planned = |more: &[&str]| world.controllers[0].cli(&[&create[..], &["--plan"], more].concat());
    let plan = planned(&[])?;
    assert!(plan.contains("a.other holds 100 records") && plan.contains("--onto-existing"), "{plan}");
    assert!(plan.contains("holds 100 records: stops as TARGET_NOT_EMPTY"), "{plan}");
    let plan = planned(&["--onto-existing=append"])?;
    assert!(plan.contains("holds 100 records: all is copied behind them"), "{plan}");
    world.controllers[0].cli(&create)?;
    let message = world.api.wait_cause("other", "TARGET_NOT_EMPTY", SAID)?;
    assert!(message.contains("holds 50 records"), "{message}");
    let before = values(world, &world.target, "a.other")?;
    assert_eq!(before.1, 100, "nothing is copied unasked");
    // These records are not copies of the source: they don't meet.
    follow(world, &message, "--onto-existing=align")?;
    wait_until(SAID, "that source and copy don't meet", || {
        let causes = causes(&world.api.status("other")?);
        Ok(causes.iter().find(|c| c.message.contains("was not found in other")).map(|c| c.message.clone()))
    })?;
    assert_eq!(values(world, &world.target, "a.other")?, before);
    follow(world, &message, "--onto-existing=append")?;
    wait_until(COPIED, "all to be appended", || {
        Ok((values(world, &world.target, "a.other")?.1 == 130).then_some(()))
    })
}

/// Failover 3: whoever writes to a copy is named before the next record is copied, by a mirror that rests and by one that is killed
/// meanwhile; what it leaves uncommitted itself is no reason for alarm.
#[test]
fn a_copy_that_others_write_to_is_named_before_the_next_record() -> Result<()> {
    let _beside = beside();
    let world = start("foreign-writes")?;
    mirrored(&world, "shared", Mirror { naming: naming(Kind::Identity), ..mirror(&["shared"]) })?;
    mirrored(&world, "killed", Mirror { naming: naming(Kind::Identity), ..mirror(&["killed"]) })?;
    for topic in ["shared", "killed"] {
        world.wait_exact(topic, topic, COPIED)?;
    }
    // As after a failover: the source is away, and producers go on at the target.
    world.source.broker(1).kill9()?;
    produce(&world, &world.target, "shared", 40)?;
    world.source.broker(1).start_again()?;
    world.source.wait_ready()?;
    produce(&world, &world.source, "shared", 10)?;
    let message = world.api.wait_cause("shared", "TARGET_FOREIGN_WRITES", SAID)?;
    assert!(message.contains("from its offset"), "{message}");
    let uncommitted = world.tools.dump(&world.target, "shared", Isolation::Uncommitted)?;
    assert_eq!(uncommitted.records(), 240, "not even a record that is taken back was written");

    world.workers[0].process.kill9()?;
    produce(&world, &world.target, "killed", 40)?;
    produce(&world, &world.source, "killed", 10)?;
    world.workers[0].process.start_again()?;
    let killed = world.api.wait_cause("killed", "TARGET_FOREIGN_WRITES", SAID)?;
    assert_eq!(values(&world, &world.target, "killed")?.1, 240);
    for (topic, message) in [("shared", &message), ("killed", &killed)] {
        follow(&world, message, "--allow-foreign-writes")?;
        wait_until(COPIED, "the rest to be copied", || {
            Ok((values(&world, &world.target, topic)?.1 == 250).then_some(()))
        })?;
    }
    no_false_alarm(&world)
}

/// A worker that is killed in the middle leaves records behind that count as its own.
fn no_false_alarm(world: &World) -> Result<()> {
    let latency = |ms| Duration::from_millis(ms).try_into().ok();
    for (topic, guarantee) in [("once", Guarantee::ExactlyOnce), ("least", Guarantee::AtLeastOnce)] {
        let slow = Mirror { guarantee: guarantee.into(), target_latency: latency(2_000), ..mirror(&[topic]) };
        mirrored(world, topic, slow)?;
    }
    for topic in ["once", "least"] {
        wait_until(COPIED, "copying to begin", || {
            Ok((values(world, &world.target, &format!("a.{topic}")).is_ok_and(|v| v.1 >= 200)).then_some(()))
        })?;
        world.tools.load(&world.source, topic, &LoadOptions::new(PARTITIONS))?;
    }
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(1_700));
        world.workers[0].process.kill9()?;
        world.workers[0].process.start_again()?;
        wait_until(SAID, "copying to go on", || {
            let states = ["once", "least"].map(|m| world.api.status(m).map(|s| s.state()));
            Ok(states.into_iter().all(|s| s.is_ok_and(|s| s == v1::State::Active)).then_some(()))
        })?;
    }
    for topic in ["once", "least"] {
        world.tools.stop_load(topic)?;
    }
    world.wait_exact("once", "a.once", COPIED)?;
    wait_until(COPIED, "a.least to hold everything", || {
        let (source, copy) =
            (values(world, &world.source, "least")?, values(world, &world.target, "a.least")?);
        Ok((source.0 == copy.0).then_some(()))
    })?;
    for topic in ["once", "least"] {
        let causes = causes(&world.api.status(topic)?);
        ensure!(causes.is_empty(), "{topic}: {causes:?}");
    }
    Ok(())
}

/// Data path 15 and failover 11: another cluster at the source's address is named once for the mirror, and not copied from; the remedy is
/// to give the right address. Plans refuse what creating refuses, with the same words and exit code.
#[test]
fn another_cluster_at_the_sources_address_is_named_and_not_copied_from() -> Result<()> {
    let _beside = beside();
    let world = start("another-source")?;
    mirrored(&world, "moved", mirror(&["moved"]))?;
    world.wait_exact("moved", "a.moved", COPIED)?;
    refused_as_planned(&world)?;
    let other = world.sandbox.kafka("c", KafkaOptions::default())?;
    world.tools.create_topic(&other, "moved", PARTITIONS, &[])?;
    produce(&world, &other, "moved", 1_000)?;
    let before = values(&world, &world.target, "a.moved")?;
    let cli = |servers: &str| {
        let update = ["cluster", "update", "a", "--bootstrap-servers", servers];
        world.controllers[0].cli(&update).map(drop)
    };
    cli(&other.bootstrap())?;
    let message = world.api.wait_cause("moved", "SOURCE_CLUSTER_CHANGED", SAID)?;
    assert!(message.contains("twinlog cluster update a --bootstrap-servers"), "{message}");
    // Also by a worker that begins only now.
    world.workers[0].process.kill9()?;
    world.workers[0].process.start_again()?;
    world.api.wait_workers(1, SAID)?;
    std::thread::sleep(Duration::from_secs(4));
    world.api.wait_cause("moved", "SOURCE_CLUSTER_CHANGED", SAID)?;
    let status = world.api.status("moved")?;
    let named = status.causes.iter().filter(|cause| cause.reason == "SOURCE_CLUSTER_CHANGED").count();
    assert_eq!(named, 1, "{:?}", status.causes);
    assert_eq!(values(&world, &world.target, "a.moved")?, before, "nothing is copied from it");
    cli(&world.source.bootstrap())?;
    produce(&world, &world.source, "moved", 50)?;
    world.wait_exact("moved", "a.moved", COPIED)?;
    Ok(())
}

fn refused_as_planned(world: &World) -> Result<()> {
    let double = ["mirror", "create", "double", "--source", "a", "--target", "b", "--topics", "moved"];
    let identity = [
        "mirror", "create", "there", "--source", "a", "--target", "b", "--topics", "round", "--naming",
        "identity",
    ];
    let circle = [
        "mirror", "create", "back", "--source", "b", "--target", "a", "--topics", "round", "--naming",
        "identity",
    ];
    world.controllers[0].cli(&identity)?;
    for (create, reason) in [(&double[..], "already writes a.moved"), (&circle[..], "for ever")] {
        let outcome = |more: &[&str]| world.controllers[0].try_cli(&[create, more].concat());
        let (planned, made) = (outcome(&["--plan"])?, outcome(&[])?);
        let said = String::from_utf8_lossy(&planned.stderr).into_owned();
        assert!(said.contains(reason), "{said}");
        assert_eq!(planned.status.code(), made.status.code());
        assert_eq!(said, String::from_utf8_lossy(&made.stderr));
        assert!(!planned.status.success());
    }
    Ok(())
}

/// Failover 6: what was mirrored back into a source that was made anew is not copied again: the mirror goes on where the sides meet.
#[test]
fn after_mirroring_back_a_mirror_goes_on_where_the_sides_meet() -> Result<()> {
    let _beside = beside();
    let world = start("sides-meet")?;
    let same = |mirror| Mirror { naming: naming(Kind::Identity), ..mirror };
    mirrored(&world, "orders", same(mirror(&["orders"])))?;
    world.wait_exact("orders", "orders", COPIED)?;
    world.api.remove_mirror("orders")?;
    // The source is lost and comes back empty, and gets everything back.
    delete(&world, &world.source, "orders")?;
    let back =
        Mirror { source: "clusters/b".into(), target: "clusters/a".into(), ..same(mirror(&["orders"])) };
    world.api.add_mirror("back", back)?;
    wait_until(COPIED, "everything to be mirrored back", || {
        Ok(values(&world, &world.source, "orders").is_ok_and(|v| v.1 == 200).then_some(()))
    })?;
    world.api.remove_mirror("back")?;
    produce(&world, &world.source, "orders", 60)?;
    let before = values(&world, &world.target, "orders")?;
    world.api.add_mirror("orders", same(mirror(&["orders"])))?;
    let message = world.api.wait_cause("orders", "SOURCE_TOPIC_RECREATED", SAID)?;
    assert_eq!(values(&world, &world.target, "orders")?, before);
    follow(&world, &message, "--onto-existing=align")?;
    wait_until(COPIED, "the rest to be copied", || {
        Ok((values(&world, &world.target, "orders")?.1 == 260).then_some(()))
    })?;
    let (source, target) =
        (values(&world, &world.source, "orders")?, values(&world, &world.target, "orders")?);
    assert_eq!(source, target, "all of it, and nothing twice");
    Ok(())
}

/// Failover 12: a range that moves as planned fences nobody but its earlier owner: not even a reader of uncommitted records sees one twice.
#[test]
fn a_planned_move_leaves_nothing_behind_that_was_taken_back() -> Result<()> {
    let _beside = beside();
    let options = WorldOptions { etcd_members: 0, workers: 2, ..WorldOptions::default() };
    let world = World::start("planned-move", options)?;
    world.tools.create_topic(&world.source, "steady", 8, &[])?;
    let load = LoadOptions { rate: 8_000.0, ..LoadOptions::new(8) };
    world.tools.load(&world.source, "steady", &load)?;
    world.api.add_mirror("steady", Mirror { block_size: 1, ..mirror(&["steady"]) })?;
    let runs = |count: usize| {
        wait_until(SAID, "all ranges to run", || {
            let ranges = world.api.ranges("steady")?;
            let ranges = ranges.iter().filter(|r| r.target_topic == "a.steady");
            let active = ranges.filter(|r| r.state() == v1::State::Active && !r.partitions.is_empty());
            Ok((active.count() == count).then_some(()))
        })
    };
    runs(8)?;
    for leaving in [0, 1, 0] {
        std::thread::sleep(Duration::from_secs(1));
        world.workers[leaving].process.terminate()?;
        runs(8)?;
        std::thread::sleep(Duration::from_secs(1));
        world.workers[leaving].process.start_again()?;
        world.api.wait_workers(2, SAID)?;
        runs(8)?;
    }
    world.tools.stop_load("steady")?;
    world.wait_exact("steady", "a.steady", COPIED)?;
    let seen = world.tools.dump(&world.target, "a.steady", Isolation::Uncommitted)?;
    let committed = world.tools.dump(&world.target, "a.steady", Isolation::Committed)?;
    let logs: Vec<String> = world.workers.iter().map(|worker| worker.process.log()).collect();
    let fenced: Vec<&str> =
        logs.iter().flat_map(|log| log.lines()).filter(|l| l.contains("another owner")).collect();
    assert_eq!(seen.records() - committed.records(), 0, "records were taken back: {fenced:#?}");
    assert!(fenced.is_empty(), "{fenced:#?}");
    Ok(())
}
