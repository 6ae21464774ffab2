//! What is served over plain HTTP, for probes and Prometheus.

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::controller::Controller;
use crate::metrics::Metrics;

pub(super) fn router(controller: Arc<Controller>, metrics: Option<Metrics>) -> Router {
    let readiness = controller.clone();
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(move || std::future::ready(readyz(&readiness))));
    match metrics {
        Some(metrics) => router.route("/metrics", get(move || page(metrics.clone(), controller.clone()))),
        None => router,
    }
}

fn readyz(controller: &Controller) -> Response {
    match super::not_ready(controller) {
        None => "ok\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn page(metrics: Metrics, controller: Arc<Controller>) -> Response {
    let text = metrics.render(&controller);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
