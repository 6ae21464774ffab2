//! How tasks, partitions and groups are doing, in the worker's own words; the session says them to the controller.

mod group;
mod partition;

pub use group::{BackState, ForthState, GroupStatus, GroupToSource};
pub use partition::PartitionStatus;

/// Of a task, a range or a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has not begun yet.
    Pending,
    Active,
    /// Works in part.
    Degraded,
    /// For something outside that is expected to heal.
    Waiting,
    /// Nothing happens until someone acts.
    Stopped,
}

impl State {
    /// As the API names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Active => "ACTIVE",
            Self::Degraded => "DEGRADED",
            Self::Waiting => "WAITING",
            Self::Stopped => "STOPPED",
        }
    }
}
