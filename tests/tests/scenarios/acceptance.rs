//! MirrorMaker 2's own integration tests (acceptance list 10.0, I1-I20), told of Twinlog: two clusters, mirrored both ways.

use std::collections::BTreeMap;
use std::sync::RwLockReadGuard;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use prost_types::Duration as Wire;
use serde_json::json;
use twinlog_proto::v1::{self, Mirror};
use twinlog_tests::sandbox::{Certificates, Kafka, KafkaOptions, Sandbox, wait_until};
use twinlog_tests::tools::{Committed, Isolation};
use twinlog_tests::verify::expected_offset;
use twinlog_tests::world::{World, WorldOptions, naming};
use twinlog_worker::mm2::{Checkpoint, CheckpointKey};

use crate::beside;

const SOON: Duration = Duration::from_secs(60);
const PARTITIONS: u32 = 10;
const GROUP: &str = "consumer-group-1";

/// How the list is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    /// I21: the backup's clients speak TLS. Both directions.
    Tls,
    /// I20: topics keep their names. One way.
    Identity,
}

/// Both clusters under the names of the list.
struct Fixture {
    world: World,
    variant: Variant,
    _files: Sandbox,
    _beside: RwLockReadGuard<'static, ()>,
}

impl Fixture {
    fn start(name: &str, variant: Variant) -> Result<Self> {
        let beside = beside();
        let files = Sandbox::new(&format!("{name}-files"))?;
        let certificates = Certificates::create(files.folder())?;
        let target = match variant {
            Variant::Tls => KafkaOptions::default().tls("SECURE", &certificates),
            Variant::Identity => KafkaOptions::default(),
        };
        let world = World::start(name, WorldOptions { target, etcd_members: 0, ..WorldOptions::default() })?;
        world.api.add_cluster("primary", &world.source.bootstrap(), &[])?;
        let ca = certificates.ca.display().to_string();
        match variant {
            Variant::Tls => {
                let properties = [("security.protocol", "SSL"), ("ssl.ca.location", ca.as_str())];
                world.api.add_cluster("backup", &world.target.bootstrap_of("SECURE")?, &properties)?;
            }
            Variant::Identity => {
                world.api.add_cluster("backup", &world.target.bootstrap(), &[])?;
            }
        }
        world.tools.create_topic(
            &world.source,
            "test-topic-1",
            PARTITIONS,
            &[("cleanup.policy", "compact")],
        )?;
        world.tools.create_topic(&world.source, "test-topic-no-checkpoints", 1, &[])?;
        Ok(Self { world, variant, _files: files, _beside: beside })
    }

    /// What `topic` of the cluster `alias` is called on the other one.
    fn remote(&self, alias: &str, topic: &str) -> String {
        match self.variant {
            Variant::Tls => format!("{alias}.{topic}"),
            Variant::Identity => topic.to_owned(),
        }
    }

    fn primary(&self) -> &Kafka {
        &self.world.source
    }

    fn backup(&self) -> &Kafka {
        &self.world.target
    }

    fn mirror(&self, id: &str, change: impl FnOnce(&mut Mirror)) -> Result<()> {
        let second = Some(Wire { seconds: 1, nanos: 0 });
        let topics = ["test-topic-.*", r"primary\.test-topic-.*", r"backup\.test-topic-.*"];
        let mut mirror = Mirror {
            source: "clusters/primary".into(),
            target: "clusters/backup".into(),
            topics: topics.map(str::to_owned).to_vec(),
            groups: vec!["consumer-group-.*".into()],
            refresh: Some(v1::RefreshIntervals { topics: second, groups: second }),
            config_sync: Some(v1::ConfigSync { interval: second, ..Default::default() }),
            topic_creation: Some(v1::TopicCreation {
                config_exclude: vec![r"delete\.retention\..*".into()],
                ..Default::default()
            }),
            ..Default::default()
        };
        if self.variant == Variant::Identity {
            mirror.topics = vec!["test-topic-.*".into()];
            mirror.naming = naming(v1::naming::Kind::Identity);
        }
        change(&mut mirror);
        self.world.api.add_mirror(id, mirror).map(drop)
    }

