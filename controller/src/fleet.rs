//! Workers connected to the leading replica.

use std::time::Duration;

use twinlog_proto::id::WorkerId;
use twinlog_proto::v1;

/// A question that a worker shall answer.
#[derive(Debug, Clone)]
pub struct Question {
    pub question: v1::query::Question,
    /// Clusters that the question names.
    pub clusters: Vec<v1::Cluster>,
    /// The mirror in question; its placement decides who may answer.
    pub mirror: Option<v1::Mirror>,
    pub deadline: Duration,
}

/// An answer, never an error, and who gave it.
#[derive(Debug, Clone)]
pub struct Answered {
    pub worker: WorkerId,
    pub answer: v1::answer::Answer,
}
