//! Calls on the leader's public services out of calls that any replica answers, where a part of them is the leader's to know.

use std::time::Duration;

use tonic::transport::Channel;
use tonic::{Extensions, Request, Response, Status};
use twinlog_proto::id::{ClusterId, MirrorId};
use twinlog_proto::v1;
use twinlog_proto::v1::cluster_service_client::ClusterServiceClient;
use twinlog_proto::v1::mirror_service_client::MirrorServiceClient;

use super::outcome::within;
use super::{AT_ONCE, FROM_A_WORKER, Forward, MAX_MESSAGE_BYTES};

impl Forward {
    /// For one that is only validated: its plan comes from a worker.
    pub(crate) async fn create_mirror(
        &self,
        request: Request<v1::CreateMirrorRequest>,
    ) -> Result<Response<v1::Mirror>, Status> {
        let mut leader = self.mirrors()?;
        within(FROM_A_WORKER, leader.create_mirror(self.signed(request))).await
    }

    /// For one that is only validated.
    pub(crate) async fn update_mirror(
        &self,
        request: Request<v1::UpdateMirrorRequest>,
    ) -> Result<Response<v1::Mirror>, Status> {
        let mut leader = self.mirrors()?;
        within(FROM_A_WORKER, leader.update_mirror(self.signed(request))).await
    }

    /// With all topics.
    pub(crate) async fn mirror_status(&self, id: &MirrorId) -> Result<v1::MirrorStatus, Status> {
        let mut leader = self.mirrors()?;
        let mut whole: Option<v1::MirrorStatus> = None;
        loop {
            let topic_page_token =
                whole.as_mut().map(|status| std::mem::take(&mut status.next_topic_page_token));
            let request = v1::GetMirrorStatusRequest {
                name: format!("{}/status", id.name()),
                topic_page_size: 0,
                topic_page_token: topic_page_token.unwrap_or_default(),
            };
            let call = leader.get_mirror_status(self.signed(Request::new(request)));
            let page = within(AT_ONCE, call).await?.into_inner();
            let last = page.next_topic_page_token.is_empty();
            match &mut whole {
                Some(status) => {
                    status.topics.extend(page.topics);
                    status.next_topic_page_token = page.next_topic_page_token;
                }
                None => whole = Some(page),
            }
            if last && let Some(status) = whole {
                return Ok(status);
            }
        }
    }

    pub(crate) async fn test_cluster(
        &self,
        id: &ClusterId,
        deadline: Duration,
    ) -> Result<v1::TestClusterResponse, Status> {
        let mut leader = ClusterServiceClient::new(self.line.to_leader()?);
        let mut request =
            self.signed(Request::new(v1::TestClusterRequest { name: id.name(), cluster: None }));
        request.set_timeout(deadline);
        within(deadline, leader.test_cluster(request)).await.map(Response::into_inner)
    }

    fn mirrors(&self) -> Result<MirrorServiceClient<Channel>, Status> {
        let client = MirrorServiceClient::new(self.line.to_leader()?);
        Ok(client.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES))
    }

    fn signed<T>(&self, request: Request<T>) -> Request<T> {
        let (mut metadata, extensions, message) = request.into_parts();
        self.sign(metadata.as_mut(), &extensions);
        // What came with it is of the connection that it came by.
        Request::from_parts(metadata, Extensions::new(), message)
    }
}
