//! Which calls are passed on whole, and whose word on that counts.
//!
//! A replica shows the leader that it is one (`credential`), and only then its word counts: for who calls, and for what has been
//! checked of a call where it was made. A relayed call is never relayed again.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::Extensions;
use tokio::time::{Instant, sleep};

use super::forward::{AT_ONCE, CALLER, FROM_A_WORKER, Forward, RELAYED, credential};
use super::shared::Shared;
use crate::caller::{Caller, Speaks};

/// Calls that only a replica can answer that knows the fleet, and how long it may take. Others are answered by any replica, out of
/// the store or its cache; parts of them that are not are in `calls`.
const CALLS: [(&str, Duration); 13] = [
    ("/twinlog.v1.FleetService/ListWorkers", AT_ONCE),
    ("/twinlog.v1.FleetService/GetWorker", AT_ONCE),
    ("/twinlog.v1.FleetService/DrainWorker", AT_ONCE),
    ("/twinlog.v1.MirrorService/GetMirrorStatus", AT_ONCE),
    ("/twinlog.v1.MirrorService/ListMirrorStatuses", AT_ONCE),
    ("/twinlog.v1.MirrorService/ListRanges", AT_ONCE),
    ("/twinlog.v1.MirrorService/ListGaps", AT_ONCE),
    ("/twinlog.v1.MirrorService/PlanMirror", FROM_A_WORKER),
    ("/twinlog.v1.MirrorService/GiveBackMirror", FROM_A_WORKER),
    ("/twinlog.v1.ClusterService/TestCluster", FROM_A_WORKER),
    ("/twinlog.v1.ClusterService/ListTopics", FROM_A_WORKER),
    ("/twinlog.v1.ClusterService/ListGroups", FROM_A_WORKER),
    ("/twinlog.v1.OffsetService/TranslateOffsets", FROM_A_WORKER),
];

/// Of the services that clients call.
const PUBLIC: &str = "/twinlog.v1.";

/// A request that another replica has passed on, and has shown that it is one; and the answer to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ByReplica;

/// A call that comes before it is known who leads, as right after a start, waits so long for it ...
const SETTLES_WITHIN: Duration = Duration::from_secs(1);
/// ... looking this often.
const LOOK: Duration = Duration::from_millis(20);

impl Shared {
    /// Waits until this replica knows the fleet or who leads, if that comes soon.
    async fn settled(self: &Arc<Self>) {
        let until = Instant::now() + SETTLES_WITHIN;
        while !self.follows() && self.informed().is_err() && Instant::now() < until {
            sleep(LOOK).await;
        }
    }

    /// The way to the leader, for a call that is to be answered there.
    pub(crate) fn elsewhere(self: &Arc<Self>, came_with: &Extensions) -> Option<&Forward> {
        let relayed = came_with.get::<ByReplica>().is_some();
        (!relayed && self.informed().is_err()).then_some(&self.forward)
    }
}

/// Who says that he is a replica must be one; what he says of the caller is taken over then.
pub(crate) async fn admit(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let headers = request.headers();
    let claims = headers.contains_key(RELAYED) || headers.contains_key(credential::HEADER);
    if !claims || !request.uri().path().starts_with(PUBLIC) {
        return next.run(request).await;
    }
    if let Err(status) = credential::check(headers, &shared.cache.snapshot()) {
        return status.into_http::<axum::body::Body>().into_response();
    }
    let address: Option<IpAddr> = headers.get(CALLER).and_then(|value| value.to_str().ok()?.parse().ok());
    request.extensions_mut().insert(ByReplica);
    request.extensions_mut().insert(Caller { speaks: Speaks::AsItShould, address });
    let mut answer = next.run(request).await;
    answer.extensions_mut().insert(ByReplica);
    answer
}

/// Passes a call on that is to be answered by the leader.
pub(crate) async fn pass_on(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let known = CALLS.iter().find(|(path, _)| *path == request.uri().path());
    if known.is_some() {
        shared.settled().await;
    }
    if let Some((_, limit)) = known
        && let Some(forward) = shared.elsewhere(request.extensions())
    {
        let passed = forward.whole(request, *limit).await;
        return passed.unwrap_or_else(|status| status.into_http::<axum::body::Body>().into_response());
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptors;

    #[test]
    fn every_call_that_is_passed_on_is_a_public_one_with_one_answer() {
        let public = descriptors::requests();
        for (path, _) in CALLS {
            assert!(path.starts_with(PUBLIC) && public.contains_key(path), "{path}");
            assert!(!path.contains("/Watch"), "{path}: a stream may outlive a leader");
        }
    }
}
