//! A worker's session passed on to the leader. It needs no credential: the leader serves every worker, and one that says falsely that it was
//! passed on is only not passed on.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{Stream, StreamExt};
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::internal::v1::worker_service_client::WorkerServiceClient;

use super::outcome::unreachable;
use super::{Forward, HeaderValue, MAX_MESSAGE_BYTES, RELAYED};

/// What a worker hears in its session.
pub(crate) type ControllerStream =
    Pin<Box<dyn Stream<Item = Result<internal::ControllerMessage, Status>> + Send>>;
/// What it says.
pub(crate) type WorkerStream = Pin<Box<dyn Stream<Item = Result<internal::WorkerMessage, Status>> + Send>>;

impl Forward {
    /// When either side ends, so does the other.
    pub(crate) async fn session(&self, inbound: WorkerStream) -> Result<ControllerStream, Status> {
        let client = WorkerServiceClient::new(self.line.to_leader()?);
        let mut client =
            client.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES);
        let mut request = Request::new(UntilBroken(inbound));
        request.metadata_mut().as_mut().insert(RELAYED, HeaderValue::from_static("1"));
        let answer = client.session(request).await.map_err(unreachable)?;
        Ok(Box::pin(answer.into_inner().map(|message| message.map_err(unreachable))))
    }
}

pub(crate) fn is_relayed(metadata: &MetadataMap) -> bool {
    metadata.as_ref().contains_key(RELAYED)
}

/// A worker's messages; its stream's error is its end.
struct UntilBroken(WorkerStream);

impl Stream for UntilBroken {
    type Item = internal::WorkerMessage;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context).map(|message| message.and_then(Result::ok))
    }
}
