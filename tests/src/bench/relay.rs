//! The machine's limit: the bytes of the source's log, read from one socket and written to another by a process that does nothing
//! else. What a copy costs above that is what it does with them.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::sample::{cpu_seconds, peak_mib};
use crate::sandbox::{Process, Program, Sandbox};

/// What is read at once: as large as a socket gives.
const BUFFER_BYTES: usize = 256 << 10;
/// Fewer bytes would be over before the clock of the CPU has moved: they are sent again and again.
const MIN_BYTES: u64 = 4 << 30;
/// A relay that says nothing for so long is stuck.
const STALL: Duration = Duration::from_secs(20);

/// Copies what comes over one connection to another, until it ends.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[arg(long)]
    pub from: SocketAddr,
    #[arg(long)]
    pub to: SocketAddr,
}

pub fn serve(args: &Args) -> Result<()> {
    let mut from = TcpStream::connect(args.from).context("cannot reach the source")?;
    let mut to = TcpStream::connect(args.to).context("cannot reach the sink")?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            // What it has used is measured before it goes.
            std::thread::park();
        }
        to.write_all(&buffer[..count])?;
    }
}

/// Where the source's bytes lie.
pub(super) struct Segments {
    pub(super) files: Vec<PathBuf>,
    pub(super) bytes: u64,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct RelayRun {
    pub(super) megabytes_per_second: f64,
    /// CPU seconds of the relay for the bytes of a million records.
    pub(super) cpu: f64,
    pub(super) peak_mib: f64,
}

/// Sends the segments, which hold `records` records, through a relay.
pub(super) fn run(sandbox: &Sandbox, segments: &Segments, records: u64) -> Result<RelayRun> {
    let (source, sink) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    let program = Program::new(std::env::current_exe().context("cannot tell where this program is")?).args([
        "relay",
        "--from",
        &source.local_addr()?.to_string(),
        "--to",
        &sink.local_addr()?.to_string(),
    ]);
    let relay = Process::start("relay", &sandbox.folder_of("relay")?, program)?;
    let (mut give, mut take) = (source.accept()?.0, sink.accept()?.0);
    take.set_read_timeout(Some(STALL))?;
    let times = MIN_BYTES.div_ceil(segments.bytes.max(1));
    let (total, before, started) = (times * segments.bytes, cpu_seconds(&relay)?, Instant::now());
    let taken = std::thread::scope(|scope| {
        let giver = scope.spawn(move || give_all(&mut give, segments, times));
        let taken = take_all(&mut take, total);
        giver.join().expect("the giver doesn't panic")?;
        taken
    })?;
    ensure!(taken == total, "{taken} of {total} bytes came through the relay");
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds(&relay)? - before);
    Ok(RelayRun {
        megabytes_per_second: total as f64 / seconds / 1e6,
        cpu: cpu * 1e6 / (records * times) as f64,
        peak_mib: peak_mib(&relay)?,
    })
}

fn give_all(give: &mut TcpStream, segments: &Segments, times: u64) -> Result<()> {
    for _ in 0..times {
        for file in &segments.files {
            std::io::copy(&mut File::open(file)?, give)?;
        }
    }
    Ok(())
}

fn take_all(take: &mut TcpStream, total: u64) -> Result<u64> {
    let (mut buffer, mut taken) = (vec![0; BUFFER_BYTES], 0);
    while taken < total {
        match take.read(&mut buffer)? {
            0 => break,
            count => taken += count as u64,
        }
    }
    Ok(taken)
}
