//! Around every gRPC call: a span that continues the caller's trace, the latency metric, and a stop for panics.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::LazyLock;
use std::time::Instant;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use prost::Message;
use tonic::{Code, Status};
use tracing::{Instrument, debug, error, field, info_span};
use twinlog_proto::FILE_DESCRIPTOR_SET;
use twinlog_proto::reason::Reason;
use twinlog_proto::telemetry;

use crate::metrics;
use crate::refusal::Refusal;
use crate::replica::whole_calls::ByReplica;

pub(super) async fn observe(request: Request, next: Next) -> Response {
    let Some((service, method)) = known(request.uri().path()) else {
        // Health, reflection, or nothing we have: no metric, or any client could make up label values.
        return next.run(request).await;
    };
    let span = info_span!(
        "call",
        otel.name = format!("{service}/{method}"),
        otel.kind = "server",
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        rpc.grpc.status_code = field::Empty,
    );
    telemetry::follow_headers(&span, request.headers());
    let started = Instant::now();
    let answered = AssertUnwindSafe(next.run(request).instrument(span.clone())).catch_unwind().await;
    let response = answered.unwrap_or_else(|_| {
        error!(service, method, "a call panicked: this is a defect in the controller");
        internal_error()
    });
    let code = code_of(&response);
    span.record("rpc.grpc.status_code", i32::from(code));
    // What was passed on counts where it was made, so that sums over replicas are right.
    if response.extensions().get::<ByReplica>().is_none() {
        metrics::api_call(service, method, format!("{code:?}"), started.elapsed());
    }
    span.in_scope(|| debug!(service, method, ?code, elapsed = ?started.elapsed(), "call"));
    response
}

/// Of a stream only its start is known here.
fn code_of(response: &Response) -> Code {
    Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code())
}

fn internal_error() -> Response {
    let refusal = Refusal::new(Reason::INTERNAL, "a defect in the controller; its log says more", &[]);
    let status = Status::from(refusal);
    status.into_http::<axum::body::Body>().into_response()
}

/// Service and method of a path, if it is one of the API's: the labels come from a finite set.
fn known(path: &str) -> Option<(&'static str, &'static str)> {
    static METHODS: LazyLock<HashSet<(String, String)>> = LazyLock::new(methods);
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let found = METHODS.get(&(service.to_owned(), method.to_owned()))?;
    Some((&found.0, &found.1))
}

fn methods() -> HashSet<(String, String)> {
    let files =
        prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("made by our own build script");
    let services =
        files.file.iter().flat_map(|file| file.service.iter().map(move |service| (file.package(), service)));
    services
        .flat_map(|(package, service)| {
            let full = format!("{package}.{}", service.name());
            service.method.iter().map(move |method| (full.clone(), method.name().to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_methods_become_labels() {
        let found = known("/twinlog.v1.MirrorService/GetMirror");
        assert_eq!(found, Some(("twinlog.v1.MirrorService", "GetMirror")));
        for path in ["/", "/metrics", "/twinlog.v1.MirrorService/Nonsense", "/other.Service/GetMirror"] {
            assert_eq!(known(path), None, "{path}");
        }
    }
}
