//! One replica of the controller: store, cache, leadership, fleet and reconciler tied together.
//!
//! What is known of the fleet is `informed`'s to answer; where this replica doesn't know it, calls are passed on (`replica::whole_calls`).

use std::sync::Arc;

use http::Extensions;
use tokio_util::sync::CancellationToken;

use crate::refusal::Refusal;
use crate::replica::follower::{make_way, stand};
use crate::replica::forward::Forward;
use crate::replica::shared::Shared;
use crate::state::Cache;
use crate::store::{LeaderInfo, Store, StoreError};

pub use crate::replica::{ControllerConfig, Informed};

pub struct Controller {
    replica: Arc<Shared>,
}

impl Controller {
    /// Starts a replica: it loads the state, campaigns, and serves until `stop`. Fails if the store can't be read.
    pub async fn start(
        config: ControllerConfig,
        store: Arc<dyn Store>,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, StoreError> {
        let cache = Cache::start(store.clone(), stop.clone()).await?;
        let replica = Shared::new(config, store, cache, stop);
        replica.tasks.spawn(stand(replica.clone()));
        replica.tasks.spawn(make_way(replica.clone()));
        replica.tasks.close();
        Ok(Arc::new(Self { replica }))
    }

    /// After `stop` was cancelled: waits until the leadership is resigned and every task of this replica has ended.
    pub async fn stopped(&self) {
        self.replica.stop.cancelled().await;
        self.replica.tasks.wait().await;
    }

    pub fn config(&self) -> &ControllerConfig {
        &self.replica.config
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.replica.store
    }

    pub fn cache(&self) -> &Arc<Cache> {
        &self.replica.cache
    }

    /// Whether this replica leads, and has loaded all that earlier leaders wrote.
    pub fn is_leader(&self) -> bool {
        self.replica.is_leader() && self.replica.fleet.has_begun()
    }

    /// Whether this replica leads and does not know yet what its workers run.
    pub fn is_settling(&self) -> bool {
        let settling = || self.replica.fleet.members().is_settling(tokio::time::Instant::now());
        self.replica.is_leader() && (!self.replica.fleet.has_begun() || settling())
    }

    /// Waits until some replica leads, this one or another; false if the replica stops first.
    pub async fn has_leader(&self) -> bool {
        let mut states = self.replica.cache.subscribe();
        tokio::select! {
            biased;
            () = self.replica.stop.cancelled() => false,
            found = states.wait_for(|state| state.leader.is_some()) => found.is_ok(),
        }
    }

    /// Who leads, as far as this replica knows.
    pub fn leader(&self) -> Option<LeaderInfo> {
        self.replica.cache.snapshot().leader.clone()
    }

    /// To answer for the fleet. NO_LEADER where this replica doesn't know it: then a leader does, or nobody leads.
    pub fn informed(&self) -> Result<Informed, Refusal> {
        self.replica.informed()
    }

    /// The way to the leader, for a call that is to be answered there. `came_with`: of the call's request.
    pub(crate) fn elsewhere(&self, came_with: &Extensions) -> Option<&Forward> {
        self.replica.elsewhere(came_with)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.replica
    }
}
