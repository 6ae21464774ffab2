//! Prometheus metrics of a controller, at `/metrics`. Names, labels and units are part of the interface.
//!
//! | metric | labels | |
//! |---|---|---|
//! | `twinlog_api_requests_total` | service, method, code | calls answered (of streams: begun), by the replica that they were made to |
//! | `twinlog_api_request_seconds` | service, method | histogram of the time until the answer (of streams: the first byte) |
//! | `twinlog_controller_info` | version | 1 |
//! | `twinlog_controller_leader` | | 1 on the replica that leads, else 0 |
//! | `twinlog_controller_store_revision` | | revision of the store that this replica has seen |
//! | `twinlog_clusters` | | registered clusters |
//!
//! The leader alone exports what it knows of the fleet, so that sums over replicas are right:
//!
//! | metric | labels | |
//! |---|---|---|
//! | `twinlog_workers` | state | workers, by state |
//! | `twinlog_worker_ranges` | worker | partition ranges it runs |
//! | `twinlog_worker_memory_bytes`, `twinlog_worker_memory_limit_bytes` | worker | record data it holds, and may hold |
//! | `twinlog_mirrors` | state | mirrors, by state |
//! | `twinlog_mirror_state` | mirror, state | 1 for the state that it is in |
//! | `twinlog_mirror_lag_records` | mirror | records on the source that are not on the target, also where nothing is copied; of what isn't known no sample, and while the source doesn't answer what was missing when it last did |
//! | `twinlog_mirror_partitions_lag_unknown` | mirror | partitions whose lag is not known |
//! | `twinlog_mirror_source_contact_age_seconds` | mirror | since the source last answered; no sample where it never has |
//! | `twinlog_mirror_records_per_second`, `twinlog_mirror_bytes_per_second` | mirror | copied now |
//! | `twinlog_mirror_latency_seconds` | mirror, quantile | from fetched to acknowledged or committed; worst partition |
//! | `twinlog_mirror_record_age_seconds` | mirror | age of the newest copied record when it was acknowledged |
//! | `twinlog_mirror_partitions`, `twinlog_mirror_partitions_active` | mirror | partitions to copy, and being copied |
//! | `twinlog_mirror_gap_records` | mirror | source records that were gone before they were copied |
//! | `twinlog_topic_lag_records` | mirror, topic | as above, per source topic |
//! | `twinlog_topic_records_per_second`, `twinlog_topic_bytes_per_second` | mirror, topic | |

mod fleet;
mod text;

use std::time::Duration;

use metrics::{counter, histogram};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

use crate::controller::Controller;

/// Bounds of the latency histogram, seconds.
const LATENCY_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// What `/metrics` shows.
#[derive(Clone)]
pub struct Metrics {
    recorder: PrometheusHandle,
}

impl Metrics {
    /// Sets up the process's recorder; fails if there is one already.
    pub fn install() -> Result<Self, BuildError> {
        let recorder = PrometheusBuilder::new().set_buckets(LATENCY_BUCKETS)?.install_recorder()?;
        Ok(Self { recorder })
    }

    /// Shows what an existing recorder holds.
    pub fn of(recorder: PrometheusHandle) -> Self {
        Self { recorder }
    }

    pub(crate) fn render(&self, controller: &Controller) -> String {
        self.recorder.run_upkeep();
        let mut text = twinlog_proto::telemetry::without_unknown(&self.recorder.render());
        text.push_str(&fleet::render(controller));
        text
    }
}

pub(crate) fn api_call(service: &'static str, method: &'static str, code: String, elapsed: Duration) {
    counter!("twinlog_api_requests_total", "service" => service, "method" => method, "code" => code)
        .increment(1);
    histogram!("twinlog_api_request_seconds", "service" => service, "method" => method)
        .record(elapsed.as_secs_f64());
}
