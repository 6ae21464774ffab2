//! What one replica is told: who it is, and how patient it is.

use std::time::Duration;

use twinlog_proto::tls::ClientTls;

use crate::store;

#[derive(Debug, Clone)]
pub struct ControllerConfig {
    /// This replica; different for every process.
    pub id: String,
    /// Where the other replicas reach this one's gRPC port: http(s)://host:port.
    pub advertise: String,
    /// TLS towards other replicas, where `advertise` addresses are https.
    pub peer_tls: Option<ClientTls>,
    /// A leadership not renewed for this long is over. etcd allows no less than 2 s.
    pub leader_ttl: Duration,
    /// A worker silent for this long loses its tasks.
    pub worker_lease: Duration,
    /// A worker whose stream broke and that is not back after this long loses its tasks.
    pub reconnect_grace: Duration,
    /// How long a new leader waits for workers that it knows from the store only, before it gives their tasks away.
    /// Zero where no worker can have outlived the controller.
    pub startup_grace: Duration,
    /// How often workers report.
    pub report_interval: Duration,
    /// Ranges are moved to even out the load at the earliest this long after workers came or went.
    pub rebalance_delay: Duration,
}

impl ControllerConfig {
    pub fn new(id: impl Into<String>, advertise: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            advertise: advertise.into(),
            peer_tls: None,
            leader_ttl: store::DEFAULT_LEADER_TTL,
            worker_lease: Duration::from_secs(3),
            reconnect_grace: Duration::from_millis(500),
            startup_grace: Duration::from_secs(4),
            report_interval: Duration::from_millis(500),
            rebalance_delay: Duration::from_secs(2),
        }
    }
}
