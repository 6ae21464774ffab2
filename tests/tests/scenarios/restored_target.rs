//! A target that is restored from a backup while a worker copies to it: it has fewer records, and nobody tells the worker.

use std::time::Duration;

use anyhow::Result;
use twinlog_proto::v1::{Guarantee, Mirror};
use twinlog_tests::sandbox::wait_until;
use twinlog_tests::tools::LoadOptions;
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::beside;
use crate::incarnation::values;
use crate::restored::Disk;

const COPIED: Duration = Duration::from_secs(60);
const TOPICS: [&str; 2] = ["once", "least"];

fn produce(world: &World, topic: &str, records: u64) -> Result<()> {
    let load = LoadOptions { rate: 20_000.0, records: Some(records), ..LoadOptions::new(2) };
    world.tools.load(&world.source, topic, &load)?;
    wait_until(COPIED, "the records to be made", || {
        Ok((world.tools.load_stats(topic)?.values().sum::<u64>() == records).then_some(()))
    })?;
    world.tools.stop_load(topic).map(drop)
}

/// What a lane says is on the target isn't there any more, and nothing is written that would tell it.
#[test]
fn a_target_that_lost_records_under_a_lane_gets_them_again() -> Result<()> {
    let _beside = beside();
    let world = World::start(
        "restored-target",
        WorldOptions { etcd_members: 0, workers: 1, ..WorldOptions::default() },
    )?;
    let disk = Disk::of(&world.target);
    for topic in TOPICS {
        world.tools.create_topic(&world.source, topic, 2, &[])?;
        produce(&world, topic, 100)?;
        let guarantee = if topic == "least" { Guarantee::AtLeastOnce } else { Guarantee::ExactlyOnce };
        world.api.add_mirror(topic, Mirror { guarantee: guarantee.into(), ..mirror(&[topic]) })?;
        world.wait_exact(topic, &format!("a.{topic}"), COPIED)?;
    }
    world.target.broker(1).terminate()?;
    disk.save("backup")?;
    world.target.broker(1).start_again()?;
    world.target.wait_ready()?;
    for topic in TOPICS {
        produce(&world, topic, 100)?;
        world.wait_exact(topic, &format!("a.{topic}"), COPIED)?;
    }
    // The lanes are at rest by now: nothing of theirs fails when the target goes.
    std::thread::sleep(Duration::from_secs(10));
    world.target.broker(1).terminate()?;
    disk.put_back("backup")?;
    world.target.broker(1).start_again()?;
    world.target.wait_ready()?;
    // Progress was restored with it: what was lost since is copied again, unasked.
    for topic in TOPICS {
        all_there(&world, topic)?;
        produce(&world, topic, 20)?;
        all_there(&world, topic)?;
    }
    Ok(())
}

/// Exactly once, or at least once.
fn all_there(world: &World, topic: &str) -> Result<()> {
    if topic == "once" {
        return world.wait_exact(topic, &format!("a.{topic}"), COPIED).map(drop);
    }
    let source = values(world, &world.source, topic)?.0;
    wait_until(COPIED, &format!("a.{topic} to hold everything"), || {
        Ok((values(world, &world.target, &format!("a.{topic}"))?.0 == source).then_some(()))
    })
}
