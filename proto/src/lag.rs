//! Lag: everything up to the source's high watermark that is not durably on the target. It is counted here and nowhere else, for
//! every state, also where nothing runs. Pure.
//!
//! What is not known is absent, never 0. While the source doesn't answer, what was missing when its ends were last seen is a lower
//! bound; where nothing was missing then, nothing is known.

use std::time::SystemTime;

use prost_types::Timestamp;

use crate::v1::{PartitionStatus, State, Totals};

/// How a source partition ended when it was last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    pub high_watermark: i64,
    /// What a `read_committed` reader gets to; `None` where it isn't known.
    pub last_stable: Option<i64>,
    pub seen: SystemTime,
}

/// Records that are missing on the target; `None`: not known.
///
/// `missing_from` is the first source offset that is not durably there. `answers`: `ends` are the present ones, because the source
/// answers; otherwise what comes out is a lower bound.
pub fn lag(missing_from: Option<i64>, ends: Option<Ends>, answers: bool) -> Option<i64> {
    let missing = ends?.high_watermark.saturating_sub(missing_from?).max(0);
    (answers || missing > 0).then_some(missing)
}

/// Of a partition that nothing is known of yet.
pub fn blank(partition: i32, state: State) -> PartitionStatus {
    PartitionStatus { partition, state: state.into(), ..Default::default() }
}

/// The ends that a status holds.
pub fn ends_of(status: &PartitionStatus) -> Option<Ends> {
    Some(Ends {
        high_watermark: status.source_high_watermark?,
        last_stable: status.source_last_stable_offset,
        seen: time(status.source_seen_time?)?,
    })
}

/// Enters ends and the lag that follows from them. `answers` as for `lag`.
pub fn enter(status: &mut PartitionStatus, ends: Option<Ends>, answers: bool) {
    status.source_high_watermark = ends.map(|ends| ends.high_watermark);
    status.source_last_stable_offset = ends.and_then(|ends| ends.last_stable);
    status.source_seen_time = ends.map(|ends| Timestamp::from(ends.seen));
    status.lag_records = lag(status.missing_from.or(status.position), ends, answers);
    status.lag_at_least = !answers;
}

/// Fills in what a status lacks, or has only from an earlier time, from what else is known of the same partition.
pub fn complete(status: &mut PartitionStatus, known: &PartitionStatus) {
    if status.lag_records.is_some() && !status.lag_at_least {
        return;
    }
    if status.position.is_none() && status.missing_from.is_none() {
        (status.position, status.missing_from) = (known.position, known.missing_from);
    }
    status.target_end = status.target_end.or(known.target_end);
    if status.gaps.is_empty() {
        status.gaps.clone_from(&known.gaps);
    }
    let (own, other) = (ends_of(status), ends_of(known));
    match other.filter(|other| own.is_none_or(|own| other.seen > own.seen)) {
        Some(newer) => enter(status, Some(newer), !known.lag_at_least),
        None => enter(status, own, !status.lag_at_least && own.is_some()),
    }
}

/// Adds the lag of a partition; `None`: nothing at all is known of it. `settle` comes last.
pub fn add(totals: &mut Totals, partition: Option<&PartitionStatus>) {
    match partition.and_then(|partition| partition.lag_records) {
        Some(lag) => *totals.lag_records.get_or_insert(0) += lag,
        None => totals.partitions_lag_unknown += 1,
    }
    totals.lag_at_least |= partition.is_none_or(|p| p.lag_at_least || p.lag_records.is_none());
    let seen = partition.and_then(|partition| partition.source_seen_time);
    totals.source_seen_time = earlier(totals.source_seen_time, seen);
}

/// Adds the lag of a part that was settled.
pub fn add_totals(totals: &mut Totals, part: &Totals) {
    if let Some(lag) = part.lag_records {
        *totals.lag_records.get_or_insert(0) += lag;
    }
    totals.partitions_lag_unknown += part.partitions_lag_unknown;
    totals.lag_at_least |= part.lag_at_least;
    totals.source_seen_time = earlier(totals.source_seen_time, part.source_seen_time);
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) if (b.seconds, b.nanos) < (a.seconds, a.nanos) => Some(b),
        (a, b) => a.or(b),
    }
}

