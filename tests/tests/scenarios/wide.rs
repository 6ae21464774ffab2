//! A thousand topics through one worker with default settings: few threads, few connections, little memory, and nothing left behind.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use twinlog_proto::v1;
use twinlog_tests::sandbox::{Kafka, Process, wait_until};
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::alone;

const MANY: usize = 1_000;
/// Of the second test, which would show nothing else with more.
const SOME: usize = 300;
const RECORDS: usize = 10;
/// Of the whole copy, in a debug build that shares two cores with both clusters, which have the copies to create.
const COPIED: Duration = Duration::from_secs(120);
const READ: Duration = Duration::from_secs(60);
/// Descriptors of a worker that has little: `ulimit -n`.
const FEW_DESCRIPTORS: u64 = 256;
/// Of which none is librdkafka's: its own names begin so.
const MAX_THREADS: usize = 16;
const OF_LIBRDKAFKA: &str = "rdk:";
/// To one broker: to fetch, to produce, and those of the calls beside.
const MAX_CONNECTIONS: usize = 8;
/// What was opened to begin many ranges at once is not needed later.
const SPARE: Duration = Duration::from_secs(20);
/// CPU per second of a worker, and of a controller, whose ranges have nothing to copy, beside so much for each range: of a debug build on
/// a machine that is busy.
const AT_REST: Duration = Duration::from_millis(30);
const AT_REST_PER_RANGE: Duration = Duration::from_micros(70);
/// What was just copied is shown for some seconds yet.
const RESTS_WITHIN: Duration = Duration::from_secs(60);
const LOOKED_AT: Duration = Duration::from_secs(4);
const MIB: u64 = 1 << 20;
/// Of a debug build.
const MAX_MEMORY: u64 = 256 * MIB;

fn name(topic: usize) -> String {
    format!("wide-{topic}")
}

fn config(kafka: &Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap());
    config
}

fn create_topics(kafka: &Kafka, topics: usize) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = config(kafka).create()?;
    let names: Vec<String> = (0..topics).map(name).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for some in names.chunks(200) {
        let topics: Vec<_> =
            some.iter().map(|name| NewTopic::new(name, 1, TopicReplication::Fixed(1))).collect();
        let options = AdminOptions::new().request_timeout(Some(READ));
        runtime.block_on(admin.create_topics(&topics, &options))?;
    }
    Ok(())
}

/// `records` more for every topic, numbered from `first` on.
fn produce(kafka: &Kafka, topics: usize, (first, records): (usize, usize)) -> Result<()> {
    let producer: BaseProducer = config(kafka)
        .set("linger.ms", "20")
        .set("compression.type", "lz4")
        // In order, also while leaders of new topics are not there yet.
        .set("enable.idempotence", "true")
        .create()?;
    for number in first..first + records {
        for topic in 0..topics {
            let (topic, value) = (name(topic), format!("{topic}:{number}"));
            producer.send(BaseRecord::<str, str>::to(&topic).payload(&value)).map_err(|(e, _)| e)?;
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(READ)?;
    Ok(())
}

/// What a reader who takes everything finds in the copies: of each topic the numbers, in order.
fn read(kafka: &Kafka, topics: usize, expected: usize) -> Result<BTreeMap<usize, Vec<usize>>> {
    let consumer: BaseConsumer = config(kafka)
        .set("group.id", "nobody")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_uncommitted")
        .create()?;
    let mut assigned = TopicPartitionList::new();
    for topic in 0..topics {
        assigned.add_partition_offset(&format!("a.{}", name(topic)), 0, Offset::Beginning)?;
    }
    consumer.assign(&assigned)?;
    let (mut found, mut count, until) = (BTreeMap::<_, Vec<_>>::new(), 0, Instant::now() + READ);
    while count < expected && Instant::now() < until {
        let Some(message) = consumer.poll(Duration::from_millis(200)) else { continue };
        let message = message?;
        let value = message.payload_view::<str>().context("a copy without a value")??;
        let (topic, number) = value.split_once(':').context("another value")?;
        ensure!(message.topic() == format!("a.{}", name(topic.parse()?)), "{value} in {}", message.topic());
        found.entry(topic.parse()?).or_default().push(number.parse()?);
        count += 1;
    }
    Ok(found)
}

fn all_there(world: &World, topics: usize, records: usize) -> Result<()> {
    let found = read(&world.target, topics, topics * records)?;
    let expected: Vec<usize> = (0..records).collect();
    for topic in 0..topics {
        ensure!(found.get(&topic) == Some(&expected), "{}: {:?}", name(topic), found.get(&topic));
    }
    Ok(())
}

fn wait_copied(world: &World, records: usize) -> Result<()> {
    let expected = i64::try_from(records)?;
    wait_until(COPIED, "all topics to be copied", || {
        let totals = world.api.status("m")?.totals.unwrap_or_default();
        let done = totals.lag_records == Some(0) && totals.records >= expected;
        Ok(done.then_some(()))
    })
}

/// Names of the process's threads.
fn threads(process: &Process) -> Result<Vec<String>> {
    let pid = process.pid().context("it doesn't run")?;
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))?.flatten();
    // One that has ended meanwhile has no name.
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    Ok(names.map(|name| name.trim().to_owned()).collect())
}

