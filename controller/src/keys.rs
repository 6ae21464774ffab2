//! Keys in the store. All of Twinlog lies under `ROOT`; an etcd namespace may come before it.

use twinlog_proto::id::{ClusterId, MirrorId, TaskName, WorkerId};

pub const ROOT: &str = "/twinlog/v1/";
pub const CLUSTERS: &str = "/twinlog/v1/clusters/";
pub const MIRRORS: &str = "/twinlog/v1/mirrors/";
pub const INVENTORY: &str = "/twinlog/v1/inventory/";
pub const GROUPS: &str = "/twinlog/v1/groups/";
pub const ASSIGNMENTS: &str = "/twinlog/v1/assignments/";
pub const DRAINS: &str = "/twinlog/v1/drains/";
/// One key, rewritten by everything that begins to use a cluster.
pub const CREATIONS: &str = "/twinlog/v1/creations";
/// One key: the last deletions that may be asked for again, see `catalog::deletions`.
pub const DELETIONS: &str = "/twinlog/v1/deletions";
/// One key: it exists while someone leads, and its create revision is the term.
pub const LEADER: &str = "/twinlog/v1/leader";
/// One key of the etcd store's own: what it adds to etcd's revisions. Lists and watches leave it out.
pub const BASE: &str = "/twinlog/v1/base";
/// One key, written by each new leader: what replicas show each other.
pub const PEER_SECRET: &str = "/twinlog/v1/peer-secret";

/// Value: `v1::Cluster`.
pub fn cluster(id: &ClusterId) -> String {
    format!("{CLUSTERS}{id}")
}

/// Value: `v1::Mirror`.
pub fn mirror(id: &MirrorId) -> String {
    format!("{MIRRORS}{id}")
}

/// Value: `internal::Inventory`, see `inventory::encode`.
pub fn inventory(id: &MirrorId) -> String {
    format!("{INVENTORY}{id}")
}

/// What was last said of a mirror's consumer groups. Value: `last_groups::Record`. It exists while nobody looks at them.
pub fn groups(id: &MirrorId) -> String {
    format!("{GROUPS}{id}")
}

/// Value: `assignment::Record`.
pub fn assignment(task: &TaskName) -> String {
    format!("{ASSIGNMENTS}{task}")
}

/// Exists while a worker is to be drained; no value.
pub fn drain(worker: &WorkerId) -> String {
    format!("{DRAINS}{worker}")
}
