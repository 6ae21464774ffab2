//! The worker service: settings in, signals in, one worker.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use twinlog_proto::telemetry::{LogFormat, Telemetry};
use twinlog_worker::RunError;
use twinlog_worker::config::Args;

/// What a worker ends with whose id another process has: as for settings that can't be used.
const ID_IN_USE: u8 = 2;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another crypto provider is installed"))?;
    let config = Args::parse().resolve()?;
    let _telemetry =
        Telemetry { service: "twinlog-worker", format: LogFormat::Human, filter: "info".to_owned() }
            .init()?;
    let stop = CancellationToken::new();
    tokio::spawn(signals(stop.clone()).context("cannot listen for signals")?);
    match twinlog_worker::run(config, stop).await {
        Err(error @ RunError::IdInUse { .. }) => {
            eprintln!("twinlog-worker: {error}");
            Ok(ExitCode::from(ID_IN_USE))
        }
        other => Ok(other.map(|()| ExitCode::SUCCESS)?),
    }
}

/// The first SIGTERM or SIGINT asks for an orderly end, the second ends at once.
fn signals(stop: CancellationToken) -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stop.is_cancelled() {
                tracing::warn!(
                    "ended at once, as asked twice; the next owners of the ranges fence this worker"
                );
                #[expect(clippy::exit, reason = "asked twice to end: nothing is waited for")]
                std::process::exit(130);
            }
            stop.cancel();
        }
    })
}
