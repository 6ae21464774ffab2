//! A flow: from one cluster to another.

use std::sync::Arc;
use std::time::Duration;

use crate::cluster::ClusterHandle;

/// Both ends of a flow.
#[derive(Clone)]
pub struct Ends {
    pub source: Arc<ClusterHandle>,
    pub target: Arc<ClusterHandle>,
}

impl Ends {
    /// The same ends, whose calls end within `deadline`.
    pub(crate) fn with_deadline(&self, deadline: Duration) -> Self {
        let within = |handle: &ClusterHandle| Arc::new(handle.with_deadline(deadline));
        Self { source: within(&self.source), target: within(&self.target) }
    }
}
