//! The TOML file. Every field may be left out; an unknown one is refused, with its line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use twinlog_proto::telemetry::LogFormat;
use twinlog_proto::tls::{ClientTls, ServerTls};

use super::ConfigError;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) listen: Option<SocketAddr>,
    pub(super) advertise: Option<String>,
    pub(super) data: Option<PathBuf>,
    #[serde(default)]
    pub(super) etcd: Etcd,
    pub(super) tls: Option<ServerTls>,
    #[serde(default)]
    pub(super) peer_tls: ClientTls,
    pub(super) store_encrypted_at_rest: Option<bool>,
    pub(super) leader_ttl: Option<String>,
    pub(super) worker_lease: Option<String>,
    pub(super) report_interval: Option<String>,
    pub(super) max_message_size: Option<usize>,
    pub(super) request_timeout: Option<String>,
    #[serde(default)]
    pub(super) cors_origins: Vec<String>,
    pub(super) log_format: Option<LogFormat>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Etcd {
    pub(super) endpoints: Vec<String>,
    pub(super) user: Option<String>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) tls: ClientTls,
}

impl File {
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|e| ConfigError::File {
            path: path.to_owned(),
            message: e.to_string().trim().to_owned(),
        })
    }
}
