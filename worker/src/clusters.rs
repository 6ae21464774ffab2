//! The Kafka clusters this worker talks to: one handle per definition, shared by everything that names it.
//!
//! References in the properties (`${file:...}`) are read again whenever a handle is asked for and every few seconds: a
//! password that was mended or a certificate that was renewed gets a new handle, and tasks that hold the old one move over.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;
use twinlog_proto::model::Cluster;
use twinlog_proto::secret::Access;

use crate::cluster::ClusterHandle;
use crate::kafka::KafkaError;

/// Handles live as long as somebody holds them.
pub struct Clusters {
    /// What may be resolved: this worker's own settings.
    access: Arc<Access>,
    open: Mutex<Vec<Open>>,
    changed: watch::Sender<()>,
}

struct Open {
    definition: Cluster,
    handle: Weak<ClusterHandle>,
}

impl Default for Clusters {
    fn default() -> Self {
        Self::new(Access::default())
    }
}

impl Clusters {
    pub fn new(access: Access) -> Self {
        Self { access: Arc::new(access), open: Mutex::default(), changed: watch::Sender::new(()) }
    }

    /// The handle of a cluster. Nothing is connected yet.
    ///
    /// # Errors
    /// SECRET_UNRESOLVED or INVALID_PROPERTY.
    pub fn handle(&self, cluster: &Cluster) -> Result<Arc<ClusterHandle>, KafkaError> {
        let fresh = ClusterHandle::open_for(cluster, &self.access)?;
        let mut open = self.open();
        open.retain(|known| known.handle.strong_count() > 0);
        let known = open.iter_mut().find(|known| known.definition == *cluster);
        if let Some(handle) = known.as_ref().and_then(|known| known.handle.upgrade())
            && handle.properties == fresh.properties
        {
            return Ok(handle);
        }
        let handle = Arc::new(fresh);
        match known {
            Some(known) => {
                known.handle = Arc::downgrade(&handle);
                self.changed.send_replace(());
            }
            None => open.push(Open { definition: cluster.clone(), handle: Arc::downgrade(&handle) }),
        }
        Ok(handle)
    }

    /// Whether `handle` is still how to reach the cluster. A definition that can't be resolved now is no reason to leave
    /// one that works.
    pub fn is_current(&self, cluster: &Cluster, handle: &Arc<ClusterHandle>) -> bool {
        self.handle(cluster).map_or(true, |current| Arc::ptr_eq(&current, handle))
    }

    /// Wakes when some handle was replaced.
    pub fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Reads all references again.
    pub fn refresh(&self) {
        let definitions: Vec<Cluster> = self.open().iter().map(|known| known.definition.clone()).collect();
        // A new handle is dropped here at once and made again by the first task that asks: what matters is the wake-up.
        definitions.iter().for_each(|definition| drop(self.handle(definition)));
    }

    fn open(&self) -> MutexGuard<'_, Vec<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(server: &str, password: &std::path::Path) -> Cluster {
        let reference = format!("${{file:{}}}", password.display());
        let properties = [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", "me"),
            ("sasl.password", reference.as_str()),
        ];
        Cluster {
            id: twinlog_proto::id::ClusterId::new("a").unwrap(),
            bootstrap_servers: vec![server.into()],
            properties: properties.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        }
    }

    fn allowed(dir: &std::path::Path) -> Access {
        Access::Only(vec![twinlog_proto::secret::Rule::dir(dir.to_str().unwrap()).unwrap()])
    }

    #[tokio::test]
    async fn a_mended_secret_gets_a_new_handle_and_a_wake_up() {
        let dir = tempfile::tempdir().unwrap();
        let password = dir.path().join("password");
        std::fs::write(&password, "wrong").unwrap();
        let clusters = Clusters::new(allowed(dir.path()));
        let a = cluster("127.0.0.1:1", &password);
        let first = clusters.handle(&a).unwrap();
        assert!(Arc::ptr_eq(&first, &clusters.handle(&a).unwrap()), "shared while nothing changes");

        let mut changed = clusters.changed();
        clusters.refresh();
        assert!(!changed.has_changed().unwrap());
        std::fs::write(&password, "right").unwrap();
        clusters.refresh();
        assert!(changed.has_changed().unwrap());
        changed.mark_unchanged();
        assert!(!clusters.is_current(&a, &first));

        // A file that is just being replaced is no reason to leave what works.
        let second = clusters.handle(&a).unwrap();
        std::fs::remove_file(&password).unwrap();
        assert!(clusters.is_current(&a, &second));
    }

    #[tokio::test]
    async fn another_definition_under_the_same_id_disturbs_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let password = dir.path().join("password");
        std::fs::write(&password, "x").unwrap();
        let clusters = Clusters::new(allowed(dir.path()));
        let (registered, tried) = (cluster("127.0.0.1:1", &password), cluster("127.0.0.1:2", &password));
        let handle = clusters.handle(&registered).unwrap();
        let _other = clusters.handle(&tried).unwrap();
        assert!(clusters.is_current(&registered, &handle));
    }
}
