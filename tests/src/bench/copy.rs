//! One run of a copy row: a backlog is copied from its first record to its last, and every record is then compared.
//!
//! The window opens when the first `WARM_SHARE` of the records is on the target (connections made, code compiled, buffers
//! filled) and closes with the last record. What came before the first record on the target is start-up, told apart.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use super::Place;
use super::row::Row;
use super::running::Running;
use super::sample::{POLL, cpu_seconds, peak_mib};
use super::subject::{Job, Subject};
use super::topics::{Content, Ends};

const WARM_SHARE: f64 = 0.3;
const START: Duration = Duration::from_secs(120);
const DONE: Duration = Duration::from_secs(600);

/// The backlog of a row on the source.
pub(super) struct Backlog {
    pub(super) row: Row,
    pub(super) topic: String,
    pub(super) records: u64,
    pub(super) content: Content,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct CopyRun {
    pub(super) subject: Subject,
    pub(super) records_per_second: f64,
    pub(super) megabytes_per_second: f64,
    /// CPU seconds per million records of the process that copies, in the window.
    pub(super) cpu: f64,
    /// The same with Twinlog's controller.
    pub(super) cpu_with_controller: f64,
    /// The same of both brokers.
    pub(super) cpu_brokers: f64,
    /// From the start of the process to the first record on the target.
    pub(super) first_record_seconds: f64,
    /// CPU seconds used until then.
    pub(super) startup_cpu: f64,
    pub(super) peak_mib: f64,
    pub(super) controller_peak_mib: f64,
}

/// CPU seconds at one moment.
struct Used {
    at: Instant,
    records: u64,
    process: f64,
    controller: f64,
    brokers: f64,
}

impl Used {
    fn now(place: &Place, running: &Running, records: u64) -> Result<Self> {
        let controller = running.beside().map(cpu_seconds).transpose()?.unwrap_or(0.0);
        let mut brokers = 0.0;
        for broker in place.source.brokers().chain(place.target.brokers()) {
            brokers += cpu_seconds(broker)?;
        }
        Ok(Self {
            at: Instant::now(),
            records,
            process: cpu_seconds(running.process())?,
            controller,
            brokers,
        })
    }
}

/// Copies `backlog` once.
pub(super) fn run(place: &Place, backlog: &Backlog, subject: Subject, alias: &str) -> Result<CopyRun> {
    let job = Job::new(&backlog.row, alias, &backlog.topic);
    let mut ends = Ends::new(&place.target.bootstrap(), &job.target_topic(), job.partitions)?;
    let running = Running::start(place, subject, &job)?;
    let alive = || running.check();
    ends.wait_for(1, POLL, START, &alive)?;
    let first_record_seconds = running.started.elapsed().as_secs_f64();
    let startup_cpu = cpu_seconds(running.process())?;
    let warm = (backlog.records as f64 * WARM_SHARE) as u64;
    let open = Used::now(place, &running, ends.wait_for(warm, POLL, DONE, &alive)?)?;
    let close = Used::now(place, &running, ends.wait_for(backlog.records, POLL, DONE, &alive)?)?;
    let peak = peak_mib(running.process())?;
    let controller_peak_mib = running.beside().map(peak_mib).transpose()?.unwrap_or(0.0);
    drop(running);
    verify(place, backlog, &job, &mut ends).with_context(|| format!("{subject} did not copy all"))?;

    let records = (close.records - open.records) as f64;
    let seconds = (close.at - open.at).as_secs_f64();
    let per_million = |used: f64| used * 1e6 / records;
    let (process, controller) = (close.process - open.process, close.controller - open.controller);
    Ok(CopyRun {
        subject,
        records_per_second: records / seconds,
        megabytes_per_second: records * backlog.row.size as f64 / seconds / 1e6,
        cpu: per_million(process),
        cpu_with_controller: per_million(process + controller),
        cpu_brokers: per_million(close.brokers - open.brokers),
        first_record_seconds,
        startup_cpu,
        peak_mib: peak,
        controller_peak_mib,
    })
}

/// Exactly as many records as the source has, and the same ones in the same order in every partition.
fn verify(place: &Place, backlog: &Backlog, job: &Job, ends: &mut Ends) -> Result<()> {
    let bootstrap = place.target.bootstrap();
    let count = ends.count()?;
    anyhow::ensure!(count == backlog.records, "{count} records on the target, {} wanted", backlog.records);
    let copy = Content::of(&bootstrap, &job.target_topic(), job.partitions, backlog.records)?;
    backlog.content.ensure_equal(&copy)
}
