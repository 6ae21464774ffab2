//! Who may call at all: no web page that nobody allowed, and nobody by a name that isn't this port's.
//!
//! A page of any site can send requests to 127.0.0.1, and by DNS rebinding under a name of its own. Browsers say where a page
//! comes from (`Origin`) and which name was asked for (`Host`): both are checked before anything is done.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tonic::Status;
use twinlog_proto::names;
use twinlog_proto::reason::Reason;

use crate::caller::{Caller, Speaks};
use crate::refusal::Refusal;

/// What the port accepts.
#[derive(Debug, Clone, Default)]
pub(super) struct Guard {
    /// Names that this port is reached by, besides addresses and `localhost`; `None`: any.
    pub(super) hosts: Option<Vec<String>>,
    /// Origins of pages that may call.
    pub(super) origins: Vec<HeaderValue>,
}

pub(super) async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    if request.extensions().get().is_some_and(|caller: &Caller| caller.speaks == Speaks::Plainly) {
        let why = "this port speaks TLS: write https:// instead of http:// in the controller's address (--controller)";
        return refused(request.headers(), Reason::TLS_REQUIRED, why);
    }
    match guard.refusal(request.uri(), request.headers()) {
        None => next.run(request).await,
        Some(why) => refused(request.headers(), Reason::NOT_ALLOWED, &why),
    }
}

/// gRPC and nothing else gets to the services; what a page sends has been turned into gRPC before, where pages may call.
pub(super) async fn grpc_only(request: Request, next: Next) -> Response {
    let kind = request.headers().get(header::CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
    if kind.starts_with(b"application/grpc-web") {
        let why = "gRPC-Web is off: it is on for pages of origins that are allowed with --cors-origin\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, why).into_response();
    }
    match kind.starts_with(b"application/grpc") {
        true => next.run(request).await,
        false => (StatusCode::NOT_FOUND, "there is gRPC here, and /healthz, /readyz and /metrics\n")
            .into_response(),
    }
}

impl Guard {
    /// Why this request is not answered.
    fn refusal(&self, uri: &Uri, headers: &HeaderMap) -> Option<String> {
        if let Some(host) = asked_host(uri, headers).filter(|host| !self.knows(host)) {
            return Some(format!(
                "this port doesn't answer for the name {}: use its address, localhost, or start with --allowed-host NAME",
                names::shown(&host)
            ));
        }
        let origin = headers.get(header::ORIGIN)?;
        if self.origins.contains(origin) {
            return None;
        }
        let shown = names::shown(&String::from_utf8_lossy(origin.as_bytes()));
        Some(format!("pages of {shown} may not call this API: allow them with --cors-origin"))
    }

    fn knows(&self, host: &str) -> bool {
        let Some(known) = &self.hosts else { return true };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        // An address can't be rebound.
        bare.parse::<IpAddr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || known.iter().any(|name| name.eq_ignore_ascii_case(host.trim_end_matches('.')))
    }
}

/// The name that was asked for, without its port. HTTP/2 has it in the URI.
fn asked_host(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let text = match uri.authority() {
        Some(authority) => authority.as_str().to_owned(),
        None => String::from_utf8_lossy(headers.get(header::HOST)?.as_bytes()).into_owned(),
    };
    let host = text.rsplit_once('@').map_or(text.as_str(), |(_, host)| host);
    let without_port = match host.rsplit_once(':') {
        Some((name, port))
            if port.chars().all(|c| c.is_ascii_digit()) && (name.ends_with(']') || !name.contains(':')) =>
        {
            name
        }
        _ => host,
    };
    Some(without_port.to_owned())
}

/// In the caller's own terms: a gRPC status, or HTTP's.
fn refused(headers: &HeaderMap, reason: Reason, why: &str) -> Response {
    let kind = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
    if kind.starts_with(b"application/grpc") && !kind.starts_with(b"application/grpc-web") {
        let status = Status::from(Refusal::new(reason, why, &[]));
        return status.into_http::<axum::body::Body>().into_response();
    }
    (StatusCode::FORBIDDEN, format!("{why}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(guard: &Guard, list: &[(&'static str, &'static str)]) -> Option<String> {
        let headers = list
            .iter()
            .map(|(key, value)| (header::HeaderName::from_static(key), HeaderValue::from_static(value)));
        guard.refusal(&Uri::from_static("/x"), &headers.collect())
    }

    #[test]
    fn a_name_that_is_not_ours_is_refused_and_addresses_are_not() {
        let guard = Guard { hosts: Some(vec!["box".to_owned()]), origins: Vec::new() };
        for good in
            ["127.0.0.1:7420", "localhost", "LOCALHOST:1", "[::1]:7420", "10.0.0.1", "box:7420", "Box."]
        {
            assert_eq!(refusal(&guard, &[("host", good)]), None, "{good}");
        }
        for bad in
            ["evil.example", "evil.example:7420", "127.0.0.1.evil.example", "localhost.evil", "x@evil:1", ""]
        {
            assert!(refusal(&guard, &[("host", bad)]).is_some(), "{bad}");
        }
        assert!(guard.refusal(&Uri::from_static("http://evil.example/x"), &HeaderMap::new()).is_some());
        assert_eq!(refusal(&guard, &[]), None, "no browser sends that");
        assert_eq!(refusal(&Guard::default(), &[("host", "controller.svc")]), None);
    }

    #[test]
    fn a_page_calls_only_from_an_allowed_origin() {
        let guard = Guard { hosts: None, origins: vec![HeaderValue::from_static("https://console")] };
        assert_eq!(refusal(&guard, &[("origin", "https://console")]), None);
        for bad in ["https://evil", "null", "http://console"] {
            assert!(refusal(&guard, &[("origin", bad)]).unwrap().contains("--cors-origin"), "{bad}");
        }
    }
}
