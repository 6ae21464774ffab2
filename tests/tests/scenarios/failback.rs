//! Failing over and back: a group that went on at the copies goes on at the source at exactly the record that follows what it has read,
//! none twice and none missing, by the command line and by the mirror itself.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use prost_types::Duration as Wire;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use twinlog_proto::v1::naming::Kind;
use twinlog_proto::v1::translate_offsets_request::Direction;
use twinlog_proto::v1::{self, Mirror, SourceOffset, TranslateOffsetsRequest};
use twinlog_tests::api::told;
use twinlog_tests::sandbox::{Kafka, wait_until};
use twinlog_tests::tools::{Committed, Isolation};
use twinlog_tests::verify::{Dump, compare, expected_offset, expected_source};
use twinlog_tests::world::{World, WorldOptions, mirror, naming};

use crate::beside;

const GROUP: &str = "billing";
/// Transactions, aborted ones, holes of compaction, a log start that moved, nothing at all.
const KINDS: [&str; 6] = ["mixed", "transactions", "compacted", "trimmed", "logappend", "empty"];
const COPIED: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(60);
const OFFSETS: usize = 10_000;

type Dumps = BTreeMap<String, Dump>;
type Places = BTreeMap<(String, i32), i64>;

fn start(name: &str) -> Result<World> {
    World::start(name, WorldOptions { etcd_members: 0, ..WorldOptions::default() })
}

/// Both directions of syncing are looked at every second.
fn billing(mirror: Mirror) -> Mirror {
    let groups = Some(Wire { seconds: 1, nanos: 0 });
    let refresh = Some(v1::RefreshIntervals { groups, topics: None });
    Mirror { groups: vec![GROUP.into()], sync_group_offsets: true, refresh, ..mirror }
}

fn dumps(world: &World, kafka: &Kafka, topics: &[String], prefix: &str) -> Result<Dumps> {
    let dump = |topic: &String| {
        let name = format!("{prefix}{topic}");
        Ok((topic.clone(), world.tools.dump(kafka, &name, Isolation::Committed)?))
    };
    topics.iter().map(dump).collect()
}

fn places(world: &World, kafka: &Kafka) -> Result<Places> {
    let offsets = world.tools.group_offsets(kafka, GROUP)?;
    Ok(offsets.into_iter().map(|o| ((o.topic, o.partition), o.offset)).collect())
}

/// How many records of each partition lie before the place: places with nothing but markers and holes between them are the same.
fn read_before(places: &Places, topics: &Dumps) -> BTreeMap<(String, i32), usize> {
    let before = |((topic, partition), offset): (&(String, i32), &i64)| {
        let records = &topics.get(topic)?.partitions.get(partition)?.records;
        Some(((topic.clone(), *partition), records.partition_point(|record| record.offset < *offset)))
    };
    places.iter().filter_map(before).collect()
}

fn wait_read_before(world: &World, topics: &Dumps, expected: &Places) -> Result<()> {
    let expected = read_before(expected, topics);
    let mut last = BTreeMap::new();
    let waited = wait_until(SOON, &format!("{GROUP} on the source"), || {
        last = read_before(&places(world, &world.source)?, topics);
        Ok((last == expected).then_some(()))
    });
    waited.with_context(|| format!("expected {expected:?}, found {last:?}"))
}

fn wait_places(world: &World, kafka: &Kafka, expected: &Places) -> Result<()> {
    let mut last = Places::new();
    let waited = wait_until(SOON, &format!("{GROUP} on {}", kafka.name()), || {
        last = places(world, kafka)?;
        Ok(expected.iter().all(|(partition, offset)| last.get(partition) == Some(offset)).then_some(()))
    });
    let wrong = || expected.iter().filter(|(p, o)| last.get(*p) != Some(*o)).collect::<Vec<_>>();
    waited.with_context(|| format!("not as expected: {:?}, of {last:?}", wrong()))
}

fn group(world: &World, mirror: &str) -> Result<v1::GroupStatus> {
    let status = world.api.status(mirror)?;
    status.groups.into_iter().find(|g| g.group == GROUP).with_context(|| format!("{mirror} has no {GROUP}"))
}

fn wait_to_source(world: &World, mirror: &str, state: &str) -> Result<()> {
    let mut last = None;
    let waited = wait_until(SOON, &format!("{GROUP} to be {state}"), || {
        last = group(world, mirror).ok();
        let back = last.as_ref().and_then(|group| group.to_source.as_ref());
        Ok(back.is_some_and(|back| back.state().short_name() == state).then_some(()))
    });
    waited.with_context(|| format!("{last:?}"))
}

