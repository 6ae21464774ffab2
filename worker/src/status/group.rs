//! How a consumer group's offsets get to the target, and back.

use std::time::SystemTime;

/// A group of a checkpoint task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStatus {
    pub group: String,
    pub partitions: usize,
    /// Those whose offset could not be translated yet.
    pub partitions_waiting: usize,
    /// Those in which the group is ahead of the copy.
    pub partitions_at_copy_end: usize,
    pub state: ForthState,
    /// A sentence; empty where there is nothing to say.
    pub message: String,
    /// Where its offsets are brought back and it has some on the target.
    pub to_source: Option<GroupToSource>,
    /// When its offsets were read on the source, where that isn't said once for all groups that are in step.
    pub sync_time: Option<SystemTime>,
}

impl GroupStatus {
    /// Of a group none of whose offsets is translated.
    pub(crate) fn new(group: String, state: ForthState, message: String) -> Self {
        Self {
            group,
            partitions: 0,
            partitions_waiting: 0,
            partitions_at_copy_end: 0,
            state,
            message,
            to_source: None,
            sync_time: None,
        }
    }
}

/// How a group's offsets in copies on the target get back to the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupToSource {
    pub partitions: usize,
    pub partitions_waiting: usize,
    pub state: BackState,
    /// A sentence; empty where there is nothing to say.
    pub message: String,
}

/// What became of a group's offsets on their way to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForthState {
    Synced,
    /// The group is ahead of the copy.
    AtCopyEnd,
    ActiveOnTarget,
    AheadOnTarget,
    NotSynced,
    Waiting,
    OnlyOnTarget,
}

impl ForthState {
    /// As the API names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "SYNCED",
            Self::AtCopyEnd => "AT_COPY_END",
            Self::ActiveOnTarget => "ACTIVE_ON_TARGET",
            Self::AheadOnTarget => "AHEAD_ON_TARGET",
            Self::NotSynced => "NOT_SYNCED",
            Self::Waiting => "WAITING",
            Self::OnlyOnTarget => "ONLY_ON_TARGET",
        }
    }
}

/// What became of a group's offsets on their way back to the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackState {
    Synced,
    ActiveOnSource,
    AheadOnSource,
    /// It was further there before.
    SetBackOnSource,
    NotSynced,
    Waiting,
}
