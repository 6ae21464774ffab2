//! The wide source: very many topics with few records each. How long until all are copied, and what a process takes that has nothing
//! to do any more.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::Serialize;

use super::row::Row;
use super::running::Running;
use super::sample::{cpu_seconds, peak_mib};
use super::subject::{Job, Subject};
use super::{Place, data};
use crate::sandbox::Process;

pub(super) const TOPICS: usize = 1_000;
const RECORDS: usize = 10;
const SIZE: usize = 100;
/// Topics that one request makes.
const TOGETHER: usize = 200;
const CALL: Duration = Duration::from_secs(60);
/// How often the target's ends are asked for: a thousand at a time, so that the brokers have time for the copy.
const LOOK: Duration = Duration::from_millis(500);
/// Who hasn't copied all by then never will.
const COPIED: Duration = Duration::from_secs(90);
/// Between the last record and the window in which nothing happens.
const SETTLE: Duration = Duration::from_secs(15);
const REST: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Serialize)]
pub(super) struct WideRun {
    pub(super) subject: Subject,
    /// Topics with all of their records on the target.
    pub(super) copied: usize,
    /// From the start of the process until the last of them was.
    pub(super) seconds: f64,
    /// CPU milliseconds per second with nothing to copy.
    pub(super) rest_cpu_ms: f64,
    pub(super) controller_rest_cpu_ms: Option<f64>,
    pub(super) brokers_rest_cpu_ms: f64,
    pub(super) threads: usize,
    pub(super) descriptors: usize,
    pub(super) peak_mib: f64,
    pub(super) controller_peak_mib: Option<f64>,
}

/// The source's topics, with their records.
pub(super) fn fill(bootstrap: &str) -> Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let names: Vec<String> = (0..TOPICS).map(name).collect();
    for some in names.chunks(TOGETHER) {
        let topics: Vec<_> =
            some.iter().map(|name| NewTopic::new(name, 1, TopicReplication::Fixed(1))).collect();
        for made in block_on(admin.create_topics(&topics, &AdminOptions::new().request_timeout(Some(CALL))))?
        {
            made.map_err(|(topic, code)| anyhow::anyhow!("cannot create {topic}: {code}"))?;
        }
    }
    let producer: BaseProducer = config.set("linger.ms", "20").set("compression.codec", "lz4").create()?;
    let mut value = Vec::with_capacity(SIZE);
    for id in 0..TOPICS * RECORDS {
        data::write_value(id as u64, SIZE, &mut value);
        let topic = name(id % TOPICS);
        producer.send(BaseRecord::<str, [u8]>::to(&topic).payload(&value)).map_err(|(error, _)| error)?;
        producer.poll(Duration::ZERO);
    }
    producer.flush(CALL).context("cannot write the records of the wide source")
}

fn name(topic: usize) -> String {
    format!("wide-{topic}")
}

pub(super) fn run(place: &Place, row: &Row, subject: Subject, alias: &str) -> Result<WideRun> {
    let job = Job::new(row, alias, "wide-.*");
    let running = Running::start(place, subject, &job)?;
    let (copied, seconds) = wait(place, &job, &running)?;
    std::thread::sleep(SETTLE);
    let brokers = || place.source.brokers().chain(place.target.brokers());
    let used = || -> Result<(f64, Option<f64>, f64)> {
        let controller = running.beside().map(cpu_seconds).transpose()?;
        let brokers = brokers().map(cpu_seconds).sum::<Result<f64>>()?;
        Ok((cpu_seconds(running.process())?, controller, brokers))
    };
    let (before, began) = (used()?, Instant::now());
    std::thread::sleep(REST);
    let (after, seconds_at_rest) = (used()?, began.elapsed().as_secs_f64());
    running.check()?;
    let per_second = |used: f64| used * 1000.0 / seconds_at_rest;
    Ok(WideRun {
        subject,
        copied,
        seconds,
        rest_cpu_ms: per_second(after.0 - before.0),
        controller_rest_cpu_ms: after.1.zip(before.1).map(|(after, before)| per_second(after - before)),
        brokers_rest_cpu_ms: per_second(after.2 - before.2),
        threads: entries(running.process(), "task")?,
        descriptors: entries(running.process(), "fd")?,
        peak_mib: peak_mib(running.process())?,
        controller_peak_mib: running.beside().map(peak_mib).transpose()?,
    })
}

/// Until all is copied, or never will be: how many topics are, and after which time the last of them was.
fn wait(place: &Place, job: &Job, running: &Running) -> Result<(usize, f64)> {
    let reader: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", place.target.bootstrap())
        .set("group.id", "bench-reader")
        .create()?;
    let (mut best, mut at) = (0, 0.0);
    while best < TOPICS && running.started.elapsed() < COPIED {
        std::thread::sleep(LOOK);
        running.check()?;
        // While copies are being made, there is always one whose leader isn't known.
        let copied = copied(&reader, job).unwrap_or(best);
        if copied > best {
            (best, at) = (copied, running.started.elapsed().as_secs_f64());
        }
    }
    Ok((best, at))
}

/// Copies that have all records of their topic.
fn copied(reader: &BaseConsumer, job: &Job) -> Result<usize> {
    let there = reader.fetch_metadata(None, CALL)?;
    let prefix = format!("{}.wide-", job.alias);
    let mut ends = TopicPartitionList::new();
    let led = |topic: &&rdkafka::metadata::MetadataTopic| topic.partitions().iter().all(|p| p.leader() >= 0);
    for topic in there.topics().iter().filter(|topic| topic.name().starts_with(&prefix)).filter(led) {
        ends.add_partition_offset(topic.name(), 0, Offset::End)?;
    }
    if ends.count() == 0 {
        return Ok(0);
    }
    let found = reader.offsets_for_times(ends, CALL)?;
    // Where the leader is new the end is not known yet.
    let all = |offset: Offset| matches!(offset, Offset::Offset(end) if end >= RECORDS as i64);
    Ok(found.elements().iter().filter(|element| element.error().is_ok() && all(element.offset())).count())
}

fn entries(process: &Process, what: &str) -> Result<usize> {
    let pid = process.pid().context("it doesn't run")?;
    Ok(std::fs::read_dir(format!("/proc/{pid}/{what}"))?.count())
}
