//! A target that an older version has mirrored to: its progress and offset map lie under the former names. The copy goes on exactly
//! where it stood, every offset is translated as before, and no owner of before can write any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use prost::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use twinlog_proto::storage::{OffsetMapKey, Progress, ProgressKey};
use twinlog_proto::v1::{Guarantee, Mirror, Naming, SourceOffset, TranslateOffsetsRequest, naming::Kind};
use twinlog_tests::api::told;
use twinlog_tests::sandbox::{Kafka, wait_until};
use twinlog_tests::tools::{Isolation, LoadOptions};
use twinlog_tests::verify::Partition;
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::{alone, beside};

const COPIED: Duration = Duration::from_secs(120);
const SETTLED: Duration = Duration::from_secs(60);
const CALL: Duration = Duration::from_secs(20);
/// As many as older versions gave their topics.
const PARTITIONS: u32 = 8;
const NUMBERS: &str = "numbers";
const SMALL: &str = "c.small";
const TRANSACTIONS: u32 = 400;
/// Partitions of `numbers`.
const SPREAD: u32 = 12;

struct Record {
    partition: i32,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// Every committed record of a topic.
fn records(kafka: &Kafka, topic: &str, partitions: u32) -> Result<Vec<Record>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .set("group.id", "former-names")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .create()?;
    let mut all = TopicPartitionList::new();
    for partition in 0..partitions as i32 {
        all.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&all)?;
    let (mut found, mut ended) = (Vec::new(), 0);
    while ended < partitions {
        match consumer.poll(CALL) {
            Some(Ok(record)) => found.push(Record {
                partition: record.partition(),
                key: record.key().context("a key")?.to_vec(),
                value: record.payload().context("a value")?.to_vec(),
            }),
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => return Err(error.into()),
            None => bail!("{topic} can't be read"),
        }
    }
    Ok(found)
}

fn write(kafka: &Kafka, topic: &str, records: &[Record]) -> Result<()> {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", kafka.bootstrap()).set("acks", "all").create()?;
    for Record { partition, key, value } in records {
        let record = BaseRecord::to(topic).partition(*partition).key(key).payload(value);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(CALL)?;
    Ok(())
}

/// Makes of what this version keeps what an older one would have kept. `PARTITIONS` of each topic.
fn rename(world: &World, mirror: &str) -> Result<BTreeMap<&'static str, usize>> {
    let (tools, target) = (&world.tools, &world.target);
    let mut moved = BTreeMap::new();
    for kind in ["progress", "offsets"] {
        let (now, former) = (format!("__twinlog.{mirror}.{kind}"), format!("twinlog.{mirror}.{kind}"));
        let kept = records(target, &now, PARTITIONS)?;
        tools.create_topic(target, &former, PARTITIONS, &[("cleanup.policy", "compact")])?;
        write(target, &former, &kept)?;
        moved.insert(kind, kept.len());
        tools.delete_topic(target, &now)?;
        wait_until(SETTLED, "the topic to be gone", || {
            Ok((!tools.topics(target)?.contains(&now)).then_some(()))
        })?;
    }
    Ok(moved)
}

/// Ranges under the former name, and those of them that have been carried over, by their newest records.
fn ranges(world: &World, mirror: &str) -> Result<(usize, usize)> {
    let mut newest = BTreeMap::new();
    for record in records(&world.target, &format!("twinlog.{mirror}.progress"), PARTITIONS)? {
        if !ProgressKey::decode(&*record.key)?.target_topic.is_empty() {
            newest.insert(record.key, Progress::decode(&*record.value)?);
        }
    }
    let continued_in = format!("__twinlog.{mirror}.progress");
    Ok((newest.len(), newest.values().filter(|progress| progress.continued_in == continued_in).count()))
}

fn wait_carried_over(world: &World, mirror: &str) -> Result<()> {
    wait_until(SETTLED, &format!("{mirror} to be carried over"), || {
        let (all, done) = ranges(world, mirror)?;
        Ok((all > 0 && done == all).then_some(()))
    })
}

/// Closed pieces of the offset map.
fn pieces(world: &World, topic: &str) -> Result<usize> {
    let partitions = world.tools.partitions(&world.target, topic)?;
    let mut found = 0;
    for record in records(&world.target, topic, partitions)? {
        found += usize::from(OffsetMapKey::decode(&*record.key)?.first_source_offset >= 0);
    }
    Ok(found)
}

fn produce(world: &World, records: u64) -> Result<()> {
    let load = LoadOptions { rate: 5_000.0, records: Some(records), ..LoadOptions::new(SPREAD) };
    world.tools.load(&world.source, NUMBERS, &load)?;
    let wanted = || Ok((world.tools.load_stats(NUMBERS)?.values().sum::<u64>() >= records).then_some(()));
    wait_until(SETTLED, "the records to be there", wanted)?;
    world.tools.stop_load(NUMBERS).map(drop)
}

