//! The benchmark: the same work on the same brokers through Twinlog with either engine, through MirrorMaker 2 and through a plain
//! librdkafka loop, in turns; and the same bytes through a relay that doesn't look at them.
//!
//! Every copy is compared with its source, record by record, outside the measured window. CPU time and memory are those of the
//! processes, from /proc, so they hold on a machine that does other things too; records per second and latency don't.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::sandbox::{Certificates, Kafka, KafkaOptions, Sandbox, kafka_version};
use copy::Backlog;
use relay::Segments;
use report::{CopyRow, LatencyRow, Report};
use row::{Row, What};
use subject::{Job, Subject};
use topics::Content;
use wide::WideRun;

mod arrivals;
mod copy;
mod data;
mod latency;
mod mm2;
pub mod plain;
pub mod relay;
mod report;
mod row;
mod running;
mod sample;
mod subject;
mod topics;
mod twinlog;
mod wide;

/// Compares Twinlog with MirrorMaker 2 on this machine.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Only these rows: 100B-none, 100B-lz4, 100B-zstd, 1KiB-none, 1KiB-lz4, 1KiB-zstd (8 partitions, batches of 100,000 bytes of values);
    /// one thing changed at a time: 100B-lz4-batch1, -batch10, -batch100, 1KiB-lz4-tls, 1KiB-lz4-1p, -100p, -1000p; latency,
    /// latency-exactly-once, wide.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<Row>,
    /// Only these: native, twinlog, mm2, plain, relay.
    #[arg(long, value_delimiter = ',')]
    subjects: Vec<Subject>,
    /// Records per copy; by default about 1.2 GB of values, at most four million.
    #[arg(long)]
    records: Option<u64>,
    /// How often every row runs with every subject.
    #[arg(long, default_value_t = 2)]
    runs: u32,
    /// Length of the latency row's window.
    #[arg(long, default_value_t = 45)]
    latency_seconds: u64,
    #[arg(short, long, value_enum, default_value_t = Output::Markdown)]
    output: Output,
    /// A setting of the plain loop, consumer.NAME=VALUE or producer.NAME=VALUE; may be repeated.
    #[arg(long, hide = true)]
    plain_setting: Vec<String>,
    /// NAME=VALUE in the environment of Twinlog's worker; may be repeated.
    #[arg(long, hide = true)]
    worker_env: Vec<String>,
    /// NAME=VALUE among the properties of Twinlog's clusters; may be repeated.
    #[arg(long, hide = true)]
    property: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    Markdown,
    Json,
}

/// The brokers' listener for TLS.
const TLS: &str = "TLS";

/// Where everything runs.
struct Place {
    sandbox: Sandbox,
    source: Kafka,
    target: Kafka,
    certificates: Certificates,
    plain_settings: Vec<String>,
    worker_env: Vec<(String, String)>,
    properties: Vec<(String, String)>,
}

impl Place {
    /// Where who does the job finds a cluster.
    fn servers(&self, kafka: &Kafka, job: &Job) -> Result<String> {
        if job.tls { kafka.bootstrap_of(TLS) } else { Ok(kafka.bootstrap()) }
    }

    /// What a client needs for that besides; the file of certificates is given by the property `trust`.
    fn tls_properties(&self, job: &Job, trust: &str) -> Vec<(String, String)> {
        if !job.tls {
            return Vec::new();
        }
        let certificates = self.certificates.ca.display().to_string();
        vec![("security.protocol".to_owned(), "SSL".to_owned()), (trust.to_owned(), certificates)]
    }
}

