//! Configs of copies follow their topics: by difference, shown before and after, and without ever stopping the copy.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use prost_types::{Duration as Wire, FieldMask};
use twinlog_proto::v1;
use twinlog_tests::api::told;
use twinlog_tests::sandbox::{Kafka, KafkaOptions, wait_until};
use twinlog_tests::tools::LoadOptions;
use twinlog_tests::world::{World, WorldOptions, mirror, naming};

use crate::beside;

const SYNCED: Duration = Duration::from_secs(30);
/// Sync intervals in which nothing may be written.
const QUIET: Duration = Duration::from_secs(4);

fn every_second() -> v1::ConfigSync {
    v1::ConfigSync { interval: Some(Wire { seconds: 1, nanos: 0 }), ..Default::default() }
}

fn start() -> Result<World> {
    // A default of the target's brokers that the source's don't have.
    let target = KafkaOptions::default().prop("log.flush.interval.messages", "77777");
    World::start("configs", WorldOptions { target, workers: 1, etcd_members: 0, ..WorldOptions::default() })
}

fn wait_configs(world: &World, kafka: &Kafka, topic: &str, wanted: &[(&str, &str)]) -> Result<()> {
    let wanted: BTreeMap<_, _> = wanted.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let mut last = BTreeMap::new();
    let waited = wait_until(SYNCED, &format!("{topic} to have {wanted:?}"), || {
        last = world.tools.topic_configs(kafka, topic)?;
        Ok((last == wanted).then_some(()))
    });
    waited.with_context(|| format!("it has {last:?}"))
}

fn topic(world: &World, mirror: &str, target: &str) -> Result<v1::TopicStatus> {
    let status = world.api.status(mirror)?;
    status.topics.into_iter().find(|t| t.target_topic == target).context("the topic has no status")
}

/// S5, I2, I7, I16, I17, I18, W12 on real clusters.
#[test]
fn configs_follow_the_source_by_difference() -> Result<()> {
    let _beside = beside();
    let world = start()?;
    let (source, target) = (&world.source, &world.target);
    world.tools.alter_cluster(source, &[("compression.type", "gzip")])?;
    let own = [("cleanup.policy", "compact"), ("retention.bytes", "1000"), ("delete.retention.ms", "1000")];
    world.tools.create_topic(source, "c.orders", 1, &own)?;
    world.tools.alter_topic(source, "c.orders", &[("min.insync.replicas", "1")])?;
    let by_hand = [("retention.bytes", "2000"), ("delete.retention.ms", "2000")];
    world.tools.create_topic(target, "a.c.orders", 1, &by_hand)?;

    let wire = v1::Mirror {
        config_sync: Some(every_second()),
        topic_creation: Some(v1::TopicCreation {
            config_exclude: vec![r"delete\.retention\..*".into(), r"min\.insync\.replicas".into()],
            ..Default::default()
        }),
        // A cluster without an authorizer: said once, and nothing else comes of it.
        acl_sync: Some(v1::AclSync { enabled: Some(true), ..Default::default() }),
        ..mirror(&[r"c\..*"])
    };
    planned(&world, &wire)?;
    world.api.add_mirror("m", wire)?;
    let in_step =
        [("cleanup.policy", "compact"), ("retention.bytes", "1000"), ("delete.retention.ms", "2000")];
    wait_configs(&world, target, "a.c.orders", &in_step)?;
    wait_until(SYNCED, "the status to say what was mended", || {
        let topic = topic(&world, "m", "a.c.orders")?;
        Ok((topic.drift.is_empty() && topic.drift_mended == 2).then_some(()))
    })?;
    // The source has no authorizer, so there are no ACLs to copy: nothing to be warned of.
    let request = v1::GetMirrorStatusRequest { name: "mirrors/m".into(), ..Default::default() };
    let causes = world.api.get_mirror_status(request).map_err(told)?.causes;
    assert!(causes.iter().all(|cause| cause.reason != "ACL_SYNC_FAILED"), "{causes:?}");

    // Nothing differs, so nothing is written.
    std::thread::sleep(QUIET);
    assert_eq!(topic(&world, "m", "a.c.orders")?.drift_mended, 2);

    // I16: changed by hand on the target. I18: no longer set on the source.
    world.tools.alter_topic(target, "a.c.orders", &[("retention.bytes", "3000")])?;
    wait_configs(&world, target, "a.c.orders", &in_step)?;
    world.tools.alter_topic(source, "c.orders", &[("retention.bytes", "")])?;
    wait_configs(&world, target, "a.c.orders", &[in_step[0], in_step[2]])?;

    // I7: at creation, too.
    world.tools.create_topic(
        source,
        "c.new",
        1,
        &[("retention.bytes", "1000"), ("delete.retention.ms", "1000")],
    )?;
    wait_until(SYNCED, "a.c.new", || Ok(world.tools.topic_configs(target, "a.c.new").ok()))?;
    wait_configs(&world, target, "a.c.new", &[("retention.bytes", "1000")])?;

    defaults_of_the_source(&world)?;
    what_cannot_be_mended_is_shown(&world)
}

