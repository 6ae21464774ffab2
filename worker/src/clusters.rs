//! The Kafka clusters this worker talks to: one handle per definition, shared by everything that names it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use twinlog_proto::id::ClusterId;
use twinlog_proto::model::Cluster;

use crate::cluster::ClusterHandle;
use crate::kafka::KafkaError;

/// Handles live as long as somebody holds them. A changed definition gets a new handle; who holds the old one keeps it.
#[derive(Default)]
pub struct Clusters {
    open: Mutex<HashMap<ClusterId, (Cluster, Weak<ClusterHandle>)>>,
}

impl Clusters {
    /// The handle of a cluster. Secret references are resolved when it is opened; nothing is connected yet.
    ///
    /// # Errors
    /// SECRET_UNRESOLVED or INVALID_PROPERTY.
    pub fn handle(&self, cluster: &Cluster) -> Result<Arc<ClusterHandle>, KafkaError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((definition, handle)) = open.get(&cluster.id)
            && definition == cluster
            && let Some(handle) = handle.upgrade()
        {
            return Ok(handle);
        }
        let handle = Arc::new(ClusterHandle::open(cluster)?);
        open.retain(|_, (_, handle)| handle.strong_count() > 0);
        open.insert(cluster.id.clone(), (cluster.clone(), Arc::downgrade(&handle)));
        Ok(handle)
    }
}