pub fn run(args: &Args) -> Result<()> {
    ensure!(
        !cfg!(debug_assertions),
        "a debug build measures nothing: cargo run --release -p twinlog-tests -- bench"
    );
    let rows = if args.rows.is_empty() { Row::all() } else { args.rows.clone() };
    let subjects = if args.subjects.is_empty() { Subject::ALL.to_vec() } else { args.subjects.clone() };
    if subjects.iter().any(|subject| matches!(subject, Subject::Native | Subject::Twinlog)) {
        build_services()?;
    }
    let place = place(args)?;
    let mut report = empty_report(&place)?;
    let mut failed = Vec::new();
    for row in &rows {
        // The others count nevertheless: all of them take long.
        if let Err(error) = run_row(args, &place, row, &subjects, &mut report) {
            eprintln!("{row} FAILED: {error:#}");
            failed.push(row.to_string());
            clear(&place, None)?;
        }
    }
    match args.output {
        Output::Markdown => {
            println!("{}", report.markdown());
            println!("MM2's properties:\n\n```\n{}```", report.mm2_properties);
        }
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    ensure!(failed.is_empty(), "rows that failed: {}", failed.join(", "));
    Ok(())
}

fn run_row(args: &Args, place: &Place, row: &Row, subjects: &[Subject], report: &mut Report) -> Result<()> {
    match row.what {
        What::Copy => report.copies.push(copy_row(args, place, row, subjects)?),
        What::Latency => report.latencies.push(latency_row(args, place, row, subjects)?),
        What::Wide => report.wide = wide_runs(args, place, row, subjects)?,
    }
    Ok(())
}

/// The release binaries of the services, unless somebody brings their own.
fn build_services() -> Result<()> {
    if std::env::var_os("TWINLOG_BIN_DIR").is_some() {
        return Ok(());
    }
    let workspace =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the crate lies in a workspace")?;
    let status = std::process::Command::new("cargo")
        // All together, as libraries built for one package alone may have other features, and all is built again.
        .args(["build", "--release", "--quiet", "--workspace", "--bins"])
        .current_dir(workspace)
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the services do not build");
    Ok(())
}

fn place(args: &Args) -> Result<Place> {
    let sandbox = Sandbox::new("bench")?;
    // As a broker is run for work, not for tests: the default collector, all compilers, no early end of its session under load.
    let certificates = Certificates::create(sandbox.folder())?;
    let mut options =
        KafkaOptions::default().prop("broker.session.timeout.ms", "9000").tls(TLS, &certificates);
    options.heap_mib = 1024;
    options.jvm = vec!["-XX:+UseG1GC".to_owned()];
    let (source, target) = sandbox.kafka_pair(("source", options.clone()), ("target", options))?;
    Ok(Place {
        sandbox,
        source,
        target,
        certificates,
        plain_settings: args.plain_setting.clone(),
        worker_env: pairs(&args.worker_env)?,
        properties: pairs(&args.property)?,
    })
}

fn pairs(settings: &[String]) -> Result<Vec<(String, String)>> {
    let split = |setting: &String| {
        let (name, value) =
            setting.split_once('=').with_context(|| format!("{setting:?} is not NAME=VALUE"))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    settings.iter().map(split).collect()
}

fn empty_report(place: &Place) -> Result<Report> {
    let example = Job { codec: "CODEC", ..Job::new(&Row::all()[0], "a", "TOPIC") };
    let servers = (&*place.source.bootstrap(), &*place.target.bootstrap());
    Ok(Report {
        machine: machine()?,
        kafka: kafka_version(),
        command: format!("twinlog-tests {}", std::env::args().skip(1).collect::<Vec<_>>().join(" ")),
        mm2_properties: mm2::properties(servers, &[], &example),
        copies: Vec::new(),
        latencies: Vec::new(),
        wide: Vec::new(),
    })
}

fn machine() -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let info = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Ok(format!("{cores} cores ({})", model.map_or("unknown model", |(_, name)| name)))
}

fn copy_row(args: &Args, place: &Place, row: &Row, subjects: &[Subject]) -> Result<CopyRow> {
    let source = place.source.bootstrap();
    let records = args.records.unwrap_or_else(|| row.default_records());
    let topic = format!("bench-{}", row.to_string().to_lowercase());
    eprintln!("{row}: writing {records} records to the source");
    topics::create(&source, &topic, row.partitions, &[])?;
    topics::fill(&source, &topic, records, row)?;
    let content = Content::of(&source, &topic, row.partitions, records)?;
    let segments = segments(place, &topic)?;
    let ratio = (records * row.size as u64) as f64 / segments.bytes.max(1) as f64;
    let backlog = Backlog { row: row.clone(), topic, records, content };
    let mut results = CopyRow::new(row, records, ratio);
    for number in 1..=args.runs {
        for subject in subjects {
            if *subject == Subject::Relay {
                let run = relay::run(&place.sandbox, &segments, records).context("the relay")?;
                eprintln!(
                    "{row} relay run {number}: {:.0} MB/s, {:.3} CPU s per million",
                    run.megabytes_per_second, run.cpu
                );
                results.relays.push(run);
                continue;
            }
            let alias = format!("{subject}{number}-{}", row.to_string().to_lowercase());
            let run = copy::run(place, &backlog, *subject, &alias)
                .with_context(|| format!("{row}, {subject}, run {number}"))?;
            eprintln!(
                "{row} {subject} run {number}: {:.0} records/s, {:.2} CPU s per million, {:.0} MiB, first record after {:.2} s",
                run.records_per_second, run.cpu, run.peak_mib, run.first_record_seconds
            );
            results.runs.push(run);
            clear(place, Some(&backlog.topic))?;
        }
    }
    clear(place, None)?;
    Ok(results)
}

fn latency_row(args: &Args, place: &Place, row: &Row, subjects: &[Subject]) -> Result<LatencyRow> {
    let mut results = LatencyRow::new(row);
    for number in 1..=args.runs {
        for subject in subjects.iter().filter(|subject| subject.keeps(row.guarantee)) {
            let alias = format!("{subject}{number}-{row}");
            let run = latency::run(place, row, *subject, &alias, args.latency_seconds)
                .with_context(|| format!("{row}, {subject}, run {number}"))?;
            eprintln!(
                "{row} {subject} run {number}: p50 {} ms, p99 {} ms, most {} ms, {:.2} CPU s per million",
                run.delays.p50, run.delays.p99, run.delays.most, run.cpu
            );
            results.runs.push(run);
            clear(place, None)?;
        }
    }
    Ok(results)
}

fn wide_runs(args: &Args, place: &Place, row: &Row, subjects: &[Subject]) -> Result<Vec<WideRun>> {
    wide::fill(&place.source.bootstrap())?;
    let mut runs = Vec::new();
    for number in 1..=args.runs {
        // The plain loop copies one topic.
        for subject in subjects.iter().filter(|subject| !matches!(subject, Subject::Plain | Subject::Relay)) {
            let run = wide::run(place, row, *subject, &format!("{subject}{number}-wide"));
            let run = run.with_context(|| format!("wide, {subject}, run {number}"))?;
            eprintln!(
                "wide {subject} run {number}: {} topics after {:.1} s, {:.1} CPU ms per second at rest, {:.0} MiB",
                run.copied, run.seconds, run.rest_cpu_ms, run.peak_mib
            );
            runs.push(run);
            clear_target(place)?;
        }
    }
    clear(place, None)?;
    Ok(runs)
}

/// What brokers make for themselves.
const OF_BROKERS: &[&str] = &["__consumer_offsets", "__transaction_state"];

/// Every subject finds the clusters empty but for the source's topic `keep`.
fn clear(place: &Place, keep: Option<&str>) -> Result<()> {
    clear_cluster(&place.source, keep)?;
    clear_target(place)
}

fn clear_target(place: &Place) -> Result<()> {
    clear_cluster(&place.target, None)
}

fn clear_cluster(cluster: &Kafka, keep: Option<&str>) -> Result<()> {
    let mut all = topics::names(&cluster.bootstrap())?;
    all.retain(|topic| Some(topic.as_str()) != keep && !OF_BROKERS.contains(&&**topic));
    topics::delete(&cluster.bootstrap(), &all)
}

/// A topic's segments on the source's disk.
fn segments(place: &Place, topic: &str) -> Result<Segments> {
    let data = place.sandbox.folder().join("kafka-source-1").join("data");
    let mut segments = Segments { files: Vec::new(), bytes: 0 };
    for partition in std::fs::read_dir(&data).with_context(|| format!("cannot read {}", data.display()))? {
        let partition = partition?;
        let name = partition.file_name().to_string_lossy().into_owned();
        if name.rsplit_once('-').is_none_or(|(of, _)| of != topic) {
            continue;
        }
        for file in std::fs::read_dir(partition.path())? {
            let file = file?;
            if file.path().extension().is_some_and(|e| e == "log") {
                segments.bytes += file.metadata()?.len();
                segments.files.push(file.path());
            }
        }
    }
    Ok(segments)
}