/// After everything was added. `surveyed`: it is known which partitions there are.
pub fn settle(totals: &mut Totals, surveyed: bool) {
    if totals.lag_records.is_none() && totals.partitions_lag_unknown == 0 && surveyed {
        totals.lag_records = Some(0);
    }
    totals.lag_at_least |= !surveyed;
    if totals.lag_at_least && totals.lag_records == Some(0) {
        totals.lag_records = None;
    }
}

fn time(at: Timestamp) -> Option<SystemTime> {
    SystemTime::try_from(at).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    fn ends(high_watermark: i64, second: u64) -> Option<Ends> {
        Some(Ends { high_watermark, last_stable: None, seen: at(second) })
    }

    #[test]
    fn what_is_not_known_is_never_0() {
        let all = [
            (Some(10), ends(41, 1), true, Some(31)),
            (Some(41), ends(41, 1), true, Some(0)),
            // A poll may be older than the position.
            (Some(50), ends(41, 1), true, Some(0)),
            (Some(10), ends(41, 1), false, Some(31)),
            (Some(41), ends(41, 1), false, None),
            (None, ends(41, 1), true, None),
            (Some(10), None, true, None),
            (None, None, false, None),
        ];
        for (from, ends, answers, expected) in all {
            assert_eq!(lag(from, ends, answers), expected, "{from:?} {ends:?} {answers}");
        }
    }

    fn status(position: Option<i64>, ends: Option<Ends>, answers: bool) -> PartitionStatus {
        let mut status = PartitionStatus { position, ..Default::default() };
        enter(&mut status, ends, answers);
        status
    }

    #[test]
    fn a_status_is_completed_from_what_is_newer() {
        // A lane that could not read its progress, and a survey that asked the source a moment ago.
        let mut lane = status(None, None, false);
        complete(&mut lane, &status(Some(10), ends(40, 5), true));
        assert_eq!((lane.lag_records, lane.lag_at_least), (Some(30), false));
        // A lane that has the position and an end from its progress; the survey knows an older end.
        let mut lane = status(Some(20), ends(40, 9), false);
        complete(&mut lane, &status(Some(10), ends(30, 5), false));
        assert_eq!((lane.lag_records, lane.lag_at_least), (Some(20), true));
        // The source answers the survey's worker and not the lane's.
        complete(&mut lane, &status(None, ends(60, 10), true));
        assert_eq!((lane.lag_records, lane.lag_at_least), (Some(40), false));
        // Nothing copied counts: what is there was made anew.
        let mut halted = PartitionStatus { missing_from: Some(3), ..status(Some(300), ends(50, 1), true) };
        enter(&mut halted, ends(50, 1), false);
        complete(&mut halted, &status(Some(300), ends(53, 2), true));
        assert_eq!(halted.lag_records, Some(50));
    }

    fn sum(parts: &[Option<PartitionStatus>], surveyed: bool) -> Totals {
        let mut totals = Totals::default();
        parts.iter().for_each(|part| add(&mut totals, part.as_ref()));
        settle(&mut totals, surveyed);
        totals
    }

    #[test]
    fn sums_say_what_they_lack() {
        let known = || Some(status(Some(10), ends(40, 5), true));
        let done = || Some(status(Some(40), ends(40, 5), true));
        let stale = || Some(status(Some(10), ends(40, 2), false));
        let shown = |totals: Totals| (totals.lag_records, totals.lag_at_least, totals.partitions_lag_unknown);
        assert_eq!(shown(sum(&[known(), done()], true)), (Some(30), false, 0));
        assert_eq!(shown(sum(&[known(), None], true)), (Some(30), true, 1));
        assert_eq!(shown(sum(&[done(), None], true)), (None, true, 1));
        assert_eq!(shown(sum(&[None], true)), (None, true, 1));
        assert_eq!(shown(sum(&[], true)), (Some(0), false, 0));
        assert_eq!(shown(sum(&[], false)), (None, true, 0));
        let stale = sum(&[known(), stale()], true);
        assert_eq!(shown(stale), (Some(60), true, 0));
        assert_eq!(stale.source_seen_time, Some(at(2).into()));
    }
}
