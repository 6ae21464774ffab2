//! A source that is restored from a backup and has grown past the mirror's position before anyone looks: same topics, same leader
//! epochs, nothing seems to be missing. Nothing of it is copied before that is said, and the remedy copies all that is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use twinlog_proto::v1::{self, Guarantee, Mirror, Partitioning};
use twinlog_tests::api::told;
use twinlog_tests::sandbox::{Kafka, wait_until};
use twinlog_tests::tools::{Isolation, LoadOptions};
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::beside;

const SAID: Duration = Duration::from_secs(60);
const COPIED: Duration = Duration::from_secs(60);
const PARTITIONS: u32 = 2;
const BASE: u64 = 200;
/// What the source loses, and what it has instead by the time that it is seen again.
const LOST: u64 = 100;
const INSTEAD: u64 = 160;

const PAUSED: &str = "paused";
/// These run through the restore.
const RUNNING: [&str; 3] = ["once", "least", "keyed"];

fn topics() -> impl Iterator<Item = &'static str> {
    RUNNING.into_iter().chain([PAUSED])
}

fn produce(world: &World, topic: &str, records: u64) -> Result<()> {
    let load = LoadOptions { rate: 20_000.0, records: Some(records), ..LoadOptions::new(PARTITIONS) };
    world.tools.load(&world.source, topic, &load)?;
    wait_until(COPIED, "the records to be made", || {
        Ok((world.tools.load_stats(topic)?.values().sum::<u64>() == records).then_some(()))
    })?;
    world.tools.stop_load(topic).map(drop)
}

/// A cluster's data, while it is stopped.
pub(crate) struct Disk {
    data: PathBuf,
}

impl Disk {
    pub(crate) fn of(kafka: &Kafka) -> Self {
        Self { data: kafka.broker(1).log_path().with_file_name("data") }
    }

    fn copy(from: &Path, to: &Path) -> Result<()> {
        let _ = std::fs::remove_dir_all(to);
        let copied = Command::new("cp").arg("-a").arg(from).arg(to).status()?;
        ensure!(copied.success(), "{} can't be copied", from.display());
        Ok(())
    }

    pub(crate) fn save(&self, name: &str) -> Result<()> {
        Self::copy(&self.data, &self.data.with_file_name(name))
    }

    pub(crate) fn put_back(&self, name: &str) -> Result<()> {
        Self::copy(&self.data.with_file_name(name), &self.data)
    }
}

fn stop(world: &World) -> Result<()> {
    world.source.broker(1).terminate().map(drop)
}

fn start(world: &World) -> Result<()> {
    world.source.broker(1).start_again()?;
    world.source.wait_ready()
}

/// Records by all that is to be the same, with how often they are there.
fn records(world: &World, copy: bool, topic: &str) -> Result<BTreeMap<(i32, i64, String, String), usize>> {
    let (kafka, name) = match copy {
        true => (&world.target, format!("a.{topic}")),
        false => (&world.source, topic.to_owned()),
    };
    let dump = world.tools.dump(kafka, &name, Isolation::Committed)?;
    let mut found = BTreeMap::new();
    for (partition, records) in dump.partitions {
        // By key a record's partition is another one.
        let partition = if topic == "keyed" { 0 } else { partition };
        for record in records.records {
            *found.entry((partition, record.timestamp, record.key, record.value)).or_default() += 1;
        }
    }
    Ok(found)
}

fn set_paused(world: &World, paused: bool) -> Result<()> {
    let name = format!("mirrors/{PAUSED}");
    let wanted = match paused {
        true => {
            world.api.pause_mirror(v1::PauseMirrorRequest { name, ..Default::default() }).map_err(told)?;
            v1::State::Paused
        }
        false => {
            let resume = v1::ResumeMirrorRequest { name, ..Default::default() };
            world.api.resume_mirror(resume).map_err(told)?;
            return Ok(());
        }
    };
    wait_until(SAID, "the mirror to be paused", || {
        Ok((world.api.status(PAUSED)?.state() == wanted).then_some(()))
    })
}

