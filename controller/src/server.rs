//! One port for everything a controller serves: gRPC with health and reflection, gRPC-Web for pages of allowed origins, and over plain HTTP
//! `/metrics`, `/healthz` (this process lives) and `/readyz` (all calls can be answered: somebody leads and knows its workers, and
//! the store can be reached). A replica that isn't ready still answers what it can, and workers may connect to it.

mod bounds;
mod connection;
mod guard;
mod observe;
mod pages;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::HeaderValue;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower_http::cors::{AllowHeaders, CorsLayer, ExposeHeaders};
use tracing::info;
use twinlog_proto::tls::ServerIdentity;
use twinlog_proto::v1::cluster_service_server::ClusterServiceServer;
use twinlog_proto::v1::fleet_service_server::FleetServiceServer;
use twinlog_proto::v1::offset_service_server::OffsetServiceServer;

use crate::api::{Api, MirrorServer};
use crate::controller::Controller;
use crate::descriptors;
use crate::metrics::Metrics;
use crate::replica::whole_calls;
use crate::session;
use guard::Guard;

/// Largest request, unless configured.
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// Largest answer: a page of a thousand mirrors at their largest doesn't fit, one of ordinary ones does.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// How long a call may take until it is answered or its stream begins, unless configured.
pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Calls in progress on one connection, unless configured. More are refused with RESOURCE_EXHAUSTED.
pub const DEFAULT_MAX_REQUESTS: usize = 256;
/// How long calls in progress may go on after the stop.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// Readiness is looked at this often, besides when the state changes.
const HEALTH_INTERVAL: Duration = Duration::from_millis(500);
/// A connection that is silent this long is asked whether it lives ...
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// ... and closed when it doesn't answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Limits and TLS of the port.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    pub tls: Option<ServerIdentity>,
    pub max_message_bytes: usize,
    pub max_requests_per_connection: usize,
    pub request_timeout: Duration,
    /// Origins whose pages may call the API from a browser; gRPC-Web is off without one.
    pub cors_origins: Vec<HeaderValue>,
    /// Names that this port is reached by, besides addresses and `localhost`; `None`: any.
    pub hosts: Option<Vec<String>>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            tls: None,
            max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
            max_requests_per_connection: DEFAULT_MAX_REQUESTS,
            request_timeout: DEFAULT_REQUEST_TIMEOUT,
            cors_origins: Vec::new(),
            hosts: None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the gRPC reflection service can't be built")]
    Reflection(#[source] tonic_reflection::server::Error),
    #[error("the server failed")]
    Serve(#[source] tonic::transport::Error),
}

/// Serves until `stop`, then lets calls in progress end (bounded).
pub async fn serve(
    listener: TcpListener,
    config: ServerConfig,
    controller: Arc<Controller>,
    api: Api,
    metrics: Option<Metrics>,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let mut routes = Routes::builder();
    let limit = config.max_message_bytes;
    macro_rules! add {
        ($($server:ident),*) => {
            $(routes.add_service(
                $server::new(api.clone()).max_decoding_message_size(limit).max_encoding_message_size(MAX_ANSWER_BYTES),
            );)*
        };
    }
    add!(ClusterServiceServer, OffsetServiceServer, FleetServiceServer);
    routes.add_service(MirrorServer::new(api.clone(), limit, MAX_ANSWER_BYTES));
    routes.add_service(session::service(controller.shared().clone()));
    routes.add_service(health);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_file_descriptor_set(descriptors::public())
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // What errors carry.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    routes.add_service(reflection().build_v1().map_err(ServeError::Reflection)?);
    routes.add_service(reflection().build_v1alpha().map_err(ServeError::Reflection)?);

    let shared = controller.shared().clone();
    let mut grpc = routes
        .routes()
        .prepare()
        .into_axum_router()
        .layer(axum::middleware::from_fn_with_state(shared.clone(), whole_calls::pass_on))
        .layer(axum::middleware::from_fn_with_state(limit, bounds::check))
        .layer(axum::middleware::from_fn_with_state(shared, whole_calls::admit))
        .layer(axum::middleware::from_fn(observe::observe))
        .layer(axum::middleware::from_fn(guard::grpc_only));
    if !config.cors_origins.is_empty() {
        grpc = grpc.layer(tonic_web::GrpcWebLayer::new()).layer(cors(&config.cors_origins));
    }
    let guard = Arc::new(Guard { hosts: config.hosts.clone(), origins: config.cors_origins.clone() });
    let router = pages::router(controller.clone(), metrics)
        .fallback_service(grpc)
        .layer(axum::middleware::from_fn_with_state(guard, guard::check));
    let health = tokio::spawn(report_health(reporter, controller, stop.clone()));
    let files = tokio::spawn(connection::follow_files(config.tls.clone(), stop.clone()));
    let served = serve_router(listener, &config, router, stop).await;
    health.abort();
    files.abort();
    served
}

async fn serve_router(
    listener: TcpListener,
    config: &ServerConfig,
    router: Router,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let mut server = Server::builder()
        .accept_http1(true)
        .timeout(config.request_timeout)
        .concurrency_limit_per_connection(config.max_requests_per_connection)
        .load_shed(true)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT));
    let incoming = connection::incoming(listener, config.tls.clone());
    let serving = server
        .add_routes(Routes::from(router))
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    tokio::pin!(serving);
    tokio::select! {
        biased;
        served = &mut serving => return served.map_err(ServeError::Serve),
        () = stop.cancelled() => {}
    }
    match tokio::time::timeout(SHUTDOWN_GRACE, serving).await {
        Ok(served) => served.map_err(ServeError::Serve),
        Err(_) => {
            info!(grace = ?SHUTDOWN_GRACE, "calls still in progress are cut off");
            Ok(())
        }
    }
}

fn cors(origins: &[HeaderValue]) -> CorsLayer {
    let exposed =
        ["grpc-status", "grpc-message", "grpc-status-details-bin"].map(http::HeaderName::from_static);
    CorsLayer::new()
        .allow_origin(origins.to_vec())
        .allow_methods([http::Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(ExposeHeaders::list(exposed))
}

/// Why not every call can be answered as it should be.
fn not_ready(controller: &Controller) -> Option<String> {
    if let Some(away) = controller.cache().away() {
        return Some(away.to_string());
    }
    if controller.leader().is_none() {
        return Some("no controller leads yet".to_owned());
    }
    let message = "this controller has just begun to lead: it waits for its workers, and what they run is not known yet";
    controller.is_settling().then(|| message.to_owned())
}

/// Keeps gRPC health in step with readiness.
async fn report_health(reporter: HealthReporter, controller: Arc<Controller>, stop: CancellationToken) {
    let mut states = controller.cache().subscribe();
    let mut away = controller.cache().subscribe_away();
    loop {
        let ready = not_ready(&controller).is_none() && !stop.is_cancelled();
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        reporter.set_service_status("", status).await;
        if stop.is_cancelled() {
            return;
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            changed = states.changed() => if changed.is_err() { return },
            Ok(()) = away.changed() => {}
            () = tokio::time::sleep(HEALTH_INTERVAL) => {}
        }
    }
}
