//! A controller replica on a free port, and helpers that wait for things.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use twinlog_controller::api::Api;
use twinlog_controller::catalog::LiteralSecrets;
use twinlog_controller::controller::{Controller, ControllerConfig};
use twinlog_controller::keys;
use twinlog_controller::server::{self, ServerConfig};
use twinlog_controller::store::{Store, Transaction, Write};
use twinlog_proto::v1;
use twinlog_proto::v1::cluster_service_client::ClusterServiceClient;
use twinlog_proto::v1::fleet_service_client::FleetServiceClient;
use twinlog_proto::v1::mirror_service_client::MirrorServiceClient;

pub(crate) struct Replica {
    pub(crate) controller: Arc<Controller>,
    pub(crate) address: String,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

/// Short enough for tests, long enough for two busy cores.
pub(crate) fn config(id: &str, address: &str) -> ControllerConfig {
    ControllerConfig {
        leader_ttl: Duration::from_secs(2),
        worker_lease: Duration::from_millis(1200),
        reconnect_grace: Duration::from_millis(400),
        startup_grace: Duration::from_millis(1500),
        report_interval: Duration::from_millis(50),
        rebalance_delay: Duration::from_millis(300),
        ..ControllerConfig::new(id, address)
    }
}

impl Replica {
    pub(crate) async fn start(id: &str, store: Arc<dyn Store>) -> Self {
        Self::start_with(id, store, |config| config).await
    }

    /// With other patience than `config` has.
    pub(crate) async fn start_with(
        id: &str,
        store: Arc<dyn Store>,
        patience: impl FnOnce(ControllerConfig) -> ControllerConfig,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::start_at(listener, id, store, patience).await
    }

    /// On a port that is known already.
    pub(crate) async fn start_on(listener: TcpListener, id: &str, store: Arc<dyn Store>) -> Self {
        Self::start_at(listener, id, store, |config| config).await
    }

    async fn start_at(
        listener: TcpListener,
        id: &str,
        store: Arc<dyn Store>,
        patience: impl FnOnce(ControllerConfig) -> ControllerConfig,
    ) -> Self {
        let address = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let controller =
            Controller::start(patience(config(id, &address)), store, stop.clone()).await.unwrap();
        let api = Api::new(controller.clone(), LiteralSecrets::Refused, stop.clone());
        let served = server::serve(
            listener,
            ServerConfig::default(),
            controller.clone(),
            api,
            None,
            CancellationToken::new(),
        );
        let server = tokio::spawn(async move { served.await.unwrap() });
        Self { controller, address, stop, server }
    }

    /// A replica in a runtime of its own, that can die.
    pub(crate) fn start_apart(
        id: &'static str,
        store: impl AsyncFnOnce() -> Arc<dyn Store> + Send + 'static,
    ) -> Doomed {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        std::thread::spawn(move || {
            handle.block_on(async {
                let replica = Self::start(id, store().await).await;
                sender.send((replica.address.clone(), replica.controller.clone())).unwrap();
                #[expect(
                    clippy::mem_forget,
                    reason = "its end is its runtime's, as of a process that is killed"
                )]
                std::mem::forget(replica);
            });
        });
        let (address, controller) = receiver.recv().unwrap();
        Doomed { address, controller, runtime: Some(runtime) }
    }

    /// As clients reach it.
    pub(crate) fn mirrors(&self) -> MirrorServiceClient<Channel> {
        MirrorServiceClient::new(self.channel())
    }
    pub(crate) fn fleet(&self) -> FleetServiceClient<Channel> {
        FleetServiceClient::new(self.channel())
    }
    pub(crate) fn clusters(&self) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.channel())
    }
    fn channel(&self) -> Channel {
        Endpoint::from_shared(self.address.clone()).unwrap().connect_lazy()
    }

    /// Stops in good order: the leadership is given back.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.controller.stopped().await;
        self.server.abort();
    }
}

/// As a process of its own: killed, it gives nothing back.
pub(crate) struct Doomed {
    pub(crate) address: String,
    pub(crate) controller: Arc<Controller>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Doomed {
    pub(crate) fn kill(mut self) {
        self.runtime.take().expect("it is killed once").shutdown_background();
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.stop.cancel();
        self.server.abort();
    }
}

/// Polls until something holds; says what it waited for when it doesn't.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Registers clusters `src` and `dst`.
pub(crate) async fn put_clusters(store: &dyn Store) {
    for id in ["src", "dst"] {
        let cluster = v1::Cluster {
            name: format!("clusters/{id}"),
            bootstrap_servers: vec!["localhost:9092".to_owned()],
            ..v1::Cluster::default()
        };
        put(store, format!("{}{id}", keys::CLUSTERS), cluster.encode_to_vec()).await;
    }
}

/// A mirror of everything from `src` to `dst`, one partition per range.
pub(crate) fn mirror(id: &str) -> v1::Mirror {
    v1::Mirror {
        name: format!("mirrors/{id}"),
        source: "clusters/src".to_owned(),
        target: "clusters/dst".to_owned(),
        topics: vec![".*".to_owned()],
        groups: vec![".*".to_owned()],
        block_size: 1,
        desired_state: v1::DesiredState::Running.into(),
        ..v1::Mirror::default()
    }
}

pub(crate) async fn put_mirror(store: &dyn Store, mirror: &v1::Mirror) {
    let id = mirror.name.strip_prefix("mirrors/").unwrap();
    put(store, format!("{}{id}", keys::MIRRORS), mirror.encode_to_vec()).await;
}

async fn put(store: &dyn Store, key: String, value: Vec<u8>) {
    let txn = Transaction { guards: Vec::new(), writes: vec![Write::put(key, value)] };
    store.commit(txn).await.unwrap();
}
