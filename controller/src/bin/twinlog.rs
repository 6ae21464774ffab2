//! `twinlog`, the command line. The only place that sees both controller and worker: `twinlog run` has both in one process.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use twinlog_controller::cli::{self, WorkerSettings};
use twinlog_worker::config::WorkerConfig;

fn main() -> ExitCode {
    cli::main(|settings, stop| Box::pin(run_worker(settings, stop)))
}

async fn run_worker(settings: WorkerSettings, stop: CancellationToken) -> Result<(), String> {
    let config = WorkerConfig {
        controllers: vec![settings.controller],
        secrets: settings.secrets,
        // No other worker could take its ranges over.
        leave_timeout: Duration::ZERO,
        ..WorkerConfig::default()
    };
    twinlog_worker::run::run(config, stop).await.map_err(|error| error.to_string())
}