    /// `count` records, spread evenly.
    fn produce(&self, kafka: &Kafka, topic: &str, partitions: u32, count: u64) -> Result<()> {
        let name = format!("{}/{topic}", kafka.name());
        let load = json!({
            "bootstrap": kafka.bootstrap(), "name": name, "topic": topic, "partitions": partitions,
            "rate": 50_000.0, "value_bytes": 50, "compression": "none", "records": count,
        });
        self.world.tools.call("load_start", load)?;
        wait_until(SOON, &format!("{count} records in {topic}"), || {
            Ok((self.world.tools.load_stats(&name)?.values().sum::<u64>() == count).then_some(()))
        })?;
        self.world.tools.stop_load(&name).map(drop)
    }

    fn has_topic(&self, kafka: &Kafka, topic: &str) -> Result<bool> {
        Ok(self.world.tools.topics(kafka)?.iter().any(|name| name == topic))
    }

    fn wait_records(&self, kafka: &Kafka, topic: &str, count: usize) -> Result<()> {
        let mut last = None;
        wait_until(SOON, &format!("{count} records in {topic} on {}", kafka.name()), || {
            if self.has_topic(kafka, topic)? {
                last = Some(self.world.tools.dump(kafka, topic, Isolation::Committed)?.records());
            }
            Ok((last == Some(count)).then_some(()))
        })
        .with_context(|| format!("last seen: {last:?}"))
    }

    /// The group has consumed so much of every partition.
    fn consume(&self, kafka: &Kafka, topic: &str, partitions: u32, offset: i64) -> Result<()> {
        let at = |partition: u32| Committed {
            topic: topic.into(),
            partition: partition.cast_signed(),
            offset,
            metadata: String::new(),
        };
        self.world.tools.commit(kafka, GROUP, &(0..partitions).map(at).collect::<Vec<_>>())
    }

    /// What `MirrorClient` says of the group's positions in the copies of `alias`.
    fn translated(&self, kafka: &Kafka, alias: &str) -> Result<BTreeMap<(String, i32), i64>> {
        if !self.has_topic(kafka, &format!("{alias}.checkpoints.internal"))? {
            return Ok(BTreeMap::new());
        }
        let view = self.world.tools.mirror_client(kafka, alias, GROUP)?;
        Ok(view.offsets.into_iter().map(|o| ((o.topic, o.partition), o.offset)).collect())
    }

    /// Waits until the group's offsets on the target are exactly where the source's lead: the strictest "full sync".
    fn wait_full_sync(&self, topic: &str, partitions: u32) -> Result<()> {
        let copy = self.remote("primary", topic);
        let committed = self.world.tools.group_offsets(self.primary(), GROUP)?;
        let mut missing = String::new();
        wait_until(SOON, &format!("full sync of {GROUP} on {copy}"), || {
            if !self.has_topic(self.backup(), &copy)? {
                return Ok(None);
            }
            let source = self.world.tools.dump(self.primary(), topic, Isolation::Committed)?;
            let target = self.world.tools.dump(self.backup(), &copy, Isolation::Committed)?;
            let there = self.world.tools.group_offsets(self.backup(), GROUP)?;
            for c in committed.iter().filter(|c| c.topic == topic) {
                let expected = expected_offset(&source, &target, c.partition, c.offset);
                let found =
                    there.iter().find(|o| o.topic == copy && o.partition == c.partition).map(|o| o.offset);
                if expected.is_none() || found != expected {
                    missing = format!("{copy} {}: {found:?} instead of {expected:?}", c.partition);
                    return Ok(None);
                }
            }
            Ok((committed.iter().filter(|c| c.topic == topic).count() == partitions as usize).then_some(()))
        })
        .with_context(|| missing)
    }

    /// Downstream offsets of a group and partition never fall, unless the group went back on the source.
    fn checkpoints_are_monotonic(&self) -> Result<()> {
        let dump =
            self.world.tools.dump(self.backup(), "primary.checkpoints.internal", Isolation::Committed)?;
        let bytes = |hex: &str| -> Vec<u8> {
            (0..hex.len())
                .step_by(2)
                .filter_map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok())
                .collect()
        };
        let mut last: BTreeMap<CheckpointKey, Checkpoint> = BTreeMap::new();
        for record in dump.partitions.values().flat_map(|p| &p.records) {
            let (key, value) = (bytes(&record.key), bytes(&record.value));
            let checkpoint = Checkpoint::decode(&key, &value).context("a checkpoint")?;
            if let Some(before) = last.get(&checkpoint.key)
                && checkpoint.upstream >= before.upstream
            {
                ensure!(checkpoint.downstream >= before.downstream, "{before:?} then {checkpoint:?}");
            }
            last.insert(checkpoint.key.clone(), checkpoint);
        }
        Ok(())
    }
}

