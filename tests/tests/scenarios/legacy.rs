//! A source of the ZooKeeper era: Kafka 2.8.2, without topic ids, with messages as brokers before 0.11 wrote them.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use twinlog_proto::v1::Mirror;
use twinlog_tests::sandbox::{KafkaOptions, wait_until};
use twinlog_tests::tools::{Committed, Isolation};
use twinlog_tests::verify::expected_offset;
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::alone;

const COPIED: Duration = Duration::from_secs(60);
const PARTITIONS: u32 = 2;
const RECORDS: u64 = 2_000;
/// Topic, and the broker version whose message format it has: v2, v1, v0.
const TOPICS: [(&str, &str); 3] = [("old.v2", "2.7"), ("old.v1", "0.10.2"), ("old.v0", "0.9.0")];

/// Issue 4, 10. Records in the format of 0.11 and later are copied and translated. Older messages are what librdkafka would lose (its
/// issue 5549): such a partition says so and stops, others go on.
#[test]
fn a_source_with_zookeeper_is_copied_and_old_messages_are_named() -> Result<()> {
    let _alone = alone();
    // Before 2.8 there were no topic ids.
    let source = KafkaOptions::default().version("2.8.2").prop("inter.broker.protocol.version", "2.7");
    let options = WorldOptions { source, workers: 1, etcd_members: 0, ..WorldOptions::default() };
    let world = World::start("legacy", options)?;
    for (topic, format) in TOPICS {
        let configs: &[_] = &[("message.format.version", format)];
        world.tools.create_topic(&world.source, topic, PARTITIONS, configs)?;
        let load = json!({
            "bootstrap": world.source.bootstrap(), "name": topic, "topic": topic, "partitions": PARTITIONS,
            "rate": 20_000.0, "value_bytes": 100, "compression": "lz4", "records": RECORDS, "idempotent": "false",
        });
        world.tools.call("load_start", load)?;
        wait_until(COPIED, &format!("all records of {topic} on the source"), || {
            Ok((world.tools.load_stats(topic)?.values().sum::<u64>() == RECORDS).then_some(()))
        })?;
        world.tools.stop_load(topic)?;
    }
    world.api.add_mirror("m", Mirror { groups: vec!["billing".into()], ..mirror(&[r"old\..*"]) })?;
    world.wait_exact("old.v2", "a.old.v2", COPIED)?;
    // A setting of old brokers that new ones refuse is not copied.
    let configs = world.tools.topic_configs(&world.target, "a.old.v2")?;
    assert!(!configs.contains_key("message.format.version"), "{configs:?}");

    let committed = Committed { topic: "old.v2".into(), partition: 1, offset: 321, metadata: "m".into() };
    world.tools.commit(&world.source, "billing", std::slice::from_ref(&committed))?;
    let source = world.tools.dump(&world.source, "old.v2", Isolation::Committed)?;
    let target = world.tools.dump(&world.target, "a.old.v2", Isolation::Committed)?;
    let expected = expected_offset(&source, &target, 1, 321).context("the copy is complete")?;
    wait_until(COPIED, "the group's checkpoint", || {
        if !world.tools.topics(&world.target)?.iter().any(|topic| topic == "a.checkpoints.internal") {
            return Ok(None);
        }
        let view = world.tools.mirror_client(&world.target, "a", "billing")?;
        let found = view.offsets.iter().find(|o| o.topic == "a.old.v2" && o.partition == 1);
        Ok(found.is_some_and(|o| o.offset == expected).then_some(()))
    })?;

    let message = world.api.wait_cause("m", "UNSUPPORTED_VERSION", COPIED)?;
    assert!(message.contains("old message format") && message.contains("exclude the topic"), "{message}");
    for topic in ["a.old.v1", "a.old.v0"] {
        let copied = world.tools.dump(&world.target, topic, Isolation::Uncommitted)?.records();
        assert_eq!(copied, 0, "rather nothing than records without keys and values");
    }
    Ok(())
}
