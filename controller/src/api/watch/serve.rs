//! `MirrorService` on the port, with `WatchMirrors` answered in bytes: the generated service would encode every message anew for
//! each who watches.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, ServerStreamingService};
use tonic::{Request, Response, Status};
use tower::Service;
use twinlog_proto::v1;
use twinlog_proto::v1::mirror_service_server::MirrorServiceServer;

use super::encoded::{Answers, Encoded};
use super::{MirrorStream, start};
use crate::api::Api;
use crate::caller::Caller;

const WATCH: &str = "/twinlog.v1.MirrorService/WatchMirrors";

#[derive(Clone)]
pub(crate) struct MirrorServer {
    api: Api,
    others: MirrorServiceServer<Api>,
    /// Bytes of a request and of an answer.
    limits: (usize, usize),
}

impl MirrorServer {
    pub(crate) fn new(api: Api, max_request: usize, max_answer: usize) -> Self {
        let others = MirrorServiceServer::new(api.clone());
        let others = others.max_decoding_message_size(max_request).max_encoding_message_size(max_answer);
        Self { api, others, limits: (max_request, max_answer) }
    }
}

impl NamedService for MirrorServer {
    const NAME: &'static str = <MirrorServiceServer<Api> as NamedService>::NAME;
}

impl Service<http::Request<Body>> for MirrorServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != WATCH {
            return self.others.call(request);
        }
        let (watch, (max_request, max_answer)) = (Watch(self.api.clone()), self.limits);
        Box::pin(async move {
            let grpc = Grpc::new(Answers);
            let mut grpc = grpc.apply_max_message_size_config(Some(max_request), Some(max_answer));
            Ok(grpc.server_streaming(watch, request).await)
        })
    }
}

struct Watch(Api);

impl ServerStreamingService<v1::WatchMirrorsRequest> for Watch {
    type Response = Encoded;
    type ResponseStream = MirrorStream;
    type Future = BoxFuture<'static, Result<Response<MirrorStream>, Status>>;

    fn call(&mut self, request: Request<v1::WatchMirrorsRequest>) -> Self::Future {
        let api = self.0.clone();
        Box::pin(async move {
            let address = request.extensions().get().and_then(Caller::origin);
            Ok(Response::new(start(&api, request.into_inner(), address).await?))
        })
    }
}
