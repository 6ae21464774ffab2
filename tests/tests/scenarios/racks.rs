//! By hand: the native engine reads from the replica in its own rack (KIP-392) of a real cluster, and goes on when that broker is killed and
//! comes back. `cargo test -p twinlog-tests --test scenarios -- --ignored --nocapture racks::`

use std::time::Duration;

use anyhow::Result;
use twinlog_proto::v1::{Engine, Mirror};
use twinlog_tests::sandbox::{KafkaOptions, wait_until};
use twinlog_tests::tools::{Isolation, LoadOptions};
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::alone;

const SELECTOR: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
const LOG: &str = "info,twinlog_worker::engine::native=debug";
/// What the engine says of a replica that it goes to.
const SAID: &str = "a replica in the same rack is read from";
const TOPIC: &str = "numbers";
const COPY: &str = "r.numbers";
const PARTITIONS: u32 = 6;
const CAUGHT_UP: Duration = Duration::from_secs(60);

fn wait_caught_up(world: &World) -> Result<()> {
    let made = world.tools.load_stats(TOPIC)?;
    wait_until(CAUGHT_UP, "the copy to hold what was made", || {
        let seen = world.tools.tail_stats(COPY, false)?.partitions;
        let all = made.iter().all(|(p, n)| *n == 0 || seen.get(p).is_some_and(|s| s.next >= *n));
        Ok(all.then_some(()))
    })
}

#[test]
#[ignore = "by hand: see above"]
fn a_real_replica_in_the_same_rack_is_read_from() -> Result<()> {
    let _alone = alone();
    let source = KafkaOptions { heap_mib: 384, ..KafkaOptions::default().brokers(3) };
    let source = source.prop("replica.selector.class", SELECTOR);
    let env = vec![("TWINLOG_LOG".to_owned(), LOG.to_owned())];
    let options = WorldOptions { source, workers: 1, etcd_members: 0, env, ..Default::default() };
    let world = World::start("racks", options)?;
    world.api.add_cluster("r", &world.source.bootstrap(), &[("consumer.client.rack", "rack-3")])?;
    world.tools.create_topic(&world.source, TOPIC, PARTITIONS, &[])?;
    world.tools.load(&world.source, TOPIC, &LoadOptions { rate: 2_000.0, ..LoadOptions::new(PARTITIONS) })?;
    world.tools.tail(&world.target, COPY, Isolation::Committed)?;
    let mut mirror = Mirror { source: "clusters/r".into(), ..mirror(&[TOPIC]) };
    mirror.set_engine(Engine::Native);
    world.api.add_mirror("m", mirror)?;
    wait_caught_up(&world)?;
    let log = world.workers[0].process.log();
    let said: Vec<&str> = log.lines().filter(|line| line.contains(SAID)).collect();
    println!("{}", said.join("\n"));
    assert!(!said.is_empty(), "partitions that others lead are read from broker 3");

    for pause in [1, 8] {
        world.source.broker(3).kill9()?;
        wait_caught_up(&world)?;
        println!("broker 3 killed: {:?}", world.tools.tail_stats(COPY, true)?.silence_ms);
        std::thread::sleep(Duration::from_secs(pause));
        wait_caught_up(&world)?;
        world.source.broker(3).start_again()?;
        world.source.wait_ready()?;
        wait_caught_up(&world)?;
    }
    world.tools.stop_load(TOPIC)?;
    world.wait_exact(TOPIC, COPY, CAUGHT_UP)?;
    let seen = world.tools.stop_tail(COPY)?;
    assert_eq!(seen.wrong, 0, "{}", seen.first_wrong);
    Ok(())
}
