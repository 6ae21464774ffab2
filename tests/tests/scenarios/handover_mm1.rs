//! MirrorMaker 1 hands over to Twinlog: every record is on the target once, in order. And what a consumer group left in all ways that
//! it can be left in.

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use twinlog_proto::v1::{Gap, Mirror, StartPosition, naming::Kind, start_position::Position};
use twinlog_tests::api::Api;
use twinlog_tests::sandbox::{Kafka, Mm1, Single, binary, wait_until};
use twinlog_tests::tools::{Committed, Isolation, LoadOptions, Tools};
use twinlog_tests::world::{World, WorldOptions, mirror, naming};

use crate::alone;

const READY: Duration = Duration::from_secs(120);
const SETTLED: Duration = Duration::from_secs(60);
/// A killed member of a group is missed after its session timeout, 10 s.
const GROUP: &str = "mirror";
const SOURCE: u32 = 3;
const TARGET: u32 = 5;
const KEYS: u64 = 17;
/// The first record's timestamp, so that a copy made by hand is the same record.
const TIME: i64 = 1_700_000_000_000;

/// Writes records with these numbers: number n into partition n % `partitions`, its value tells it.
fn write(kafka: &Kafka, topic: &str, partitions: u32, numbers: Range<u64>) -> Result<()> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .set("enable.idempotence", "true")
        .create()?;
    for n in numbers {
        let (key, value) = (format!("key {}", n % KEYS), value(topic, n));
        let partition = (n % u64::from(partitions)) as i32;
        let record = BaseRecord::<str, str>::to(topic).partition(partition).key(&key).payload(&value);
        producer.send(record.timestamp(TIME + n as i64)).map_err(|(error, _)| error)?;
    }
    producer.flush(SETTLED)?;
    Ok(())
}

fn value(topic: &str, n: u64) -> String {
    format!("{topic} {n}")
}

/// The numbers of a copy's records, partition by partition, in their order.
fn read(tools: &Tools, kafka: &Kafka, topic: &str) -> Result<BTreeMap<i32, Vec<u64>>> {
    let number = |value: &str| -> Result<u64> {
        let bytes: Vec<u8> = (0..value.len() / 2)
            .map(|i| u8::from_str_radix(&value[2 * i..2 * i + 2], 16))
            .collect::<Result<_, _>>()?;
        let text = String::from_utf8(bytes)?;
        Ok(text.strip_prefix(&format!("{topic} ")).with_context(|| text.clone())?.parse()?)
    };
    let dump = tools.dump(kafka, topic, Isolation::Committed)?;
    let partitions = dump.partitions.into_iter();
    partitions
        .map(|(p, all)| Ok((p, all.records.iter().map(|r| number(&r.value)).collect::<Result<_>>()?)))
        .collect()
}

/// Waits until the topic holds exactly these records, each once, and those of a source partition and key in order.
fn wait_holds(tools: &Tools, kafka: &Kafka, topic: &str, numbers: Range<u64>) -> Result<()> {
    let wanted: Vec<u64> = numbers.collect();
    let mut found = Vec::new();
    wait_until(SETTLED, &format!("{topic} to hold {} records", wanted.len()), || {
        let partitions = read(tools, kafka, topic)?;
        for (partition, numbers) in &partitions {
            let mut last: BTreeMap<(u64, u64), u64> = BTreeMap::new();
            for n in numbers {
                let before = last.insert((n % u64::from(SOURCE), n % KEYS), *n);
                ensure!(before < Some(*n), "{topic} {partition}: {n} comes behind {before:?}");
            }
        }
        found = partitions.into_values().flatten().collect();
        found.sort_unstable();
        ensure!(found.windows(2).all(|pair| pair[0] != pair[1]), "{topic} holds a record twice");
        Ok((found.len() >= wanted.len()).then_some(()))
    })?;
    ensure!(found == wanted, "{topic}: {:?} to {:?}, {} records", found.first(), found.last(), found.len());
    Ok(())
}

