//! How tasks, partitions and groups are doing, as messages.

use twinlog_proto::v1;

use crate::cause::Cause;
use crate::progress::{Engine, Gap, GapKind, Mode};
use crate::status::{BackState, ForthState, GroupStatus, GroupToSource, PartitionStatus, State};

pub(super) fn state(state: State) -> v1::State {
    match state {
        State::Pending => v1::State::Pending,
        State::Active => v1::State::Active,
        State::Degraded => v1::State::Degraded,
        State::Waiting => v1::State::Waiting,
        State::Stopped => v1::State::Stopped,
    }
}

pub(super) fn engine(engine: Engine) -> v1::Engine {
    match engine {
        Engine::Librdkafka => v1::Engine::Librdkafka,
        Engine::Native => v1::Engine::Native,
    }
}

pub(super) fn mode(mode: Mode) -> v1::Mode {
    match mode {
        Mode::Transactions => v1::Mode::Transactions,
        Mode::Acknowledged => v1::Mode::Acknowledged,
        Mode::Fenced => v1::Mode::Fenced,
    }
}

pub(super) fn cause(cause: Cause) -> v1::Cause {
    v1::Cause {
        reason: cause.reason.as_str().to_owned(),
        message: cause.message,
        since: Some(cause.since.into()),
    }
}

pub(super) fn partition(status: PartitionStatus) -> v1::PartitionStatus {
    v1::PartitionStatus {
        partition: status.partition,
        position: status.position.map(|at| at.0),
        source_end: status.source_end.map(|at| at.0),
        target_end: status.target_end.map(|at| at.0),
        lag_records: status.lag_records,
        records_per_second: status.records_per_second,
        bytes_per_second: status.bytes_per_second,
        records: status.records,
        bytes: status.bytes,
        latency_p50_ms: status.latency_p50_ms,
        latency_p99_ms: status.latency_p99_ms,
        record_age_ms: status.record_age_ms,
        state: state(status.state).into(),
        cause: status.cause.map(cause),
        gaps: status.gaps.iter().map(gap).collect(),
        source_high_watermark: status.ends.map(|ends| ends.high_watermark),
        source_last_stable_offset: status.ends.and_then(|ends| ends.last_stable),
        source_seen_time: status.ends.map(|ends| ends.seen.into()),
        lag_at_least: status.lag_at_least,
        missing_from: status.missing_from.map(|at| at.0),
        source_log_start: None,
    }
}

fn gap(gap: &Gap) -> v1::Gap {
    let reason = match gap.kind {
        GapKind::Retention => v1::gap::Reason::Retention,
        GapKind::Truncation => v1::gap::Reason::Truncation,
        GapKind::Recreated => v1::gap::Reason::Recreated,
    };
    v1::Gap {
        first_offset: gap.first.0,
        end_offset: gap.end.0,
        time: Some(gap.time.into()),
        reason: reason.into(),
    }
}

pub(super) fn group(status: &GroupStatus) -> v1::GroupStatus {
    use v1::group_status::State as Wire;
    let state = match status.state {
        ForthState::Synced => Wire::Synced,
        ForthState::AtCopyEnd => Wire::AtCopyEnd,
        ForthState::ActiveOnTarget => Wire::ActiveOnTarget,
        ForthState::AheadOnTarget => Wire::AheadOnTarget,
        ForthState::NotSynced => Wire::NotSynced,
        ForthState::Waiting => Wire::Waiting,
        ForthState::OnlyOnTarget => Wire::OnlyOnTarget,
    };
    v1::GroupStatus {
        group: status.group.clone(),
        partitions: count(status.partitions),
        partitions_waiting: count(status.partitions_waiting),
        message: status.message.clone(),
        to_source: status.to_source.as_ref().map(to_source),
        sync_time: status.sync_time.map(Into::into),
        partitions_at_copy_end: count(status.partitions_at_copy_end),
        state: state.into(),
    }
}

fn to_source(status: &GroupToSource) -> v1::GroupToSource {
    use v1::group_to_source::State as Wire;
    let state = match status.state {
        BackState::Synced => Wire::Synced,
        BackState::ActiveOnSource => Wire::ActiveOnSource,
        BackState::AheadOnSource => Wire::AheadOnSource,
        BackState::SetBackOnSource => Wire::SetBackOnSource,
        BackState::NotSynced => Wire::NotSynced,
        BackState::Waiting => Wire::Waiting,
    };
    v1::GroupToSource {
        partitions: count(status.partitions),
        partitions_waiting: count(status.partitions_waiting),
        message: status.message.clone(),
        state: state.into(),
    }
}

pub(super) fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Metrics say what the API says.
    #[test]
    fn states_are_called_as_in_the_api() {
        for own in [State::Pending, State::Active, State::Degraded, State::Waiting, State::Stopped] {
            assert_eq!(own.as_str(), state(own).short_name());
        }
        use ForthState::{
            ActiveOnTarget, AheadOnTarget, AtCopyEnd, NotSynced, OnlyOnTarget, Synced, Waiting,
        };
        for own in [Synced, AtCopyEnd, ActiveOnTarget, AheadOnTarget, NotSynced, Waiting, OnlyOnTarget] {
            let said = group(&GroupStatus::new("g".to_owned(), own, String::new()));
            assert_eq!(own.as_str(), said.state().short_name());
        }
    }
}