/// I21: I1 to I7, both ways.
#[test]
fn i1_to_i7_two_clusters_mirror_each_other_over_tls() -> Result<()> {
    i1_to_i7(&Fixture::start("acceptance-both", Variant::Tls)?)
}

/// I20: I1 to I7, one way.
#[test]
fn i1_to_i7_one_cluster_mirrors_the_other_under_the_same_names() -> Result<()> {
    i1_to_i7(&Fixture::start("acceptance-identity", Variant::Identity)?)
}

/// I1, I2, I3, I4, I5, I6, I7, I13, I16, I23: exactly once.
fn i1_to_i7(f: &Fixture) -> Result<()> {
    // Both sides with the alias of the other; one way, there is only one.
    let mut sides = vec![(f.backup(), f.primary(), "primary")];
    if f.variant == Variant::Tls {
        f.world.tools.create_topic(f.backup(), "test-topic-1", PARTITIONS, &[])?;
        sides.push((f.primary(), f.backup(), "backup"));
    }
    for (_, from, _) in &sides {
        f.produce(from, "test-topic-1", PARTITIONS, 100)?;
        f.consume(from, "test-topic-1", PARTITIONS, 10)?;
    }
    f.mirror("forth", |_| ())?;
    if f.variant == Variant::Tls {
        f.mirror("back", |m| {
            (m.source, m.target) = ("clusters/backup".into(), "clusters/primary".into());
        })?;
    }

    // I1
    for (to, _, other) in &sides {
        f.wait_records(to, &f.remote(other, "test-topic-1"), 100)?;
    }
    // I2: copied at creation.
    let configs = f.world.tools.topic_configs(f.backup(), &f.remote("primary", "test-topic-1"))?;
    assert_eq!(configs.get("cleanup.policy").map(String::as_str), Some("compact"));
    // I3
    for (kafka, _, other) in &sides {
        wait_until(SOON, &format!("heartbeats of {other} on {}", kafka.name()), || {
            if !f.has_topic(kafka, &format!("{other}.heartbeats"))? || !f.has_topic(kafka, "heartbeats")? {
                return Ok(None);
            }
            let count = |topic: &str| -> Result<usize> {
                Ok(f.world.tools.dump(kafka, topic, Isolation::Committed)?.records())
            };
            Ok((count("heartbeats")? > 0 && count(&format!("{other}.heartbeats"))? > 0).then_some(()))
        })?;
    }
    // I4, I5: every partition is translated, in both directions.
    for (kafka, _, other) in &sides {
        let copy = f.remote(other, "test-topic-1");
        let offsets = wait_until(SOON, &format!("checkpoints of {other}"), || {
            let offsets = f.translated(kafka, other)?;
            Ok(((0..10).all(|p| offsets.contains_key(&(copy.clone(), p)))).then_some(offsets))
        })?;
        let first = offsets[&(copy, 0)];
        assert!(first > 0 && first <= 100, "{first}");
        let view = f.world.tools.mirror_client(kafka, other, GROUP)?;
        assert!(view.upstream_clusters.contains(*other) && view.hops == 1, "{view:?}");
    }
    f.checkpoints_are_monotonic()?;
    // No copy of a copy comes back: W16, S2.
    for kafka in [f.primary(), f.backup()] {
        let topics = f.world.tools.topics(kafka)?;
        assert!(
            f.variant == Variant::Tls || !topics.iter().any(|t| t.contains("primary.test")),
            "the same names: {topics:?}"
        );
        assert!(
            !topics.iter().any(|t| t.contains("primary.backup.") || t.contains("backup.primary.test")),
            "{topics:?}"
        );
    }
    f.topics_that_appear_later()?;
    f.empty_partitions_are_translated()
}

