//! A real etcd for tests.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use twinlog_controller::store::Store;
use twinlog_controller::store::etcd::{EtcdConfig, EtcdStore};

/// A real etcd of one node, on free ports, gone with its test.
pub(crate) struct Etcd {
    pub(crate) url: String,
    peer: String,
    dir: TempDir,
    process: Option<Child>,
}

impl Etcd {
    pub(crate) fn start() -> Self {
        let [client, peer] = free_ports();
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let dir = TempDir::new().unwrap();
        let mut etcd = Self { url: url(client), peer: url(peer), dir, process: None };
        etcd.run();
        etcd
    }

    /// Starts it (again) on its own data.
    pub(crate) fn run(&mut self) {
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

    /// Kills it, and starts it again with nothing.
    pub(crate) fn wipe(&mut self) {
        self.kill();
        std::fs::remove_dir_all(self.data()).unwrap();
        self.run();
    }

    /// Kills it, keeps a copy of what it has for `restore`, and starts it again.
    pub(crate) fn back_up(&mut self) {
        self.kill();
        copy_folder(&self.data(), &self.dir.path().join("backup"));
        self.run();
    }

    /// Kills it, and starts it again with what it had at `back_up`.
    pub(crate) fn restore(&mut self) {
        self.kill();
        std::fs::remove_dir_all(self.data()).unwrap();
        copy_folder(&self.dir.path().join("backup"), &self.data());
        self.run();
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Connects, and waits until it answers.
    pub(crate) async fn connect(&self, namespace: &str) -> EtcdStore {
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

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