/// Source topic, partition and offset; offset on the target, or the reason why there is none.
type Answer = (String, i32, Option<i64>, Option<i64>, String);

/// What the mirror says of every position in these topics, to their ends.
fn translated(world: &World, topics: &[&str]) -> Result<Vec<Answer>> {
    let mut offsets = Vec::new();
    for topic in topics {
        for (partition, (_, end)) in world.tools.offsets(&world.source, topic)? {
            let all = (0..=end).step_by(3).chain([end]);
            offsets.extend(all.map(|offset| SourceOffset { topic: (*topic).to_owned(), partition, offset }));
        }
    }
    let mut answers = Vec::new();
    for offsets in offsets.chunks(5_000) {
        let offsets = offsets.to_vec();
        let request = TranslateOffsetsRequest { mirror: "mirrors/m".into(), offsets, ..Default::default() };
        let answer = world.api.translate_offsets(request).map_err(told)?;
        let one = |t: twinlog_proto::v1::TranslatedOffset| {
            (t.source_topic, t.partition, t.source_offset, t.target_offset, t.reason)
        };
        answers.extend(answer.offsets.into_iter().map(one));
    }
    Ok(answers)
}

/// Every answer is what it was. Where no record follows it is the copy's end, which each owner's fence moves on.
fn same(now: &[Answer], before: &[Answer]) {
    let end = |answers: &[Answer], of: &Answer| {
        let same = |answer: &&Answer| (&answer.0, answer.1) == (&of.0, of.1);
        answers.iter().filter(same).map(|answer| answer.3).max().flatten()
    };
    let is_same = |now_: &Answer, before_: &Answer| {
        let both_at_end = before_.3 == end(before, before_) && now_.3 == end(now, now_);
        let place = |answer: &Answer| (answer.0.clone(), answer.1, answer.2, answer.4.clone());
        now_ == before_ || both_at_end && now_.3 > before_.3 && place(now_) == place(before_)
    };
    let differs: Vec<_> =
        now.iter().zip(before).filter(|(now, before)| !is_same(now, before)).take(20).collect();
    assert!(differs.is_empty() && now.len() == before.len(), "now and before: {differs:#?}");
}

/// An owner of before: a transactional producer with a range's identity, in the middle of a transaction.
fn former_owner(world: &World) -> Result<BaseProducer> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", world.target.bootstrap())
        .set("transactional.id", format!("twinlog.m.a.{NUMBERS}.0"))
        .create()?;
    producer.init_transactions(CALL)?;
    producer.begin_transaction()?;
    let topic = format!("a.{NUMBERS}");
    let record = BaseRecord::to(&topic).partition(0).key("late").payload("late");
    producer.send(record).map_err(|(error, _)| error)?;
    producer.flush(CALL)?;
    Ok(producer)
}

fn stop(world: &World) -> Result<()> {
    let status = world.workers[0].process.terminate()?;
    ensure!(status.success(), "{status}");
    Ok(())
}

fn start_again(world: &World) -> Result<()> {
    world.workers[0].process.start_again()?;
    world.api.wait_workers(1, SETTLED)
}

/// Many transactions of one record each: every one is a segment of the offset map.
fn small_transactions(world: &World) -> Result<()> {
    world.tools.create_topic(&world.source, SMALL, 1, &[])?;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", world.source.bootstrap())
        .set("transactional.id", "small")
        .create()?;
    producer.init_transactions(CALL)?;
    for number in 0..TRANSACTIONS {
        producer.begin_transaction()?;
        let value = number.to_string();
        let record = BaseRecord::to(SMALL).partition(0).key("k").payload(&value);
        producer.send(record).map_err(|(error, _)| error)?;
        producer.commit_transaction(CALL)?;
    }
    Ok(())
}

/// Exactly once and at least once; the mirror of the latter is called `least`.
fn one_worker(name: &str, block_size: i32) -> Result<World> {
    let options = WorldOptions { workers: 1, etcd_members: 0, ..WorldOptions::default() };
    let world = World::start(name, options)?;
    world.tools.create_topic(&world.source, NUMBERS, SPREAD, &[])?;
    produce(&world, 2_000)?;
    // Before anything is copied: what is trimmed there later is still on the target.
    world.tools.corpus(&world.source, "c", 31, 1)?;
    small_transactions(&world)?;
    let once = Mirror { block_size, ..mirror(&[r"c\..*", NUMBERS]) };
    world.api.add_mirror("m", once)?;
    let separator = Naming { kind: Kind::Prefix.into(), separator: "-".into(), ..Default::default() };
    let guarantee = Guarantee::AtLeastOnce.into();
    let least = Mirror { guarantee, naming: Some(separator), block_size, ..mirror(&[NUMBERS]) };
    world.api.add_mirror("least", least)?;
    Ok(world)
}

