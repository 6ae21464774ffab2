//! The TOML file. Every field may be left out; an unknown one is refused, with its line.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use serde::Deserialize;
use twinlog_proto::id::WorkerId;
use twinlog_proto::tls::ClientTls;

use super::ConfigError;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) worker_id: Option<WorkerId>,
    #[serde(default)]
    pub(super) controllers: Vec<String>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    pub(super) capacity: Option<u32>,
    pub(super) memory: Option<String>,
    pub(super) metrics_listen: Option<SocketAddr>,
    pub(super) leave_timeout: Option<String>,
    pub(super) drain_timeout: Option<String>,
    pub(super) secret_dirs: Option<Vec<String>>,
    pub(super) secret_env_prefixes: Option<Vec<String>>,
    #[serde(default)]
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
