//! Latency: how long after a record's append on the source its append on the target comes.
//!
//! Both topics have LogAppendTime, so both ends are the brokers' own clocks (one machine, one clock, steps of 1 ms). Records
//! are matched by the number in their value. The window opens `WARM` after the first record is on the target.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::Message;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Timestamp;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde::Serialize;

use super::row::{LATENCY_RATE, Row};
use super::running::Running;
use super::sample::{POLL, cpu_seconds, peak_mib, percentile};
use super::subject::{Job, Subject};
use super::topics::{self, Ends};
use super::{Place, data};

const WARM: Duration = Duration::from_secs(15);
/// Records are handed to the producer in steps of this.
const TICK: Duration = Duration::from_millis(5);
const START: Duration = Duration::from_secs(120);
const REST: Duration = Duration::from_secs(60);
const APPEND_TIME: [(&str, &str); 1] = [("message.timestamp.type", "LogAppendTime")];

#[derive(Debug, Clone, Serialize)]
pub(super) struct LatencyRun {
    pub(super) subject: Subject,
    pub(super) records: u64,
    pub p50_ms: i64,
    pub p99_ms: i64,
    pub(super) max_ms: i64,
    /// CPU seconds per million records at this rate.
    pub(super) cpu: f64,
    pub(super) cpu_with_controller: f64,
    pub(super) peak_mib: f64,
}

/// Produces for as long as one subject runs, and measures `seconds` of it.
pub(super) fn run(
    place: &Place,
    row: &Row,
    subject: Subject,
    alias: &str,
    seconds: u64,
) -> Result<LatencyRun> {
    let topic = format!("bench-latency-{alias}");
    let job = Job { alias: alias.to_owned(), topic, partitions: row.partitions, codec: row.codec };
    let (source, target) = (place.source.bootstrap(), place.target.bootstrap());
    topics::create(&source, &job.topic, job.partitions, &APPEND_TIME)?;
    topics::create(&target, &job.target_topic(), job.partitions, &APPEND_TIME)?;
    let stop = AtomicBool::new(false);
    let produced = AtomicU64::new(0);
    let (window, run) = std::thread::scope(|scope| {
        let producer = scope.spawn(|| produce(&source, &job, row.size, &stop, &produced));
        let measured = measure(place, subject, &job, seconds, &produced);
        stop.store(true, Ordering::Relaxed);
        let total = producer.join().expect("the producer doesn't panic")?;
        let (running, window, run) = measured?;
        let mut ends = Ends::new(&target, &job.target_topic(), job.partitions)?;
        ends.wait_for(total, POLL, REST, &|| running.check())?;
        ensure!(ends.count()? == total, "{} records on the target, {total} wanted", ends.count()?);
        anyhow::Ok((window, run))
    })?;
    let mut delays = delays(place, &job, produced.load(Ordering::Relaxed), window)?;
    delays.sort_unstable();
    Ok(LatencyRun {
        records: delays.len() as u64,
        p50_ms: percentile(&delays, 0.5),
        p99_ms: percentile(&delays, 0.99),
        max_ms: delays[delays.len() - 1],
        ..run
    })
}

/// First and last record number of the window.
type Window = (u64, u64);

fn measure(
    place: &Place,
    subject: Subject,
    job: &Job,
    seconds: u64,
    produced: &AtomicU64,
) -> Result<(Running, Window, LatencyRun)> {
    let mut ends = Ends::new(&place.target.bootstrap(), &job.target_topic(), job.partitions)?;
    let running = Running::start(place, subject, job)?;
    ends.wait_for(1, POLL, START, &|| running.check())?;
    let used = || -> Result<(f64, f64)> {
        let controller = running.beside().map(cpu_seconds).transpose()?.unwrap_or(0.0);
        Ok((cpu_seconds(running.process())?, controller))
    };
    std::thread::sleep(WARM);
    let (first, before) = (produced.load(Ordering::Relaxed), used()?);
    std::thread::sleep(Duration::from_secs(seconds));
    let (last, after) = (produced.load(Ordering::Relaxed), used()?);
    running.check()?;
    let per_million = |cpu: f64| cpu * 1e6 / (last - first) as f64;
    let run = LatencyRun {
        subject,
        records: 0,
        p50_ms: 0,
        p99_ms: 0,
        max_ms: 0,
        cpu: per_million(after.0 - before.0),
        cpu_with_controller: per_million(after.0 + after.1 - before.0 - before.1),
        peak_mib: peak_mib(running.process())?,
    };
    Ok((running, (first, last), run))
}

/// Writes `LATENCY_RATE` records a second, in turn to every partition, until told to stop; how many in all.
fn produce(bootstrap: &str, job: &Job, size: usize, stop: &AtomicBool, produced: &AtomicU64) -> Result<u64> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("compression.codec", job.codec)
        .set("enable.idempotence", "true")
        .set("linger.ms", "5")
        .create()?;
    let start = Instant::now();
    let mut value = Vec::with_capacity(size);
    let mut id = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = (start.elapsed().as_secs_f64() * LATENCY_RATE as f64) as u64;
        while id < due {
            data::write_value(id, size, &mut value);
            let partition = (id % job.partitions as u64) as i32;
            let record: BaseRecord<'_, (), [u8]> =
                BaseRecord::to(&job.topic).partition(partition).payload(value.as_slice());
            match producer.send(record) {
                Ok(()) => id += 1,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => break,
                Err((error, _)) => return Err(error).context("cannot write the stream"),
            }
        }
        produced.store(id, Ordering::Relaxed);
        producer.poll(TICK);
    }
    producer.flush(REST).context("cannot write the stream")?;
    produced.store(id, Ordering::Relaxed);
    Ok(id)
}

/// Milliseconds from source append to target append of every record of the window.
fn delays(place: &Place, job: &Job, records: u64, window: Window) -> Result<Vec<i64>> {
    let source = append_times(&place.source.bootstrap(), &job.topic, job.partitions, records)?;
    let target = append_times(&place.target.bootstrap(), &job.target_topic(), job.partitions, records)?;
    let mut delays = Vec::new();
    for id in window.0..window.1 {
        let (from, to) = (source[id as usize], target[id as usize]);
        ensure!(from > 0 && to > 0, "record {id} has no append time: is LogAppendTime on?");
        delays.push(to - from);
    }
    ensure!(!delays.is_empty(), "no record in the window");
    Ok(delays)
}

fn append_times(bootstrap: &str, topic: &str, partitions: i32, records: u64) -> Result<Vec<i64>> {
    let mut times = vec![0; records as usize];
    topics::read(bootstrap, topic, partitions, records, |message| {
        let id = message.payload().and_then(data::id_of);
        if let (Some(id), Timestamp::LogAppendTime(time)) = (id, message.timestamp())
            && let Some(slot) = times.get_mut(id as usize)
        {
            *slot = time;
        }
    })?;
    Ok(times)
}
