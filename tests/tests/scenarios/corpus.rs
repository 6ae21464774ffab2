//! A corpus of everything a topic may hold is the same on the target, under both namings, with both guarantees, on both Kafka lines.

use std::time::Duration;

use anyhow::Result;
use twinlog_proto::v1::naming::Kind;
use twinlog_proto::v1::{Guarantee, Mirror};
use twinlog_tests::sandbox::KafkaOptions;
use twinlog_tests::tools::Isolation;
use twinlog_tests::verify::compare;
use twinlog_tests::world::{World, WorldOptions, mirror, naming};

use crate::beside;

const COPIED: Duration = Duration::from_secs(120);

fn world(name: &str, version: Option<&str>) -> Result<World> {
    let kafka = || match version {
        Some(version) => KafkaOptions::default().version(version),
        None => KafkaOptions::default(),
    };
    World::start(name, WorldOptions { source: kafka(), target: kafka(), ..Default::default() })
}

/// Mirrors the corpus `prefix` under both namings and compares every topic of both.
fn both_namings(world: &World, prefix: &str, guarantee: Guarantee) -> Result<()> {
    let made = world.tools.corpus(&world.source, prefix, 11, 1)?;
    let pattern = format!(r"{prefix}\..*");
    for kind in [Kind::Prefix, Kind::Identity] {
        let id = format!("{prefix}-{}", kind.short_name().to_lowercase());
        let mirror =
            Mirror { guarantee: guarantee.into(), naming: naming(kind), ..mirror(&[pattern.as_str()]) };
        world.api.add_mirror(&id, mirror)?;
    }
    for topic in made.keys() {
        for target in [format!("a.{topic}"), topic.clone()] {
            let verdict = world.wait_exact(topic, &target, COPIED)?;
            assert_eq!(verdict.source_records as u64, made[topic], "{topic}");
            // What was aborted on the source must not even be in the target's log.
            let all = world.tools.dump(&world.target, &target, Isolation::Uncommitted)?;
            let source = world.tools.dump(&world.source, topic, Isolation::Committed)?;
            compare(&source, &all).require_exact(&format!("{target}, read uncommitted"))?;
        }
    }
    let configs = world.tools.topic_configs(&world.target, &format!("a.{prefix}.compacted"))?;
    assert_eq!(configs.get("cleanup.policy").map(String::as_str), Some("compact"), "{configs:?}");
    Ok(())
}

#[test]
fn exactly_once_the_target_is_the_source() -> Result<()> {
    let _beside = beside();
    both_namings(&world("corpus-eo", None)?, "once", Guarantee::ExactlyOnce)
}

#[test]
fn at_least_once_the_target_is_the_source() -> Result<()> {
    let _beside = beside();
    both_namings(&world("corpus-alo", None)?, "least", Guarantee::AtLeastOnce)
}

#[test]
fn on_kafka_3_9_the_target_is_the_source() -> Result<()> {
    let _beside = beside();
    let world = world("corpus-39", Some("3.9.2"))?;
    both_namings(&world, "once", Guarantee::ExactlyOnce)?;
    both_namings(&world, "least", Guarantee::AtLeastOnce)
}
