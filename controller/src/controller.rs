//! One replica of the controller: store, cache, leadership, fleet and reconciler tied together.
//!
//! Every method works on any replica: what only the leader knows is asked of the leader.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::Status;
use twinlog_proto::id::{MirrorId, WorkerId};
use twinlog_proto::v1;

use crate::fleet::{Answered, Question};
use crate::state::Cache;
use crate::store::{self, LeaderInfo, Store, StoreError};

#[derive(Debug, Clone)]
pub struct ControllerConfig {
    /// This replica; different for every process.
    pub id: String,
    /// Where the other replicas reach this one's gRPC port: http(s)://host:port.
    pub advertise: String,
    /// TLS towards other replicas, where `advertise` addresses are https.
    pub peer_tls: Option<tonic::transport::ClientTlsConfig>,
    /// A leadership not renewed for this long is over. etcd allows no less than 2 s.
    pub leader_ttl: Duration,
    /// A worker silent for this long loses its tasks.
    pub worker_lease: Duration,
    /// A worker whose stream broke and that is not back after this long loses its tasks.
    pub reconnect_grace: Duration,
    /// How long a new leader waits for workers that it knows from the store only, before it gives their tasks away.
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
            reconnect_grace: Duration::from_millis(800),
            startup_grace: Duration::from_secs(4),
            report_interval: Duration::from_millis(500),
            rebalance_delay: Duration::from_secs(2),
        }
    }
}

pub struct Controller {
    config: ControllerConfig,
    store: Arc<dyn Store>,
    cache: Arc<Cache>,
}

impl Controller {
    /// Starts a replica: it loads the state, campaigns, and serves until `stop`. Fails if the store can't be read.
    pub async fn start(
        config: ControllerConfig,
        store: Arc<dyn Store>,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, StoreError> {
        let cache = Cache::start(store.clone(), stop).await?;
        Ok(Arc::new(Self { config, store, cache }))
    }

    /// After `stop` was cancelled: waits until the leadership is resigned and every task of this replica has ended.
    pub async fn stopped(&self) {}

    pub fn config(&self) -> &ControllerConfig {
        &self.config
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    pub fn is_leader(&self) -> bool {
        false
    }

    /// Who leads, as far as this replica knows.
    pub fn leader(&self) -> Option<LeaderInfo> {
        self.cache.snapshot().leader.clone()
    }

    /// Every worker, by id. NO_LEADER while nobody leads.
    pub async fn workers(&self) -> Result<Vec<v1::Worker>, Status> {
        Ok(Vec::new())
    }

    /// WORKER_NOT_FOUND, NO_LEADER.
    pub async fn worker(&self, id: &WorkerId) -> Result<v1::Worker, Status> {
        let _ = id;
        Err(Status::unimplemented("not built yet"))
    }

    /// Starts a drain or (`cancel`) takes it back. WORKER_NOT_FOUND, NO_LEADER.
    pub async fn drain_worker(&self, id: &WorkerId, cancel: bool) -> Result<v1::Worker, Status> {
        let _ = (id, cancel);
        Err(Status::unimplemented("not built yet"))
    }

    /// Asks a worker. NO_LEADER, NO_WORKER, NO_ELIGIBLE_WORKER, TOO_MANY, QUERY_TIMEOUT, or the reason the worker gave.
    pub async fn query(&self, question: Question) -> Result<Answered, Status> {
        let _ = question;
        Err(Status::unimplemented("not built yet"))
    }

    /// State with causes, per topic and per range. MIRROR_NOT_FOUND, NO_LEADER.
    pub async fn mirror_status(&self, id: &MirrorId) -> Result<v1::MirrorStatus, Status> {
        let _ = id;
        Err(Status::unimplemented("not built yet"))
    }

    /// Every range of a mirror, by target topic and block. MIRROR_NOT_FOUND, NO_LEADER.
    pub async fn ranges(&self, id: &MirrorId) -> Result<Vec<v1::RangeStatus>, Status> {
        let _ = id;
        Err(Status::unimplemented("not built yet"))
    }

    // The gRPC services that the server must add: `worker_service()` (v1 WorkerService) and `peer_service()` (between replicas).
}
