//! One replica from its parts to its end: controller, API and port. What `twinlog-controller` and `twinlog run` share.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::catalog::LiteralSecrets;
use crate::controller::{Controller, ControllerConfig};
use crate::metrics::Metrics;
use crate::server::{self, ServeError, ServerConfig};
use crate::store::{Store, StoreError};

/// What a replica is made of.
pub struct Replica {
    pub store: Arc<dyn Store>,
    pub controller: ControllerConfig,
    pub literal_secrets: LiteralSecrets,
    pub server: ServerConfig,
    pub metrics: Option<Metrics>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    #[error("the store can't be read: {0}")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Serve(#[from] ServeError),
}

impl Replica {
    /// Runs until `stop`, then resigns and lets calls in progress end (bounded).
    pub async fn run(self, listener: TcpListener, stop: CancellationToken) -> Result<(), ReplicaError> {
        // If the server fails, the controller ends with it.
        let stop = stop.child_token();
        let _guard = stop.clone().drop_guard();
        let controller = Controller::start(self.controller, self.store, stop.clone()).await?;
        let api = Api::new(controller.clone(), self.literal_secrets, stop.clone());
        let served =
            server::serve(listener, self.server, controller.clone(), api, self.metrics, stop.clone()).await;
        stop.cancel();
        controller.stopped().await;
        Ok(served?)
    }
}
