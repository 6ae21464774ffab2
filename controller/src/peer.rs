//! `internal.v1.PeerService`: what other replicas ask of the leader. Answered from here or not at all, and to replicas only.

use std::sync::Arc;
use std::time::Duration;

use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use tracing::Instrument;
use twinlog_proto::id::{MirrorId, WorkerId};
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::reason::{Reason, bad_request, status};
use twinlog_proto::{telemetry, v1};

use crate::fleet::Question;
use crate::leader::Replica;
use crate::relay::{self, credential};
use crate::statuses::Listing;

#[derive(Clone)]
pub struct Peer {
    pub(crate) replica: Arc<Replica>,
}

impl Peer {
    /// For a call that a replica makes.
    fn leader(&self, metadata: &MetadataMap) -> Result<&Arc<Replica>, Status> {
        credential::check(metadata, &self.replica.cache.snapshot())?;
        if self.replica.knows_the_fleet() {
            Ok(&self.replica)
        } else {
            Err(relay::no_leader("this replica does not lead"))
        }
    }
}

fn mirror_id(name: &str) -> Result<MirrorId, Status> {
    MirrorId::from_name(name)
        .map_err(|e| bad_request(Reason::INVALID_FIELD, &[("name".to_owned(), e.to_string())]))
}

fn question_of(request: internal::PeerAskRequest) -> Result<Question, Status> {
    let deadline = request.deadline.and_then(|deadline| Duration::try_from(deadline).ok());
    let query = request.query.unwrap_or_default();
    match (query.question, deadline) {
        (Some(question), Some(deadline)) => {
            Ok(Question { question, clusters: query.clusters, mirror: query.mirror, deadline })
        }
        _ => Err(status(Reason::INVALID_FIELD, "query.question and deadline are needed", &[])),
    }
}

#[tonic::async_trait]
impl internal::peer_service_server::PeerService for Peer {
    async fn peer_workers(
        &self,
        request: Request<internal::PeerWorkersRequest>,
    ) -> Result<Response<internal::PeerWorkersResponse>, Status> {
        Ok(Response::new(self.leader(request.metadata())?.workers()))
    }

    async fn peer_drain(
        &self,
        request: Request<v1::DrainWorkerRequest>,
    ) -> Result<Response<v1::Worker>, Status> {
        let leader = self.leader(request.metadata())?;
        let request = request.into_inner();
        let id = WorkerId::from_name(&request.name)
            .map_err(|e| bad_request(Reason::INVALID_FIELD, &[("name".to_owned(), e.to_string())]))?;
        leader.drain(&id, request.cancel).await.map(Response::new)
    }

    async fn peer_ask(
        &self,
        request: Request<internal::PeerAskRequest>,
    ) -> Result<Response<internal::PeerAskResponse>, Status> {
        let leader = self.leader(request.metadata())?;
        let request = request.into_inner();
        let span = tracing::info_span!("peer_ask");
        if let Some(query) = &request.query {
            telemetry::follow(&span, &query.trace_context);
        }
        let answered = leader.ask(question_of(request)?).instrument(span).await?;
        Ok(Response::new(internal::PeerAskResponse {
            worker: answered.worker.to_string(),
            answer: Some(internal::Answer { id: String::new(), answer: Some(answered.answer) }),
        }))
    }

    async fn peer_mirror_status(
        &self,
        request: Request<v1::GetMirrorStatusRequest>,
    ) -> Result<Response<v1::MirrorStatus>, Status> {
        let leader = self.leader(request.metadata())?;
        let id = mirror_id(&request.into_inner().name)?;
        leader.mirror_status(&id).map(Response::new)
    }

    async fn peer_mirror_statuses(
        &self,
        request: Request<v1::ListMirrorStatusesRequest>,
    ) -> Result<Response<v1::ListMirrorStatusesResponse>, Status> {
        let leader = self.leader(request.metadata())?.clone();
        let listing = Listing::parse(request.get_ref())?;
        leader.mirror_statuses(listing).await.map(Response::new)
    }

    async fn peer_ranges(
        &self,
        request: Request<internal::PeerRangesRequest>,
    ) -> Result<Response<internal::PeerRangesResponse>, Status> {
        let leader = self.leader(request.metadata())?;
        let id = mirror_id(&request.into_inner().parent)?;
        let ranges = leader.ranges(&id)?;
        Ok(Response::new(internal::PeerRangesResponse { ranges }))
    }
}
