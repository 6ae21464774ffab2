//! One replica of the controller: store, cache, leadership, fleet and reconciler tied together.
//!
//! Every method works on any replica: what only the leader knows is asked of the leader.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tracing::{info, warn};
use twinlog_proto::id::{MirrorId, WorkerId};
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::internal::v1::peer_service_server::PeerServiceServer;
use twinlog_proto::internal::v1::worker_service_server::WorkerServiceServer;
use twinlog_proto::reason::{Reason, status};
use twinlog_proto::{telemetry, v1};

use crate::fleet::{Answered, Fleet, Patience, Question};
use crate::keys;
use crate::leader::{MAX_QUERY_DEADLINE, Replica, worker_not_found};
use crate::peer::Peer;
use crate::reconciler::{Reconciler, TermEnd};
use crate::relay::{self, CALL_TIMEOUT, MAX_MESSAGE_BYTES, Relay, credential};
use crate::session::WorkerSessions;
use crate::state::Cache;
use crate::statuses::Listing;
use crate::store::{Candidate, LeaderInfo, Leadership, Store, StoreError, Transaction, Write};

pub use crate::leader::ControllerConfig;

/// Pause before this replica campaigns again after an error.
const CAMPAIGN_RETRY: Duration = Duration::from_millis(500);
/// A replica that leads no more, and hears of no other leader for this long, closes its sessions.
const CUT_OFF: Duration = Duration::from_secs(10);
/// How long giving a leadership back may take.
const RESIGN_TIMEOUT: Duration = Duration::from_secs(1);

pub struct Controller {
    replica: Arc<Replica>,
}