/// Case 7: by the pair of files, as its documentation says. What it skipped (`latest`) stays skipped, what it copied isn't copied again.
#[test]
fn a_live_mirror_maker_1_hands_over_to_the_command_with_its_files() -> Result<()> {
    let _alone = alone();
    let world = World::start("handover-mm1", WorldOptions { workers: 0, ..WorldOptions::default() })?;
    let World { source: a, target: b, tools, sandbox, .. } = &world;
    for topic in ["orders", "unread"] {
        tools.create_topic(a, topic, SOURCE, &[])?;
        tools.create_topic(b, topic, TARGET, &[])?;
        write(a, topic, SOURCE, 0..900)?;
    }
    let consumer = format!("group.id={GROUP}\nauto.offset.reset=latest\nexclude.internal.topics=true\n");
    let mm1 = sandbox.mm1((a, b), &consumer, &["--whitelist", "orders"])?;
    wait_assigned(&world, &mm1)?;
    write(a, "orders", SOURCE, 900..2_400)?;
    wait_holds(tools, b, "orders", 900..2_400).with_context(|| mm1.process.log_tail())?;

    let flags = [
        "--source-config",
        &mm1.consumer,
        "--target-config",
        &mm1.producer,
        "--topics",
        "orders,unread,late",
        "--naming",
        "identity",
        "--partitioning",
        "by-key",
    ];
    let said = Command::new(binary("twinlog")?).args(["run", "--dry-run"]).args(flags).output()?;
    let plan = String::from_utf8(said.stdout)?;
    let begins = "waits until consumer group mirror on source has no members, and begins at the offsets";
    assert!(
        said.status.success() && plan.contains(begins) && plan.contains("at the latest record"),
        "{plan}"
    );

    let single = Single::start(sandbox, "mm1", &flags)?;
    wait_until(SETTLED, "twinlog run to serve", || Ok(Api::new(&single.url())?.workers().ok()))?;
    let api = Api::new(&single.url())?;
    let message = api.wait_cause("source-target", "START_GROUP_ACTIVE", SETTLED)?;
    assert!(
        message.contains("group mirror on cluster source") && message.contains("stop it (SIGTERM"),
        "{message}"
    );
    // Beside it nothing is copied.
    write(a, "orders", SOURCE, 2_400..3_000)?;
    wait_holds(tools, b, "orders", 900..3_000)?;
    api.wait_cause("source-target", "START_GROUP_ACTIVE", Duration::ZERO)?;

    mm1.process.terminate()?;
    write(a, "orders", SOURCE, 3_000..3_600)?;
    wait_holds(tools, b, "orders", 900..3_600)?;
    // None of the group's: what is there by now stays behind, what comes is copied. A topic that comes later is copied whole.
    wait_begun(&api, "unread")?;
    write(a, "unread", SOURCE, 900..1_000)?;
    wait_holds(tools, b, "unread", 900..1_000)?;
    tools.create_topic(a, "late", SOURCE, &[])?;
    write(a, "late", SOURCE, 0..300)?;
    wait_until(SETTLED, "late on the target", || {
        Ok(tools.topics(b)?.contains(&"late".to_owned()).then_some(()))
    })?;
    wait_holds(tools, b, "late", 0..300)?;

    // It has a position of its own now: the group's counts no more.
    single.process.kill9()?;
    write(a, "orders", SOURCE, 3_600..3_900)?;
    single.process.start_again()?;
    wait_holds(tools, b, "orders", 900..3_900)?;
    wait_holds(tools, b, "unread", 900..1_000)?;
    wait_holds(tools, b, "late", 0..300)
}

/// Waits until MirrorMaker 1 reads all partitions: at their ends.
fn wait_assigned(world: &World, mm1: &Mm1) -> Result<()> {
    wait_until(READY, "MirrorMaker 1 to have its partitions", || {
        mm1.process.check_running()?;
        let members = ["--describe", "--group", GROUP, "--members"];
        let told = world.tools.consumer_groups(&world.source, &members).unwrap_or_default();
        let assigned = |line: &str| line.split_whitespace().last() == Some(&SOURCE.to_string());
        Ok(told.lines().any(assigned).then_some(()))
    })
    .with_context(|| mm1.process.log_tail())?;
    // Assigned by the coordinator, it still asks where the ends are.
    std::thread::sleep(Duration::from_secs(3));
    Ok(())
}

