//! What is asked of the catalog: changes of clusters and mirrors, with their ids parsed. The edge makes them of requests.

use twinlog_proto::id::{ClusterId, MirrorId};
use twinlog_proto::v1;

/// A new one.
#[derive(Debug, Clone)]
pub struct Creation<I, T> {
    pub id: I,
    pub resource: T,
    /// A UUID, or empty.
    pub request_id: String,
    /// Nothing is written.
    pub validate_only: bool,
}

pub type ClusterCreation = Creation<ClusterId, v1::Cluster>;
pub type MirrorCreation = Creation<MirrorId, v1::Mirror>;

/// Another content.
#[derive(Debug, Clone)]
pub struct Update<I, T> {
    pub id: I,
    /// What it is to be, as far as the paths go. With the etag that was read, or none.
    pub given: T,
    /// Which fields change; none: those that are given.
    pub paths: Vec<String>,
    /// A UUID, or empty.
    pub request_id: String,
    /// Nothing is written.
    pub validate_only: bool,
}

pub type ClusterUpdate = Update<ClusterId, v1::Cluster>;
pub type MirrorUpdate = Update<MirrorId, v1::Mirror>;

/// Its end.
#[derive(Debug, Clone)]
pub struct Deletion<I> {
    pub id: I,
    /// As it was read; empty: whatever it is.
    pub etag: String,
    /// A UUID, or empty.
    pub request_id: String,
}

/// A mirror is to run, or to pause.
#[derive(Debug, Clone)]
pub struct Turn {
    pub id: MirrorId,
    pub to: v1::DesiredState,
    /// What pauses it, where that is no person.
    pub by: String,
    /// As it was read; empty: whatever it is.
    pub etag: String,
    /// A UUID, or empty.
    pub request_id: String,
}
