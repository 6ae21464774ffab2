//! What is asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use twinlog_proto::model::{Cluster, Mirror};

use crate::cause::Cause;
use crate::give_back::GiveBack;
use crate::kafka::CommittedOffset;

/// A question, and who waits for the answer how long.
#[derive(Debug)]
pub struct Query {
    pub id: String,
    /// `None` where the asker names none.
    pub deadline: Option<Duration>,
    /// W3C trace context of the call that asks.
    pub trace_context: HashMap<String, String>,
    pub question: Question,
}

/// With each, what it is about, or why that can't be used.
#[derive(Debug)]
pub enum Question {
    TestCluster(Result<Cluster, Cause>),
    ListTopics {
        cluster: Result<Cluster, Cause>,
        patterns: Vec<String>,
    },
    ListGroups {
        cluster: Result<Cluster, Cause>,
        patterns: Vec<String>,
    },
    /// `known`: the asker knows an answer of its own, where a cluster can't be asked soon.
    Plan {
        flow: Result<Flow, Cause>,
        known: bool,
    },
    ToTarget {
        flow: Result<Flow, Cause>,
        positions: Positions,
    },
    ToSource {
        flow: Result<Flow, Cause>,
        positions: Positions,
    },
    GiveBack {
        flow: Result<Flow, Cause>,
        how: GiveBack,
    },
    /// The asker is newer.
    Unknown,
}

/// A mirror, and its clusters as the mirror's own properties make them.
#[derive(Debug, Clone)]
pub struct Flow {
    pub mirror: Arc<Mirror>,
    pub source: Cluster,
    pub target: Cluster,
}

/// Where a consumer is: a group's committed offsets, or, where no group is named, these.
#[derive(Debug)]
pub struct Positions {
    pub group: String,
    pub offsets: Vec<CommittedOffset>,
}

impl Question {
    /// Its name in metrics and spans.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::TestCluster(_) => "test_cluster",
            Self::ListTopics { .. } => "list_topics",
            Self::ListGroups { .. } => "list_groups",
            Self::Plan { .. } => "plan",
            Self::ToTarget { .. } => "translate",
            Self::ToSource { .. } => "translate_to_source",
            Self::GiveBack { .. } => "give_back",
            Self::Unknown => "unknown",
        }
    }
}
