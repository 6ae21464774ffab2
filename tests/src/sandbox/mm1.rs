//! MirrorMaker 1 as people ran it: a consumer's and a producer's file, and topics by name. Kafka 4.0 has it no more; the one of 2.8.2
//! works with today's brokers.

use anyhow::{Context, Result};

use super::archive::JVM;
use super::cache::{LOG4J, ensure_kafka};
use super::jars::classpath;
use super::{Kafka, Process, Program, Sandbox};

const VERSION: &str = "2.8.2";

/// What a MirrorMaker 1 is started with.
pub struct Mm1 {
    pub process: Process,
    /// Paths of its files.
    pub consumer: String,
    pub producer: String,
}

impl Sandbox {
    /// Starts MirrorMaker 1: `consumer` stands behind the source's address in its file, `args` behind its files.
    pub fn mm1(&self, (source, target): (&Kafka, &Kafka), consumer: &str, args: &[&str]) -> Result<Mm1> {
        let folder = self.folder_of("mm1")?;
        let write = |name: &str, text: String| -> Result<String> {
            let file = folder.join(name);
            std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
            Ok(file.display().to_string())
        };
        let consumer =
            write("consumer.properties", format!("bootstrap.servers={}\n{consumer}", source.bootstrap()))?;
        // As MirrorMaker 1's own documentation advises.
        let producer = write(
            "producer.properties",
            format!(
                "bootstrap.servers={}\nacks=all\nmax.in.flight.requests.per.connection=1\n",
                target.bootstrap()
            ),
        )?;
        let log4j = write("log4j2.xml", LOG4J.to_owned())?;
        let program = Program::new("java")
            .args(["-Xms64m", "-Xmx256m"])
            .args(JVM)
            .arg(format!("-Dlog4j2.configurationFile={log4j}"))
            .args(["-cp", &classpath(&ensure_kafka(VERSION)?)?, "kafka.tools.MirrorMaker"])
            .args(["--consumer.config", &consumer, "--producer.config", &producer])
            .args(args.iter().copied());
        Ok(Mm1 { process: Process::start("mm1", &folder, program)?, consumer, producer })
    }
}