/// Where the group must be on the target, by content.
fn expect_on_target(world: &World, source: &Dumps, copies: &Dumps, prefix: &str) -> Result<Places> {
    let expected = |((topic, partition), offset): ((String, i32), i64)| {
        let there = expected_offset(&source[&topic], &copies[&topic], partition, offset);
        Ok(((format!("{prefix}{topic}"), partition), there.context("it is copied")?))
    };
    places(world, &world.source)?
        .into_iter()
        .filter(|((t, _), _)| source.contains_key(t))
        .map(expected)
        .collect()
}

/// Where the group must be on the source, by content.
fn expect_on_source(world: &World, source: &Dumps, copies: &Dumps, prefix: &str) -> Result<Places> {
    let of_copy = |((topic, partition), offset): ((String, i32), i64)| {
        let topic = topic.strip_prefix(prefix)?.to_owned();
        let back = expected_source(source.get(&topic)?, copies.get(&topic)?, partition, offset)?;
        Some(((topic, partition), back))
    };
    Ok(places(world, &world.target)?.into_iter().filter_map(of_copy).collect())
}

fn records(read: &Dumps) -> usize {
    read.values().map(Dump::records).sum()
}

/// What was read one after the other is the whole topic, each record once.
fn assert_whole(topic: &str, whole: &Dump, parts: &[Option<&Dump>]) -> Result<()> {
    let mut read = Dump::default();
    for (number, partition) in parts.iter().flatten().flat_map(|part| &part.partitions) {
        read.partitions.entry(*number).or_default().records.extend(partition.records.iter().cloned());
    }
    let verdict = compare(whole, &read);
    ensure!(verdict.is_exact(), "{topic}: {verdict}");
    Ok(())
}

#[test]
fn a_group_goes_on_at_the_source_where_it_was_on_the_copies() -> Result<()> {
    let _beside = beside();
    let world = start("failback")?;
    let topics: Vec<String> = KINDS.iter().map(|kind| format!("c.{kind}")).collect();
    let copies: Vec<String> = topics.iter().map(|topic| format!("a.{topic}")).collect();
    world.tools.corpus(&world.source, "c", 31, 1)?;
    // What is written on the target while it stands in, in a topic of its own, and a mirror that brings it to the source.
    world.tools.create_topic(&world.target, "own.orders", 2, &[])?;
    world.api.add_mirror("m", billing(mirror(&[r"c\..*"])))?;
    let back = Mirror { source: "clusters/b".into(), target: "clusters/a".into(), ..mirror(&[r"own\..*"]) };
    world.api.add_mirror("n", billing(back))?;
    for (topic, copy) in topics.iter().zip(&copies) {
        world.wait_exact(topic, copy, COPIED)?;
    }
    let (source, target) =
        (dumps(&world, &world.source, &topics, "")?, dumps(&world, &world.target, &topics, "a.")?);
    every_position_leads_back(&world, &source, &target)?;

    let first = world.tools.consume(&world.source, GROUP, &topics, Some(4_000))?;
    wait_places(&world, &world.target, &expect_on_target(&world, &source, &target, "a.")?)?;
    world.source.broker(1).kill9()?;
    produce(&world, &world.target, "own.orders", 0, 600)?;
    let there = [&copies[..], &["own.orders".to_owned()]].concat();
    let second = world.tools.consume(&world.target, GROUP, &there, Some(6_000))?;

    world.source.broker(1).start_again()?;
    world.source.wait_ready()?;
    wait_until(SOON, "own.orders on the source", || {
        let own = world.tools.dump(&world.target, "own.orders", Isolation::Committed)?;
        let brought = world.tools.dump(&world.source, "b.own.orders", Isolation::Committed);
        Ok(brought.is_ok_and(|brought| compare(&own, &brought).is_exact()).then_some(()))
    })?;
    fail_back_by_hand(&world, &expect_on_source(&world, &source, &target, "a.")?)?;
    // The mirror in the other direction has brought the group's place in what was written on the target.
    let own = world.tools.dump(&world.target, "own.orders", Isolation::Committed)?;
    let brought = world.tools.dump(&world.source, "b.own.orders", Isolation::Committed)?;
    let placed = places(&world, &world.target)?;
    let place = |p: i32| Some((p, *placed.get(&("own.orders".to_owned(), p))?));
    let expected = (0..2).filter_map(place).map(|(p, offset)| {
        let there = expected_offset(&own, &brought, p, offset).context("it is copied")?;
        Ok((("b.own.orders".to_owned(), p), there))
    });
    wait_places(&world, &world.source, &expected.collect::<Result<_>>()?)?;

    let here = [&topics[..], &["b.own.orders".to_owned()]].concat();
    let third = world.tools.consume(&world.source, GROUP, &here, None)?;
    let parts = [&first, &second, &third].map(records);
    assert!(parts.iter().all(|part| *part > 3_000), "each side has read a good part: {parts:?}");
    for (topic, copy) in topics.iter().zip(&copies) {
        assert_whole(topic, &source[topic], &[first.get(topic), second.get(copy), third.get(topic)])?;
    }
    assert_whole("own.orders", &own, &[second.get("own.orders"), third.get("b.own.orders")])
}