impl Fixture {
    /// I6, I7, I16.
    fn topics_that_appear_later(&self) -> Result<()> {
        let tools = &self.world.tools;
        let mut sides = vec![(self.primary(), self.backup(), "primary", "test-topic-2")];
        if self.variant == Variant::Tls {
            sides.push((self.backup(), self.primary(), "backup", "test-topic-3"));
        }
        for (kafka, target, alias, topic) in sides {
            tools.create_topic(kafka, topic, PARTITIONS, &[])?;
            self.produce(kafka, topic, 1, 10)?;
            self.wait_records(target, &self.remote(alias, topic), 10)?;
        }
        let set = [("delete.retention.ms", "1000"), ("retention.bytes", "1000")];
        tools.create_topic(self.primary(), "test-topic-with-config", 1, &set)?;
        let copy = &self.remote("primary", "test-topic-with-config");
        wait_until(SOON, copy, || Ok(self.has_topic(self.backup(), copy)?.then_some(())))?;
        let configs = tools.topic_configs(self.backup(), copy)?;
        assert_eq!(configs.get("retention.bytes").map(String::as_str), Some("1000"), "{configs:?}");
        assert!(!configs.contains_key("delete.retention.ms"), "excluded: {configs:?}");
        tools.alter_topic(
            self.backup(),
            copy,
            &[("delete.retention.ms", "2000"), ("retention.bytes", "2000")],
        )?;
        wait_until(SOON, "retention.bytes to follow the source again", || {
            let configs = tools.topic_configs(self.backup(), copy)?;
            assert_eq!(configs.get("delete.retention.ms").map(String::as_str), Some("2000"), "excluded");
            Ok((configs.get("retention.bytes").map(String::as_str) == Some("1000")).then_some(()))
        })
    }

    /// I13, an intended difference: MM2 has no checkpoint for an empty topic, Twinlog has the exact one.
    fn empty_partitions_are_translated(&self) -> Result<()> {
        let topic = "test-topic-no-checkpoints";
        let place = (self.remote("primary", topic), 0);
        let wait = |offset: i64| {
            wait_until(SOON, &format!("{topic} to be translated to {offset}"), || {
                Ok((self.translated(self.backup(), "primary")?.get(&place) == Some(&offset)).then_some(()))
            })
        };
        self.consume(self.primary(), topic, 1, 0)?;
        wait(0)?;
        self.produce(self.primary(), topic, 1, 100)?;
        self.consume(self.primary(), topic, 1, 100)?;
        wait(self.end_of(self.backup(), &place.0)?)
    }

    /// The end of partition 0 once it holds 100 records: over the marker of the transaction that brought them.
    fn end_of(&self, kafka: &Kafka, topic: &str) -> Result<i64> {
        self.wait_records(kafka, topic, 100)?;
        Ok(self.world.tools.dump(kafka, topic, Isolation::Committed)?.partitions[&0].end)
    }
}

/// I21: I8 to I15.
#[test]
fn i8_to_i15_group_offsets_follow_exactly_over_tls() -> Result<()> {
    i8_to_i15(&Fixture::start("acceptance-groups", Variant::Tls)?)
}

/// I20: I8 to I15.
#[test]
fn i8_to_i15_group_offsets_follow_exactly_under_the_same_names() -> Result<()> {
    i8_to_i15(&Fixture::start("acceptance-groups-identity", Variant::Identity)?)
}