/// Second look, data path D2.
#[test]
fn a_source_that_was_restored_and_has_grown_is_named_and_what_it_has_now_is_copied() -> Result<()> {
    let _beside = beside();
    let options = WorldOptions { etcd_members: 0, workers: 1, ..WorldOptions::default() };
    let world = World::start("restored", options)?;
    let disk = Disk::of(&world.source);
    let bases = two_histories(&world, &disk)?;

    let settings = |topic: &str| match topic {
        "least" => Mirror { guarantee: Guarantee::AtLeastOnce.into(), ..mirror(&["least"]) },
        "keyed" => Mirror { partitioning: Partitioning::ByKey.into(), ..mirror(&["keyed"]) },
        topic => mirror(&[topic]),
    };
    for topic in topics() {
        world.api.add_mirror(topic, Mirror { block_size: 1, ..settings(topic) })?;
    }
    let mut lost = BTreeMap::new();
    for made in [0, LOST] {
        for topic in topics() {
            if made > 0 {
                produce(&world, topic, made)?;
            }
            let all = records(&world, false, topic)?;
            wait_until(COPIED, &format!("{topic} to be copied"), || {
                Ok(records(&world, true, topic).is_ok_and(|copy| copy == all).then_some(()))
            })?;
            lost.insert(topic, all);
        }
    }

    set_paused(&world, true)?;
    stop(&world)?;
    disk.put_back("other")?;
    start(&world)?;
    set_paused(&world, false)?;
    for topic in topics() {
        let now = world.tools.offsets(&world.source, topic)?;
        assert!(
            now.iter().all(|(p, (_, end))| *end > bases[topic][p] + 50),
            "it seems to have grown: {now:?}"
        );
    }
    for topic in topics() {
        let message = world.api.wait_cause(topic, "SOURCE_TRUNCATED", SAID)?;
        assert!(message.contains("is not what was copied"), "{message}");
        assert_eq!(records(&world, true, topic)?, lost[topic], "{topic}: nothing of it was copied before");
    }
    said_once(&world);

    for topic in topics() {
        world.controllers[0].cli(&["mirror", "update", topic, "--gap-policy", "resume"])?;
        let now = records(&world, false, topic)?;
        wait_until(COPIED, &format!("{topic} to have all that the source has now"), || {
            let copy = records(&world, true, topic)?;
            Ok(now.keys().all(|record| copy.contains_key(record)).then_some(()))
        })?;
        gaps_are_recorded(&world, topic, &bases[topic])?;
        if topic != "keyed" {
            let copy: usize = records(&world, true, topic)?.values().sum();
            assert_eq!(copy as u64, BASE + LOST + INSTEAD, "{topic}: what both have was not copied again");
        }
    }
    // It goes on as ever.
    for topic in topics() {
        produce(&world, topic, 20)?;
        let now = records(&world, false, topic)?;
        wait_until(COPIED, &format!("{topic} to go on"), || {
            let copy = records(&world, true, topic)?;
            Ok(now.keys().all(|record| copy.contains_key(record)).then_some(()))
        })?;
    }
    Ok(())
}

/// A halted range looks again every 30 s: that it still is is nothing new.
fn said_once(world: &World) {
    std::thread::sleep(Duration::from_secs(35));
    let log = world.workers[0].process.log();
    let mut halts = BTreeMap::<&str, usize>::new();
    for line in log.lines().filter(|line| line.contains("ERROR") && line.contains("is not what was copied")) {
        *halts.entry(line.split_once("lane::run").map_or(line, |(_, said)| said)).or_default() += 1;
    }
    assert!(!halts.is_empty() && halts.values().all(|times| *times == 1), "{halts:#?}");
}

/// Leaves the source with records that are backed up, and `other`: the same records, and more behind them. What is written to either comes
/// after one start of the broker, so that leader epochs are the same. Where the common part ends.
fn two_histories(world: &World, disk: &Disk) -> Result<BTreeMap<&'static str, BTreeMap<i32, i64>>> {
    for topic in topics() {
        world.tools.create_topic(&world.source, topic, PARTITIONS, &[])?;
        produce(world, topic, BASE)?;
    }
    let mut bases = BTreeMap::new();
    for topic in topics() {
        let ends = world.tools.offsets(&world.source, topic)?;
        bases.insert(topic, ends.into_iter().map(|(partition, (_, end))| (partition, end)).collect());
    }
    stop(world)?;
    disk.save("backup")?;
    start(world)?;
    for topic in topics() {
        produce(world, topic, INSTEAD)?;
    }
    stop(world)?;
    disk.save("other")?;
    disk.put_back("backup")?;
    start(world)?;
    Ok(bases)
}

fn gaps_are_recorded(world: &World, topic: &str, base: &BTreeMap<i32, i64>) -> Result<()> {
    // What a worker says comes about a second after what it does.
    let partitions = wait_until(SAID, &format!("gaps of {topic}"), || {
        let ranges = world.api.ranges(topic)?.into_iter().filter(|range| range.source_topic == topic);
        let partitions: Vec<_> = ranges.flat_map(|range| range.partitions).collect();
        let all = partitions.len() == base.len() && partitions.iter().all(|p| !p.gaps.is_empty());
        Ok(all.then_some(partitions))
    })?;
    for partition in partitions {
        let gap = &partition.gaps[0];
        let from = if topic == "keyed" { 0 } else { base[&partition.partition] };
        assert_eq!(gap.first_offset, from, "{topic}: {gap:?}");
        assert!(gap.end_offset > base[&partition.partition], "{gap:?}");
    }
    Ok(())
}
