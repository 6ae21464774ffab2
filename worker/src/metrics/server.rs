//! `/metrics`, `/healthz` and `/readyz` over HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{AGE_BUCKETS, BUCKETS, Gauges, partition};
use crate::board::Board;
use crate::budget::Budget;

/// How often gauges are brought up to date.
const REFRESH: Duration = Duration::from_secs(1);
/// Between two times that old samples are taken out of histograms: there are some of every topic.
const UPKEEP: Duration = Duration::from_secs(10);

/// Makes this process record metrics, unless something in it already does.
pub(crate) fn install() -> Option<PrometheusHandle> {
    let full = |name: &str| Matcher::Full(name.to_owned());
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), BUCKETS)
        .and_then(|builder| builder.set_buckets_for_metric(full(partition::LATENCY), AGE_BUCKETS))
        .and_then(|builder| builder.set_buckets_for_metric(full(partition::AGE), AGE_BUCKETS))
        .expect("the buckets are not empty")
        .install_recorder()
        .inspect_err(|error| tracing::warn!(%error, "metrics are recorded elsewhere in this process"))
        .ok()
}

struct Served {
    metrics: Option<PrometheusHandle>,
    connected: watch::Receiver<bool>,
}

/// Serves until `stop`. Readiness means that a controller has welcomed this worker.
pub(crate) async fn serve(
    listener: TcpListener,
    metrics: Option<PrometheusHandle>,
    connected: watch::Receiver<bool>,
    stop: CancellationToken,
) {
    let router = Router::new()
        .route("/metrics", get(render))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(Arc::new(Served { metrics, connected }));
    let serving = axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await });
    if let Err(error) = serving.await {
        tracing::error!(%error, "metrics are no longer served");
    }
}

async fn render(State(served): State<Arc<Served>>) -> String {
    let text = served.metrics.as_ref().map(PrometheusHandle::render).unwrap_or_default();
    twinlog_proto::telemetry::without_unknown(&text)
}

async fn ready(State(served): State<Arc<Served>>) -> (StatusCode, &'static str) {
    if *served.connected.borrow() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no controller has welcomed this worker; its tasks go on\n")
    }
}

/// Keeps gauges up to date and old histogram samples out, until `stop`.
pub(crate) async fn refresh(
    board: Arc<Board>,
    budget: Arc<Budget>,
    metrics: Option<PrometheusHandle>,
    stop: CancellationToken,
) {
    let mut gauges = Gauges::default();
    let [mut ticks, mut upkeep] = [REFRESH, UPKEEP].map(tokio::time::interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    upkeep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => gauges.refresh(&board, &budget),
            _ = upkeep.tick() => {
                if let Some(metrics) = &metrics {
                    metrics.run_upkeep();
                }
            }
        }
    }
}
