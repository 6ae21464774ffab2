//! What a worker is told from outside: flags and environment (`TWINLOG_*`) over one TOML file, parsed into types and
//! checked at start. A flag beats its environment variable, that beats the file, that beats the default. An unknown field
//! is refused.

mod args;
mod file;
mod size;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use twinlog_proto::id::WorkerId;
use twinlog_proto::secret::Access;
use twinlog_proto::tls::{ClientTls, TlsError};

pub use args::Args;
pub use size::{InvalidSize, parse_size};

/// Bytes of record data that all lanes of a worker may hold at once, unless configured.
pub const DEFAULT_MEMORY_BYTES: u64 = 512 * 1024 * 1024;
/// How long a leaving worker waits for the controller to move its tasks away, unless configured.
pub const DEFAULT_LEAVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a stopping worker waits for its lanes to commit what is in flight, unless configured.
pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(15);

/// Everything a worker needs to know at start.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// `None`: made of host name, process id and a random part. A restarted worker is a new worker.
    pub worker_id: Option<WorkerId>,
    /// `http://host:port` or `https://host:port`, tried in turn; at least one.
    pub controllers: Vec<String>,
    /// Used for the controllers with an `https` address.
    pub tls: ClientTls,
    /// Which secrets clusters may refer to here.
    pub secrets: Access,
    /// What `placement` of mirrors is matched against.
    pub labels: BTreeMap<String, String>,
    /// Ranges accepted at most; 0 means no limit.
    pub capacity: u32,
    /// Bound on the record data that all lanes together hold, bytes.
    pub memory_bytes: u64,
    /// Where `/metrics`, `/healthz` and `/readyz` are served; `None`: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// After `stop`: how long to keep copying while the controller moves the tasks to others. Zero: don't wait.
    pub leave_timeout: Duration,
    /// After that: how long the lanes may take to commit what is in flight.
    pub drain_timeout: Duration,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            worker_id: None,
            controllers: Vec::new(),
            tls: ClientTls::default(),
            secrets: Access::default(),
            labels: BTreeMap::new(),
            capacity: 0,
            memory_bytes: DEFAULT_MEMORY_BYTES,
            metrics_listen: None,
            leave_timeout: DEFAULT_LEAVE_TIMEOUT,
            drain_timeout: DEFAULT_DRAIN_TIMEOUT,
        }
    }
}

/// A setting that can't be used: where it came from, what is wrong with it, what would do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration file {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the configuration file {path} is not valid: {message}")]
    File { path: PathBuf, message: String },
    #[error("{setting} = {value:?} is not valid: {rule}")]
    Value { setting: &'static str, value: String, rule: String },
    #[error(
        "no controller is configured: give --controller http://host:port (or TWINLOG_CONTROLLERS, or `controllers` in the file)"
    )]
    NoController,
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl WorkerConfig {
    /// Checks what types can't express.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.controllers.is_empty() {
            return Err(ConfigError::NoController);
        }
        for controller in &self.controllers {
            check_controller(controller)?;
        }
        self.tls.load()?;
        Ok(())
    }
}

fn check_controller(address: &str) -> Result<(), ConfigError> {
    let bad = |rule: &str| ConfigError::Value {
        setting: "controllers",
        value: twinlog_proto::address::shown(address),
        rule: rule.to_owned(),
    };
    twinlog_proto::address::check(address).map_err(|why| bad(&why))?;
    let uri: tonic::transport::Uri =
        address.parse().map_err(|_| bad("it must look like http://host:port or https://host:port"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.port_u16().is_none() {
        return Err(bad("it must look like http://host:port or https://host:port"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
