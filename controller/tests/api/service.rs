//! One replica on a free port, and clients of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use twinlog_controller::catalog::LiteralSecrets;
use twinlog_controller::controller::ControllerConfig;
use twinlog_controller::process::Replica;
use twinlog_controller::server::ServerConfig;
use twinlog_controller::store::embedded::EmbeddedStore;
use twinlog_proto::reason::{self, Reason};
use twinlog_proto::v1;
use twinlog_proto::v1::cluster_service_client::ClusterServiceClient;
use twinlog_proto::v1::fleet_service_client::FleetServiceClient;
use twinlog_proto::v1::mirror_service_client::MirrorServiceClient;

/// How long anything here may take on two busy cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Service {
    pub(crate) url: String,
    pub(crate) channel: Channel,
    #[allow(dead_code, reason = "the command line's tests, which share this file, write to it")]
    pub(crate) store: Arc<EmbeddedStore>,
    stop: CancellationToken,
    ended: JoinHandle<()>,
    _folder: Arc<tempfile::TempDir>,
}

impl Service {
    /// Serves, and waits until it leads.
    pub(crate) async fn start() -> Self {
        Self::start_with(ServerConfig::default()).await
    }

    /// With TLS it doesn't wait: `channel` is of no use then.
    pub(crate) async fn start_with(server: ServerConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(EmbeddedStore::open(&folder.path().join("store")).unwrap());
        Self::start_on(store, Arc::new(folder), "test", server).await
    }

    /// Another replica on the same store, which follows. It serves, and waits until it answers for the leader.
    #[allow(dead_code, reason = "the command line's tests share this file")]
    pub(crate) async fn follower(&self, id: &str) -> Self {
        Self::start_on(self.store.clone(), self._folder.clone(), id, ServerConfig::default()).await
    }

    async fn start_on(
        store: Arc<EmbeddedStore>,
        folder: Arc<tempfile::TempDir>,
        id: &str,
        server: ServerConfig,
    ) -> Self {
        let with_tls = server.tls.is_some();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let replica = Replica {
            store: store.clone(),
            controller: ControllerConfig {
                startup_grace: Duration::ZERO,
                report_interval: Duration::from_millis(50),
                ..ControllerConfig::new(id, &url)
            },
            literal_secrets: LiteralSecrets::Refused,
            server,
            metrics: None,
        };
        let stop = CancellationToken::new();
        let token = stop.clone();
        let ended = tokio::spawn(async move { replica.run(listener, token).await.unwrap() });
        let channel = Endpoint::from_shared(url.clone()).unwrap().connect_lazy();
        let service = Self { url, channel, store, stop, ended, _folder: folder };
        if with_tls {
            return service;
        }
        service
            .until("somebody leads", async || {
                service.fleet().list_workers(v1::ListWorkersRequest::default()).await.is_ok()
            })
            .await;
        service
    }

    /// With clusters `a` and `b`.
    pub(crate) async fn with_clusters() -> Self {
        let service = Self::start().await;
        for id in ["a", "b"] {
            service.clusters().create_cluster(create_cluster(id)).await.unwrap();
        }
        service
    }

    pub(crate) fn clusters(&self) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.channel.clone())
    }
    pub(crate) fn mirrors(&self) -> MirrorServiceClient<Channel> {
        MirrorServiceClient::new(self.channel.clone())
    }
    pub(crate) fn fleet(&self) -> FleetServiceClient<Channel> {
        FleetServiceClient::new(self.channel.clone())
    }

    /// Polls until something holds.
    pub(crate) async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !holds().await {
            assert!(tokio::time::Instant::now() < deadline, "waited in vain until {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops in good order, within its grace.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.ended).await.expect("it ends").unwrap();
    }
}

pub(crate) fn create_cluster(id: &str) -> v1::CreateClusterRequest {
    let cluster = v1::Cluster { bootstrap_servers: vec!["host:9092".to_owned()], ..Default::default() };
    v1::CreateClusterRequest { cluster_id: id.to_owned(), cluster: Some(cluster), ..Default::default() }
}

pub(crate) fn create_mirror(id: &str) -> v1::CreateMirrorRequest {
    let mirror = v1::Mirror {
        source: "clusters/a".to_owned(),
        target: "clusters/b".to_owned(),
        topics: vec!["orders.*".to_owned()],
        ..Default::default()
    };
    v1::CreateMirrorRequest { mirror_id: id.to_owned(), mirror: Some(mirror), ..Default::default() }
}

/// Code, `ErrorInfo` and text of an error; the fields of its `BadRequest`.
#[track_caller]
pub(crate) fn expect<T: std::fmt::Debug>(
    answer: Result<T, Status>,
    reason: Reason,
    says: &str,
) -> Vec<String> {
    let status = answer.expect_err("an error");
    assert_eq!(reason::reason_of(&status).as_deref(), Some(reason.as_str()), "{status:?}");
    assert_eq!(status.code(), reason.code());
    assert_ne!(status.code(), Code::Unknown);
    assert!(status.message().contains(says), "{}", status.message());
    let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    violations.into_iter().map(|violation| violation.field).collect()
}
