//! How one partition of a range is doing.

use twinlog_proto::id::{SourceOffset, TargetOffset};
use twinlog_proto::lag::{self, Ends};

use super::State;
use crate::cause::Cause;
use crate::progress::Gap;

/// What isn't known is `None`, never 0.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionStatus {
    pub partition: i32,
    pub state: State,
    pub cause: Option<Cause>,
    /// Next to copy; everything below is durably on the target or a recorded gap.
    pub position: Option<SourceOffset>,
    /// The first that is not rightly on the target, where that isn't `position`.
    pub missing_from: Option<SourceOffset>,
    /// What a `read_committed` reader of the source gets to.
    pub source_end: Option<SourceOffset>,
    /// Next on the target; `None` also where copies lie in several partitions.
    pub target_end: Option<TargetOffset>,
    /// How the source's partition ended when that was last seen.
    pub ends: Option<Ends>,
    pub lag_records: Option<i64>,
    /// The source doesn't answer: the lag may be more by now.
    pub lag_at_least: bool,
    pub records_per_second: f64,
    pub bytes_per_second: f64,
    pub records: i64,
    pub bytes: i64,
    pub latency_p50_ms: Option<f64>,
    pub latency_p99_ms: Option<f64>,
    pub record_age_ms: Option<i64>,
    pub gaps: Vec<Gap>,
}

impl PartitionStatus {
    /// Of a partition that nothing is known of yet.
    pub(crate) fn new(partition: i32, state: State) -> Self {
        Self {
            partition,
            state,
            cause: None,
            position: None,
            missing_from: None,
            source_end: None,
            target_end: None,
            ends: None,
            lag_records: None,
            lag_at_least: false,
            records_per_second: 0.0,
            bytes_per_second: 0.0,
            records: 0,
            bytes: 0,
            latency_p50_ms: None,
            latency_p99_ms: None,
            record_age_ms: None,
            gaps: Vec::new(),
        }
    }

    /// Whether it says nothing new, but for the time at which the source was seen.
    pub(crate) fn repeats(&self, before: &Self) -> bool {
        let offsets = |status: &Self| status.ends.map(|ends| (ends.high_watermark, ends.last_stable));
        offsets(self) == offsets(before) && Self { ends: before.ends, ..self.clone() } == *before
    }

    /// Enters ends and the lag that follows from them. `answers`: they are the present ones, because the source answers.
    pub(crate) fn enter(&mut self, ends: Option<Ends>, answers: bool) {
        self.ends = ends;
        self.lag_records = lag::lag(self.missing_from.or(self.position).map(|from| from.0), ends, answers);
        self.lag_at_least = !answers;
    }
}
