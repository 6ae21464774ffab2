//! Brokers restart: lanes wait, resume by themselves, and the copy is exact.

use std::time::Duration;

use anyhow::Result;
use twinlog_proto::v1::{Guarantee, Mirror, Naming, naming::Kind};
use twinlog_tests::sandbox::{KafkaOptions, wait_until};
use twinlog_tests::tools::{Isolation, LoadOptions};
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::alone;

const TOPIC: &str = "numbers";
const ONCE: &str = "a.numbers";
const LEAST: &str = "a-numbers";
const PARTITIONS: u32 = 6;
const RESUMED: Duration = Duration::from_secs(60);

fn wait_caught_up(world: &World) -> Result<()> {
    let made = world.tools.load_stats(TOPIC)?;
    for topic in [ONCE, LEAST] {
        wait_until(RESUMED, &format!("{topic} to hold what was made"), || {
            let seen = world.tools.tail_stats(topic, false)?.partitions;
            let all = made.iter().all(|(p, n)| *n == 0 || seen.get(p).is_some_and(|s| s.next >= *n));
            Ok(all.then_some(()))
        })?;
    }
    Ok(())
}

#[test]
fn source_and_target_brokers_restart() -> Result<()> {
    let _alone = alone();
    let target = KafkaOptions { heap_mib: 384, ..KafkaOptions::default().brokers(3) };
    let world = World::start("brokers", WorldOptions { target, ..Default::default() })?;
    world.tools.create_topic(&world.source, TOPIC, PARTITIONS, &[])?;
    world.tools.load(&world.source, TOPIC, &LoadOptions { rate: 2_000.0, ..LoadOptions::new(PARTITIONS) })?;
    for topic in [ONCE, LEAST] {
        world.tools.tail(&world.target, topic, Isolation::Committed)?;
    }
    let base = Mirror { block_size: 2, ..mirror(&[TOPIC]) };
    world.api.add_mirror("once", base.clone())?;
    let separator = Naming { kind: Kind::Prefix.into(), separator: "-".into(), ..Default::default() };
    let least = Mirror { guarantee: Guarantee::AtLeastOnce.into(), naming: Some(separator), ..base };
    world.api.add_mirror("least", least)?;
    wait_caught_up(&world)?;

    world.source.broker(1).kill9()?;
    std::thread::sleep(Duration::from_secs(3));
    world.source.broker(1).start_again()?;
    world.source.wait_ready()?;
    wait_caught_up(&world)?;
    println!("source broker killed and restarted: resumed");

    for node in [1, 3] {
        world.target.broker(node).kill9()?;
        // The other two brokers have everything: the copy goes on without the third.
        wait_caught_up(&world)?;
        world.target.broker(node).start_again()?;
        world.target.wait_ready()?;
        wait_caught_up(&world)?;
        println!("target broker {node} killed and restarted: resumed");
    }

    world.tools.stop_load(TOPIC)?;
    world.wait_exact(TOPIC, ONCE, RESUMED)?;
    let once = world.tools.stop_tail(ONCE)?;
    assert_eq!(once.wrong, 0, "{}", once.first_wrong);
    let least = world.tools.stop_tail(LEAST)?;
    assert!(least.partitions.values().all(|p| p.missing + p.misplaced == 0), "{}", least.first_wrong);
    Ok(())
}
