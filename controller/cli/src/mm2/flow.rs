//! What clusters and mirrors are made of, whatever file it comes from.

use super::Props;
use super::connector::Connector;

/// One cluster: how each role connects, and the settings beyond that (`consumer.fetch.min.bytes`, ...).
#[derive(Debug, Clone)]
pub(crate) struct ClusterView {
    pub(crate) alias: String,
    pub(crate) admin: Props,
    pub(crate) consumer: Props,
    pub(crate) producer: Props,
    pub(crate) settings: Props,
}

/// One flow: its Connect worker, and the connectors that exist.
#[derive(Debug, Clone)]
pub(crate) struct FlowView {
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) worker: Props,
    pub(crate) source_connector: Option<Connector>,
    pub(crate) checkpoint_connector: Option<Connector>,
    pub(crate) heartbeat_connector: Option<Connector>,
    pub(crate) paused: bool,
}

impl FlowView {
    /// `A->B`
    pub(crate) fn name(&self) -> String {
        format!("{}->{}", self.source, self.target)
    }

    /// Those that exist, the source connector first.
    pub(crate) fn connectors(&self) -> impl Iterator<Item = &Connector> {
        [&self.source_connector, &self.checkpoint_connector, &self.heartbeat_connector].into_iter().flatten()
    }
}
