//! Resolved, validated client properties of one cluster.

use twinlog_proto::model;

use super::KafkaError;

/// Which rdkafka client a configuration is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Consumer,
    Producer,
}

#[derive(Clone)]
pub struct ClientProperties {}

impl ClientProperties {
    pub fn resolve(_cluster: &model::Cluster) -> Result<Self, KafkaError> {
        todo!()
    }
    pub fn rdkafka(&self, _role: Role) -> rdkafka::ClientConfig {
        todo!()
    }
    pub fn security_protocol(&self) -> &str {
        todo!()
    }
    pub fn sasl_mechanism(&self) -> Option<&str> {
        todo!()
    }
    pub fn principal(&self) -> Option<String> {
        todo!()
    }
    pub fn bootstrap_servers(&self) -> &[String] {
        todo!()
    }
}
