//! A class archive for brokers: made once per Kafka version by one short-lived broker, it halves what a start costs.
//!
//! Only a help: a broker whose JVM can't use the archive starts without it.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::jars::classpath;
use super::process::spawn_mortal;
use super::{Port, wait_until};

const STARTED: Duration = Duration::from_secs(90);
const ENDED: Duration = Duration::from_secs(60);

/// How every broker's JVM runs: little memory and a fast start matter more here than peak throughput. An archive fits only a JVM
/// that runs with the collector it was made with.
pub(super) const JVM: [&str; 2] = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];
pub(super) const ARCHIVE: &str = "broker.jsa";

/// Starts a broker in `work`, stops it, and leaves the archive of the classes it used in `start_files`.
pub(super) fn make(jars: &Path, start_files: &Path, work: &Path) -> Result<()> {
    let (client, controller) = (Port::take()?, Port::take()?);
    let data = work.join("data");
    std::fs::create_dir(&data)?;
    std::fs::copy(start_files.join("bootstrap.checkpoint"), data.join("bootstrap.checkpoint"))?;
    let ids = "cluster.id=MkU3OEVBNTcwNTJENDM2Qg\nnode.id=1\ndirectory.id=MkU3OEVBNTcwNTJENDM2Qw\n";
    std::fs::write(data.join("meta.properties"), format!("version=1\n{ids}"))?;
    let settings = work.join("archive.properties");
    let (client, controller) = (client.address(), controller.address());
    std::fs::write(
        &settings,
        format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@{controller}\n\
             controller.listener.names=CONTROLLER\nlisteners=PLAINTEXT://{client},CONTROLLER://{controller}\n\
             log.dirs={}\n",
            data.display()
        ),
    )?;
    let log = work.join("log");
    let mut java = Command::new("java");
    java.args(["-Xmx512m", "-Xms128m"]).args(JVM);
    java.arg(format!("-XX:ArchiveClassesAtExit={}", start_files.join(ARCHIVE).display()));
    java.arg(format!("-Dlog4j2.configurationFile={}", start_files.join("log4j2.xml").display()));
    java.arg("-cp").arg(classpath(jars)?).arg("kafka.Kafka").arg(&settings);
    java.stdin(Stdio::null()).stdout(File::create(&log)?).stderr(Stdio::null());
    let mut broker = spawn_mortal(java)?;
    let made = run_once(&mut broker, &log);
    let _ = broker.kill();
    let _ = broker.wait();
    made?;
    ensure!(start_files.join(ARCHIVE).is_file(), "the JVM left no archive");
    Ok(())
}

fn run_once(broker: &mut Child, log: &Path) -> Result<()> {
    wait_until(STARTED, "the broker that makes the class archive", || {
        if let Some(status) = broker.try_wait()? {
            bail!("it ended: {status}");
        }
        Ok(std::fs::read_to_string(log)?.contains("Kafka Server started").then_some(()))
    })?;
    let pid = Pid::from_raw(i32::try_from(broker.id())?).context("pid 0")?;
    kill_process(pid, Signal::TERM)?;
    wait_until(ENDED, "the class archive", || Ok(broker.try_wait()?)).map(drop)
}