/// I8, I9, I10, I12, I14, I15: one way, with group offsets in step.
fn i8_to_i15(f: &Fixture) -> Result<()> {
    // I8: nothing in the last partition.
    f.produce(f.primary(), "test-topic-1", PARTITIONS - 1, 90)?;
    f.consume(f.primary(), "test-topic-1", PARTITIONS - 1, 10)?;
    let last = Committed { topic: "test-topic-1".into(), partition: 9, offset: 0, metadata: String::new() };
    f.world.tools.commit(f.primary(), GROUP, std::slice::from_ref(&last))?;
    f.mirror("forth", |m| m.sync_group_offsets = true)?;
    f.wait_full_sync("test-topic-1", PARTITIONS)?;
    let there = f.world.tools.group_offsets(f.backup(), GROUP)?;
    let first = f.remote("primary", "test-topic-1");
    let empty = there.iter().find(|o| o.topic == first && o.partition == 9);
    assert_eq!(empty.map(|o| o.offset), Some(0), "{there:?}");

    // I10: another topic, found while it runs.
    f.world.tools.create_topic(f.primary(), "test-topic-2", PARTITIONS, &[])?;
    f.produce(f.primary(), "test-topic-2", PARTITIONS, 100)?;
    f.consume(f.primary(), "test-topic-2", PARTITIONS, 10)?;
    f.wait_full_sync("test-topic-2", PARTITIONS)?;

    // I14: every worker is killed and started again.
    for worker in &f.world.workers {
        worker.process.restart()?;
    }
    f.produce(f.primary(), "test-topic-2", PARTITIONS, 100)?;
    f.consume(f.primary(), "test-topic-2", PARTITIONS, 20)?;
    f.wait_full_sync("test-topic-2", PARTITIONS)?;
    f.checkpoints_are_monotonic()?;

    // I15: far behind and then set back; checkpoints follow, the group on the target does not go back.
    f.produce(f.primary(), "test-topic-2", PARTITIONS, 10_000)?;
    let second = f.remote("primary", "test-topic-2");
    f.wait_records(f.backup(), &second, 10_200)?;
    f.consume(f.primary(), "test-topic-2", PARTITIONS, 918)?;
    f.wait_full_sync("test-topic-2", PARTITIONS)?;
    let at = |offsets: &BTreeMap<(String, i32), i64>| -> Vec<i64> {
        (0..10).filter_map(|p| offsets.get(&(second.clone(), p)).copied()).collect()
    };
    let before = at(&f.translated(f.backup(), "primary")?);
    f.consume(f.primary(), "test-topic-2", PARTITIONS, 102)?;
    wait_until(SOON, "checkpoints to follow the group back", || {
        let now = at(&f.translated(f.backup(), "primary")?);
        Ok((now.len() == 10 && now.iter().zip(&before).all(|(now, before)| now < before)).then_some(()))
    })?;
    f.checkpoints_are_monotonic()?;
    // I12: offset syncs are on the target unless asked otherwise.
    assert!(f.has_topic(f.backup(), "mm2-offset-syncs.primary.internal")?);
    let topics = f.world.tools.topics(f.primary())?;
    assert!(!topics.iter().any(|t| t.starts_with("mm2-offset-syncs")), "{topics:?}");
    // I9: nothing went the other way, all the time.
    assert!(!topics.iter().any(|t| t.starts_with("backup.test")), "{topics:?}");
    Ok(())
}

/// I11, I19: no offset syncs; only what is new.
#[test]
fn i11_i19_without_syncs_only_new_records() -> Result<()> {
    let f = Fixture::start("acceptance-others", Variant::Tls)?;
    f.produce(f.primary(), "test-topic-1", PARTITIONS, 100)?;
    f.mirror("latest", |m| {
        m.topics = vec!["test-topic-.*".into()];
        m.start = Some(v1::StartPosition {
            position: Some(v1::start_position::Position::Latest(true)),
            ..Default::default()
        });
        m.offset_syncs = Some(v1::OffsetSyncs {
            location: v1::offset_syncs::Location::Disabled.into(),
            ..Default::default()
        });
    })?;
    // I19: a sentinel shows that the mirror reads; then only what comes after.
    wait_until(SOON, "every range to run", || {
        let status = f.world.api.status("latest")?;
        let active = |t: &v1::TopicStatus| t.totals.as_ref().map_or(0, |totals| totals.partitions_active);
        let topic = status.topics.iter().find(|t| t.target_topic == "primary.test-topic-1");
        Ok(topic.is_some_and(|t| active(t) == PARTITIONS.cast_signed()).then_some(()))
    })?;
    f.produce(f.primary(), "test-topic-1", PARTITIONS, 100)?;
    f.wait_records(f.backup(), "primary.test-topic-1", 100)?;
    // I11
    for kafka in [f.primary(), f.backup()] {
        let topics = f.world.tools.topics(kafka)?;
        assert!(!topics.iter().any(|t| t.starts_with("mm2-offset-syncs")), "{topics:?}");
    }
    Ok(())
}