fn wait_begun(api: &Api, topic: &str) -> Result<()> {
    wait_until(SETTLED, &format!("{topic} to run"), || {
        let ranges = api.ranges("source-target")?;
        let begun = |r: &twinlog_proto::v1::RangeStatus| r.partitions.iter().all(|p| p.position.is_some());
        Ok(ranges
            .iter()
            .any(|r| r.source_topic == topic && !r.partitions.is_empty() && begun(r))
            .then_some(()))
    })
}

/// Where partitions are the source's, what a killed MirrorMaker 1 has copied since its last commit is found.
#[test]
fn a_killed_mirror_maker_1_leaves_no_duplicate() -> Result<()> {
    let _alone = alone();
    let world = World::start("handover-mm1-kill", WorldOptions::default())?;
    let World { source: a, target: b, tools, sandbox, .. } = &world;
    tools.create_topic(a, "orders", 1, &[])?;
    tools.create_topic(b, "orders", 1, &[])?;
    tools.load(a, "orders", &LoadOptions { rate: 500.0, ..LoadOptions::new(1) })?;
    tools.tail(b, "orders", Isolation::Committed)?;
    let consumer = format!("group.id={GROUP}\nauto.offset.reset=earliest\n");
    let args = ["--whitelist", "orders", "--offset.commit.interval.ms", "4000"];
    let mm1 = sandbox.mm1((a, b), &consumer, &args)?;
    let committed = || Ok(tools.group_offsets(a, GROUP)?.first().map(|c| c.offset));
    wait_until(READY, "MirrorMaker 1 to commit", committed).with_context(|| mm1.process.log_tail())?;

    let create = [
        "mirror",
        "create",
        "m",
        "--source",
        "a",
        "--target",
        "b",
        "--topics",
        "orders",
        "--naming",
        "identity",
        "--start-group",
        GROUP,
    ];
    let plan = world.controllers[0].cli(&[&create[..], &["--plan"]].concat())?;
    assert!(plan.contains("START_GROUP_ACTIVE") && !plan.contains("TARGET_NOT_EMPTY"), "{plan}");
    world.controllers[0].cli(&create)?;
    world.api.wait_cause("m", "START_GROUP_ACTIVE", SETTLED)?;
    mm1.process.kill9()?;
    let last = committed()?.context("it has committed")?;
    let copied = tools.offsets(b, "orders")?[&0].1;
    println!("killed: {last} committed, {copied} copied");
    assert!(copied > last, "nothing to find");
    let made = tools.load_stats("orders")?[&0];
    wait_until(SETTLED, "what was made by now to be copied", || {
        let seen = tools.tail_stats("orders", false)?;
        ensure!(seen.wrong == 0, "{} wrong: {}", seen.wrong, seen.first_wrong);
        Ok(seen.partitions.get(&0).is_some_and(|seen| seen.next >= made + 2_000).then_some(()))
    })?;
    tools.stop_load("orders")?;
    world.wait_exact("orders", "orders", SETTLED)?;
    assert_eq!(tools.stop_tail("orders")?.wrong, 0);
    Ok(())
}

