//! Latency of a steady stream: how long after its append at the source a record is there at the target.
//!
//! At least once: until its append at the target, by LogAppendTime, so both ends are the brokers' own clocks (one machine, one clock, steps
//! of 1 ms). Exactly once: until a `read_committed` reader of the target has it, beside a reader of the source for what brokers and
//! reader take by themselves. Records are matched by the number in their value.
//!
//! CPU time is measured first, while the source keeps the producers' times as most topics do; then it is switched to its own, and with
//! that the window of the latencies opens.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::Message;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Timestamp;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde::Serialize;

use super::arrivals::{self, Arrivals};
use super::row::{Guarantee, LATENCY_RATE, Row};
use super::running::Running;
use super::sample::{POLL, cpu_seconds, peak_mib, percentile};
use super::subject::{Job, Subject};
use super::topics::{self, Ends};
use super::{Place, data};

const WARM: Duration = Duration::from_secs(15);
/// Between the switch of the source's times and the window of the latencies.
const SWITCHED: Duration = Duration::from_secs(3);
/// Records are handed to the producer in steps of this.
const TICK: Duration = Duration::from_millis(5);
const START: Duration = Duration::from_secs(120);
const REST: Duration = Duration::from_secs(60);
const APPEND_TIME: [(&str, &str); 1] = [("message.timestamp.type", "LogAppendTime")];

#[derive(Debug, Clone, Serialize)]
pub(super) struct LatencyRun {
    pub(super) subject: Subject,
    pub(super) records: u64,
    pub(super) delays: Delays,
    /// Of a reader of the source, where the latency is a reader's.
    pub(super) brokers_own: Option<Delays>,
    /// CPU seconds per million records at this rate.
    pub(super) cpu: f64,
    pub(super) cpu_with_controller: f64,
    pub(super) peak_mib: f64,
}

/// Milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Delays {
    pub(super) p50: i64,
    pub(super) p99: i64,
    pub(super) most: i64,
}

impl Delays {
    fn of(mut all: Vec<i64>) -> Result<Self> {
        ensure!(!all.is_empty(), "no record in the window");
        all.sort_unstable();
        Ok(Self { p50: percentile(&all, 0.5), p99: percentile(&all, 0.99), most: all[all.len() - 1] })
    }
}

/// Produces for as long as one subject runs, and measures `seconds` of it, twice.
pub(super) fn run(
    place: &Place,
    row: &Row,
    subject: Subject,
    alias: &str,
    seconds: u64,
) -> Result<LatencyRun> {
    let job = Job::new(row, alias, &format!("bench-latency-{alias}"));
    let (source, target) = (place.source.bootstrap(), place.target.bootstrap());
    topics::create(&source, &job.topic, job.partitions, &[])?;
    topics::create(&target, &job.target_topic(), job.partitions, &APPEND_TIME)?;
    let stop = AtomicBool::new(false);
    let produced = AtomicU64::new(0);
    let (measured, total) = std::thread::scope(|scope| {
        let producer = scope.spawn(|| produce(&source, &job, row.size, &stop, &produced));
        let measured = measure(place, subject, &job, Duration::from_secs(seconds), &produced);
        stop.store(true, Ordering::Relaxed);
        let total = producer.join().expect("the producer doesn't panic")?;
        let measured = measured?;
        let mut ends = Ends::new(&target, &job.target_topic(), job.partitions)?;
        // Markers of transactions have offsets, too.
        ends.wait_for(total, POLL, REST, &|| measured.running.check())?;
        anyhow::Ok((measured, total))
    })?;
    let Measured { running, window, read, cpu, cpu_with_controller } = measured;
    let peak_mib = peak_mib(running.process())?;
    drop(running);
    let appended = append_times(&source, &job.topic, job.partitions, total)?;
    let between = |there: &[i64]| Delays::of(delays(&appended, there, window)?);
    let (delays, brokers_own) = match read {
        Some((target, source)) => (between(&target)?, Some(between(&source)?)),
        None => (between(&append_times(&target, &job.target_topic(), job.partitions, total)?)?, None),
    };
    let records = window.1 - window.0;
    Ok(LatencyRun { subject, records, delays, brokers_own, cpu, cpu_with_controller, peak_mib })
}

/// First and last record number of the window.
type Window = (u64, u64);

/// What was seen while the subject ran, which goes on until the last record is there.
struct Measured {
    running: Running,
    window: Window,
    /// When readers of the target and of the source had each record.
    read: Option<(Vec<i64>, Vec<i64>)>,
    cpu: f64,
    cpu_with_controller: f64,
}

fn measure(
    place: &Place,
    subject: Subject,
    job: &Job,
    length: Duration,
    produced: &AtomicU64,
) -> Result<Measured> {
    let mut ends = Ends::new(&place.target.bootstrap(), &job.target_topic(), job.partitions)?;
    let running = Running::start(place, subject, job)?;
    ends.wait_for(1, POLL, START, &|| running.check())?;
    let used = || -> Result<(f64, f64)> {
        let controller = running.beside().map(cpu_seconds).transpose()?.unwrap_or(0.0);
        Ok((cpu_seconds(running.process())?, controller))
    };
    std::thread::sleep(WARM);
    let (first, before) = (produced.load(Ordering::Relaxed), used()?);
    std::thread::sleep(length);
    let (last, after) = (produced.load(Ordering::Relaxed), used()?);
    let per_million = |cpu: f64| cpu * 1e6 / (last - first) as f64;
    let (process, controller) = (after.0 - before.0, after.1 - before.1);

    topics::configure(&place.source.bootstrap(), &job.topic, &APPEND_TIME)?;
    std::thread::sleep(SWITCHED);
    let (window, read) = match job.guarantee {
        Guarantee::AtLeastOnce => (window(length, produced), None),
        Guarantee::ExactlyOnce => {
            let (window, arrivals) = arrivals::while_reading(place, job, || window(length, produced))?;
            let Arrivals { target, source } = arrivals;
            (window, Some((target, source)))
        }
    };
    running.check()?;
    Ok(Measured {
        running,
        window,
        read,
        cpu: per_million(process),
        cpu_with_controller: per_million(process + controller),
    })
}

fn window(length: Duration, produced: &AtomicU64) -> Window {
    let first = produced.load(Ordering::Relaxed);
    std::thread::sleep(length);
    (first, produced.load(Ordering::Relaxed))
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

/// Milliseconds from the one to the other of every record of the window.
fn delays(from: &[i64], to: &[i64], window: Window) -> Result<Vec<i64>> {
    let mut delays = Vec::new();
    for id in window.0..window.1 {
        let time = |times: &[i64]| times.get(id as usize).copied().filter(|time| *time > 0);
        let (from, to) =
            time(from).zip(time(to)).with_context(|| format!("nobody knows when record {id} came"))?;
        delays.push(to - from);
    }
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
