//! What the leader knows of workers and mirrors, at the moment of a scrape.

use std::collections::BTreeMap;

use twinlog_proto::v1;

use super::text::Text;
use crate::controller::Controller;

pub(super) fn render(controller: &Controller) -> String {
    let mut text = Text::default();
    let state = controller.cache().snapshot();
    text.gauge(
        "twinlog_controller_info",
        "The controller's version.",
        [([("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0)],
    );
    let leads = if controller.is_leader() { 1.0 } else { 0.0 };
    text.gauge("twinlog_controller_leader", "Whether this replica leads.", [([], leads)]);
    text.gauge(
        "twinlog_controller_store_revision",
        "Revision of the store that this replica has seen.",
        [([], state.revision as f64)],
    );
    text.gauge("twinlog_clusters", "Registered clusters.", [([], state.clusters.len() as f64)]);
    let informed = controller.informed().ok().filter(|_| controller.is_leader());
    let Some(informed) = informed else { return text.finish() };
    worker_gauges(&mut text, &informed.workers());
    let mut mirrors = BTreeMap::new();
    for id in state.mirrors.keys() {
        if let Ok(status) = informed.mirror_status(id) {
            mirrors.insert(id.to_string(), status);
        }
    }
    mirror_gauges(&mut text, &mirrors);
    topic_gauges(&mut text, &mirrors);
    text.finish()
}

fn by_state(states: impl Iterator<Item = &'static str>) -> Vec<([(&'static str, String); 1], f64)> {
    let mut counts = BTreeMap::<&str, f64>::new();
    states.for_each(|state| *counts.entry(state).or_default() += 1.0);
    counts.into_iter().map(|(state, count)| ([("state", state.to_owned())], count)).collect()
}

fn worker_gauges(text: &mut Text, workers: &[v1::Worker]) {
    let states = by_state(workers.iter().map(|worker| worker.state().short_name()));
    text.gauge("twinlog_workers", "Workers, by state.", states);
    // What isn't known has no sample.
    let mut gauge = |name: &str, help: &str, value: &dyn Fn(&v1::Worker) -> Option<f64>| {
        let label = |worker: &v1::Worker| worker.name.trim_start_matches("workers/").to_owned();
        let known = |worker| Some(([("worker", label(worker))], value(worker)?));
        text.gauge(name, help, workers.iter().filter_map(known));
    };
    gauge("twinlog_worker_ranges", "Partition ranges a worker runs.", &|w| w.ranges.map(f64::from));
    gauge("twinlog_worker_memory_bytes", "Record data a worker holds.", &|w| {
        w.memory_bytes.map(|bytes| bytes as f64)
    });
    gauge("twinlog_worker_memory_limit_bytes", "Record data a worker may hold.", &|w| {
        Some(w.memory_limit_bytes as f64)
    });
}

fn mirror_gauges(text: &mut Text, mirrors: &BTreeMap<String, v1::MirrorStatus>) {
    let states = by_state(mirrors.values().map(|mirror| mirror.state().short_name()));
    text.gauge("twinlog_mirrors", "Mirrors, by state.", states);
    let state = |(id, status): (&String, &v1::MirrorStatus)| {
        ([("mirror", id.clone()), ("state", status.state().short_name().to_owned())], 1.0)
    };
    text.gauge("twinlog_mirror_state", "1 for the state that a mirror is in.", mirrors.iter().map(state));
    let now = std::time::SystemTime::now();
    let contact = |(id, status): (&String, &v1::MirrorStatus)| {
        let at = std::time::SystemTime::try_from(status.source_contact_time?).ok()?;
        Some(([("mirror", id.clone())], now.duration_since(at).unwrap_or_default().as_secs_f64()))
    };
    text.gauge(
        "twinlog_mirror_source_contact_age_seconds",
        "Seconds since the source last answered.",
        mirrors.iter().filter_map(contact),
    );
    let lags = mirrors.iter().filter_map(|(id, status)| {
        Some(([("mirror", id.clone())], status.totals.as_ref()?.lag_records? as f64))
    });
    text.gauge(
        "twinlog_mirror_lag_records",
        "Records on the source that are not on the target; at least so many while the source doesn't answer.",
        lags,
    );
    let totals: Vec<(&String, v1::Totals)> =
        mirrors.iter().filter_map(|(id, status)| Some((id, status.totals?))).collect();
    let mut gauge = |name: &str, help: &str, value: &dyn Fn(&v1::Totals) -> f64| {
        text.gauge(
            name,
            help,
            totals.iter().map(|(id, totals)| ([("mirror", (*id).clone())], value(totals))),
        );
    };
    gauge("twinlog_mirror_partitions_lag_unknown", "Partitions whose lag is not known.", &|t| {
        f64::from(t.partitions_lag_unknown)
    });
    gauge("twinlog_mirror_records_per_second", "Records copied now.", &|t| t.records_per_second);
    gauge("twinlog_mirror_bytes_per_second", "Bytes copied now.", &|t| t.bytes_per_second);
    gauge("twinlog_mirror_partitions", "Partitions to copy.", &|t| f64::from(t.partitions));
    gauge("twinlog_mirror_partitions_active", "Partitions being copied.", &|t| {
        f64::from(t.partitions_active)
    });
    gauge("twinlog_mirror_gap_records", "Source records that were gone before they were copied.", &|t| {
        t.gap_records as f64
    });
    let ages = totals.iter().filter_map(|(id, totals)| {
        Some(([("mirror", (*id).clone())], totals.record_age_ms? as f64 / 1000.0))
    });
    text.gauge(
        "twinlog_mirror_record_age_seconds",
        "Age of the newest copied record when it was acknowledged.",
        ages,
    );
    let quantiles = totals.iter().flat_map(|(id, totals)| {
        let known = [("0.5", totals.latency_p50_ms), ("0.99", totals.latency_p99_ms)].into_iter();
        known.filter_map(move |(quantile, ms)| {
            Some(([("mirror", (*id).clone()), ("quantile", quantile.to_owned())], ms? / 1000.0))
        })
    });
    text.gauge(
        "twinlog_mirror_latency_seconds",
        "From fetched to acknowledged or committed; worst partition.",
        quantiles,
    );
}

fn topic_gauges(text: &mut Text, mirrors: &BTreeMap<String, v1::MirrorStatus>) {
    let topics: Vec<(&String, &String, v1::Totals)> = mirrors
        .iter()
        .flat_map(|(id, status)| status.topics.iter().map(move |topic| (id, topic)))
        .filter_map(|(id, topic)| Some((id, &topic.source_topic, topic.totals?)))
        .collect();
    let lags = topics.iter().filter_map(|(mirror, topic, totals)| {
        let of = [("mirror", (*mirror).clone()), ("topic", (*topic).clone())];
        Some((of, totals.lag_records? as f64))
    });
    text.gauge("twinlog_topic_lag_records", "Records of a source topic that are not on the target.", lags);
    let mut gauge = |name: &str, help: &str, value: &dyn Fn(&v1::Totals) -> f64| {
        let samples = topics.iter().map(|(mirror, topic, totals)| {
            ([("mirror", (*mirror).clone()), ("topic", (*topic).clone())], value(totals))
        });
        text.gauge(name, help, samples);
    };
    gauge("twinlog_topic_records_per_second", "Records of a topic copied now.", &|t| t.records_per_second);
    gauge("twinlog_topic_bytes_per_second", "Bytes of a topic copied now.", &|t| t.bytes_per_second);
}
