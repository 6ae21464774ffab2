//! Failing over: how much a group reads again, what is answered here when a cluster is gone, and whose offsets a group's are.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use prost_types::FieldMask;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{ClientConfig, Message};
use serde_json::Value;
use twinlog_proto::v1::{self, Mirror};
use twinlog_tests::api::told;
use twinlog_tests::sandbox::{Kafka, wait_until};
use twinlog_tests::tools::{Committed, Isolation, LoadOptions};
use twinlog_tests::verify::expected_offset;
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::alone;

const TOPIC: &str = "f.orders";
const REBORN: &str = "f.reborn";
const GROUP: &str = "g-steady";
/// Records a second, over both partitions.
const RATE: f64 = 300.0;
const SEEN: Duration = Duration::from_secs(60);
/// Of what is read of the source, the target's group is this much behind at most: an interval of a second, the copy's own way, and a
/// machine that does other things. MirrorMaker's five seconds would be 1,500 records.
const MOST_READ_AGAIN: usize = 900;
/// What is known here is said within a second; the rest of this is a busy machine's.
const KNOWN_HERE: Duration = Duration::from_secs(3);
/// What can't be said is refused within seconds.
const REFUSED: Duration = Duration::from_secs(8);

fn start() -> Result<World> {
    World::start("failing-over", WorldOptions { workers: 1, etcd_members: 0, ..WorldOptions::default() })
}

/// A consumer that commits every record, and what it has read and committed.
struct Steady {
    stop: Arc<AtomicBool>,
    read: Arc<Mutex<BTreeSet<Vec<u8>>>>,
}

