//! How a mirror's source topics end, and what of them is on the target.

use std::time::SystemTime;

use twinlog_proto::id::{Epoch, SourceOffset, TargetOffset};
use twinlog_proto::lag::{self, Ends};

/// Of all topics that the mirror selects, also those that nothing copies.
#[derive(Debug, Clone)]
pub struct SourceEnds {
    /// Of the survey that looked.
    pub epoch: Epoch,
    pub topics: Vec<TopicEnds>,
    /// When the source last answered; `None`: it hasn't yet.
    pub contact: Option<SystemTime>,
    /// How often it was looked at where the target's logs end.
    pub target_looks: u64,
}

#[derive(Debug, Clone)]
pub struct TopicEnds {
    pub source_topic: String,
    pub target_topic: String,
    pub partitions: Vec<PartitionEnds>,
}

/// What isn't known is `None`, never 0.
#[derive(Debug, Clone, Default)]
pub struct PartitionEnds {
    pub partition: i32,
    /// Everything below is on the target, says what is kept there.
    pub position: Option<SourceOffset>,
    /// The first that is not rightly on the target, where that isn't `position`.
    pub missing_from: Option<SourceOffset>,
    /// The first that exists.
    pub log_start: Option<SourceOffset>,
    pub ends: Option<Ends>,
    /// `ends` are the present ones: the source has answered.
    pub answers: bool,
    /// Where the copy ends, says what is kept on the target ...
    pub target_end: Option<TargetOffset>,
    /// ... and where its log ended in the last look.
    pub target_log_end: Option<TargetOffset>,
}

impl PartitionEnds {
    pub(crate) fn lag(&self) -> Option<i64> {
        lag::lag(self.missing_from.or(self.position).map(|from| from.0), self.ends, self.answers)
    }
}