/// A group that left its partitions in all ways, and copies of what lies below. What isn't simply gone on from is named.
#[test]
fn a_group_with_odd_offsets_is_gone_on_from_as_the_start_says_and_never_silently() -> Result<()> {
    let _alone = alone();
    let world = World::start("handover-group", WorldOptions::default())?;
    let World { source: a, target: b, tools, api, .. } = &world;
    // What the group has committed in two partitions of 300 records each, of which 100 are copied.
    let topics = [
        ("left", [Some(100), Some(100)]),
        ("partly", [Some(100), None]),
        ("cut", [Some(100), Some(200)]),
        ("beyond", [Some(5_000), Some(100)]),
        ("unknown", [None, None]),
    ];
    for (topic, offsets) in topics {
        tools.create_topic(a, topic, 2, &[])?;
        tools.create_topic(b, topic, 2, &[])?;
        write(a, topic, 2, 0..600)?;
        let committed: Vec<Committed> = (0..)
            .zip(offsets)
            .filter_map(|(partition, offset)| {
                Some(Committed { topic: topic.into(), partition, offset: offset?, metadata: String::new() })
            })
            .collect();
        if !committed.is_empty() {
            tools.commit(a, GROUP, &committed)?;
        }
    }
    // (Of the second partition of `partly` nothing.)
    write(b, "left", 2, 0..200)?;
    for n in (0..200).step_by(2) {
        write(b, "partly", 2, n..n + 1)?;
    }
    write(b, "unknown", 2, 0..200)?;
    tools.delete_records(a, "cut", &[(0, 150), (1, 150)])?;

    let start = StartPosition { position: Some(Position::Earliest(true)), group: GROUP.into() };
    let wanted =
        Mirror { start: Some(start), naming: naming(Kind::Identity), ..mirror(&topics.map(|(t, _)| t)) };
    api.add_mirror("m", wanted)?;
    let message = api.wait_cause("m", "TARGET_NOT_EMPTY", SETTLED)?;
    assert!(message.contains("unknown partition") && message.contains("--onto-existing=append"), "{message}");
    let plan = world.controllers[0].cli(&["mirror", "plan", "m"])?;
    let warned = plan.lines().find(|line| line.contains("START_GROUP_NO_OFFSETS")).unwrap_or_default();
    assert!(
        plan.contains("has no offset on cluster a in unknown: they begin at their earliest record"),
        "{warned}\n{plan}"
    );

    let even = |numbers: Range<u64>| numbers.filter(|n| n % 2 == 0).collect::<Vec<_>>();
    let odd = |numbers: Range<u64>| numbers.filter(|n| n % 2 == 1).collect::<Vec<_>>();
    for (topic, first, second) in [
        ("left", even(0..600), odd(0..600)),
        ("partly", even(0..600), odd(0..600)),
        ("cut", even(300..600), odd(400..600)),
        ("beyond", even(0..600), odd(200..600)),
        ("unknown", even(0..200), odd(0..200)),
    ] {
        let wanted = BTreeMap::from([(0, first), (1, second)]);
        let mut found = BTreeMap::new();
        let held = wait_until(SETTLED, &format!("{topic} to be copied"), || {
            found = read(tools, b, topic)?;
            Ok((found == wanted).then_some(()))
        });
        let counts: Vec<usize> = found.values().map(Vec::len).collect();
        held.with_context(|| format!("{topic}: {counts:?} records"))?;
    }
    let gap = |topic, partition| gap(api, topic, partition);
    assert_eq!(gap("cut", 0)?, Some(("RETENTION".into(), 100, 150)));
    assert_eq!(gap("beyond", 0)?, Some(("TRUNCATION".into(), 300, 5_000)));
    for (topic, partition) in [("cut", 1), ("beyond", 1), ("left", 0), ("partly", 1)] {
        assert_eq!(gap(topic, partition)?, None, "{topic} {partition}");
    }
    let logs: String = world.workers.iter().map(|worker| worker.process.log()).collect();
    assert!(logs.contains("the group has no offset in this partition"), "said of partly");
    assert!(logs.contains("the group's offset isn't in the log"), "said of cut and beyond");
    without_progress_nothing_goes_back(&world)
}

/// The only gap of a partition.
fn gap(api: &Api, topic: &str, partition: i32) -> Result<Option<(String, i64, i64)>> {
    let ranges = api.ranges("m")?;
    let mut all = ranges.iter().filter(|r| r.source_topic == topic).flat_map(|r| &r.partitions);
    let found = all.find(|p| p.partition == partition).context("the partition is reported")?;
    let told = |gap: &Gap| (gap.reason().short_name().to_owned(), gap.first_offset, gap.end_offset);
    ensure!(found.gaps.len() < 2, "{:?}", found.gaps);
    Ok(found.gaps.first().map(told))
}

/// The position of the mirror's own is deleted: it stops by name, and doesn't begin at the group's once more.
fn without_progress_nothing_goes_back(world: &World) -> Result<()> {
    let World { tools, api, target, .. } = world;
    for worker in &world.workers {
        worker.process.kill9()?;
    }
    tools.delete_topic(target, "__twinlog.m.progress")?;
    for worker in &world.workers {
        worker.process.start_again()?;
    }
    let message = api.wait_cause("m", "PROGRESS_LOST", SETTLED)?;
    assert!(message.contains("--onto-existing"), "{message}");
    let found = read(tools, target, "left")?;
    ensure!(found.values().all(|numbers| numbers.len() == 300), "nothing was copied again");
    Ok(())
}
