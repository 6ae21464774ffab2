//! What workers report, checked before anybody counts on it: a worker may be broken, too old, or not one of ours.
//!
//! A number that can't be is not clamped into one that could: the partition is shown as doubted, with the number, and nothing of
//! it is added up.

use twinlog_proto::id::WorkerId;
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::reason::Reason;
use twinlog_proto::v1::{self, State};

/// No log is this long: offsets, records and bytes beyond are no measurement.
const MAX_COUNT: i64 = 1 << 53;
/// Bytes, or records, per second of one partition; far above what a machine can.
const MAX_RATE: f64 = 1e12;
/// A thousand years.
const MAX_MILLIS: f64 = 3.2e13;
/// Partitions of one range: no block is larger.
const MAX_PARTITIONS: usize = 256;

/// Makes a report one that can be counted on.
pub(super) fn check(worker: &WorkerId, report: &mut internal::TaskReport) {
    if v1::State::try_from(report.state).is_err() {
        report.set_state(State::Degraded);
        report.cause = Some(doubt(worker, "a state that doesn't exist"));
    }
    if report.task.starts_with("replicate/") {
        report.partitions.truncate(MAX_PARTITIONS);
    }
    doubt_some(report, |partition| {
        let what = implausible(partition)?;
        Some(doubt(worker, &format!("partition {}: {what}", partition.partition)))
    });
}

/// Of partitions that have a cause to be doubted nothing counts.
pub(super) fn doubt_some(
    report: &mut internal::TaskReport,
    doubt: impl Fn(&v1::PartitionStatus) -> Option<v1::Cause>,
) {
    let mut doubted = None;
    for partition in &mut report.partitions {
        if let Some(cause) = doubt(partition) {
            *partition = unknown(partition.partition, cause.clone());
            doubted.get_or_insert(cause);
        }
    }
    // The range is no better than its partitions.
    if let Some(cause) = doubted.filter(|_| report.state() == State::Active) {
        report.set_state(State::Degraded);
        report.cause = Some(cause);
    }
}

/// Leaves out of a survey's report what can't be.
pub(super) fn check_ends(report: &mut internal::SourceEndsReport) {
    for topic in &mut report.topics {
        let sound: Vec<bool> = topic.partitions.iter().map(|p| implausible(p).is_none()).collect();
        let (mut keeps, mut keeps_end) = (sound.iter(), sound.iter());
        topic.partitions.retain(|_| keeps.next().is_some_and(|sound| *sound));
        // They stand beside the partitions: what goes there goes here.
        topic.target_ends.retain(|_| keeps_end.next().is_some_and(|sound| *sound));
    }
}

/// What can't be, of one partition.
fn implausible(p: &v1::PartitionStatus) -> Option<String> {
    let count = |name: &str, value: i64, least: i64| {
        (!(least..=MAX_COUNT).contains(&value)).then(|| format!("{name} = {value}"))
    };
    let rate = |name: &str, value: f64, most: f64| {
        (!value.is_finite() || !(0.0..=most).contains(&value)).then(|| format!("{name} = {value}"))
    };
    count("partition", i64::from(p.partition), 0)
        .or_else(|| count("position", p.position.unwrap_or(0), 0))
        .or_else(|| count("source_end", p.source_end.unwrap_or(0), 0))
        .or_else(|| count("target_end", p.target_end.unwrap_or(0), 0))
        .or_else(|| count("lag_records", p.lag_records.unwrap_or(0), 0))
        .or_else(|| count("source_high_watermark", p.source_high_watermark.unwrap_or(0), 0))
        .or_else(|| count("missing_from", p.missing_from.unwrap_or(0), 0))
        .or_else(|| count("records", p.records, 0))
        .or_else(|| count("bytes", p.bytes, 0))
        .or_else(|| rate("records_per_second", p.records_per_second, MAX_RATE))
        .or_else(|| rate("bytes_per_second", p.bytes_per_second, MAX_RATE))
        .or_else(|| rate("latency_p50_ms", p.latency_p50_ms.unwrap_or(0.0), MAX_MILLIS))
        .or_else(|| rate("latency_p99_ms", p.latency_p99_ms.unwrap_or(0.0), MAX_MILLIS))
        .or_else(|| {
            // A record's timestamp may lie in the future.
            let bound = MAX_MILLIS as i64;
            let age = p.record_age_ms.unwrap_or(0);
            (!(-bound..=bound).contains(&age)).then(|| format!("record_age_ms = {age}"))
        })
        .or_else(|| p.gaps.iter().find_map(gap))
        .or_else(|| contradiction(p))
}

fn gap(gap: &v1::Gap) -> Option<String> {
    let sound = (0..=gap.end_offset).contains(&gap.first_offset) && gap.end_offset <= MAX_COUNT;
    (!sound).then(|| format!("a gap from {} to {}", gap.first_offset, gap.end_offset))
}

/// Numbers that can't be true together: what is said to be copied must be on the target. Only a target that is empty says so for
/// sure: one that was made anew, and is copied to again by the same lane, ends before the number of records that the lane copied.
fn contradiction(p: &v1::PartitionStatus) -> Option<String> {
    let copied = p.state() == State::Active && p.records > 0;
    (copied && p.target_end == Some(0))
        .then(|| format!("{} records copied, but the target ends at 0", p.records))
}

