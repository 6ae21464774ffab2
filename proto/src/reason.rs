//! Stable reasons: what a program may match on, in `google.rpc.ErrorInfo.reason` and in `Cause.reason`. A reason is never
//! renamed. One place turns them into gRPC statuses.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

/// `ErrorInfo.domain` of every error.
pub const DOMAIN: &str = "twinlog.dev";

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident => $code:ident,)*) => {
        /// Why a call was refused or something is not simply working.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(non_camel_case_types)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];
            /// The text that appears in the API.
            pub fn as_str(self) -> &'static str {
                match self { $(Reason::$name => stringify!($name),)* }
            }
            /// The gRPC code of an API error with this reason.
            pub fn code(self) -> Code {
                match self { $(Reason::$name => Code::$code,)* }
            }
        }
    };
}

reasons! {
    // API
    INVALID_FIELD => InvalidArgument,
    INVALID_PATTERN => InvalidArgument,
    UNKNOWN_FIELD => InvalidArgument,
    INVALID_PAGE_TOKEN => InvalidArgument,
    CLUSTER_NOT_FOUND => NotFound,
    MIRROR_NOT_FOUND => NotFound,
    WORKER_NOT_FOUND => NotFound,
    ALREADY_EXISTS => AlreadyExists,
    ETAG_MISMATCH => Aborted,
    WRITE_CONFLICT => Aborted,
    IMMUTABLE_FIELD => InvalidArgument,
    CLUSTER_IN_USE => FailedPrecondition,
    SOURCE_IS_TARGET => InvalidArgument,
    TARGET_OVERLAP => FailedPrecondition,
    LITERAL_SECRET => InvalidArgument,
    REQUEST_ID_REUSED => InvalidArgument,
    REVISION_COMPACTED => OutOfRange,
    NO_LEADER => Unavailable,
    NO_WORKER => Unavailable,
    STORE_UNAVAILABLE => Unavailable,
    SHUTTING_DOWN => Unavailable,
    QUERY_TIMEOUT => DeadlineExceeded,
    QUERY_FAILED => FailedPrecondition,
    TOO_MANY => ResourceExhausted,
    INTERNAL => Internal,
    // Kafka, seen by workers
    CLUSTER_UNREACHABLE => Unavailable,
    TLS_FAILED => Unavailable,
    AUTHENTICATION_FAILED => Unauthenticated,
    MISSING_PERMISSION => PermissionDenied,
    SECRET_UNRESOLVED => FailedPrecondition,
    INVALID_PROPERTY => InvalidArgument,
    UNSUPPORTED_VERSION => FailedPrecondition,
    KAFKA_ERROR => Unavailable,
    TOPIC_NOT_FOUND => NotFound,
    // States of ranges and topics
    TARGET_HAS_FEWER_PARTITIONS => FailedPrecondition,
    TARGET_TOPIC_MISSING => FailedPrecondition,
    TOPIC_CREATION_FAILED => FailedPrecondition,
    NAME_COLLISION => FailedPrecondition,
    SOURCE_OFFSETS_LOST => DataLoss,
    SOURCE_TRUNCATED => DataLoss,
    SOURCE_RECORD_UNREADABLE => DataLoss,
    SOURCE_TOPIC_RECREATED => DataLoss,
    SOURCE_TOPIC_DELETED => NotFound,
    TARGET_TRUNCATED => DataLoss,
    RECORD_TOO_LARGE => FailedPrecondition,
    RECORD_REFUSED => FailedPrecondition,
    /// The target topic writes its own time into records.
    TIMESTAMPS_REPLACED => FailedPrecondition,
    FENCED => Aborted,
    MEMORY_LIMIT => ResourceExhausted,
    WAITING_FOR_CLUSTER => Unavailable,
    NO_ELIGIBLE_WORKER => FailedPrecondition,
    NO_CAPACITY => ResourceExhausted,
    NOT_SURVEYED => FailedPrecondition,
    /// A MirrorMaker 2 that is to be taken over still runs.
    MM2_RUNNING => FailedPrecondition,
    MIRROR_NOT_PAUSED => FailedPrecondition,
    CONFIG_SYNC_FAILED => FailedPrecondition,
    ACL_SYNC_FAILED => FailedPrecondition,
    STARTING => Unavailable,
    STALE_TERM => Aborted,
    STALE_GENERATION => Aborted,
    STALE_EPOCH => Aborted,
    // Offsets that cannot be translated
    NOT_YET_MIRRORED => FailedPrecondition,
    NOT_MIRRORED => FailedPrecondition,
    BEFORE_MIRROR_START => OutOfRange,
    NO_COMMITTED_OFFSET => NotFound,
    /// The mirror doesn't copy to this target topic, so nothing in it leads back.
    NOT_A_COPY => FailedPrecondition,
    /// Records of one source partition are spread over several target partitions.
    PARTITIONED_BY_KEY => FailedPrecondition,
    // Warnings of plans
    LOOP => FailedPrecondition,
    PARTITION_MISMATCH => FailedPrecondition,
    SAME_CLUSTER => FailedPrecondition,
    /// Two clusters were formatted with the same cluster id.
    CLUSTER_ID_SHARED => FailedPrecondition,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A gRPC status with `ErrorInfo`; `metadata` names the things involved (`mirror`, `topic`, ...).
pub fn status(reason: Reason, message: impl Into<String>, metadata: &[(&str, &str)]) -> Status {
    let metadata =
        metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<HashMap<_, _>>();
    let details = ErrorDetails::with_error_info(reason.as_str(), DOMAIN, metadata);
    Status::with_error_details(reason.code(), message, details)
}

/// INVALID_ARGUMENT with `BadRequest` field violations and `ErrorInfo`. `violations` is not empty.
pub fn bad_request(reason: Reason, violations: &[(String, String)]) -> Status {
    let message = violations.iter().map(|(f, d)| format!("{f}: {d}")).collect::<Vec<_>>().join("; ");
    let mut details = ErrorDetails::with_error_info(reason.as_str(), DOMAIN, HashMap::new());
    details.set_bad_request(violations.iter().map(|(f, d)| FieldViolation::new(f, d)).collect::<Vec<_>>());
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// FAILED_PRECONDITION with `PreconditionFailure` and `ErrorInfo`.
pub fn precondition(reason: Reason, subject: &str, message: impl Into<String>) -> Status {
    let message = message.into();
    let mut details = ErrorDetails::with_error_info(reason.as_str(), DOMAIN, HashMap::new());
    details.add_precondition_failure_violation(reason.as_str(), subject, message.clone());
    Status::with_error_details(Code::FailedPrecondition, message, details)
}

/// The `ErrorInfo.reason` of a status, if it carries one of ours.
pub fn reason_of(status: &Status) -> Option<String> {
    status.get_details_error_info().filter(|info| info.domain == DOMAIN).map(|info| info.reason)
}
