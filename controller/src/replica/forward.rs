//! The way from a replica to the leader: whole calls go there as they came, with who made them, their deadline and their trace, and the
//! answer goes back as it comes. Without a leader it is UNAVAILABLE (NO_LEADER) with a retry hint.

mod calls;
pub(crate) mod credential;
mod line;
mod outcome;
pub(crate) mod session;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use futures::TryFutureExt;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Extensions, Method, Version};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Service, ServiceExt};
use twinlog_proto::telemetry;
use twinlog_proto::tls::ClientTls;

use crate::caller::Caller;
use crate::state::Cache;
use line::Line;
use outcome::{unreachable, within};

/// Marks a call that came from another replica.
pub(super) const RELAYED: HeaderName = HeaderName::from_static("twinlog-relayed");
/// The address that made it.
pub(super) const CALLER: HeaderName = HeaderName::from_static("twinlog-caller");
/// For the connection that a call came by, or for what checks where a call comes from.
const STAYS: [HeaderName; 6] = [
    header::HOST,
    header::ORIGIN,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// Answers of thousands of ranges are large.
pub(crate) const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// The leader answers out of its memory, or with one write.
pub(super) const AT_ONCE: Duration = Duration::from_secs(5);
/// A worker is asked, and may take until the API's own limit.
pub(super) const FROM_A_WORKER: Duration = Duration::from_secs(50);

/// The way from this replica to the leader.
pub(crate) struct Forward {
    line: Line,
    cache: Arc<Cache>,
}

impl Forward {
    /// `own`: this replica's id.
    pub(crate) fn new(own: String, tls: Option<ClientTls>, cache: Arc<Cache>) -> Self {
        Self { line: Line::new(own, tls, cache.clone()), cache }
    }

    /// Passes a call on as it came. `limit`: how long the leader may take.
    pub(super) async fn whole(&self, request: Request, limit: Duration) -> Result<Response, Status> {
        let mut leader = self.line.to_leader()?;
        let request = self.outgoing(request);
        let answer = async { leader.ready().await?.call(request).await };
        let answer = within(limit, answer.map_err(|error| Status::from_error(error.into()))).await?;
        match Status::from_header_map(answer.headers()) {
            Some(status) if status.code() != Code::Ok => Err(unreachable(status)),
            _ => Ok(answer.map(axum::body::Body::new)),
        }
    }

    fn outgoing(&self, request: Request) -> http::Request<Body> {
        let (parts, body) = request.into_parts();
        let mut outgoing = http::Request::new(Body::new(body));
        *outgoing.method_mut() = Method::POST;
        *outgoing.version_mut() = Version::HTTP_2;
        *outgoing.uri_mut() = parts.uri;
        *outgoing.headers_mut() = parts.headers;
        self.sign(outgoing.headers_mut(), &parts.extensions);
        outgoing
    }

    /// Adds what shows that a replica makes a call, for whom, and within which trace.
    fn sign(&self, headers: &mut HeaderMap, came_with: &Extensions) {
        for name in &STAYS {
            headers.remove(name);
        }
        headers.insert(RELAYED, HeaderValue::from_static("1"));
        headers.remove(CALLER);
        let address = came_with.get().and_then(|caller: &Caller| caller.address);
        if let Some(address) = address.and_then(|address| HeaderValue::try_from(address.to_string()).ok()) {
            headers.insert(CALLER, address);
        }
        for (name, value) in telemetry::current_context() {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                headers.insert(name, value);
            }
        }
        credential::show(headers, &self.cache.snapshot());
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::caller::Speaks;
    use crate::keys;
    use crate::store::embedded::EmbeddedStore;
    use crate::store::{Store, Transaction, Write};

    const PATH: &str = "/twinlog.v1.FleetService/ListWorkers";

    #[tokio::test]
    async fn a_call_goes_on_as_it_came_signed_and_for_its_caller() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(EmbeddedStore::open(&folder.path().join("store")).unwrap());
        let secret =
            Transaction { guards: Vec::new(), writes: vec![Write::put(keys::PEER_SECRET, "s3cret")] };
        store.commit(secret).await.unwrap();
        let cache = Cache::start(store, CancellationToken::new()).await.unwrap();
        let forward = Forward::new("one".to_owned(), None, cache.clone());
        let mut request = Request::new(axum::body::Body::empty());
        *request.uri_mut() = PATH.parse().unwrap();
        for (name, value) in [
            ("grpc-timeout", "7S"),
            ("x-own", "kept"),
            ("host", "here"),
            ("origin", "https://console"),
            ("twinlog-caller", "6.6.6.6"),
        ] {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        let address = "10.0.0.1".parse().ok();
        request.extensions_mut().insert(Caller { speaks: Speaks::AsItShould, address });
        let outgoing = forward.outgoing(request);
        assert_eq!((outgoing.uri().path(), outgoing.version()), (PATH, Version::HTTP_2));
        let headers = outgoing.headers();
        assert!(credential::check(headers, &cache.snapshot()).is_ok());
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["grpc-timeout", "twinlog-caller", "twinlog-relayed", "twinlog-replica", "x-own"]);
        assert_eq!(headers[CALLER], "10.0.0.1", "not what somebody else says");
        assert_eq!(headers["grpc-timeout"], "7S");
    }
}