fn unknown(partition: i32, cause: v1::Cause) -> v1::PartitionStatus {
    v1::PartitionStatus {
        partition: partition.max(0),
        state: State::Degraded.into(),
        cause: Some(cause),
        ..v1::PartitionStatus::default()
    }
}

fn doubt(worker: &WorkerId, what: &str) -> v1::Cause {
    let message = format!(
        "worker {worker} reports what can't be ({what}): what it says of this range doesn't count; drain it (twinlog worker drain {worker}) and start another one of this version"
    );
    v1::Cause { reason: Reason::REPORT_DOUBTED.as_str().to_owned(), message, since: None }
}

/// A worker's own number of bytes.
pub(super) fn bytes(given: i64) -> i64 {
    given.clamp(0, MAX_COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> v1::PartitionStatus {
        v1::PartitionStatus {
            position: Some(90),
            source_end: Some(100),
            target_end: Some(95),
            lag_records: Some(10),
            records: 90,
            bytes: 9_000,
            records_per_second: 5.0,
            bytes_per_second: 500.0,
            record_age_ms: Some(-5),
            state: State::Active.into(),
            ..v1::PartitionStatus::default()
        }
    }

    fn checked(partition: v1::PartitionStatus) -> internal::TaskReport {
        let mut report =
            internal::TaskReport { partitions: vec![partition], ..internal::TaskReport::default() };
        report.set_state(State::Active);
        check(&WorkerId::new("w").unwrap(), &mut report);
        report
    }

    #[test]
    fn what_can_be_is_left_alone() {
        assert_eq!(checked(sound()).partitions, [sound()]);
        let nothing_known = v1::PartitionStatus { target_end: None, source_end: None, ..sound() };
        assert_eq!(checked(nothing_known.clone()).partitions, [nothing_known]);
    }

    #[test]
    fn what_can_not_be_is_doubted_with_the_number_and_counts_for_nothing() {
        type Break = (fn(&mut v1::PartitionStatus), &'static str);
        let cases: [Break; 14] = [
            (|p| p.bytes_per_second = f64::INFINITY, "bytes_per_second = inf"),
            (|p| p.records_per_second = f64::NAN, "records_per_second = NaN"),
            (|p| p.records_per_second = -1.0, "records_per_second = -1"),
            (|p| p.latency_p99_ms = Some(1e300), "latency_p99_ms"),
            (|p| p.records = 1 << 62, "records = 4611686018427387904"),
            (|p| p.records = -5, "records = -5"),
            (|p| p.bytes = i64::MIN, "bytes ="),
            (|p| p.lag_records = Some(-7), "lag_records = -7"),
            (|p| p.position = Some(i64::MAX), "position ="),
            (|p| p.source_end = Some(-2), "source_end = -2"),
            (|p| p.record_age_ms = Some(i64::MIN), "record_age_ms"),
            (|p| p.partition = -1, "partition = -1"),
            (
                |p| p.gaps = vec![v1::Gap { first_offset: 9, end_offset: 3, ..v1::Gap::default() }],
                "a gap from 9 to 3",
            ),
            (|p| p.target_end = Some(0), "90 records copied, but the target ends at 0"),
        ];
        for (spoil, says) in cases {
            let mut partition = sound();
            spoil(&mut partition);
            let report = checked(partition);
            let cause = report.cause.clone().expect("a cause");
            assert_eq!(
                (report.state(), cause.reason.as_str()),
                (State::Degraded, "REPORT_DOUBTED"),
                "{says}"
            );
            assert!(cause.message.contains(says) && cause.message.contains("worker w"), "{}", cause.message);
            let shown = &report.partitions[0];
            assert_eq!((shown.position, shown.lag_records, shown.records, shown.bytes), (None, None, 0, 0));
            assert_eq!((shown.state(), shown.bytes_per_second), (State::Degraded, 0.0));
        }
    }

    #[test]
    fn what_is_left_out_of_a_survey_takes_its_end_along() {
        let partition = |number, lag| v1::PartitionStatus { partition: number, lag_records: lag, ..sound() };
        let topic = internal::TopicEnds {
            partitions: vec![partition(0, None), partition(1, Some(-7)), partition(2, None)],
            target_ends: vec![10, 20, 30, 40],
            ..Default::default()
        };
        let mut report = internal::SourceEndsReport { topics: vec![topic], ..Default::default() };
        check_ends(&mut report);
        let left: Vec<i32> = report.topics[0].partitions.iter().map(|p| p.partition).collect();
        assert_eq!((left, report.topics[0].target_ends.as_slice()), (vec![0, 2], [10, 30].as_slice()));
    }

    #[test]
    fn states_and_numbers_of_partitions_are_bounded_too() {
        let mut report = internal::TaskReport {
            task: "replicate/m/t/0".into(),
            state: 77,
            ..internal::TaskReport::default()
        };
        report.partitions = vec![sound(); 1_000];
        check(&WorkerId::new("w").unwrap(), &mut report);
        assert_eq!((report.state(), report.partitions.len()), (State::Degraded, 256));
        assert_eq!((bytes(-1), bytes(i64::MAX), bytes(7)), (0, MAX_COUNT, 7));
    }
}