impl Steady {
    fn start(kafka: &Kafka) -> Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", kafka.bootstrap())
            .set("group.id", GROUP)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .create()?;
        consumer.subscribe(&[TOPIC])?;
        let steady = Self { stop: Arc::default(), read: Arc::default() };
        let (stop, read) = (steady.stop.clone(), steady.read.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
                if consumer.commit_message(&message, CommitMode::Sync).is_ok() {
                    let value = message.payload().unwrap_or_default().to_vec();
                    read.lock().unwrap_or_else(PoisonError::into_inner).insert(value);
                }
            }
        });
        Ok(steady)
    }

    /// Its thread is not waited for: a commit to a cluster that is gone takes as long as that is gone.
    fn stop(self) -> BTreeSet<Vec<u8>> {
        self.stop.store(true, Ordering::Relaxed);
        self.read.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn group(world: &World, name: &str) -> Result<Option<v1::GroupStatus>> {
    Ok(world.api.status("m")?.groups.into_iter().find(|g| g.group == name))
}

fn wait_group(world: &World, name: &str, state: &[&str]) -> Result<v1::GroupStatus> {
    let mut last = None;
    let waited = wait_until(SEEN, &format!("{name} to be {state:?}"), || {
        last = group(world, name)?;
        Ok(last.clone().filter(|group| state.contains(&group.state().short_name())))
    });
    waited.with_context(|| format!("{last:#?}"))
}

fn json(world: &World, args: &[&str]) -> Result<Value> {
    Ok(serde_json::from_str(&world.controllers[0].cli(&[args, &["-o", "json"]].concat())?)?)
}

/// What a command says, and that it says it in time.
fn within(limit: Duration, world: &World, args: &[&str]) -> Result<(bool, String)> {
    let begin = Instant::now();
    let output = world.controllers[0].try_cli(args)?;
    let took = begin.elapsed();
    println!("twinlog {}: {took:?}, {}", args.join(" "), output.status);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    ensure!(took < limit, "{args:?} took {took:?}: {said}");
    Ok((output.status.success(), said))
}

/// Failover 1, 7 and data-path 4 on real clusters.
#[test]
fn a_group_fails_over_with_little_to_read_again_and_nothing_here_waits_for_the_dead() -> Result<()> {
    let _alone = alone();
    let world = start()?;
    world.tools.create_topic(&world.source, TOPIC, 2, &[])?;
    world.tools.create_topic(&world.source, REBORN, 1, &[])?;
    world.api.add_mirror(
        "m",
        Mirror { groups: vec!["g-.*".into()], sync_group_offsets: true, ..mirror(&[r"f\..*"]) },
    )?;
    the_offsets_of_a_topic_that_was_made_anew(&world)?;
    killed_while_a_group_commits_every_record(&world)?;
    answered_without_the_source(&world)?;
    the_source_comes_back(&world)?;
    answered_without_the_target(&world)
}

fn killed_while_a_group_commits_every_record(world: &World) -> Result<()> {
    // Short values stand in the readers' files as they are.
    let load = LoadOptions { rate: RATE, value_bytes: 20, ..LoadOptions::new(2) };
    world.tools.load(&world.source, TOPIC, &load)?;
    let steady = Steady::start(&world.source)?;
    let shown = wait_group(world, GROUP, &["SYNCED", "AT_COPY_END"])?;
    ensure!(shown.sync_time.is_some(), "{shown:?}");
    std::thread::sleep(Duration::from_secs(8));
    let table = world.controllers[0].cli(&["mirror", "status", "m"])?;
    ensure!(table.lines().any(|line| line.starts_with(GROUP) && line.contains(" ago")), "{table}");
    let status = json(world, &["mirror", "status", "m"])?;
    let groups = status["groups"].as_array().context("groups")?;
    ensure!(groups.iter().any(|g| g["group"] == GROUP && g["sync_time"].is_string()), "{groups:?}");

    world.source.broker(1).kill9()?;
    let read = steady.stop();
    // The load goes on trying; it ends with the tools. What came over before is still counted.
    world.api.wait_cause("m", "CLUSTER_UNREACHABLE", SEEN)?;
    wait_settled(world)?;
    let copy = "a.f.orders".to_owned();
    let copied = world.tools.dump(&world.target, &copy, Isolation::Committed)?;
    let again = world.tools.consume(&world.target, GROUP, std::slice::from_ref(&copy), None)?;
    let values = |dump: &twinlog_tests::verify::Dump| -> BTreeSet<String> {
        dump.partitions.values().flat_map(|p| &p.records).map(|record| record.value.clone()).collect()
    };
    let read: BTreeSet<String> = read.iter().map(|value| hex(value)).collect();
    let again = values(&again[&copy]);
    let twice = read.intersection(&again).count();
    println!("{} read on the source, {} of them again on the target", read.len(), twice);
    ensure!(read.len() > 1_000, "only {} were read at all", read.len());
    ensure!(twice <= MOST_READ_AGAIN, "{twice} records were read again");
    let never: Vec<_> =
        values(&copied).into_iter().filter(|v| !read.contains(v) && !again.contains(v)).collect();
    ensure!(never.is_empty(), "{} copied records were never read", never.len());
    Ok(())
}

/// As the independent reader writes values.
fn hex(value: &[u8]) -> String {
    value.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Waits until the group on the target stands still.
fn wait_settled(world: &World) -> Result<()> {
    let mut before = Vec::new();
    wait_until(SEEN, "the group to stand still", || {
        std::thread::sleep(Duration::from_secs(6));
        let now = world.tools.group_offsets(&world.target, GROUP)?;
        let same = now == before;
        before = now;
        Ok(same.then_some(()))
    })
}

fn answered_without_the_source(world: &World) -> Result<()> {
    let (done, said) = within(KNOWN_HERE, world, &["offsets", "translate", "m", "--group", GROUP])?;
    ensure!(done && said.contains("as of") && said.contains("a.f.orders"), "{said}");
    ensure!(said.contains("CLUSTER_UNREACHABLE"), "{said}");
    let answer = json(world, &["offsets", "translate", "m", "--group", GROUP])?;
    let offsets = answer["offsets"].as_array().context("offsets")?;
    ensure!(
        offsets.len() == 2
            && offsets.iter().all(|o| o["target_offset"].is_number() && o["as_of"].is_string())
    );
    let (done, said) = within(KNOWN_HERE, world, &["mirror", "plan", "m"])?;
    ensure!(done && said.contains("a.f.orders") && said.contains("as the survey found it last"), "{said}");
    ensure!(said.contains("CLUSTER_UNREACHABLE"), "{said}");
    for args in [
        &["offsets", "translate", "m", "--group", "g-nobody"][..],
        &["mirror", "create", "n", "--source", "a", "--target", "b", "--topics", "x", "--plan"],
    ] {
        let (done, said) = within(REFUSED, world, args)?;
        ensure!(!done && said.contains("CLUSTER_UNREACHABLE") && said.contains("cluster a"), "{said}");
    }
    Ok(())
}

fn the_source_comes_back(world: &World) -> Result<()> {
    world.source.broker(1).start_again()?;
    world.source.wait_ready()?;
    wait_until(SEEN, "the source to be asked again", || {
        let answer = json(world, &["offsets", "translate", "m", "--group", GROUP])?;
        Ok(answer["unasked"].is_null().then_some(()))
    })
}

fn answered_without_the_target(world: &World) -> Result<()> {
    world.target.broker(1).kill9()?;
    let (done, said) = within(REFUSED, world, &["offsets", "translate", "m", "--group", GROUP])?;
    ensure!(!done && said.contains("CLUSTER_UNREACHABLE") && said.contains("cluster b"), "{said}");
    let (done, said) = within(KNOWN_HERE, world, &["mirror", "plan", "m"])?;
    ensure!(done && said.contains("CLUSTER_UNREACHABLE") && said.contains("cluster b"), "{said}");
    Ok(())
}

fn produce(world: &World, topic: &str, records: u64) -> Result<()> {
    let load = LoadOptions { rate: 20_000.0, records: Some(records), ..LoadOptions::new(1) };
    world.tools.load(&world.source, topic, &load)?;
    wait_until(SEEN, &format!("{records} records in {topic}"), || {
        Ok((world.tools.load_stats(topic)?.values().sum::<u64>() >= records).then_some(()))
    })?;
    world.tools.stop_load(topic).map(drop)
}

fn at(offset: i64) -> [Committed; 1] {
    [Committed { topic: REBORN.into(), partition: 0, offset, metadata: String::new() }]
}

fn on_target(world: &World) -> Result<Vec<i64>> {
    Ok(world.tools.group_offsets(&world.target, "g-reborn")?.into_iter().map(|o| o.offset).collect())
}

/// Data-path 4: an offset in a topic that was made anew says nothing of the old one's copies.
fn the_offsets_of_a_topic_that_was_made_anew(world: &World) -> Result<()> {
    produce(world, REBORN, 300)?;
    world.wait_exact(REBORN, "a.f.reborn", SEEN)?;
    world.tools.commit(&world.source, "g-reborn", &at(250))?;
    // By content: markers of transactions lie between the copies, as many as there were transactions.
    let copy = world.tools.dump(&world.target, "a.f.reborn", Isolation::Committed)?;
    let source = world.tools.dump(&world.source, REBORN, Isolation::Committed)?;
    let place = expected_offset(&source, &copy, 0, 250).context("record 250 is copied")?;
    let old_end = copy.partitions[&0].end;
    let mut last = None;
    let waited = wait_until(SEEN, "the group on the target", || {
        last = group(world, "g-reborn")?;
        Ok((on_target(world)? == [place]).then_some(()))
    });
    waited.with_context(|| format!("{last:?}"))?;

    world.tools.delete_topic(&world.source, REBORN)?;
    wait_until(SEEN, "the topic to be gone", || {
        Ok((!world.tools.topics(&world.source)?.iter().any(|topic| topic == REBORN)).then_some(()))
    })?;
    world.tools.create_topic(&world.source, REBORN, 1, &[])?;
    produce(world, REBORN, 300)?;
    world.tools.commit(&world.source, "g-reborn", &at(280))?;
    let waits = wait_group(world, "g-reborn", &["WAITING"])?;
    ensure!(waits.message.contains("made anew"), "{waits:?}");
    let told = world.controllers[0].cli(&["offsets", "translate", "m", "--group", "g-reborn"])?;
    ensure!(told.contains("SOURCE_TOPIC_RECREATED") && told.contains(REBORN), "{told}");
    std::thread::sleep(Duration::from_secs(3));
    ensure!(on_target(world)? == [place], "moved in the old records: {:?}", on_target(world)?);

    // Once the new topic is copied, behind the old copies, the group's place is there.
    resume(world)?;
    let mut last = Vec::new();
    let waited = wait_until(SEEN, "the group in the new copies", || {
        last = on_target(world)?;
        ensure!(last == [place] || last[0] >= old_end, "moved in the old records: {last:?}");
        let copies = world.tools.dump(&world.target, "a.f.reborn", Isolation::Committed)?;
        let records = &copies.partitions[&0].records;
        // Record 280 of the new topic, behind 300 old ones.
        Ok((records.len() == 600 && last == [records[580].offset]).then_some(()))
    });
    waited.with_context(|| format!("the group is at {last:?}"))?;
    wait_group(world, "g-reborn", &["SYNCED"])?;
    a_copy_that_was_deleted(world)
}

/// The same on the target's side: where the copy is another topic now, the group's place is at the same record in that one.
fn a_copy_that_was_deleted(world: &World) -> Result<()> {
    world.tools.delete_topic(&world.target, "a.f.reborn")?;
    let mut last = Vec::new();
    let waited = wait_until(SEEN, "the group in the copy made anew", || {
        last = on_target(world)?;
        let copies = world.tools.dump(&world.target, "a.f.reborn", Isolation::Committed)?;
        let records = &copies.partitions.get(&0).context("no partition yet")?.records;
        Ok((records.len() == 300 && last == [records[280].offset]).then_some(()))
    });
    waited.with_context(|| format!("the group is at {last:?}"))?;
    wait_group(world, "g-reborn", &["SYNCED"]).map(drop)
}

fn resume(world: &World) -> Result<()> {
    let mut mirror = world.api.get_mirror(v1::GetMirrorRequest { name: "mirrors/m".into() }).map_err(told)?;
    mirror.set_gap_policy(v1::GapPolicy::Resume);
    let update_mask = Some(FieldMask { paths: vec!["gap_policy".into()] });
    let request = v1::UpdateMirrorRequest { mirror: Some(mirror), update_mask, ..Default::default() };
    world.api.update_mirror(request).map_err(told).map(drop)
}
