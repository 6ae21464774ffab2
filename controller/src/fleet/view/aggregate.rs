//! Sums, and the one state that stands for many.

use twinlog_proto::lag;
use twinlog_proto::reason::Reason;
use twinlog_proto::v1::{self, State};

/// The state of a whole, from its parts: what all parts share, else DEGRADED where a part is stopped or waits, else ACTIVE
/// (a part that is about to start doesn't take the whole down), but UNKNOWN where a part is. Nothing to do is ACTIVE.
pub(super) fn combine(parts: impl Iterator<Item = State>) -> State {
    let mut parts: Vec<State> = parts.collect();
    parts.sort_unstable();
    parts.dedup();
    match parts.as_slice() {
        [] => State::Active,
        [same] => *same,
        _ if parts.iter().any(|p| matches!(p, State::Stopped | State::Waiting | State::Degraded)) => {
            State::Degraded
        }
        _ if parts.contains(&State::Unknown) => State::Unknown,
        _ if parts.contains(&State::Active) => State::Active,
        _ => State::Pending,
    }
}

/// What heals by itself is waited for.
pub(super) fn state_of(blocked: &v1::Cause) -> State {
    let reason = Reason::ALL.iter().find(|reason| reason.as_str() == blocked.reason);
    if reason.is_some_and(|reason| reason.heals()) { State::Waiting } else { State::Stopped }
}

/// Adds a cause unless it is known; what is only starting comes last.
pub(super) fn worse_cause(causes: &mut Vec<v1::Cause>, cause: &v1::Cause, limit: usize) {
    if causes.iter().any(|known| is_same(known, cause)) {
        return;
    }
    let starting = |cause: &v1::Cause| cause.reason == Reason::STARTING.as_str();
    let at =
        if starting(cause) { causes.len() } else { causes.iter().position(starting).unwrap_or(causes.len()) };
    causes.insert(at, cause.clone());
    causes.truncate(limit);
}

/// Adds what stops nothing, as far as there is room, behind everything else: a warning hides no failure, not even one that is only
/// starting.
pub(super) fn add_warnings(causes: &mut Vec<v1::Cause>, warnings: &[v1::PlanWarning], limit: usize) {
    for v1::PlanWarning { reason, message } in warnings {
        if causes.len() < limit
            && !causes.iter().any(|known| known.reason == *reason && known.message == *message)
        {
            causes.push(v1::Cause { reason: reason.clone(), message: message.clone(), since: None });
        }
    }
}

/// Whether both say the same: of a cluster that can't be used, one word is enough, whoever met it first.
fn is_same(a: &v1::Cause, b: &v1::Cause) -> bool {
    const OF_CLUSTER: [Reason; 4] = [
        Reason::CLUSTER_UNREACHABLE,
        Reason::WAITING_FOR_CLUSTER,
        Reason::AUTHENTICATION_FAILED,
        Reason::TLS_FAILED,
    ];
    if a.reason == b.reason && a.message == b.message {
        return true;
    }
    let cluster = |cause: &v1::Cause| {
        let place = cause.message.trim_start_matches("source ").trim_start_matches("target ");
        let id = place.strip_prefix("cluster ")?;
        Some(id.split([':', ' ']).next().unwrap_or_default().to_owned())
    };
    let of_cluster = |cause: &v1::Cause| OF_CLUSTER.iter().any(|reason| reason.as_str() == cause.reason);
    of_cluster(a) && of_cluster(b) && cluster(a).is_some() && cluster(a) == cluster(b)
}

/// Of two that may not be known.
fn larger(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.into_iter().chain(b).reduce(f64::max)
}

/// Adds what is known of a part.
pub(super) fn add_totals(totals: &mut v1::Totals, part: &v1::Totals) {
    lag::add_totals(totals, part);
    totals.records_per_second += part.records_per_second;
    totals.bytes_per_second += part.bytes_per_second;
    totals.records += part.records;
    totals.bytes += part.bytes;
    totals.latency_p50_ms = larger(totals.latency_p50_ms, part.latency_p50_ms);
    totals.latency_p99_ms = larger(totals.latency_p99_ms, part.latency_p99_ms);
    totals.record_age_ms = totals.record_age_ms.max(part.record_age_ms);
    totals.partitions += part.partitions;
    totals.partitions_active += part.partitions_active;
    totals.gap_records += part.gap_records;
}

/// Adds everything but the number of partitions.
pub(super) fn add_partition(totals: &mut v1::Totals, partition: &v1::PartitionStatus) {
    lag::add(totals, Some(partition));
    totals.records_per_second += partition.records_per_second;
    totals.bytes_per_second += partition.bytes_per_second;
    totals.records += partition.records;
    totals.bytes += partition.bytes;
    totals.latency_p50_ms = larger(totals.latency_p50_ms, partition.latency_p50_ms);
    totals.latency_p99_ms = larger(totals.latency_p99_ms, partition.latency_p99_ms);
    totals.record_age_ms = totals.record_age_ms.max(partition.record_age_ms);
    totals.partitions_active += i32::from(partition.state() == State::Active);
    totals.gap_records += partition.gaps.iter().map(|gap| gap.end_offset - gap.first_offset).sum::<i64>();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Failover 10: LOOP on heartbeats stood before the real cause.
    #[test]
    fn a_warning_never_hides_a_failure() {
        let cause = |reason: &str| v1::Cause { reason: reason.into(), message: "why".into(), since: None };
        let mut causes = Vec::new();
        for reason in ["STARTING", "CLUSTER_UNREACHABLE"] {
            worse_cause(&mut causes, &cause(reason), 3);
        }
        let warning = |message: &str| v1::PlanWarning { reason: "LOOP".into(), message: message.into() };
        let warnings = [warning("heartbeats"), warning("heartbeats"), warning("another")];
        add_warnings(&mut causes, &warnings, 3);
        let reasons: Vec<&str> = causes.iter().map(|cause| cause.reason.as_str()).collect();
        assert_eq!(reasons, ["CLUSTER_UNREACHABLE", "STARTING", "LOOP"]);
        assert_eq!(causes[2].message, "heartbeats");
    }

    #[test]
    fn the_state_of_a_whole() {
        use State::{Active, Degraded, Pending, Stopped, Waiting};
        let whole = |parts: &[State]| combine(parts.iter().copied());
        assert_eq!(whole(&[]), Active);
        assert_eq!(whole(&[Stopped, Stopped]), Stopped);
        assert_eq!(whole(&[Stopped, Active]), Degraded);
        assert_eq!(whole(&[Waiting, Active]), Degraded);
        assert_eq!(whole(&[Waiting, Waiting]), Waiting);
        assert_eq!(whole(&[Pending, Active]), Active);
        assert_eq!(whole(&[Pending]), Pending);
        assert_eq!(whole(&[State::Unknown, Active]), State::Unknown);
        assert_eq!(whole(&[State::Unknown, Stopped]), Degraded);
    }
}
