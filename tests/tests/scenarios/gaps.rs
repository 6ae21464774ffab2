//! Records that are gone before they were copied, and topics that are not what they were: named, recorded, never silent.

use std::time::Duration;

use anyhow::{Context, Result};
use twinlog_proto::v1::{self, GapPolicy, Mirror};
use twinlog_tests::api::told;
use twinlog_tests::sandbox::wait_until;
use twinlog_tests::tools::{Isolation, LoadOptions};
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::beside;

const SAID: Duration = Duration::from_secs(30);
const COPIED: Duration = Duration::from_secs(60);
const EACH: u64 = 500;

/// Adds `EACH` records to each of two partitions, numbered from where the last call ended.
fn produce(world: &World, topic: &str) -> Result<()> {
    let load = LoadOptions { rate: 20_000.0, records: Some(EACH * 2), ..LoadOptions::new(2) };
    world.tools.load(&world.source, topic, &load)?;
    wait_until(COPIED, "the records to be made", || {
        Ok((world.tools.load_stats(topic)?.values().sum::<u64>() == EACH * 2).then_some(()))
    })?;
    world.tools.stop_load(topic).map(drop)
}

fn set_paused(world: &World, id: &str, paused: bool) -> Result<()> {
    let name = format!("mirrors/{id}");
    let answer = if paused {
        world.api.pause_mirror(v1::PauseMirrorRequest { name, ..Default::default() })
    } else {
        world.api.resume_mirror(v1::ResumeMirrorRequest { name, ..Default::default() })
    };
    answer.map_err(twinlog_tests::api::told)?;
    if paused {
        wait_until(SAID, &format!("{id} to be paused"), || {
            Ok((world.api.status(id)?.state() == v1::State::Paused).then_some(()))
        })?;
    }
    Ok(())
}

/// Copies 500 records, pauses, and lets retention take 300 of the next 500 of partition 0.
fn outrun(world: &World, topic: &str, policy: GapPolicy) -> Result<()> {
    world.tools.create_topic(&world.source, topic, 2, &[])?;
    produce(world, topic)?;
    let mirror = Mirror { gap_policy: policy.into(), block_size: 1, ..mirror(&[topic]) };
    world.api.add_mirror(topic, mirror)?;
    world.wait_exact(topic, &format!("a.{topic}"), COPIED)?;
    set_paused(world, topic, true)?;
    produce(world, topic)?;
    world.tools.delete_records(&world.source, topic, &[(0, 800)])?;
    set_paused(world, topic, false)
}

fn copied(world: &World, topic: &str, partition: i32) -> Result<Vec<String>> {
    let dump = world.tools.dump(&world.target, &format!("a.{topic}"), Isolation::Committed)?;
    Ok(dump.partitions[&partition].records.iter().map(|r| r.value.clone()).collect())
}

#[test]
fn retention_that_outran_the_mirror_halts_or_is_recorded() -> Result<()> {
    let _beside = beside();
    let world = World::start("retention", WorldOptions::default())?;

    outrun(&world, "halting", GapPolicy::Halt)?;
    let message = world.api.wait_cause("halting", "SOURCE_OFFSETS_LOST", SAID)?;
    assert!(message.contains("500 to 799"), "names what is lost: {message}");
    wait_until(COPIED, "partition 1, which lost nothing, to be copied", || {
        Ok((copied(&world, "halting", 1)?.len() as u64 == 2 * EACH).then_some(()))
    })?;
    assert_eq!(copied(&world, "halting", 0)?.len() as u64, EACH, "a halted range writes nothing");

    outrun(&world, "resuming", GapPolicy::Resume)?;
    wait_until(COPIED, "what is left to be copied", || {
        Ok((copied(&world, "resuming", 0)?.len() as u64 == EACH + 200).then_some(()))
    })?;
    let gap = wait_until(SAID, "the gap to be in the status", || {
        let ranges = world.api.ranges("resuming")?;
        let mut partitions =
            ranges.iter().filter(|r| r.source_topic == "resuming").flat_map(|r| &r.partitions);
        let partition = partitions.find(|p| p.partition == 0);
        Ok(partition.and_then(|p| p.gaps.first().cloned()))
    })?;
    assert_eq!((gap.first_offset, gap.end_offset), (500, 800), "{gap:?}");
    let parent = "mirrors/resuming".to_owned();
    let listed = world.api.list_gaps(v1::ListGapsRequest { parent, ..Default::default() }).map_err(told)?;
    let of_topic: Vec<_> = listed.gaps.iter().filter(|gap| gap.source_topic == "resuming").collect();
    assert!(of_topic.iter().any(|listed| listed.gap == Some(gap)), "{listed:?}");
    let shown = world.controllers[0].cli(&["mirror", "gaps", "resuming"])?;
    assert!(shown.contains("retention") && shown.contains("799"), "{shown}");
    let lost = world.api.status("resuming")?.totals.context("no totals")?.gap_records;
    assert_eq!(lost, 300);
    Ok(())
}

#[test]
fn a_topic_deleted_and_made_again_is_named() -> Result<()> {
    let _beside = beside();
    let world = World::start("recreated", WorldOptions::default())?;
    world.tools.create_topic(&world.source, "phoenix", 2, &[])?;
    produce(&world, "phoenix")?;
    world.api.add_mirror("phoenix", Mirror { block_size: 1, ..mirror(&["phoenix"]) })?;
    world.wait_exact("phoenix", "a.phoenix", COPIED)?;

    world.tools.delete_topic(&world.source, "phoenix")?;
    wait_until(SAID, "the topic to be gone", || {
        Ok((!world.tools.topics(&world.source)?.contains(&"phoenix".to_owned())).then_some(()))
    })?;
    world.tools.create_topic(&world.source, "phoenix", 2, &[])?;
    produce(&world, "phoenix")?;
    produce(&world, "phoenix")?;
    let message = world.api.wait_cause("phoenix", "SOURCE_TOPIC_RECREATED", SAID)?;
    assert!(message.contains("phoenix"), "{message}");
    for partition in 0..2 {
        assert_eq!(copied(&world, "phoenix", partition)?.len() as u64, EACH, "the new topic isn't mixed in");
    }
    Ok(())
}
