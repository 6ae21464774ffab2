//! The two stores, each fresh for its test.

use std::sync::Arc;

use tempfile::TempDir;
use twinlog_controller::store::Store;
use twinlog_controller::store::embedded::EmbeddedStore;

use crate::etcd_process::Etcd;

/// Events that the embedded store keeps here.
pub(crate) const HISTORY: usize = 400;

pub(crate) struct Backend {
    pub(crate) store: Arc<dyn Store>,
    /// Held until the test ends.
    pub(crate) home: Home,
}

pub(crate) enum Home {
    Embedded { _dir: TempDir },
    Etcd(Etcd),
}

pub(crate) async fn embedded() -> Backend {
    let dir = TempDir::new().unwrap();
    let store = EmbeddedStore::open_with_history(&dir.path().join("twinlog.redb"), HISTORY).unwrap();
    Backend { store: Arc::new(store), home: Home::Embedded { _dir: dir } }
}

pub(crate) async fn etcd() -> Backend {
    let etcd = Etcd::start();
    let store = etcd.connect("/test").await;
    Backend { store: Arc::new(store), home: Home::Etcd(etcd) }
}

impl Backend {
    /// Makes the history up to `revision` unavailable.
    pub(crate) async fn compact(&self, revision: i64) {
        match &self.home {
            // Its history is short: writing is enough.
            Home::Embedded { .. } => {
                for i in 0..HISTORY + 10 {
                    crate::suite::put(self.store.as_ref(), "/elsewhere", &i.to_string()).await;
                }
            }
            Home::Etcd(etcd) => {
                let mut client = etcd_client::Client::connect([etcd.url.as_str()], None).await.unwrap();
                // What lies between our revisions and etcd's own.
                let ours = self.store.list("/").await.unwrap().revision;
                let etcds = client.get("/", None).await.unwrap().header().unwrap().revision();
                client.compact(revision - (ours - etcds), None).await.unwrap();
            }
        }
    }
}
