//! The two stores, each fresh for its test.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use twinlog_controller::store::Store;
use twinlog_controller::store::embedded::EmbeddedStore;
use twinlog_controller::store::etcd::{EtcdConfig, EtcdStore};

/// Events that the embedded store keeps here.
pub const HISTORY: usize = 400;

pub struct Backend {
    pub store: Arc<dyn Store>,
    /// Held until the test ends.
    pub home: Home,
}

pub enum Home {
    Embedded { _dir: TempDir },
    Etcd(Etcd),
}

pub async fn embedded() -> Backend {
    let dir = TempDir::new().unwrap();
    let store = EmbeddedStore::open_with_history(&dir.path().join("twinlog.redb"), HISTORY).unwrap();
    Backend { store: Arc::new(store), home: Home::Embedded { _dir: dir } }
}

pub async fn etcd() -> Backend {
    let etcd = Etcd::start();
    let store = etcd.connect("/test").await;
    Backend { store: Arc::new(store), home: Home::Etcd(etcd) }
}

impl Backend {
    /// Makes the history up to `revision` unavailable.
    pub async fn compact(&self, revision: i64) {
        match &self.home {
            // Its history is short: writing is enough.
            Home::Embedded { .. } => {
                for i in 0..HISTORY + 10 {
                    crate::suite::put(self.store.as_ref(), "/elsewhere", &i.to_string()).await;
                }
            }
            Home::Etcd(etcd) => {
                let mut client = etcd_client::Client::connect([etcd.url.as_str()], None).await.unwrap();
                client.compact(revision, None).await.unwrap();
            }
        }
    }
}

/// A real etcd of one node, on free ports, gone with its test.
pub struct Etcd {
    pub url: String,
    peer: String,
    dir: TempDir,
    process: Option<Child>,
}

impl Etcd {
    pub fn start() -> Self {
        let [client, peer] = free_ports();
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let dir = TempDir::new().unwrap();
        let mut etcd = Self { url: url(client), peer: url(peer), dir, process: None };
        etcd.run();
        etcd
    }

    /// Starts it (again) on its own data.
    pub fn run(&mut self) {
        let Self { url, peer, dir, .. } = self;
        let log = std::fs::File::create(dir.path().join("etcd.log")).unwrap();
        let process = Command::new("etcd")
            .args(["--name", "test", "--data-dir"])
            .arg(dir.path().join("data"))
            .args(["--listen-client-urls", url, "--advertise-client-urls", url])
            .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
            .args(["--initial-cluster", &format!("test={peer}")])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("etcd is installed");
        self.process = Some(process);
    }

    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Connects, and waits until it answers.
    pub async fn connect(&self, namespace: &str) -> EtcdStore {
        let config = EtcdConfig {
            namespace: namespace.to_owned(),
            request_timeout: Duration::from_secs(2),
            ..EtcdConfig::new(vec![self.url.clone()])
        };
        let store = EtcdStore::connect(config).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Err(error) = store.list("/").await {
            assert!(Instant::now() < deadline, "etcd does not answer: {error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        store
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
