//! What users get wrong: each a clear error or a named state; nothing else stops and nothing is lost.

use std::time::Duration;

use anyhow::Result;
use tonic::Code;
use twinlog_proto::v1;
use twinlog_proto::v1::naming::Kind;
use twinlog_tests::api::{refused, told};
use twinlog_tests::sandbox::wait_until;
use twinlog_tests::tools::LoadOptions;
use twinlog_tests::world::{World, WorldOptions, mirror, naming};

use crate::beside;

const SAID: Duration = Duration::from_secs(30);
const COPIED: Duration = Duration::from_secs(60);
/// A partition that was stopped by a refused record is tried again now and then.
const HEALED: Duration = Duration::from_secs(100);

fn create(world: &World, id: &str, mirror: v1::Mirror) -> (Code, String, String) {
    let mirror = Some(mirror);
    let request = v1::CreateMirrorRequest { mirror_id: id.into(), mirror, ..Default::default() };
    refused(world.api.create_mirror(request))
}

#[test]
fn every_mistake_is_named_and_stops_nothing_else() -> Result<()> {
    let _beside = beside();
    let world = World::start("mistakes", WorldOptions::default())?;
    world.tools.create_topic(&world.source, "good", 2, &[])?;
    let load = LoadOptions { rate: 200.0, ..LoadOptions::new(2) };
    world.tools.load(&world.source, "good", &load)?;
    world.api.add_mirror("good", mirror(&["good"]))?;

    refusals_of_the_api(&world)?;
    an_unreachable_cluster(&world)?;
    a_target_with_fewer_partitions(&world)?;
    a_record_too_large(&world)?;

    // All that time the good mirror went on.
    world.tools.stop_load("good")?;
    world.wait_exact("good", "a.good", COPIED)?;
    Ok(())
}

fn refusals_of_the_api(world: &World) -> Result<()> {
    let unknown = v1::Mirror { source: "clusters/nowhere".into(), ..mirror(&["x"]) };
    let (code, reason, message) = create(world, "m1", unknown);
    assert_eq!(reason, "CLUSTER_NOT_FOUND", "{code:?} {message}");
    assert!(message.contains("nowhere"), "{message}");

    let same = v1::Mirror { target: "clusters/a".into(), ..mirror(&["x"]) };
    let (code, reason, message) = create(world, "m2", same);
    assert_eq!(code, Code::InvalidArgument, "{reason} {message}");
    assert!(message.contains("same cluster") || reason == "SOURCE_IS_TARGET", "{reason} {message}");

    let (code, reason, message) = create(world, "m3", mirror(&["good", "bad("]));
    assert_eq!(code, Code::InvalidArgument, "{reason} {message}");
    assert!(message.contains("topics[1]") || message.contains("bad("), "names the pattern: {message}");

    let (code, reason, message) = create(world, "good", mirror(&["something.else"]));
    assert_eq!((code, reason.as_str()), (Code::AlreadyExists, "ALREADY_EXISTS"), "{message}");

    let (code, _, message) = create(world, "Not An Id", mirror(&["x"]));
    assert_eq!(code, Code::InvalidArgument, "{message}");

    let name = "mirrors/good".to_owned();
    let mut stale = world.api.get_mirror(v1::GetMirrorRequest { name }).map_err(told)?;
    stale.display_name = "first".into();
    let update = |mirror: &v1::Mirror| {
        let mirror = Some(mirror.clone());
        world.api.update_mirror(v1::UpdateMirrorRequest { mirror, ..Default::default() })
    };
    update(&stale).expect("the etag is fresh");
    stale.display_name = "second".into();
    let (code, reason, message) = refused(update(&stale));
    assert_eq!((code, reason.as_str()), (Code::Aborted, "ETAG_MISMATCH"), "{message}");

    let mask = prost_types::FieldMask { paths: vec!["topics".into(), "colour".into()] };
    let request = v1::UpdateMirrorRequest {
        mirror: Some(v1::Mirror { etag: String::new(), ..stale.clone() }),
        update_mask: Some(mask),
        ..Default::default()
    };
    let (code, reason, message) = refused(world.api.update_mirror(request));
    assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "UNKNOWN_FIELD"), "{message}");
    assert!(message.contains("colour"), "{message}");

    let renamed = v1::Mirror { etag: String::new(), naming: naming(Kind::Identity), ..stale.clone() };
    let (code, reason, message) = refused(update(&renamed));
    assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "IMMUTABLE_FIELD"), "{message}");

    let oversize = v1::Mirror { display_name: "x".repeat(64 * 1024 * 1024), ..mirror(&["x"]) };
    let (code, _, message) = create(world, "m4", oversize);
    assert!(matches!(code, Code::OutOfRange | Code::ResourceExhausted), "{code:?} {message}");

    let name = "clusters/a".to_owned();
    let (code, reason, message) =
        refused(world.api.delete_cluster(v1::DeleteClusterRequest { name, ..Default::default() }));
    assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "CLUSTER_IN_USE"), "{message}");

    let secret = world.api.add_cluster("c", "127.0.0.1:9092", &[("sasl.password", "hunter2")]);
    let message = format!("{:#}", secret.expect_err("a literal secret"));
    assert!(message.contains("LITERAL_SECRET") && !message.contains("hunter2"), "{message}");
    Ok(())
}

