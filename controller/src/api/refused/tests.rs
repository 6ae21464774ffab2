//! Every refusal as clients get it, byte by byte.

use std::collections::HashMap;

use prost::Message;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt};
use twinlog_proto::reason::Reason;

use crate::refusal::{Refusal, invalid, no_leader};

/// Every reason by the code of its refusals. A program may match on either: none is renamed, none changes its code.
const CODES: &[(Code, &[&str])] = &[
    (
        Code::InvalidArgument,
        &[
            "INVALID_FIELD",
            "INVALID_PATTERN",
            "UNKNOWN_FIELD",
            "INVALID_PAGE_TOKEN",
            "IMMUTABLE_FIELD",
            "SOURCE_IS_TARGET",
            "LITERAL_SECRET",
            "CREDENTIALS_REQUIRED",
            "REQUEST_ID_REUSED",
            "TLS_REQUIRED",
            "INVALID_PROPERTY",
        ],
    ),
    (
        Code::NotFound,
        &[
            "CLUSTER_NOT_FOUND",
            "MIRROR_NOT_FOUND",
            "WORKER_NOT_FOUND",
            "TOPIC_NOT_FOUND",
            "SOURCE_TOPIC_DELETED",
            "NO_COMMITTED_OFFSET",
        ],
    ),
    (Code::AlreadyExists, &["WORKER_ID_IN_USE", "ALREADY_EXISTS"]),
    (
        Code::Unavailable,
        &[
            "WORKER_NOT_BACK",
            "NO_LEADER",
            "NO_WORKER",
            "STORE_UNAVAILABLE",
            "SHUTTING_DOWN",
            "CLUSTER_UNREACHABLE",
            "TLS_FAILED",
            "KAFKA_ERROR",
            "HELD_BY_OPEN_TRANSACTION",
            "WAITING_FOR_CLUSTER",
            "TRANSACTIONS_UNAVAILABLE",
            "STARTING",
        ],
    ),
    (
        Code::Aborted,
        &["ETAG_MISMATCH", "WRITE_CONFLICT", "FENCED", "STALE_TERM", "STALE_GENERATION", "STALE_EPOCH"],
    ),
    (
        Code::FailedPrecondition,
        &[
            "CLUSTER_IN_USE",
            "TARGET_OVERLAP",
            "QUERY_FAILED",
            "SECRET_UNRESOLVED",
            "UNSUPPORTED_VERSION",
            "TARGET_HAS_FEWER_PARTITIONS",
            "TARGET_TOPIC_MISSING",
            "TOPIC_CREATION_FAILED",
            "NAME_COLLISION",
            "TARGET_FOREIGN_WRITES",
            "TARGET_NOT_EMPTY",
            "SOURCE_CLUSTER_CHANGED",
            "RECORD_TOO_LARGE",
            "RECORD_REFUSED",
            "TIMESTAMPS_REPLACED",
            "NO_ELIGIBLE_WORKER",
            "NOT_SURVEYED",
            "MM2_RUNNING",
            "START_GROUP_ACTIVE",
            "START_GROUP_NO_OFFSETS",
            "PAUSED",
            "MIRROR_NOT_PAUSED",
            "CONFIG_SYNC_FAILED",
            "ACL_SYNC_FAILED",
            "REPORT_DOUBTED",
            "NOT_YET_MIRRORED",
            "NOT_MIRRORED",
            "NOT_A_COPY",
            "PARTITIONED_BY_KEY",
            "LOOP",
            "PARTITION_MISMATCH",
            "SAME_CLUSTER",
            "NO_TOPIC_MATCHES",
            "CLUSTER_ID_SHARED",
        ],
    ),
    (Code::OutOfRange, &["REVISION_COMPACTED", "REVISION_UNKNOWN", "BEFORE_MIRROR_START"]),
    (Code::PermissionDenied, &["NOT_ALLOWED", "NOT_A_REPLICA", "MISSING_PERMISSION"]),
    (Code::DeadlineExceeded, &["QUERY_TIMEOUT"]),
    (
        Code::ResourceExhausted,
        &[
            "TOO_MANY",
            "WATCH_TOO_SLOW",
            "MEMORY_LIMIT",
            "DESCRIPTORS_LIMIT",
            "THREADS_LIMIT",
            "THROTTLED",
            "NO_CAPACITY",
        ],
    ),
    (Code::Internal, &["INTERNAL"]),
    (Code::Unauthenticated, &["AUTHENTICATION_FAILED"]),
    (
        Code::DataLoss,
        &[
            "SOURCE_OFFSETS_LOST",
            "SOURCE_TRUNCATED",
            "SOURCE_RECORD_UNREADABLE",
            "SOURCE_TOPIC_RECREATED",
            "TARGET_TRUNCATED",
            "TARGET_TOPIC_RECREATED",
            "PROGRESS_LOST",
        ],
    ),
];

