//! The worker in this process: the only place that sees both controller and worker, and even here they meet by the gRPC session only.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use twinlog_proto::secret::Access;
use twinlog_worker::config::WorkerConfig;

/// What it is told.
#[derive(Debug, Clone)]
pub(super) struct WorkerSettings {
    /// http://host:port
    pub(super) controller: String,
    /// What it may resolve: what the files that were given name, for the clusters that they name it for.
    pub(super) secrets: Access,
}

/// Runs it until `stop`, then drains it.
pub(super) async fn run(settings: WorkerSettings, stop: CancellationToken) -> Result<(), String> {
    let config = WorkerConfig {
        controllers: vec![settings.controller],
        secrets: settings.secrets,
        // No other worker could take its ranges over.
        leave_timeout: Duration::ZERO,
        ..WorkerConfig::default()
    };
    twinlog_worker::run::run(config, stop).await.map_err(|error| error.to_string())
}
