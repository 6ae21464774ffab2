//! What MirrorMaker 2's MBeans say of each partition, and the lag that they lack. Names and labels are documented in `README.md`
//! ("Metrics of MirrorMaker 2 and ours").
//!
//! Per partition there are sums, counts, minima and maxima, a fixed number of series; distributions are per topic.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use metrics::{Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram};
use metrics::{gauge, histogram};
use twinlog_proto::model::Mirror;

use crate::ledger::{Ages, Spread};
use crate::status::PartitionStatus;

/// Minima and maxima are over the last one or two of these, as MM2's.
const SLICE: Duration = Duration::from_secs(30);

const RECORDS: &str = "twinlog_partition_records_total";
const BYTES: &str = "twinlog_partition_bytes_total";
const LANE_LAG_RECORDS: &str = "twinlog_lane_lag_records";
const LAG_RECORDS: &str = "twinlog_partition_lag_records";
const LAG_BYTES: &str = "twinlog_partition_lag_bytes";
const LAG_SECONDS: &str = "twinlog_partition_lag_seconds";
pub(super) const LATENCY: &str = "twinlog_replication_latency_seconds";
pub(super) const AGE: &str = "twinlog_record_age_seconds";

pub(super) fn describe() {
    describe_counter!(RECORDS, "Records acknowledged by the target");
    describe_counter!(BYTES, "Keys and values of these records, bytes");
    describe_gauge!(
        LAG_RECORDS,
        "Offsets between what is durably copied and the source's high watermark when it was last seen; no sample where that isn't known"
    );
    describe_gauge!(
        LAG_BYTES,
        "The same in bytes, by the mean size of the records copied so far; no sample before the first"
    );
    describe_gauge!(
        LAG_SECONDS,
        "Age of the newest copied record while there is more to copy, else 0; seconds"
    );
    describe_histogram!(LATENCY, "From a record's timestamp to its acknowledgement, seconds");
    describe_histogram!(AGE, "From a record's timestamp to its arrival in the worker, seconds");
    for (name, what) in [("replication_latency", "replication latency"), ("record_age", "record age")] {
        describe_counter!(
            format!("twinlog_partition_{name}_seconds_sum"),
            format!("Sum of the {what} of all records")
        );
        describe_counter!(format!("twinlog_partition_{name}_seconds_count"), "Records in the sum");
        let of = format!("of the {what} in the last 30 to 60 s; NaN without records");
        describe_gauge!(format!("twinlog_partition_{name}_seconds_min"), format!("Minimum {of}"));
        describe_gauge!(format!("twinlog_partition_{name}_seconds_max"), format!("Maximum {of}"));
    }
}

/// Labels of a partition's series.
#[derive(Debug, Clone)]
pub(crate) struct Labels {
    pub(crate) mirror: String,
    pub(crate) source: String,
    pub(crate) target: String,
    /// On the target, as in MM2.
    pub(crate) topic: String,
}

impl Labels {
    pub(crate) fn new(mirror: &Mirror, target_topic: &str) -> Self {
        Self {
            mirror: mirror.id.to_string(),
            source: mirror.source.to_string(),
            target: mirror.target.to_string(),
            topic: target_topic.to_owned(),
        }
    }