/// Any position in the copies, also between records, below the log start and at the end.
fn every_position_leads_back(world: &World, source: &Dumps, copies: &Dumps) -> Result<()> {
    let mut random = StdRng::seed_from_u64(7);
    let partitions: Vec<_> = copies
        .iter()
        .flat_map(|(t, dump)| dump.partitions.iter().map(move |(p, c)| (t, *p, c.end)))
        .collect();
    let offsets: Vec<_> = (0..OFFSETS)
        .map(|n| {
            let (topic, partition, end) = partitions[n % partitions.len()];
            let offset = if n < partitions.len() { end } else { random.random_range(0..=end) };
            SourceOffset { topic: format!("a.{topic}"), partition, offset }
        })
        .collect();
    let direction = Direction::ToSource.into();
    let mut wrong = Vec::new();
    let waited = wait_until(SOON, "every position to lead back exactly", || {
        let (mirror, offsets) = ("mirrors/m".into(), offsets.clone());
        let request = TranslateOffsetsRequest { mirror, offsets, direction, ..Default::default() };
        let answer = world.api.translate_offsets(request).map_err(told)?;
        ensure!(answer.offsets.len() == OFFSETS, "{} answers", answer.offsets.len());
        wrong = answer
            .offsets
            .into_iter()
            .filter(|o| {
                let expected =
                    |t: &str| expected_source(&source[t], &copies[t], o.partition, o.target_offset?);
                let topic = o.target_topic.strip_prefix("a.").unwrap_or_default();
                o.source_topic != topic || expected(topic) != o.source_offset
            })
            .collect();
        Ok(wrong.is_empty().then_some(()))
    });
    waited.with_context(|| format!("{} wrong: {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]))
}

/// Twinlog says where to, Kafka's own tool does it.
fn fail_back_by_hand(world: &World, expected: &Places) -> Result<()> {
    let ask = ["offsets", "translate", "m", "--group", GROUP, "--to-source"];
    let cli = |more: &[&str]| world.controllers[0].cli(&[&ask, more].concat());
    let csv = cli(&["--csv"])?;
    let rows: Result<Places> = csv
        .lines()
        .map(|line| {
            let [topic, partition, offset] = line.split(',').collect::<Vec<_>>()[..] else {
                anyhow::bail!("{line:?} is no row")
            };
            Ok(((topic.to_owned(), partition.parse()?), offset.parse()?))
        })
        .collect();
    assert_eq!(&rows?, expected);
    let table = cli(&[])?;
    assert!(table.contains("own.orders") && table.contains("NOT_A_COPY"), "{table}");

    let file = world.sandbox.folder().join("billing.csv");
    std::fs::write(&file, csv)?;
    let file = file.display().to_string();
    let reset = ["--group", GROUP, "--reset-offsets", "--from-file", &file];
    let before = places(world, &world.source)?;
    world.tools.consumer_groups(&world.source, &[&reset[..], &["--dry-run"]].concat())?;
    let of_copies =
        |places: Places| -> Places { places.into_iter().filter(|(p, _)| expected.contains_key(p)).collect() };
    assert_eq!(of_copies(places(world, &world.source)?), of_copies(before), "a dry run");
    world.tools.consumer_groups(&world.source, &[&reset[..], &["--execute"]].concat())?;
    assert_eq!(&of_copies(places(world, &world.source)?), expected);
    Ok(())
}

/// So many records, spread evenly over two partitions; numbers begin at `first`.
fn produce(world: &World, kafka: &Kafka, topic: &str, first: u64, count: u64) -> Result<()> {
    let name = format!("{}/{topic}/{first}", kafka.name());
    let load = json!({
        "bootstrap": kafka.bootstrap(), "name": name, "topic": topic, "partitions": 2, "rate": 20_000.0, "first": first,
        "value_bytes": 60, "compression": "lz4", "records": count,
    });
    world.tools.call("load_start", load)?;
    wait_until(SOON, &format!("{count} records in {topic}"), || {
        Ok((world.tools.load_stats(&name)?.values().map(|n| n - first).sum::<u64>() == count).then_some(()))
    })?;
    world.tools.stop_load(&name).map(drop)
}

/// The same names on both sides, and both directions of syncing on. While the target stands in, producers write to the copies
/// themselves: what they write has no place on the source.
#[test]
fn a_mirror_brings_groups_back_by_itself() -> Result<()> {
    let _beside = beside();
    let world = start("failback-auto")?;
    let orders = "d.orders".to_owned();
    let topics: Vec<String> = KINDS.iter().map(|kind| format!("d.{kind}")).chain([orders.clone()]).collect();
    world.tools.corpus(&world.source, "d", 32, 1)?;
    world.tools.create_topic(&world.source, &orders, 2, &[])?;
    produce(&world, &world.source, &orders, 0, 2_000)?;
    let both = Mirror {
        naming: naming(Kind::Identity),
        sync_group_offsets_to_source: true,
        // The target takes over while the source is away.
        allow_foreign_writes: true,
        ..billing(mirror(&[r"d\..*"]))
    };
    world.api.add_mirror("same", both)?;
    for topic in &topics {
        world.wait_exact(topic, topic, COPIED)?;
    }
    let (source, copies) =
        (dumps(&world, &world.source, &topics, "")?, dumps(&world, &world.target, &topics, "")?);

    let first = world.tools.consume(&world.source, GROUP, &topics, Some(4_000))?;
    wait_places(&world, &world.target, &expect_on_target(&world, &source, &copies, "")?)?;
    wait_to_source(&world, "same", "SYNCED")?;
    stays_put(&world)?;

    world.source.broker(1).kill9()?;
    produce(&world, &world.target, &orders, 5_000, 500)?;
    let second = world.tools.consume(&world.target, GROUP, &topics, Some(6_000))?;
    // All of it, with what was written on the target: the group's place is behind any copy.
    let rest = world.tools.consume(&world.target, GROUP, std::slice::from_ref(&orders), None)?;
    let reached = expect_on_source(&world, &source, &copies, "")?;

    world.source.broker(1).start_again()?;
    world.source.wait_ready()?;
    wait_read_before(&world, &source, &reached)?;
    produce(&world, &world.source, &orders, 1_000, 300)?;
    wait_until(SOON, "the copy to go on behind what was written there", || {
        let records = world.tools.dump(&world.target, &orders, Isolation::Committed)?.records();
        Ok((records == 2_000 + 500 + 300).then_some(()))
    })?;
    wait_to_source(&world, "same", "SYNCED")?;
    stays_put(&world)?;
    assert_eq!(read_before(&places(&world, &world.source)?, &source), read_before(&reached, &source));

    let third = world.tools.consume(&world.source, GROUP, &topics, None)?;
    let mut whole = source.clone();
    // Not of the others: a broker that was killed forgets for a while how far they were trimmed.
    whole.extend(dumps(&world, &world.source, std::slice::from_ref(&orders), "")?);
    let parts = [&first, &second, &third].map(records);
    assert!(parts.iter().all(|part| *part > 3_000), "each side has read a good part: {parts:?}");
    let copied = |dump: &Dump| copied_part(dump, &copies[&orders]);
    for topic in &topics {
        let parts = [first.get(topic), second.get(topic), rest.get(topic)];
        let copied: Vec<_> =
            if *topic == orders { parts.map(|part| part.map(copied)).to_vec() } else { Vec::new() };
        let parts =
            if *topic == orders { copied.iter().map(Option::as_ref).collect() } else { parts.to_vec() };
        assert_whole(topic, &whole[topic], &[parts, vec![third.get(topic)]].concat())?;
    }
    set_back_stays_back(&world)
}

/// Without what lies behind the copies.
fn copied_part(read: &Dump, copies: &Dump) -> Dump {
    let mut read = read.clone();
    for (number, partition) in &mut read.partitions {
        partition.records.retain(|record| record.offset < copies.partitions[number].end);
    }
    read
}

/// Nothing moves any more, whatever the two directions think of each other.
fn stays_put(world: &World) -> Result<()> {
    let now = || Ok::<_, anyhow::Error>((places(world, &world.source)?, places(world, &world.target)?));
    // A round may have been under way.
    std::thread::sleep(Duration::from_secs(2));
    let before = now()?;
    for _ in 0..6 {
        std::thread::sleep(Duration::from_millis(700));
        assert_eq!(now()?, before);
    }
    Ok(())
}

/// What someone sets back on the source, to read it again, is not moved on by the place that the target knows.
fn set_back_stays_back(world: &World) -> Result<()> {
    let back = Committed { topic: "d.mixed".into(), partition: 0, offset: 3, metadata: String::new() };
    wait_to_source(world, "same", "SYNCED")?;
    world.tools.commit(&world.source, GROUP, std::slice::from_ref(&back))?;
    wait_to_source(world, "same", "SET_BACK_ON_SOURCE")?;
    stays_put(world)?;
    assert_eq!(places(world, &world.source)?[&("d.mixed".to_owned(), 0)], 3);
    Ok(())
}
