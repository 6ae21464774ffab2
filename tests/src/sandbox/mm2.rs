//! MirrorMaker 2 as people run it: one process, one properties file.

use anyhow::{Context, Result};

use super::archive::JVM;
use super::cache::{ensure_kafka, ensure_start_files};
use super::jars::classpath;
use super::{Kafka, Process, Program, Sandbox};

/// What one-broker clusters need, and what makes a test quick.
const COMMON: &str = "\
replication.factor=1
offset-syncs.topic.replication.factor=1
checkpoints.topic.replication.factor=1
heartbeats.topic.replication.factor=1
offset.storage.replication.factor=1
status.storage.replication.factor=1
config.storage.replication.factor=1
refresh.topics.interval.seconds=1
refresh.groups.interval.seconds=1
sync.topic.configs.interval.seconds=1
emit.checkpoints.interval.seconds=1
";

/// The properties of one flow between two clusters, one-broker replication and short intervals; `more` is appended.
pub fn mm2_properties((a, source): (&str, &Kafka), (b, target): (&str, &Kafka), more: &str) -> String {
    format!(
        "clusters={a}, {b}\n{a}.bootstrap.servers={}\n{b}.bootstrap.servers={}\n{a}->{b}.enabled=true\n\
         {b}->{a}.enabled=false\n{b}->{a}.emit.heartbeats.enabled=false\n{COMMON}{more}\n",
        source.bootstrap(),
        target.bootstrap()
    )
}

impl Sandbox {
    /// Starts MirrorMaker 2 of a Kafka version with this file. It copies some 10 s later.
    pub fn mm2(&self, name: &str, version: &str, properties: &str) -> Result<Process> {
        let name = format!("mm2-{name}");
        let folder = self.folder_of(&name)?;
        let file = folder.join("mm2.properties");
        std::fs::write(&file, properties).with_context(|| format!("cannot write {}", file.display()))?;
        let log4j = ensure_start_files(version)?.join("log4j2.xml");
        let program = Program::new("java")
            .args(["-Xms128m", "-Xmx512m"])
            .args(JVM)
            .arg(format!("-Dlog4j2.configurationFile={}", log4j.display()))
            .args(["-cp", &classpath(&ensure_kafka(version)?)?])
            .args(["org.apache.kafka.connect.mirror.MirrorMaker", &file.display().to_string()]);
        Process::start(&name, &folder, program)
    }
}
