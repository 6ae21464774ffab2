//! Three members behind TLS, as etcd runs in production: any one of them may die, and nobody notices more than a pause.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use twinlog_controller::keys;
use twinlog_controller::state::Cache;
use twinlog_controller::store::etcd::{EtcdConfig, EtcdStore};
use twinlog_controller::store::{Candidate, Store, StoreError, Transaction, Write};
use twinlog_proto::tls::ClientTls;

use crate::etcd_process::free_ports;

const MEMBERS: usize = 3;
/// Longer than etcd needs to elect another leader: two elections in a row are possible.
const TTL: Duration = Duration::from_secs(8);
const PATIENCE: Duration = Duration::from_secs(30);

struct Members {
    dir: TempDir,
    clients: [u16; MEMBERS],
    peers: [u16; MEMBERS],
    processes: [Option<Child>; MEMBERS],
    client_tls: ClientTls,
}

impl Members {
    fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let client_tls = certificates(dir.path());
        let (clients, peers) = (free_ports(), free_ports());
        let mut members = Self { dir, clients, peers, processes: [const { None }; MEMBERS], client_tls };
        (0..MEMBERS).for_each(|member| members.run(member));
        members
    }

    fn run(&mut self, member: usize) {
        let url = |scheme: &str, port: u16| format!("{scheme}://127.0.0.1:{port}");
        let cluster: Vec<_> =
            self.peers.iter().enumerate().map(|(i, port)| format!("m{i}={}", url("http", *port))).collect();
        let (client, peer) = (url("https", self.clients[member]), url("http", self.peers[member]));
        let file = |name: &str| self.dir.path().join(name).display().to_string();
        let process = Command::new("etcd")
            .args(["--name", &format!("m{member}"), "--data-dir", &file(&format!("data{member}"))])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &cluster.join(",")])
            .args(["--cert-file", &file("server.pem"), "--key-file", &file("server.key")])
            .args(["--client-cert-auth", "--trusted-ca-file", &file("ca.pem")])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.dir.path().join(format!("log{member}"))).unwrap())
            .spawn()
            .expect("etcd is installed");
        self.processes[member] = Some(process);
    }

    fn kill(&mut self, member: usize) {
        if let Some(mut process) = self.processes[member].take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    async fn connect(&self, tls: Option<ClientTls>) -> Result<EtcdStore, StoreError> {
        let endpoints = self.clients.iter().map(|port| format!("https://127.0.0.1:{port}")).collect();
        let request_timeout = Duration::from_secs(2);
        EtcdStore::connect(EtcdConfig { tls, request_timeout, ..EtcdConfig::new(endpoints) }).await
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        (0..MEMBERS).for_each(|member| self.kill(member));
    }
}

/// Writes an authority and a server's certificate; returns what a client shows and trusts.
fn certificates(dir: &Path) -> ClientTls {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = authority.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(authority, key);
    let sign = || {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    };
    let (server, client) = (sign(), sign());
    let clients = [("client.pem", &client.0), ("client.key", &client.1)];
    let servers = [("ca.pem", &ca), ("server.pem", &server.0), ("server.key", &server.1)];
    for (name, pem) in servers.into_iter().chain(clients) {
        std::fs::write(dir.join(name), pem).unwrap();
    }
    let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(|name| Some(dir.join(name)));
    ClientTls { ca, cert, key, domain: None }
}

/// Writes a key until it is written, as every writer in the controller does. Returns how long that took.
async fn write(store: &dyn Store, number: usize) -> Duration {
    let started = Instant::now();
    loop {
        let key = format!("{}w{number}", keys::DRAINS);
        let txn = Transaction { guards: Vec::new(), writes: vec![Write::put(key, "")] };
        match store.commit(txn).await {
            Ok(_) => return started.elapsed(),
            Err(error) if started.elapsed() > PATIENCE => panic!("{error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_member_may_die_and_the_leader_goes_on_leading() {
    let mut etcd = Members::start();
    let store = Arc::new(etcd.connect(Some(etcd.client_tls.clone())).await.unwrap());
    write(store.as_ref(), 0).await;
    let stop = CancellationToken::new();
    let cache = Cache::start(store.clone(), stop.clone()).await.unwrap();
    let candidate = Candidate { id: "a".to_owned(), address: "http://a".to_owned(), ttl: TTL };
    let leadership = store.campaign(&candidate).await.unwrap();
    let mut written = 1;
    for member in 0..MEMBERS {
        etcd.kill(member);
        for _ in 0..20 {
            let pause = write(store.as_ref(), written).await;
            assert!(pause < TTL, "without member {member} a write took {pause:?}");
            written += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(leadership.is_valid(), "the leadership was lost with member {member}");
        etcd.run(member);
        // It must be back before the next one goes, or there is no majority.
        for _ in 0..20 {
            write(store.as_ref(), written).await;
            written += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let complete = async {
        while cache.snapshot().drains.len() < written {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let complete = tokio::time::timeout(PATIENCE, complete).await;
    assert!(complete.is_ok(), "the cache has {} of {written} keys", cache.snapshot().drains.len());
    assert!(leadership.is_valid() && !leadership.lost().is_cancelled());
    stop.cancel();
}

/// Every file is renewed, by an authority that the old files don't know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewed_files_are_used_when_the_members_ask_for_them() {
    let mut etcd = Members::start();
    let store = etcd.connect(Some(etcd.client_tls.clone())).await.unwrap();
    write(&store, 0).await;
    certificates(etcd.dir.path());
    for member in 0..MEMBERS {
        etcd.kill(member);
        etcd.run(member);
    }
    write(&store, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_without_a_certificate_gets_nothing() {
    let etcd = Members::start();
    let trusted = etcd.connect(Some(etcd.client_tls.clone())).await.unwrap();
    write(&trusted, 0).await;
    let anonymous = ClientTls { cert: None, key: None, ..etcd.client_tls.clone() };
    let answer = match etcd.connect(Some(anonymous)).await {
        Ok(store) => store.list("/").await.map(|_| ()),
        Err(error) => Err(error),
    };
    assert!(answer.is_err(), "etcd demands a certificate");
}