fn planned(world: &World, wire: &v1::Mirror) -> Result<()> {
    let request = v1::CreateMirrorRequest {
        mirror_id: "m".into(),
        mirror: Some(wire.clone()),
        validate_only: true,
        ..Default::default()
    };
    let plan = world.api.create_mirror(request).map_err(told)?.plan.context("no plan")?;
    let topic = plan.topics.iter().find(|t| t.source_topic == "c.orders").context("not planned")?;
    let drift: Vec<_> = (topic.drift.iter())
        .map(|d| (d.name.as_str(), d.source_value.as_deref(), d.target_value.as_deref()))
        .collect();
    let expected =
        [("cleanup.policy", Some("compact"), None), ("retention.bytes", Some("1000"), Some("2000"))];
    assert_eq!(drift, expected);
    let by_hand = world.tools.topic_configs(&world.target, "a.c.orders")?;
    assert_eq!(by_hand["retention.bytes"], "2000", "a plan changes nothing");
    Ok(())
}

/// I17: the source's default is in effect on a target that has another one.
fn defaults_of_the_source(world: &World) -> Result<()> {
    const MAX: &str = "9223372036854775807";
    for name in ["d.there", "d.new"] {
        world.tools.create_topic(&world.source, name, 1, &[])?;
    }
    world.tools.create_topic(&world.target, "a.d.there", 1, &[("retention.bytes", "2000")])?;
    let mut sync = every_second();
    sync.set_defaults_from(v1::config_sync::Defaults::Source);
    world.api.add_mirror("d", v1::Mirror { config_sync: Some(sync), ..mirror(&[r"d\..*"]) })?;
    for name in ["a.d.there", "a.d.new"] {
        let mut last = BTreeMap::new();
        let waited = wait_until(SYNCED, &format!("{name} to have the source's defaults"), || {
            last = world.tools.topic_configs(&world.target, name)?;
            let has = |name: &str, value: &str| last.get(name).is_some_and(|v| v == value);
            Ok((has("flush.messages", MAX) && has("retention.bytes", "-1")
                || has("flush.messages", MAX) && name == "a.d.new")
                .then_some(()))
        });
        waited.with_context(|| format!("{last:?}"))?;
    }
    Ok(())
}

/// A value that the target refuses stays as drift with its error; the others are mended, and records flow.
fn what_cannot_be_mended_is_shown(world: &World) -> Result<()> {
    world.tools.create_topic(&world.source, "e", 1, &[("retention.bytes", "1000")])?;
    world.tools.create_topic(&world.target, "e", 1, &[])?;
    let topic_creation = v1::TopicCreation {
        config_overrides: [("retention.ms".to_owned(), "-7".to_owned())].into(),
        ..Default::default()
    };
    let wire = v1::Mirror {
        naming: naming(v1::naming::Kind::Identity),
        config_sync: Some(every_second()),
        topic_creation: Some(topic_creation.clone()),
        ..mirror(&["e"])
    };
    let created = world.api.add_mirror("e", wire)?;
    wait_configs(world, &world.target, "e", &[("retention.bytes", "1000")])?;
    let drift = wait_until(SYNCED, "the status to say what can't be mended", || {
        let drift = topic(world, "e", "e")?.drift.into_iter().find(|d| !d.error.is_empty());
        Ok(drift)
    })?;
    assert_eq!((drift.name.as_str(), drift.source_value.as_deref()), ("retention.ms", Some("-7")));
    assert!(drift.error.contains("retention.ms"), "{}", drift.error);
    assert!(world.api.wait_cause("e", "CONFIG_SYNC_FAILED", SYNCED)?.contains("retention.ms"));
    world.tools.load(&world.source, "e", &LoadOptions { records: Some(500), ..LoadOptions::new(1) })?;
    world.wait_exact("e", "e", SYNCED)?;

    // The mistake is mended where it was made.
    let mut fixed = created;
    let overrides = [("retention.ms".to_owned(), "70000000".to_owned())].into();
    fixed.topic_creation = Some(v1::TopicCreation { config_overrides: overrides, ..topic_creation });
    let mask = FieldMask { paths: vec!["topic_creation".into()] };
    let request =
        v1::UpdateMirrorRequest { mirror: Some(fixed), update_mask: Some(mask), ..Default::default() };
    world.api.update_mirror(request).map_err(told)?;
    wait_configs(world, &world.target, "e", &[("retention.bytes", "1000"), ("retention.ms", "70000000")])?;
    wait_until(SYNCED, "no more drift", || Ok(topic(world, "e", "e")?.drift.is_empty().then_some(())))
}
