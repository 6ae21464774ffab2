//! What a controller is told from outside: flags and environment (`TWINLOG_*`) over one TOML file, parsed into types and
//! checked at start. A flag beats its environment variable, that beats the file, that beats the default. An unknown field
//! is refused.

mod args;
mod file;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use twinlog_proto::telemetry::LogFormat;
use twinlog_proto::tls::{ClientTls, ServerTls};

use crate::catalog::LiteralSecrets;

pub use args::Args;

/// Where a controller listens, unless configured.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7420";

/// The embedded store within its folder.
pub const EMBEDDED_STORE_FILE: &str = "twinlog.redb";

/// Everything a controller needs to know at start.
#[derive(Debug, Clone)]
pub struct Config {
    pub listen: SocketAddr,
    /// Where other replicas reach this one: http(s)://host:port.
    pub advertise: String,
    pub store: StoreConfig,
    pub tls: Option<ServerTls>,
    /// Towards other replicas, where they advertise https.
    pub peer_tls: ClientTls,
    pub literal_secrets: LiteralSecrets,
    pub leader_ttl: Duration,
    pub worker_lease: Duration,
    pub report_interval: Duration,
    pub max_message_bytes: usize,
    pub request_timeout: Duration,
    pub cors_origins: Vec<HeaderValue>,
    pub log_format: LogFormat,
}

/// Where the state is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    Etcd(EtcdConfig),
    /// One file in this folder; one replica.
    Embedded(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdConfig {
    /// http(s)://host:port, at least one.
    pub endpoints: Vec<String>,
    pub user: Option<String>,
    /// File with the user's password.
    pub password_file: Option<PathBuf>,
    /// Used with https endpoints.
    pub tls: ClientTls,
}

/// A setting that can't be used: where it came from, what is wrong with it, what would do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration file {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the configuration file {path} is not valid: {message}")]
    File { path: PathBuf, message: String },
    #[error("{setting} = {value:?} is not valid: {rule}")]
    Value { setting: &'static str, value: String, rule: String },
    #[error(
        "no store is configured: give --etcd http://host:2379 (any number of replicas), or --data DIR (one replica, state in a file)"
    )]
    NoStore,
    #[error("two stores are configured: give either --etcd or --data, not both")]
    TwoStores,
    #[error("TLS needs both --tls-cert and --tls-key")]
    HalfTls,
}

/// This process among all replicas, past and present.
pub fn process_id() -> String {
    format!("{}-{}-{:04x}", host_name(), std::process::id(), rand::random::<u16>())
}

/// `localhost` where the system doesn't say.
pub fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned());
    let name = name.or_else(|| std::env::var("HOSTNAME").ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned())
}

#[cfg(test)]
mod tests;
