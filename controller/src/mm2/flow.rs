//! What clusters and mirrors are made of, whatever file it comes from.

use super::Props;
use super::connector::Connector;

/// One cluster: how each role connects, and the settings beyond that (`consumer.fetch.min.bytes`, ...).
#[derive(Debug, Clone)]
pub struct ClusterView {
    pub alias: String,
    pub admin: Props,
    pub consumer: Props,
    pub producer: Props,
    pub settings: Props,
}

/// One flow: its Connect worker, and the connectors that exist.
#[derive(Debug, Clone)]
pub struct FlowView {
    pub source: String,
    pub target: String,
    pub worker: Props,
    pub source_connector: Option<Connector>,
    pub checkpoint_connector: Option<Connector>,
    pub heartbeat_connector: Option<Connector>,
    pub paused: bool,
}

impl FlowView {
    /// `A->B`
    pub fn name(&self) -> String {
        format!("{}->{}", self.source, self.target)
    }

    /// Those that exist, the source connector first.
    pub fn connectors(&self) -> impl Iterator<Item = &Connector> {
        [&self.source_connector, &self.checkpoint_connector, &self.heartbeat_connector].into_iter().flatten()
    }
}
