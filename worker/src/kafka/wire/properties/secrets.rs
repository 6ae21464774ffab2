//! How the references of one cluster are resolved: as far as this worker's settings allow, and for that cluster's servers.

use std::collections::BTreeMap;
use std::sync::Arc;

use twinlog_proto::client_properties;
use twinlog_proto::reason::Reason;
use twinlog_proto::secret::{self, Access};

use crate::kafka::wire::error::KafkaError;

/// Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::kafka) struct Secrets {
    access: Arc<Access>,
    /// Whoever gets to see what a reference stands for.
    servers: Arc<Vec<String>>,
}

impl Secrets {
    pub(super) fn new(
        access: &Arc<Access>,
        servers: &[String],
        properties: &BTreeMap<String, String>,
    ) -> Self {
        let servers = Arc::new(client_properties::servers(servers, properties));
        Self { access: access.clone(), servers }
    }

    /// Every server that is named: host, and port where it has one.
    pub(super) fn servers(&self) -> &[String] {
        &self.servers
    }

    /// The value with its references resolved; `key` is the property, for the error.
    pub(super) fn resolve(&self, cluster: &str, key: &str, value: &str) -> Result<String, KafkaError> {
        secret::resolve_for(value, &self.access, &self.servers).map_err(|why| {
            KafkaError::new(Reason::SECRET_UNRESOLVED, format!("cluster {cluster}: property {key}: {why}"))
        })
    }
}