/// Code, message and details.
fn told(refusal: Refusal) -> (Code, String, String) {
    let status = Status::from(refusal);
    (status.code(), status.message().to_owned(), format!("{:?}", status.get_error_details()))
}

fn expected(code: Code, message: &str, details: &ErrorDetails) -> (Code, String, String) {
    (code, message.to_owned(), format!("{details:?}"))
}

fn info(reason: &str, things: &[(&str, &str)]) -> ErrorDetails {
    let things: HashMap<_, _> =
        things.iter().map(|(kind, name)| ((*kind).to_owned(), (*name).to_owned())).collect();
    ErrorDetails::with_error_info(reason, "twinlog.dev", things)
}

#[test]
fn every_reason_keeps_its_name_its_code_and_its_details() {
    let listed: usize = CODES.iter().map(|(_, names)| names.len()).sum();
    assert_eq!(listed, Reason::ALL.len());
    for (code, names) in CODES {
        for name in *names {
            let reason = *Reason::ALL.iter().find(|reason| reason.as_str() == *name).expect(name);
            let things = [("mirror", "m")];
            let refusal = Refusal::new(reason, "it is so: do that", &things);
            assert_eq!(told(refusal), expected(*code, "it is so: do that", &info(name, &things)));

            let (field, what) = ("a.b".to_owned(), "is wrong".to_owned());
            let mut details = info(name, &[]);
            details.set_bad_request([FieldViolation::new(&field, &what)]);
            let refusal = Refusal::of_fields(reason, vec![(field, what)]);
            assert_eq!(told(refusal), expected(Code::InvalidArgument, "a.b: is wrong", &details));

            let mut details = info(name, &[]);
            details.set_precondition_failure([PreconditionViolation::new(
                *name,
                "mirrors/m",
                "it runs: pause it",
            )]);
            let refusal = Refusal::in_the_way(reason, "mirrors/m", "it runs: pause it");
            assert_eq!(told(refusal), expected(Code::FailedPrecondition, "it runs: pause it", &details));
        }
    }
}

#[test]
fn without_a_leader_it_is_said_when_to_come_back() {
    let status = Status::from(no_leader("no controller leads at the moment"));
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "no controller leads at the moment"));
    let details = status.get_error_details();
    assert_eq!(details.error_info().map(|info| info.reason.as_str()), Some("NO_LEADER"));
    assert!(details.retry_info().is_some_and(|hint| hint.retry_delay.is_some()));
}

/// The bytes behind `grpc-status-details-bin`: generated clients of other languages decode them by themselves.
#[test]
fn details_are_google_rpc_on_the_wire() {
    let status = Status::from(invalid("mirror_id", "is empty"));
    let sent = tonic_types::pb::Status::decode(status.details()).unwrap();
    assert_eq!((sent.code, sent.message.as_str()), (3, "mirror_id: is empty"));
    let types: Vec<&str> = sent.details.iter().map(|detail| detail.type_url.as_str()).collect();
    assert_eq!(
        types,
        ["type.googleapis.com/google.rpc.ErrorInfo", "type.googleapis.com/google.rpc.BadRequest"]
    );
    // INVALID_FIELD of twinlog.dev, and one violation: the field, and what is wrong with it.
    assert_eq!(sent.details[0].value, b"\n\x0dINVALID_FIELD\x12\x0btwinlog.dev");
    assert_eq!(sent.details[1].value, b"\n\x15\n\x09mirror_id\x12\x08is empty");
}

#[test]
fn violations_that_were_only_counted_are_said() {
    let first = vec![("a".to_owned(), "x".to_owned()), (String::new(), "too large".to_owned())];
    let status = Status::from(Refusal::of_more_fields(Reason::UNKNOWN_FIELD, first, 3));
    assert_eq!(status.message(), "a: x; too large; and 3 more: correct these first");
    assert_eq!(status.get_details_bad_request().unwrap().field_violations.len(), 3);
}
