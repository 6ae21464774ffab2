//! Resolved, validated client properties of one cluster.

use std::sync::Arc;

use twinlog_proto::model;

use super::KafkaError;

/// Which rdkafka client a configuration is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Consumer,
    Producer,
}

#[derive(Clone)]
pub struct ClientProperties(Arc<Resolved>);

struct Resolved {
    cluster: String,
    bootstrap: Vec<String>,
}

impl ClientProperties {
    pub fn resolve(cluster: &model::Cluster) -> Result<Self, KafkaError> {
        Ok(Self(Arc::new(Resolved {
            cluster: cluster.id.to_string(),
            bootstrap: cluster.bootstrap_servers.clone(),
        })))
    }
    pub fn rdkafka(&self, _role: Role) -> rdkafka::ClientConfig {
        let mut config = rdkafka::ClientConfig::new();
        config.set("bootstrap.servers", self.0.bootstrap.join(","));
        config
    }
    pub fn security_protocol(&self) -> &str {
        "PLAINTEXT"
    }
    pub fn sasl_mechanism(&self) -> Option<&str> {
        None
    }
    pub fn principal(&self) -> Option<String> {
        Some("User:ANONYMOUS".into())
    }
    pub fn bootstrap_servers(&self) -> &[String] {
        &self.0.bootstrap
    }
    /// The id under which the cluster is registered.
    pub fn cluster_id(&self) -> &str {
        &self.0.cluster
    }
    pub(super) fn call_deadline(&self) -> std::time::Duration {
        super::client::DEFAULT_DEADLINE
    }
    pub(super) fn tls(&self) -> Option<&Arc<rustls::ClientConfig>> {
        None
    }
    #[cfg(test)]
    pub(super) fn for_test(cluster: &str, bootstrap: &str) -> Self {
        Self(Arc::new(Resolved { cluster: cluster.into(), bootstrap: vec![bootstrap.into()] }))
    }
}

impl std::fmt::Debug for ClientProperties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientProperties").field("cluster", &self.0.cluster).finish_non_exhaustive()
    }
}
