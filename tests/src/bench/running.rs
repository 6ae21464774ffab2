//! What is measured while it runs: as processes of its own.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use twinlog_proto::v1;

use super::subject::{Job, Subject};
use super::{Place, mm2, twinlog};
use crate::sandbox::{Controller, Process, Program, Worker};

/// The running processes of a subject; killed when dropped.
pub(super) struct Running {
    pub(super) started: Instant,
    processes: Processes,
}

enum Processes {
    Twinlog { controller: Controller, worker: Worker },
    One(Process),
}

impl Running {
    /// Starts `subject` on `job`. The clock runs from the start of the process that copies.
    pub(super) fn start(place: &Place, subject: Subject, job: &Job) -> Result<Self> {
        let (started, processes) = match subject {
            Subject::Native => start_twinlog(place, job, v1::Engine::Native)?,
            Subject::Twinlog => start_twinlog(place, job, v1::Engine::Librdkafka)?,
            Subject::Mm2 => (Instant::now(), Processes::One(mm2::start(place, job)?)),
            Subject::Plain => (Instant::now(), Processes::One(start_plain(place, job)?)),
            Subject::Relay => bail!("a relay makes no copy in the target"),
        };
        Ok(Self { started, processes })
    }

    /// The process that copies, and whose CPU time and memory count.
    pub(super) fn process(&self) -> &Process {
        match &self.processes {
            Processes::Twinlog { worker, .. } => &worker.process,
            Processes::One(process) => process,
        }
    }

    /// Twinlog's controller.
    pub(super) fn beside(&self) -> Option<&Process> {
        match &self.processes {
            Processes::Twinlog { controller, .. } => Some(&controller.process),
            Processes::One(_) => None,
        }
    }

    /// An error with the log's end if a process has ended.
    pub(super) fn check(&self) -> Result<()> {
        self.process().check_running()?;
        self.beside().map_or(Ok(()), Process::check_running)
    }
}

fn start_twinlog(place: &Place, job: &Job, engine: v1::Engine) -> Result<(Instant, Processes)> {
    let controller = twinlog::prepare(place, job, engine)?;
    let started = Instant::now();
    let worker = twinlog::start_worker(place, job, &controller)?;
    Ok((started, Processes::Twinlog { controller, worker }))
}

fn start_plain(place: &Place, job: &Job) -> Result<Process> {
    let name = format!("plain-{}", job.alias);
    let folder = place.sandbox.folder_of(&name)?;
    let partitions = job.partitions.to_string();
    let mut program = Program::new(std::env::current_exe().context("cannot tell where this program is")?)
        .args(["plain", "--source", &place.servers(&place.source, job)?])
        .args(["--target", &place.servers(&place.target, job)?])
        .args(["--topic", &job.topic, "--target-topic", &job.target_topic()])
        .args(["--partitions", &partitions, "--codec", job.codec]);
    for (name, value) in place.tls_properties(job, "ssl.ca.location") {
        let setting = format!("{name}={value}");
        program = program.args(["--consumer", &setting, "--producer", &setting]);
    }
    for setting in &place.plain_settings {
        let (role, setting) =
            setting.split_once('.').context("a setting of the plain loop is consumer.x=y or producer.x=y")?;
        program = program.arg(format!("--{role}")).arg(setting);
    }
    super::topics::create(&place.target.bootstrap(), &job.target_topic(), job.partitions, &[])
        .or_else(|error| if error.to_string().contains("AlreadyExists") { Ok(()) } else { Err(error) })?;
    Process::start(&name, &folder, program)
}