/// A mirror whose source can't be reached says so, and names the address.
fn an_unreachable_cluster(world: &World) -> Result<()> {
    world.api.add_cluster("dead", "127.0.0.1:1", &[])?;
    let name = "clusters/dead".to_owned();
    let tested = world.api.test_cluster(v1::TestClusterRequest { name, ..Default::default() });
    let tested = tested.map_err(told)?;
    assert!(
        !tested.reachable && tested.cause.as_ref().is_some_and(|cause| cause.message.contains("127.0.0.1:1")),
        "{tested:?}"
    );

    world.api.add_mirror("dead", v1::Mirror { source: "clusters/dead".into(), ..mirror(&["x"]) })?;
    let message = world.api.wait_cause("dead", "CLUSTER_UNREACHABLE", SAID)?;
    assert!(message.contains("127.0.0.1:1"), "{message}");
    world.api.remove_mirror("dead")
}

/// A target topic that has fewer partitions, in a mirror that may not grow it: named, and the other topic is copied.
fn a_target_with_fewer_partitions(world: &World) -> Result<()> {
    for (topic, partitions) in [("few.narrow", 4), ("few.fine", 4)] {
        world.tools.create_topic(&world.source, topic, partitions, &[])?;
        let load = LoadOptions { rate: 10_000.0, records: Some(400), ..LoadOptions::new(4) };
        world.tools.load(&world.source, topic, &load)?;
    }
    world.tools.create_topic(&world.target, "few.narrow", 2, &[])?;
    world.tools.create_topic(&world.target, "few.fine", 4, &[])?;
    let creation = v1::TopicCreation { enabled: Some(false), replication_factor: -1, ..Default::default() };
    let few = v1::Mirror {
        topic_creation: Some(creation),
        naming: naming(Kind::Identity),
        heartbeats: Some(v1::Heartbeats { enabled: Some(false), ..Default::default() }),
        ..mirror(&[r"few\..*"])
    };
    world.api.add_mirror("few", few)?;
    let message = world.api.wait_cause("few", "TARGET_HAS_FEWER_PARTITIONS", SAID)?;
    assert!(message.contains("few.narrow"), "{message}");
    world.wait_exact("few.fine", "few.fine", COPIED)?;
    for topic in ["few.narrow", "few.fine"] {
        world.tools.stop_load(topic)?;
    }
    world.api.remove_mirror("few")
}

/// A record that the target refuses stops its range, with topic, partition, offset and sizes; others go on; raising the limit heals it.
fn a_record_too_large(world: &World) -> Result<()> {
    world.tools.create_topic(&world.source, "big", 2, &[("max.message.bytes", "4194304")])?;
    world.tools.create_topic(&world.target, "a.big", 2, &[("max.message.bytes", "100000")])?;
    let load =
        LoadOptions { records: Some(1), value_bytes: 300_000, compression: "none", ..LoadOptions::new(1) };
    world.tools.load(&world.source, "big", &load)?;
    wait_until(SAID, "the large record to be made", || {
        Ok((world.tools.load_stats("big")?.values().sum::<u64>() == 1).then_some(()))
    })?;
    world.tools.stop_load("big")?;
    // Range 0 holds the record that does not fit; range 1 must go on.
    // The topic's own limit stays: the source has none.
    let config_sync = Some(v1::ConfigSync { enabled: Some(false), ..Default::default() });
    world.api.add_mirror("big", v1::Mirror { block_size: 1, config_sync, ..mirror(&["big"]) })?;
    let message = world.api.wait_cause("big", "RECORD_TOO_LARGE", SAID)?;
    assert!(message.contains("big") && message.contains("100000"), "names topic and limit: {message}");
    let other = LoadOptions { rate: 1_000.0, records: Some(200), ..LoadOptions::new(2) };
    world.tools.load(&world.source, "big", &other)?;
    wait_until(COPIED, "partition 1 to be copied", || {
        let dump = world.tools.dump(&world.target, "a.big", twinlog_tests::tools::Isolation::Committed)?;
        Ok((dump.partitions[&1].records.len() == 100).then_some(()))
    })?;
    world.tools.stop_load("big")?;
    world.tools.alter_topic(&world.target, "a.big", &[("max.message.bytes", "4194304")])?;
    world.wait_exact("big", "a.big", HEALED)?;
    world.api.remove_mirror("big")
}