    fn of_topic(&self) -> [(&'static str, String); 4] {
        let Self { mirror, source, target, topic } = self.clone();
        [("mirror", mirror), ("source", source), ("target", target), ("topic", topic)]
    }

    fn of_partition(&self, partition: i32) -> [(&'static str, String); 5] {
        let [mirror, source, target, topic] = self.of_topic();
        [mirror, source, target, topic, ("partition", partition.to_string())]
    }
}

/// The series of one partition.
pub(crate) struct PartitionMetrics {
    records: Counter,
    bytes: Counter,
    latency: Series,
    age: Series,
    /// Already counted.
    counted: (u64, u64),
}

impl PartitionMetrics {
    pub(crate) fn new(labels: &Labels, partition: i32) -> Self {
        let of = labels.of_partition(partition);
        Self {
            records: counter!(RECORDS, &of),
            bytes: counter!(BYTES, &of),
            latency: Series::new("replication_latency", LATENCY, labels, &of),
            age: Series::new("record_age", AGE, labels, &of),
            counted: (0, 0),
        }
    }

    /// `records`, `bytes`: since the engine's start.
    pub(crate) fn show(&mut self, (records, bytes): (u64, u64), ages: Ages, now: Instant) {
        self.records.increment(records.saturating_sub(self.counted.0));
        self.bytes.increment(bytes.saturating_sub(self.counted.1));
        self.counted = (records, bytes);
        self.latency.show(ages.acknowledged, now);
        self.age.show(ages.fetched, now);
    }
}

impl Drop for PartitionMetrics {
    /// The partition is copied elsewhere, or not at all.
    fn drop(&mut self) {
        [&self.latency, &self.age].iter().for_each(|series| series.extremes(None));
    }
}

/// The lag of a range and its partitions. What isn't known is NaN here and has no sample in `/metrics`.
pub(crate) struct LagMetrics {
    labels: Labels,
    range: Gauge,
    partitions: BTreeMap<i32, [Gauge; 3]>,
}

impl LagMetrics {
    pub(crate) fn new(labels: Labels, block: u32) -> Self {
        let of = [
            ("mirror", labels.mirror.clone()),
            ("topic", labels.topic.clone()),
            ("block", block.to_string()),
        ];
        Self { range: gauge!(LANE_LAG_RECORDS, &of), labels, partitions: BTreeMap::new() }
    }

    /// `newest`: timestamp of the newest copied record by partition, milliseconds since 1970.
    pub(crate) fn show<'a>(
        &mut self,
        statuses: impl Iterator<Item = &'a PartitionStatus>,
        newest: &BTreeMap<i32, i64>,
    ) {
        let now = crate::progress::millis(SystemTime::now());
        let mut sum = None;
        for status in statuses {
            let labels = &self.labels;
            let gauges = self.partitions.entry(status.partition).or_insert_with(|| {
                let of = labels.of_partition(status.partition);
                [LAG_RECORDS, LAG_BYTES, LAG_SECONDS].map(|name| gauge!(name, &of))
            });
            let Some(lag) = status.lag_records else {
                gauges.iter().for_each(|gauge| gauge.set(f64::NAN));
                continue;
            };
            *sum.get_or_insert(0) += lag;
            let lag = lag as f64;
            let mean = match (status.records, status.bytes) {
                (0, _) => None,
                (records, bytes) => Some(bytes as f64 / records as f64),
            };
            let age = newest.get(&status.partition).map(|at| now.saturating_sub(*at).max(0) as f64 / 1000.0);
            let known = |of: Option<f64>| if lag > 0.0 { of.unwrap_or(f64::NAN) } else { 0.0 };
            let values = [lag, known(mean.map(|mean| lag * mean)), known(age)];
            gauges.iter().zip(values).for_each(|(gauge, value)| gauge.set(value));
        }
        self.range.set(sum.map_or(f64::NAN, |sum| sum as f64));
    }
}

impl Drop for LagMetrics {
    /// The range is somewhere else.
    fn drop(&mut self) {
        self.range.set(f64::NAN);
        self.partitions.values().flatten().for_each(|gauge| gauge.set(f64::NAN));
    }
}

/// Sum, count and extremes of one partition, and its share in the topic's distribution.
struct Series {
    /// Only grows; a gauge because counters count whole numbers.
    sum: Gauge,
    count: Counter,
    min: Gauge,
    max: Gauge,
    histogram: Histogram,
    /// Beginning, minimum and maximum of each slice.
    window: VecDeque<(Instant, f64, f64)>,
}

impl Series {
    fn new(
        name: &str,
        distribution: &'static str,
        labels: &Labels,
        of: &[(&'static str, String); 5],
    ) -> Self {
        let named = |part: &str| format!("twinlog_partition_{name}_seconds_{part}");
        Self {
            sum: gauge!(named("sum"), of),
            count: counter!(named("count"), of),
            min: gauge!(named("min"), of),
            max: gauge!(named("max"), of),
            histogram: histogram!(distribution, &labels.of_topic()),
            window: VecDeque::new(),
        }
    }

    fn show(&mut self, spread: Spread, now: Instant) {
        self.sum.increment(spread.sum);
        self.count.increment(spread.records);
        spread.samples.iter().for_each(|seconds| self.histogram.record(*seconds));
        if self.window.back().is_none_or(|(start, ..)| now.duration_since(*start) >= SLICE) {
            self.window.push_back((now, f64::INFINITY, f64::NEG_INFINITY));
        }
        while self.window.len() > 2 {
            self.window.pop_front();
        }
        if let Some((_, min, max)) = self.window.back_mut().filter(|_| spread.records > 0) {
            (*min, *max) = (min.min(spread.min), max.max(spread.max));
        }
        let fold = |(min, max): (f64, f64), (_, a, b): &(Instant, f64, f64)| (min.min(*a), max.max(*b));
        let all = self.window.iter().fold((f64::INFINITY, f64::NEG_INFINITY), fold);
        self.extremes(Some(all).filter(|(min, max)| min <= max));
    }

    fn extremes(&self, values: Option<(f64, f64)>) {
        let (min, max) = values.unwrap_or((f64::NAN, f64::NAN));
        self.min.set(min);
        self.max.set(max);
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;
    use twinlog_proto::telemetry::without_unknown;

    use super::*;
    use crate::status::State;

    fn value(text: &str, name: &str) -> f64 {
        let line =
            text.lines().find(|l| l.starts_with(&format!("{name}{{"))).unwrap_or_else(|| panic!("{text}"));
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    }

    /// S14, W14: all that MM2's MBean of a partition has, and the lag that it lacks, under the same tags.
    #[test]
    fn s14_a_partition_shows_what_mm2_shows_and_its_lag() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            let labels = Labels {
                mirror: "m".into(),
                source: "a".into(),
                target: "b".into(),
                topic: "a.orders".into(),
            };
            let mut metrics = PartitionMetrics::new(&labels, 3);
            let mut ages = Ages::default();
            ages.acknowledged.add(0.5, 9);
            ages.acknowledged.add(2.5, 1);
            ages.fetched.add(0.25, 10);
            let mut lag = LagMetrics::new(labels.clone(), 0);
            let status = PartitionStatus {
                lag_records: Some(4),
                records: 10,
                bytes: 1_000,
                ..PartitionStatus::new(3, State::Active)
            };
            let now = Instant::now();
            metrics.show((10, 1_000), ages, now);
            lag.show(std::iter::once(&status), &BTreeMap::from([(3, 0)]));
            let text = handle.render();
            for tag in [r#"source="a""#, r#"target="b""#, r#"topic="a.orders""#, r#"partition="3""#] {
                let line = text.lines().find(|l| l.starts_with(RECORDS)).unwrap();
                assert!(line.contains(tag), "{line}");
            }
            let all = [
                (RECORDS, 10.0),
                (BYTES, 1_000.0),
                (LAG_RECORDS, 4.0),
                (LAG_BYTES, 400.0),
                ("twinlog_partition_replication_latency_seconds_sum", 7.0),
                ("twinlog_partition_replication_latency_seconds_count", 10.0),
                ("twinlog_partition_replication_latency_seconds_min", 0.5),
                ("twinlog_partition_replication_latency_seconds_max", 2.5),
                ("twinlog_partition_record_age_seconds_sum", 2.5),
                ("twinlog_partition_record_age_seconds_max", 0.25),
            ];
            all.iter().for_each(|(name, expected)| assert_eq!(value(&text, name), *expected, "{name}"));
            let series = text.lines().filter(|l| l.contains("partition=")).count();
            assert_eq!(series, 13, "as many as MM2 has, whatever is copied");

            assert!(value(&text, LAG_SECONDS) > 1e9, "since 1970");
            // Two slices later nothing is left of the extremes; what isn't known, or is elsewhere, has no lag.
            for slices in [1, 2, 3] {
                metrics.show((10, 1_000), Ages::default(), now + SLICE * slices);
            }
            assert!(value(&handle.render(), "twinlog_partition_record_age_seconds_max").is_nan());
            let unknown = PartitionStatus { lag_records: None, ..status.clone() };
            lag.show(std::iter::once(&unknown), &BTreeMap::new());
            let known = |text: &str| {
                text.lines().filter(|line| line.contains("_lag_")).any(|line| !line.starts_with('#'))
            };
            assert!(!known(&without_unknown(&handle.render())));
            lag.show(std::iter::once(&status), &BTreeMap::new());
            assert!(known(&without_unknown(&handle.render())));
            drop((metrics, lag));
            assert!(!known(&without_unknown(&handle.render())));
        });
    }
}