fn copied(world: &World, topics: &[&str]) -> Result<()> {
    for topic in topics {
        world.wait_exact(topic, &format!("a.{topic}"), COPIED)?;
    }
    world.wait_exact(NUMBERS, &format!("a-{NUMBERS}"), COPIED).map(drop)
}

#[test]
fn what_an_older_version_left_is_gone_on_from_exactly() -> Result<()> {
    // Not the compacted one: the two sides compact when they like.
    const ALL: &[&str] = &["c.mixed", "c.transactions", "c.trimmed", "c.logappend", SMALL, NUMBERS];
    const STILL: &[&str] = &["c.mixed", "c.transactions", "c.trimmed", "c.logappend", SMALL];
    let _beside = beside();
    let world = one_worker("former-names", 0)?;
    copied(&world, ALL)?;
    let before = translated(&world, STILL)?;
    assert!(before.len() > 1_000 && before.iter().filter(|answer| answer.3.is_some()).count() > 1_000);

    stop(&world)?;
    let (once, least) = (rename(&world, "m")?, rename(&world, "least")?);
    println!("records under the former names: {once:?} and {least:?}");
    let closed = pieces(&world, "twinlog.m.offsets")?;
    assert!(closed > 0, "a part of the map is in closed pieces");
    // Other numbers of partitions than before: a range's records lie elsewhere.
    for kind in ["progress", "offsets"] {
        let compact = [("cleanup.policy", "compact")];
        world.tools.create_topic(&world.target, &format!("__twinlog.m.{kind}"), 3, &compact)?;
    }
    produce(&world, 1_000)?;
    let late = former_owner(&world)?;
    start_again(&world)?;
    copied(&world, ALL)?;
    wait_carried_over(&world, "m")?;
    wait_carried_over(&world, "least")?;
    let refused = late.commit_transaction(CALL);
    assert!(refused.is_err(), "an owner of before is fenced");
    assert_eq!(pieces(&world, "__twinlog.m.offsets")?, closed, "each of them once");
    same(&translated(&world, STILL)?, &before);
    let view = world.tools.mirror_client(&world.target, "a", "nobody")?;
    assert!(!view.all_remote_topics.iter().any(|topic| topic.starts_with("__")), "{view:?}");

    // Nobody needs them any more.
    stop(&world)?;
    for mirror in ["m", "least"] {
        for kind in ["progress", "offsets"] {
            world.tools.delete_topic(&world.target, &format!("twinlog.{mirror}.{kind}"))?;
        }
    }
    produce(&world, 1_000)?;
    start_again(&world)?;
    copied(&world, ALL)?;
    same(&translated(&world, STILL)?, &before);
    let topics = world.tools.topics(&world.target)?;
    assert!(!topics.iter().any(|topic| topic.starts_with("twinlog.")), "{topics:?}");
    Ok(())
}

/// Killed again and again while the ranges are carried over, one after the other, a record that is copied twice or not at all would show.
#[test]
fn a_worker_that_dies_while_it_carries_over_loses_and_repeats_nothing() -> Result<()> {
    let _alone = alone();
    let world = one_worker("former-killed", 1)?;
    copied(&world, &[NUMBERS])?;
    stop(&world)?;
    rename(&world, "m")?;
    rename(&world, "least")?;
    produce(&world, 4_000)?;
    let written = || -> Result<i64> {
        let ends = world.tools.offsets(&world.target, "twinlog.m.progress")?;
        Ok(ends.values().map(|(_, end)| end).sum())
    };
    let mut seen = Vec::new();
    while seen.len() < 30 && seen.last().is_none_or(|(done, all)| done < all) {
        let before = written()?;
        world.workers[0].process.start_again()?;
        wait_until(SETTLED, "something to be carried over", || Ok((written()? > before).then_some(())))?;
        world.workers[0].process.kill9()?;
        let (all, done) = ranges(&world, "m")?;
        seen.push((done, all));
    }
    println!("ranges carried over at each kill: {seen:?}");
    start_again(&world)?;
    world.wait_exact(NUMBERS, &format!("a.{NUMBERS}"), COPIED)?;
    wait_carried_over(&world, "m")?;
    wait_carried_over(&world, "least")?;
    at_least_once(&world)
}

/// Nothing is missing; what was in flight when the worker was killed may be there twice.
fn at_least_once(world: &World) -> Result<()> {
    let all = |kafka, topic: &str| -> Result<BTreeSet<(i32, i64, String)>> {
        let dump = world.tools.dump(kafka, topic, Isolation::Committed)?;
        let of = |(partition, found): (i32, Partition)| {
            found.records.into_iter().map(move |record| (partition, record.timestamp, record.value))
        };
        Ok(dump.partitions.into_iter().flat_map(of).collect())
    };
    let wanted = all(&world.source, NUMBERS)?;
    wait_until(COPIED, "all to be copied", || {
        Ok((all(&world.target, &format!("a-{NUMBERS}"))? == wanted).then_some(()))
    })
}
