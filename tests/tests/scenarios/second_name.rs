//! Failover row 5: one Kafka cluster that is registered under two names.

use std::time::Duration;

use anyhow::{Result, ensure};
use twinlog_proto::v1;
use twinlog_tests::api::refused;
use twinlog_tests::sandbox::KafkaOptions;
use twinlog_tests::tools::{Isolation, LoadOptions};
use twinlog_tests::world::{World, WorldOptions, mirror, naming};

use crate::beside;

const SOON: Duration = Duration::from_secs(60);
const RECORDS: u64 = 500;

fn create(id: &str, mirror: v1::Mirror) -> v1::CreateMirrorRequest {
    v1::CreateMirrorRequest { mirror_id: id.to_owned(), mirror: Some(mirror), ..Default::default() }
}

fn flow(source: &str, target: &str, topic: &str, kind: v1::naming::Kind) -> v1::Mirror {
    v1::Mirror {
        source: format!("clusters/{source}"),
        target: format!("clusters/{target}"),
        naming: naming(kind),
        ..mirror(&[topic])
    }
}

#[test]
fn a_second_name_of_a_cluster_doubles_nothing_and_closes_no_circle() -> Result<()> {
    use v1::naming::Kind::{Identity, Prefix};
    let _beside = beside();
    // Clients that come by the other listener see other addresses: then nothing but topics tells that it is the same cluster.
    let two_doors = || KafkaOptions::default().listener("SIDE", "PLAINTEXT");
    let options = WorldOptions {
        source: two_doors(),
        target: two_doors(),
        workers: 1,
        etcd_members: 0,
        ..Default::default()
    };
    let world = World::start("second-name", options)?;
    for topic in ["t", "round"] {
        world.tools.create_topic(&world.source, topic, 1, &[])?;
        let load = LoadOptions { rate: 50_000.0, records: Some(RECORDS), ..LoadOptions::new(1) };
        world.tools.load(&world.source, topic, &load)?;
    }
    world.api.add_mirror("double", flow("a", "b", "t", Prefix))?;
    world.api.add_mirror("round", flow("a", "b", "round", Identity))?;
    world.wait_exact("t", "a.t", SOON)?;
    world.wait_exact("round", "round", SOON)?;

    // The same servers: known at creation.
    world.api.add_cluster("b2", &world.target.bootstrap(), &[])?;
    world.api.add_cluster("a2", &world.source.bootstrap(), &[])?;
    let (_, reason, message) = refused(world.api.create_mirror(create("m", flow("a", "b2", "t", Prefix))));
    ensure!(reason == "TARGET_OVERLAP" && message.contains("double"), "{reason}: {message}");
    let (_, reason, message) =
        refused(world.api.create_mirror(create("m", flow("b2", "a2", "round", Identity))));
    ensure!(reason == "LOOP" && message.contains("on a -> "), "{reason}: {message}");

    // Another listener: found by the first survey, before a record is copied.
    world.api.add_cluster("b3", &world.target.bootstrap_of("SIDE")?, &[])?;
    world.api.add_cluster("a3", &world.source.bootstrap_of("SIDE")?, &[])?;
    world.api.add_mirror("late-double", flow("a", "b3", "t", Prefix))?;
    world.api.add_mirror("late-round", flow("b3", "a3", "round", Identity))?;
    let message = world.api.wait_cause("late-double", "TARGET_OVERLAP", SOON)?;
    ensure!(message.contains("b and b3 are names of one cluster") && message.contains("double"), "{message}");
    let message = world.api.wait_cause("late-round", "LOOP", SOON)?;
    ensure!(message.contains("names of one cluster") && message.contains("round"), "{message}");
    for id in ["late-double", "late-round"] {
        let status = world.api.status(id)?;
        ensure!(status.state() == v1::State::Stopped, "{id} is {:?}", status.state());
    }
    // What is copied now is copied once, and goes no further.
    for topic in ["t", "round"] {
        world.tools.stop_load(topic)?;
        let more = LoadOptions { rate: 50_000.0, records: Some(RECORDS), ..LoadOptions::new(1) };
        world.tools.load(&world.source, topic, &more)?;
    }
    world.wait_exact("t", "a.t", SOON)?;
    world.wait_exact("round", "round", SOON)?;
    std::thread::sleep(Duration::from_secs(3));
    world.compare("t", "a.t")?.require_exact("a.t")?;
    world.compare("round", "round")?.require_exact("round")?;
    let found = world.tools.dump(&world.source, "round", Isolation::Committed)?.records();
    ensure!(found as u64 == 2 * RECORDS, "{found} records in round at the source");

    // The older one is gone: the other one is free to run, and asks what to do with a copy that it has not made.
    world.api.remove_mirror("double")?;
    world.api.wait_cause("late-double", "TARGET_NOT_EMPTY", SOON)?;
    Ok(())
}