impl Controller {
    /// Starts a replica: it loads the state, campaigns, and serves until `stop`. Fails if the store can't be read.
    pub async fn start(
        config: ControllerConfig,
        store: Arc<dyn Store>,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, StoreError> {
        let cache = Cache::start(store.clone(), stop.clone()).await?;
        let patience = Patience {
            lease: config.worker_lease,
            reconnect: config.reconnect_grace,
            startup: config.startup_grace,
        };
        let replica = Arc::new(Replica {
            relay: Relay::new(config.id.clone(), config.peer_tls.clone(), cache.clone()),
            fleet: Fleet::new(patience),
            config,
            store,
            cache,
            stop,
            tasks: TaskTracker::new(),
            leading: watch::Sender::new(None),
        });
        replica.tasks.spawn(campaign(replica.clone()));
        replica.tasks.spawn(make_way(replica.clone()));
        replica.tasks.close();
        Ok(Arc::new(Self { replica }))
    }

    /// After `stop` was cancelled: waits until the leadership is resigned and every task of this replica has ended.
    pub async fn stopped(&self) {
        self.replica.stop.cancelled().await;
        self.replica.tasks.wait().await;
    }

    pub fn config(&self) -> &ControllerConfig {
        &self.replica.config
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.replica.store
    }

    pub fn cache(&self) -> &Arc<Cache> {
        &self.replica.cache
    }

    /// Whether this replica leads, and has loaded all that earlier leaders wrote.
    pub fn is_leader(&self) -> bool {
        self.replica.is_leader() && self.replica.fleet.has_begun()
    }

    /// Whether this replica leads and does not know yet what its workers run.
    pub fn is_settling(&self) -> bool {
        let settling = || self.replica.fleet.members().is_settling(tokio::time::Instant::now());
        self.replica.is_leader() && (!self.replica.fleet.has_begun() || settling())
    }

    /// Waits until some replica leads, this one or another; false if the replica stops first.
    pub async fn has_leader(&self) -> bool {
        let mut states = self.replica.cache.subscribe();
        tokio::select! {
            biased;
            () = self.replica.stop.cancelled() => false,
            found = states.wait_for(|state| state.leader.is_some()) => found.is_ok(),
        }
    }

    /// Who leads, as far as this replica knows.
    pub fn leader(&self) -> Option<LeaderInfo> {
        self.replica.cache.snapshot().leader.clone()
    }

    /// `internal.v1.WorkerService`, to add to the server.
    pub fn worker_service(&self) -> WorkerServiceServer<WorkerSessions> {
        WorkerServiceServer::new(WorkerSessions { replica: self.replica.clone() })
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// `internal.v1.PeerService`, to add to the server: what the other replicas need.
    pub fn peer_service(&self) -> PeerServiceServer<Peer> {
        PeerServiceServer::new(Peer { replica: self.replica.clone() })
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Every worker, by id. NO_LEADER while nobody leads.
    pub async fn workers(&self) -> Result<Vec<v1::Worker>, Status> {
        Ok(self.fleet().await?.workers)
    }

    /// Every worker, and whether a new leader still waits for some to come back. NO_LEADER while nobody leads.
    pub async fn fleet(&self) -> Result<internal::PeerWorkersResponse, Status> {
        if self.replica.knows_the_fleet() {
            return Ok(self.replica.workers());
        }
        let mut peer = self.replica.relay.peer()?;
        within(CALL_TIMEOUT, peer.peer_workers(self.replica.relay.request(internal::PeerWorkersRequest {})))
            .await
    }

    /// WORKER_NOT_FOUND, NO_LEADER.
    pub async fn worker(&self, id: &WorkerId) -> Result<v1::Worker, Status> {
        let name = id.name();
        let found = self.workers().await?.into_iter().find(|worker| worker.name == name);
        found.ok_or_else(|| worker_not_found(id))
    }

    /// Starts a drain or (`cancel`) takes it back. WORKER_NOT_FOUND, NO_LEADER, STORE_UNAVAILABLE.
    pub async fn drain_worker(&self, id: &WorkerId, cancel: bool) -> Result<v1::Worker, Status> {
        if self.replica.knows_the_fleet() {
            return self.replica.drain(id, cancel).await;
        }
        let mut peer = self.replica.relay.peer()?;
        let request = v1::DrainWorkerRequest { name: id.name(), cancel };
        within(CALL_TIMEOUT, peer.peer_drain(self.replica.relay.request(request))).await
    }

    /// Asks a worker. NO_LEADER, NO_WORKER, NO_ELIGIBLE_WORKER, TOO_MANY, QUERY_TIMEOUT, or the reason the worker gave.
    pub async fn query(&self, question: Question) -> Result<Answered, Status> {
        if self.replica.knows_the_fleet() {
            return self.replica.ask(question).await;
        }
        let mut peer = self.replica.relay.peer()?;
        let deadline = question.deadline.min(MAX_QUERY_DEADLINE);
        let request = internal::PeerAskRequest {
            deadline: prost_types::Duration::try_from(deadline).ok(),
            query: Some(internal::Query {
                clusters: question.clusters,
                mirror: question.mirror,
                question: Some(question.question),
                trace_context: telemetry::current_context(),
                ..internal::Query::default()
            }),
        };
        let answer =
            within(deadline + CALL_TIMEOUT, peer.peer_ask(self.replica.relay.request(request))).await?;
        let worker = WorkerId::new(answer.worker).ok();
        match (worker, answer.answer.and_then(|answer| answer.answer)) {
            (Some(worker), Some(answer)) => Ok(Answered { worker, answer }),
            _ => Err(status(Reason::INTERNAL, "the leader's answer holds nothing", &[])),
        }
    }

    /// State with causes, per topic and per range. MIRROR_NOT_FOUND, NO_LEADER.
    pub async fn mirror_status(&self, id: &MirrorId) -> Result<v1::MirrorStatus, Status> {
        if self.replica.knows_the_fleet() {
            return self.replica.mirror_status(id);
        }
        let mut peer = self.replica.relay.peer()?;
        let request = v1::GetMirrorStatusRequest { name: id.name(), ..Default::default() };
        within(CALL_TIMEOUT, peer.peer_mirror_status(self.replica.relay.request(request))).await
    }

    /// A page of statuses without their topics. INVALID_FIELD, INVALID_PAGE_TOKEN, NO_LEADER.
    pub async fn mirror_statuses(
        &self,
        request: v1::ListMirrorStatusesRequest,
    ) -> Result<v1::ListMirrorStatusesResponse, Status> {
        let listing = Listing::parse(&request)?;
        if self.replica.knows_the_fleet() {
            return self.replica.clone().mirror_statuses(listing).await;
        }
        let mut peer = self.replica.relay.peer()?;
        within(CALL_TIMEOUT, peer.peer_mirror_statuses(self.replica.relay.request(request))).await
    }

    /// Every range of a mirror, by target topic and block. MIRROR_NOT_FOUND, NO_LEADER.
    pub async fn ranges(&self, id: &MirrorId) -> Result<Vec<v1::RangeStatus>, Status> {
        if self.replica.knows_the_fleet() {
            return self.replica.ranges(id);
        }
        let mut peer = self.replica.relay.peer()?;
        let request = internal::PeerRangesRequest { parent: id.name() };
        Ok(within(CALL_TIMEOUT, peer.peer_ranges(self.replica.relay.request(request))).await?.ranges)
    }
}

/// A call to the leader, with an end.
async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => Ok(answer.map_err(relay::unreachable)?.into_inner()),
        Err(_) => Err(relay::no_leader(&format!("the leader did not answer within {limit:?}"))),
    }
}

/// Campaigns, leads, and campaigns again, until stopped.
async fn campaign(replica: Arc<Replica>) {
    let config = &replica.config;
    let candidate =
        Candidate { id: config.id.clone(), address: config.advertise.clone(), ttl: config.leader_ttl };
    let reconciler = Reconciler {
        store: replica.store.clone(),
        cache: replica.cache.clone(),
        fleet: replica.fleet.clone(),
        rebalance_delay: config.rebalance_delay,
    };
    let mut said = None;
    loop {
        let elected = tokio::select! {
            biased;
            () = replica.stop.cancelled() => return,
            elected = replica.store.campaign(&candidate) => elected,
        };
        match elected {
            Ok(leadership) => {
                said = None;
                let term = leadership.term;
                info!(%term, "leading");
                publish_secret(&replica, &leadership).await;
                replica.leading.send_replace(Some(term));
                let end = reconciler.run(&leadership, &replica.stop).await;
                replica.leading.send_replace(None);
                replica.fleet.end_term();
                let resigned = tokio::time::timeout(RESIGN_TIMEOUT, leadership.resign()).await.is_ok();
                if matches!(end, TermEnd::Stopping) {
                    info!(%term, resigned, "leading no more");
                    return;
                }
                warn!(%term, reason = %end, resigned, "leading no more");
            }
            // Tried again twice a second: said when it changes.
            Err(error) if said.as_ref() == Some(&error.to_string()) => {}
            Err(error) => {
                warn!(%error, "can't campaign");
                said = Some(error.to_string());
            }
        }
        tokio::select! {
            biased;
            () = replica.stop.cancelled() => return,
            () = tokio::time::sleep(CAMPAIGN_RETRY) => {}
        }
    }
}

/// What replicas show each other is as old as the leadership: a store that was lost or restored holds one again at once.
async fn publish_secret(replica: &Replica, leadership: &Leadership) {
    let write = Write::put(keys::PEER_SECRET, credential::fresh());
    let txn = Transaction { guards: vec![leadership.guard.clone()], writes: vec![write] };
    match replica.store.commit(txn).await {
        Ok(_) => {}
        // The leadership is about to end over it; others go on asking until there is a secret.
        Err(error) => warn!(%error, "other replicas can't be told how to reach the leader"),
    }
}

/// Once another replica leads, this one's sessions end: the workers reconnect and reach the leader. While nobody leads they
/// stay open for a while, as this replica may lead again. Not for ever: it may be the only one that can't see the store, and
/// then its workers must find the leader that it doesn't know of.
async fn make_way(replica: Arc<Replica>) {
    let mut states = replica.cache.subscribe();
    let mut leading = replica.leading.subscribe();
    loop {
        let leads = leading.borrow_and_update().is_some();
        let elsewhere = states.borrow_and_update().leader.as_ref().is_some_and(|l| l.id != replica.config.id);
        if elsewhere && !leads {
            replica.fleet.close_sessions();
        }
        tokio::select! {
            biased;
            () = replica.stop.cancelled() => return,
            _ = leading.changed() => {}
            changed = states.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(CUT_OFF), if !leads => replica.fleet.close_sessions(),
        }
    }
}
