//! The leadership as a value: there is a `Leader` while this replica leads, and what only a leader may do is done through it.
//! Dropping it resigns.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tracing::{info, warn};

use super::forward::credential;
use super::shared::Shared;
use crate::keys;
use crate::reconciler::{Reconciler, TermEnd};
use crate::store::{Candidate, Leadership, StoreError, Transaction, Write};

/// How long giving a leadership back may take.
const RESIGN_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) struct Leader {
    shared: Arc<Shared>,
    leadership: Leadership,
    reconciler: Reconciler,
}

impl Leader {
    /// Waits until this replica is elected. Dropping the future withdraws it.
    pub(crate) async fn elected(shared: &Arc<Shared>) -> Result<Self, StoreError> {
        let config = &shared.config;
        let (id, address) = (config.id.clone(), config.advertise.clone());
        let leadership = shared.store.campaign(&Candidate { id, address, ttl: config.leader_ttl }).await?;
        let reconciler = Reconciler {
            store: shared.store.clone(),
            cache: shared.cache.clone(),
            fleet: shared.fleet.clone(),
            rebalance_delay: config.rebalance_delay,
        };
        info!(term = %leadership.term, "leading");
        let leader = Self { shared: shared.clone(), leadership, reconciler };
        leader.publish_secret().await;
        shared.leading.send_replace(Some(leader.leadership.term));
        Ok(leader)
    }

    /// Leads until the leadership is lost, something makes it unsafe to go on, or this replica stops. Then it is over.
    pub(crate) async fn lead(self) -> TermEnd {
        let end = self.reconciler.run(&self.leadership, &self.shared.stop).await;
        let term = self.leadership.term;
        match end {
            TermEnd::Stopping => info!(%term, "leading no more"),
            _ => warn!(%term, reason = %end, "leading no more"),
        }
        end
    }

    /// What replicas show each other is as old as the leadership: a store that was lost or restored holds one again at once.
    async fn publish_secret(&self) {
        let write = Write::put(keys::PEER_SECRET, credential::fresh());
        let txn = Transaction { guards: vec![self.leadership.guard.clone()], writes: vec![write] };
        match self.shared.store.commit(txn).await {
            Ok(_) => {}
            // The leadership is about to end over it; others go on asking until there is a secret.
            Err(error) => warn!(%error, "other replicas can't be told how to reach the leader"),
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.shared.leading.send_replace(None);
        self.shared.fleet.end_term();
        let (term, resignation) = (self.leadership.term, self.leadership.end());
        // Where the process ends with it, the leadership runs out by itself.
        let Ok(runtime) = Handle::try_current() else { return };
        let resign = async move {
            if tokio::time::timeout(RESIGN_TIMEOUT, resignation).await.is_err() {
                warn!(%term, "the leadership could not be given back in time: it runs out by itself");
            }
        };
        self.shared.tasks.spawn_on(resign, &runtime);
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::replica::ControllerConfig;
    use crate::state::Cache;
    use crate::store::Store;
    use crate::store::embedded::EmbeddedStore;

    /// Longer than the test may take: nothing runs out meanwhile.
    const TTL: Duration = Duration::from_secs(600);

    async fn replica(id: &str, store: &Arc<EmbeddedStore>) -> Arc<Shared> {
        let stop = CancellationToken::new();
        let cache = Cache::start(store.clone(), stop.clone()).await.unwrap();
        let config = ControllerConfig { leader_ttl: TTL, ..ControllerConfig::new(id, "http://here") };
        Shared::new(config, store.clone(), cache, stop)
    }

    #[tokio::test]
    async fn a_replica_leads_as_long_as_there_is_a_leader_and_drops_it_to_resign() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(EmbeddedStore::open(&folder.path().join("store")).unwrap());
        let (one, two) = (replica("one", &store).await, replica("two", &store).await);
        let leader = Leader::elected(&one).await.unwrap();
        let term = leader.leadership.term;
        assert_eq!((one.term(), two.term()), (Some(term), None));
        let other = tokio::spawn(async move { Leader::elected(&two).await.map(|leader| (two, leader)) });
        tokio::task::yield_now().await;
        assert!(!other.is_finished());
        let told = store.get(keys::PEER_SECRET).await.unwrap().expect("the others can show what they are");
        drop(leader);
        assert_eq!(one.term(), None);
        let (two, next) = other.await.unwrap().unwrap();
        assert!(next.leadership.term > term && two.term() == Some(next.leadership.term));
        let anew = store.get(keys::PEER_SECRET).await.unwrap().unwrap();
        assert_ne!(anew.value, told.value, "a secret is as old as the leadership");
    }
}
