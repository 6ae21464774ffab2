//! The API as a blocking client: tests and the demo read as a story, without an async runtime of their own.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use twinlog_proto::v1;
use twinlog_proto::v1::cluster_service_client::ClusterServiceClient;
use twinlog_proto::v1::fleet_service_client::FleetServiceClient;
use twinlog_proto::v1::mirror_service_client::MirrorServiceClient;
use twinlog_proto::v1::offset_service_client::OffsetServiceClient;

use crate::sandbox::wait_until;

/// Longer than any answer a worker gives.
const CALL: Duration = Duration::from_secs(60);

/// A connection to one controller.
pub struct Api {
    runtime: tokio::runtime::Runtime,
    channel: Channel,
}

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident: $client:ident($request:ident) -> $response:ty;)*) => {
        $($(#[$doc])*
        pub fn $name(&self, request: v1::$request) -> Result<$response, Status> {
            let mut client = $client::new(self.channel.clone());
            self.runtime.block_on(client.$name(request)).map(tonic::Response::into_inner)
        })*
    };
}

impl Api {
    /// Connects when it is first used, and again after a failure.
    pub fn new(url: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let endpoint = Endpoint::from_shared(url.to_owned())?.timeout(CALL).connect_timeout(CALL);
        let channel = {
            let _inside = runtime.enter();
            endpoint.connect_lazy()
        };
        Ok(Self { runtime, channel })
    }

    calls! {
        create_cluster: ClusterServiceClient(CreateClusterRequest) -> v1::Cluster;
        get_cluster: ClusterServiceClient(GetClusterRequest) -> v1::Cluster;
        update_cluster: ClusterServiceClient(UpdateClusterRequest) -> v1::Cluster;
        delete_cluster: ClusterServiceClient(DeleteClusterRequest) -> ();
        test_cluster: ClusterServiceClient(TestClusterRequest) -> v1::TestClusterResponse;
        list_topics: ClusterServiceClient(ListTopicsRequest) -> v1::ListTopicsResponse;
        list_groups: ClusterServiceClient(ListGroupsRequest) -> v1::ListGroupsResponse;
        create_mirror: MirrorServiceClient(CreateMirrorRequest) -> v1::Mirror;
        get_mirror: MirrorServiceClient(GetMirrorRequest) -> v1::Mirror;
        list_mirrors: MirrorServiceClient(ListMirrorsRequest) -> v1::ListMirrorsResponse;
        update_mirror: MirrorServiceClient(UpdateMirrorRequest) -> v1::Mirror;
        delete_mirror: MirrorServiceClient(DeleteMirrorRequest) -> ();
        pause_mirror: MirrorServiceClient(PauseMirrorRequest) -> v1::Mirror;
        resume_mirror: MirrorServiceClient(ResumeMirrorRequest) -> v1::Mirror;
        plan_mirror: MirrorServiceClient(PlanMirrorRequest) -> v1::MirrorPlan;
        give_back_mirror: MirrorServiceClient(GiveBackMirrorRequest) -> v1::GiveBackMirrorResponse;
        get_mirror_status: MirrorServiceClient(GetMirrorStatusRequest) -> v1::MirrorStatus;
        list_ranges: MirrorServiceClient(ListRangesRequest) -> v1::ListRangesResponse;
        list_gaps: MirrorServiceClient(ListGapsRequest) -> v1::ListGapsResponse;
        translate_offsets: OffsetServiceClient(TranslateOffsetsRequest) -> v1::TranslateOffsetsResponse;
        list_workers: FleetServiceClient(ListWorkersRequest) -> v1::ListWorkersResponse;
        drain_worker: FleetServiceClient(DrainWorkerRequest) -> v1::Worker;
    }

    /// Opens a watch and waits for what it says first, or why it says nothing.
    pub fn watch_from(&self, revision: i64) -> Result<Option<v1::WatchMirrorsResponse>, Status> {
        let request = v1::WatchMirrorsRequest { revision, ..Default::default() };
        let mut client = MirrorServiceClient::new(self.channel.clone());
        self.runtime.block_on(async {
            let mut stream = client.watch_mirrors(request).await?.into_inner();
            stream.message().await
        })
    }

