//! MirrorMaker 2, tuned fairly: the target gets the source's codec, batches are 128 KiB with 20 ms to fill, 4,000 records
//! are taken per poll, and two tasks run. JVM flags are those of Kafka's own `connect-mirror-maker.sh`.

use anyhow::{Context, Result};

use super::Place;
use super::subject::Job;
use crate::sandbox::{Process, Program, cache_root, ensure_kafka};

/// What `kafka-run-class.sh` and `connect-mirror-maker.sh` give the JVM when nothing else is said.
const JVM: [&str; 7] = [
    "-Xms256M",
    "-Xmx2G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
];

/// The properties file of a job: printed with the results.
pub(super) fn properties((source, target): (&str, &str), tls: &[(String, String)], job: &Job) -> String {
    let (a, topic, codec) = (&job.alias, &job.topic, job.codec);
    let b = format!("{a}t");
    let tls: String = [a, &b]
        .into_iter()
        .flat_map(|alias| tls.iter().map(move |(name, value)| format!("{alias}.{name}={value}\n")))
        .collect();
    format!(
        "clusters={a}, {b}\n\
         {a}.bootstrap.servers={source}\n\
         {b}.bootstrap.servers={target}\n\
         {a}->{b}.enabled=true\n\
         {a}->{b}.topics={topic}\n\
         # Only one flow: the other direction's workers would cost MM2 more.\n\
         {b}->{a}.enabled=false\n\
         {b}->{a}.emit.heartbeats.enabled=false\n\
         tasks.max=2\n\
         {a}.consumer.max.poll.records=4000\n\
         {b}.producer.compression.type={codec}\n\
         {b}.producer.batch.size=131072\n\
         {b}.producer.linger.ms=20\n\
         # One broker each.\n\
         replication.factor=1\n\
         offset-syncs.topic.replication.factor=1\n\
         checkpoints.topic.replication.factor=1\n\
         heartbeats.topic.replication.factor=1\n\
         offset.storage.replication.factor=1\n\
         status.storage.replication.factor=1\n\
         config.storage.replication.factor=1\n\
         {tls}"
    )
}

pub(super) fn start(place: &Place, job: &Job) -> Result<Process> {
    let name = format!("mm2-{}", job.alias);
    let folder = place.sandbox.folder_of(&name)?;
    let file = folder.join("mm2.properties");
    let (source, target) = (place.servers(&place.source, job)?, place.servers(&place.target, job)?);
    let mut tls = place.tls_properties(job, "ssl.truststore.location");
    if job.tls {
        tls.push(("ssl.truststore.type".to_owned(), "PEM".to_owned()));
    }
    std::fs::write(&file, properties((&source, &target), &tls, job))
        .with_context(|| format!("cannot write {}", file.display()))?;
    let version = place.target.version();
    let jars = ensure_kafka(version)?;
    // There since the brokers started.
    let log4j = cache_root()?.join(format!("kafka-{version}-start")).join("log4j2.xml");
    let program = Program::new("java")
        .args(JVM)
        .arg(format!("-Dlog4j2.configurationFile={}", log4j.display()))
        .args(["-cp", &format!("{}/*", jars.display())])
        .args(["org.apache.kafka.connect.mirror.MirrorMaker", &file.display().to_string()]);
    Process::start(&name, &folder, program)
}
