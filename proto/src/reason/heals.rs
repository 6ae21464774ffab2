//! Whether waiting helps: the one answer that lanes, tasks and the status of a whole give.

use super::Reason;

impl Reason {
    /// Whether what this is the reason of may be over by waiting alone, with nobody changing a setting, a permission, a topic or a
    /// process of Twinlog's. What then still stands there waits; all else has stopped until someone acts.
    pub fn heals(self) -> bool {
        matches!(
            self,
            Reason::WORKER_NOT_BACK
                | Reason::WRITE_CONFLICT
                | Reason::NO_LEADER
                | Reason::NO_WORKER
                | Reason::STORE_UNAVAILABLE
                | Reason::SHUTTING_DOWN
                | Reason::QUERY_TIMEOUT
                | Reason::WATCH_TOO_SLOW
                | Reason::CLUSTER_UNREACHABLE
                | Reason::KAFKA_ERROR
                | Reason::FENCED
                | Reason::MEMORY_LIMIT
                | Reason::DESCRIPTORS_LIMIT
                | Reason::THREADS_LIMIT
                | Reason::THROTTLED
                | Reason::HELD_BY_OPEN_TRANSACTION
                | Reason::WAITING_FOR_CLUSTER
                | Reason::TRANSACTIONS_UNAVAILABLE
                | Reason::NO_CAPACITY
                | Reason::NOT_SURVEYED
                | Reason::MM2_RUNNING
                | Reason::START_GROUP_ACTIVE
                | Reason::START_GROUP_NO_OFFSETS
                | Reason::STARTING
                | Reason::STALE_TERM
                | Reason::STALE_GENERATION
                | Reason::STALE_EPOCH
                | Reason::NOT_YET_MIRRORED
                | Reason::NO_COMMITTED_OFFSET
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEALS: &[&str] = &[
        "WORKER_NOT_BACK",
        "WRITE_CONFLICT",
        "NO_LEADER",
        "NO_WORKER",
        "STORE_UNAVAILABLE",
        "SHUTTING_DOWN",
        "QUERY_TIMEOUT",
        "WATCH_TOO_SLOW",
        "CLUSTER_UNREACHABLE",
        "KAFKA_ERROR",
        "FENCED",
        "MEMORY_LIMIT",
        "DESCRIPTORS_LIMIT",
        "THREADS_LIMIT",
        "THROTTLED",
        "HELD_BY_OPEN_TRANSACTION",
        "WAITING_FOR_CLUSTER",
        "TRANSACTIONS_UNAVAILABLE",
        "NO_CAPACITY",
        "NOT_SURVEYED",
        "MM2_RUNNING",
        "START_GROUP_ACTIVE",
        "START_GROUP_NO_OFFSETS",
        "STARTING",
        "STALE_TERM",
        "STALE_GENERATION",
        "STALE_EPOCH",
        "NOT_YET_MIRRORED",
        "NO_COMMITTED_OFFSET",
    ];
    const STAYS: &[&str] = &[
        "INVALID_FIELD",
        "INVALID_PATTERN",
        "UNKNOWN_FIELD",
        "INVALID_PAGE_TOKEN",
        "CLUSTER_NOT_FOUND",
        "MIRROR_NOT_FOUND",
        "WORKER_NOT_FOUND",
        "WORKER_ID_IN_USE",
        "ALREADY_EXISTS",
        "ETAG_MISMATCH",
        "IMMUTABLE_FIELD",
        "CLUSTER_IN_USE",
        "SOURCE_IS_TARGET",
        "TARGET_OVERLAP",
        "LITERAL_SECRET",
        "CREDENTIALS_REQUIRED",
        "REQUEST_ID_REUSED",
        "REVISION_COMPACTED",
        "REVISION_UNKNOWN",
        "TLS_REQUIRED",
        "NOT_ALLOWED",
        "NOT_A_REPLICA",
        "QUERY_FAILED",
        "TOO_MANY",
        "INTERNAL",
        "TLS_FAILED",
        "AUTHENTICATION_FAILED",
        "MISSING_PERMISSION",
        "SECRET_UNRESOLVED",
        "INVALID_PROPERTY",
        "UNSUPPORTED_VERSION",
        "TOPIC_NOT_FOUND",
        "TARGET_HAS_FEWER_PARTITIONS",
        "TARGET_TOPIC_MISSING",
        "TOPIC_CREATION_FAILED",
        "NAME_COLLISION",
        "SOURCE_OFFSETS_LOST",
        "SOURCE_TRUNCATED",
        "SOURCE_RECORD_UNREADABLE",
        "SOURCE_TOPIC_RECREATED",
        "SOURCE_TOPIC_DELETED",
        "TARGET_TRUNCATED",
        "TARGET_TOPIC_RECREATED",
        "TARGET_FOREIGN_WRITES",
        "TARGET_NOT_EMPTY",
        "PROGRESS_LOST",
        "SOURCE_CLUSTER_CHANGED",
        "RECORD_TOO_LARGE",
        "RECORD_REFUSED",
        "TIMESTAMPS_REPLACED",
        "NO_ELIGIBLE_WORKER",
        "PAUSED",
        "MIRROR_NOT_PAUSED",
        "CONFIG_SYNC_FAILED",
        "ACL_SYNC_FAILED",
        "REPORT_DOUBTED",
        "NOT_MIRRORED",
        "BEFORE_MIRROR_START",
        "NOT_A_COPY",
        "PARTITIONED_BY_KEY",
        "LOOP",
        "PARTITION_MISMATCH",
        "SAME_CLUSTER",
        "NO_TOPIC_MATCHES",
        "CLUSTER_ID_SHARED",
    ];

    /// Every reason, by name. What waits for another's end (an owner, a group, MirrorMaker, memory that others use) heals by that; TLS,
    /// logins and permissions don't get right by themselves.
    #[test]
    fn what_heals_is_this_and_nothing_else() {
        let names = |heals: bool| -> Vec<&str> {
            Reason::ALL
                .iter()
                .filter(|reason| reason.heals() == heals)
                .map(|reason| reason.as_str())
                .collect()
        };
        assert_eq!(names(true), HEALS);
        assert_eq!(names(false), STAYS);
        assert_eq!(HEALS.len() + STAYS.len(), Reason::ALL.len());
    }
}