/// Connections of the process to the broker of a cluster.
fn connections(process: &Process, kafka: &Kafka) -> Result<usize> {
    let pid = process.pid().context("it doesn't run")?;
    let address = kafka.bootstrap();
    let (_, port) = address.rsplit_once(':').context("an address has a port")?;
    let port = format!(":{:04X}", port.parse::<u16>()?);
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd"))?.flatten();
    let own: HashSet<String> = entries
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let mut count = 0;
    for table in ["tcp", "tcp6"] {
        let table = std::fs::read_to_string(format!("/proc/{pid}/net/{table}"))?;
        // Local address, remote address and inode of each connection.
        let to_broker = table.lines().skip(1).filter(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields.len() > 9 && fields[2].ends_with(&port) && own.contains(fields[9])
        });
        count += to_broker.count();
    }
    Ok(count)
}

/// Threads, connections and memory while all ranges run.
fn is_modest(world: &World) -> Result<()> {
    let worker = &world.workers[0].process;
    let mut open = [0; 2];
    let few = wait_until(SPARE, "connections of the start to be closed", || {
        open = [connections(worker, &world.source)?, connections(worker, &world.target)?];
        Ok(open.iter().all(|count| (1..=MAX_CONNECTIONS).contains(count)).then_some(()))
    });
    few.with_context(|| format!("{open:?} connections"))?;
    let (threads, memory) = (threads(worker)?, worker.peak_resident_bytes()?);
    println!("{} threads, {open:?} connections, {} MiB at most", threads.len(), memory / MIB);
    ensure!(threads.len() <= MAX_THREADS, "{threads:?}");
    ensure!(!threads.iter().any(|name| name.starts_with(OF_LIBRDKAFKA)), "{threads:?}");
    ensure!(memory < MAX_MEMORY, "{} MiB", memory / MIB);
    Ok(())
}

/// What worker and controller take while nothing happens.
fn comes_to_rest(world: &World, ranges: u32) -> Result<()> {
    let most = AT_REST + AT_REST_PER_RANGE * ranges;
    let both = [&world.workers[0].process, &world.controllers[0].process];
    let cpu = || both.iter().map(|process| process.cpu()).collect::<Result<Vec<_>>>();
    wait_until(RESTS_WITHIN, "the worker and the controller to come to rest", || {
        let before = cpu()?;
        std::thread::sleep(LOOKED_AT);
        let taken =
            cpu()?.into_iter().zip(before).map(|(now, before)| (now - before) / LOOKED_AT.as_secs() as u32);
        let taken: Vec<Duration> = taken.collect();
        println!("at rest {taken:?} CPU per second");
        Ok(taken.iter().all(|taken| *taken < most).then_some(()))
    })
}

fn copies_all(name: &str, topics: usize, guarantee: v1::Guarantee, descriptors: Option<u64>) -> Result<()> {
    let _alone = alone();
    let mut world = World::start(name, WorldOptions { workers: 0, ..Default::default() })?;
    create_topics(&world.source, topics)?;
    produce(&world.source, topics, (0, RECORDS))?;
    let mut options = twinlog_tests::sandbox::WorkerOptions::of(&[&world.controllers[0]]);
    options.descriptors = descriptors.map(|limit| (limit, limit));
    let worker = world.sandbox.worker("wide-1", options)?;
    world.workers.push(worker);
    let wide =
        v1::Mirror { engine: v1::Engine::Auto.into(), guarantee: guarantee.into(), ..mirror(&["wide-.*"]) };
    let began = Instant::now();
    world.api.add_mirror("m", wide)?;
    wait_copied(&world, topics * RECORDS)?;
    println!("{topics} topics are copied after {:?}", began.elapsed());
    is_modest(&world)?;
    comes_to_rest(&world, u32::try_from(topics)?)?;
    produce(&world.source, topics, (RECORDS, 1))?;
    wait_copied(&world, topics * (RECORDS + 1))?;
    all_there(&world, topics, RECORDS + 1)
}

#[test]
fn hundreds_of_topics_at_least_once() -> Result<()> {
    copies_all("wide-alo", SOME, v1::Guarantee::AtLeastOnce, None)
}

#[test]
fn a_thousand_topics_exactly_once_with_few_descriptors() -> Result<()> {
    copies_all("wide-eo", MANY, v1::Guarantee::ExactlyOnce, Some(FEW_DESCRIPTORS))
}
