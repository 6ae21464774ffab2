//! What the parts of one replica share, whoever leads.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinlog_proto::id::Term;

use super::config::ControllerConfig;
use super::forward::Forward;
use crate::fleet::{Fleet, Patience};
use crate::state::Cache;
use crate::store::Store;

pub(crate) struct Shared {
    pub(crate) config: ControllerConfig,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) forward: Forward,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// The term, while there is a `Leader`.
    pub(crate) leading: watch::Sender<Option<Term>>,
}

impl Shared {
    pub(crate) fn new(
        config: ControllerConfig,
        store: Arc<dyn Store>,
        cache: Arc<Cache>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let patience = Patience {
            lease: config.worker_lease,
            reconnect: config.reconnect_grace,
            startup: config.startup_grace,
        };
        Arc::new(Self {
            forward: Forward::new(config.id.clone(), config.peer_tls.clone(), cache.clone()),
            fleet: Fleet::new(patience),
            config,
            store,
            cache,
            stop,
            tasks: TaskTracker::new(),
            leading: watch::Sender::new(None),
        })
    }

    /// The term, while this replica leads.
    pub(crate) fn term(&self) -> Option<Term> {
        *self.leading.borrow()
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.term().is_some()
    }

    /// Whether another replica leads, as far as this one knows.
    pub(crate) fn follows(&self) -> bool {
        self.cache.snapshot().leader.as_ref().is_some_and(|leader| leader.id != self.config.id)
    }
}