    /// Registers a cluster.
    pub fn add_cluster(&self, id: &str, bootstrap: &str, properties: &[(&str, &str)]) -> Result<v1::Cluster> {
        let properties: HashMap<_, _> =
            properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let cluster = v1::Cluster {
            bootstrap_servers: bootstrap.split(',').map(str::to_owned).collect(),
            properties: properties.into_iter().collect(),
            ..Default::default()
        };
        let request = v1::CreateClusterRequest {
            cluster_id: id.to_owned(),
            cluster: Some(cluster),
            ..Default::default()
        };
        self.create_cluster(request).map_err(told).with_context(|| format!("cannot add cluster {id}"))
    }

    /// Creates a mirror, whose engine the environment may name (`TWINLOG_TEST_ENGINE=native`): what holds for one holds for the other.
    pub fn add_mirror(&self, id: &str, mut mirror: v1::Mirror) -> Result<v1::Mirror> {
        if let Some(engine) = std::env::var("TWINLOG_TEST_ENGINE").ok().filter(|_| mirror.engine == 0) {
            mirror.set_engine(v1::Engine::from_name(&engine).with_context(|| format!("no engine {engine}"))?);
        }
        let request =
            v1::CreateMirrorRequest { mirror_id: id.to_owned(), mirror: Some(mirror), ..Default::default() };
        self.create_mirror(request).map_err(told).with_context(|| format!("cannot create mirror {id}"))
    }

    pub fn status(&self, mirror: &str) -> Result<v1::MirrorStatus> {
        let name = format!("mirrors/{mirror}");
        self.get_mirror_status(v1::GetMirrorStatusRequest { name, ..Default::default() }).map_err(told)
    }

    /// Every range of a mirror with its worker and epoch.
    pub fn ranges(&self, mirror: &str) -> Result<Vec<v1::RangeStatus>> {
        let parent = format!("mirrors/{mirror}");
        let request = v1::ListRangesRequest { parent, page_size: 1000, ..Default::default() };
        Ok(self.list_ranges(request).map_err(told)?.ranges)
    }

    pub fn workers(&self) -> Result<Vec<v1::Worker>> {
        let request = v1::ListWorkersRequest { page_size: 1000, ..Default::default() };
        Ok(self.list_workers(request).map_err(told)?.workers)
    }

    /// Waits until so many workers are ready.
    pub fn wait_workers(&self, count: usize, deadline: Duration) -> Result<()> {
        wait_until(deadline, &format!("{count} ready workers"), || {
            let workers = self.workers()?;
            let ready = workers.iter().filter(|w| w.state() == v1::worker::State::Ready).count();
            Ok((ready == count).then_some(()))
        })
    }

    /// Deletes a mirror and waits until its status is gone.
    pub fn remove_mirror(&self, id: &str) -> Result<()> {
        let name = format!("mirrors/{id}");
        self.delete_mirror(v1::DeleteMirrorRequest { name, ..Default::default() }).map_err(told)?;
        wait_until(CALL, &format!("mirror {id} to be gone"), || match self.status(id) {
            Ok(_) => Ok(None),
            Err(_) => Ok(Some(())),
        })
    }

    /// Waits until a mirror or one of its topics or ranges names `reason` as a cause; its message.
    pub fn wait_cause(&self, mirror: &str, reason: &str, deadline: Duration) -> Result<String> {
        let mut last = String::new();
        let found = wait_until(deadline, &format!("mirror {mirror} to say {reason}"), || {
            let status = self.status(mirror)?;
            last = format!("{status:#?}");
            Ok(causes(&status).into_iter().find(|c| c.reason == reason).map(|c| c.message))
        });
        found.with_context(|| format!("last status: {last}"))
    }
}

/// Every cause anywhere in a status.
pub fn causes(status: &v1::MirrorStatus) -> Vec<v1::Cause> {
    let mut all = status.causes.clone();
    all.extend(status.tasks.iter().filter_map(|t| t.cause.clone()));
    for topic in &status.topics {
        all.extend(topic.causes.clone());
        for range in &topic.ranges {
            all.extend(range.cause.clone());
            all.extend(range.partitions.iter().filter_map(|p| p.cause.clone()));
        }
    }
    all
}

/// The reason and code of a refusal, or a panic if the call went through.
pub fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String, String) {
    match answer {
        Ok(value) => panic!("expected a refusal, got {value:?}"),
        Err(status) => {
            let reason = twinlog_proto::reason::reason_of(&status).unwrap_or_default();
            (status.code(), reason, status.message().to_owned())
        }
    }
}

/// A status as an error that says everything.
pub fn told(status: Status) -> anyhow::Error {
    let reason = twinlog_proto::reason::reason_of(&status).unwrap_or_default();
    anyhow!("{:?} {reason}: {}", status.code(), status.message())
}
