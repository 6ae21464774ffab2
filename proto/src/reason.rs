//! Stable reasons: what a program may match on, in `google.rpc.ErrorInfo.reason` and in `Cause.reason`. A reason is never
//! renamed. One place turns them into gRPC statuses.
//!
//! A status travels in HTTP headers, of which clients take 8 KiB in all: whatever a request held, its refusal fits. Values that
//! it quotes are cut at about a hundred characters, and only as many violations are listed as there is room for.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::text::{ECHO, echo, sentence_of};

mod heals;

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
    WORKER_ID_IN_USE => AlreadyExists,
    /// A new leader has not heard of a worker yet that the store names.
    WORKER_NOT_BACK => Unavailable,
    ALREADY_EXISTS => AlreadyExists,
    ETAG_MISMATCH => Aborted,
    WRITE_CONFLICT => Aborted,
    IMMUTABLE_FIELD => InvalidArgument,
    CLUSTER_IN_USE => FailedPrecondition,
    SOURCE_IS_TARGET => InvalidArgument,
    TARGET_OVERLAP => FailedPrecondition,
    LITERAL_SECRET => InvalidArgument,
    /// Where credentials go has changed: they must be given again.
    CREDENTIALS_REQUIRED => InvalidArgument,
    REQUEST_ID_REUSED => InvalidArgument,
    REVISION_COMPACTED => OutOfRange,
    /// A revision that has not happened: of another store, or of this one before it was lost or restored.
    REVISION_UNKNOWN => OutOfRange,
    NO_LEADER => Unavailable,
    /// A plain call to a port with TLS.
    TLS_REQUIRED => InvalidArgument,
    /// A web page that nobody allowed, or a name that isn't this port's.
    NOT_ALLOWED => PermissionDenied,
    /// Called what only the controller's replicas call on each other.
    NOT_A_REPLICA => PermissionDenied,
    NO_WORKER => Unavailable,
    STORE_UNAVAILABLE => Unavailable,
    SHUTTING_DOWN => Unavailable,
    QUERY_TIMEOUT => DeadlineExceeded,
    QUERY_FAILED => FailedPrecondition,
    TOO_MANY => ResourceExhausted,
    WATCH_TOO_SLOW => ResourceExhausted,
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
    /// The copy was deleted and made anew.
    TARGET_TOPIC_RECREATED => DataLoss,
    /// Others write to the copy.
    TARGET_FOREIGN_WRITES => FailedPrecondition,
    /// A copy holds records, and the mirror has no position in it.
    TARGET_NOT_EMPTY => FailedPrecondition,
    /// The mirror copied here before, and its position is gone.
    PROGRESS_LOST => DataLoss,
    /// Another cluster than before answers at the source's address.
    SOURCE_CLUSTER_CHANGED => FailedPrecondition,
    RECORD_TOO_LARGE => FailedPrecondition,
    RECORD_REFUSED => FailedPrecondition,
    /// The target topic writes its own time into records.
    TIMESTAMPS_REPLACED => FailedPrecondition,
    FENCED => Aborted,
    MEMORY_LIMIT => ResourceExhausted,
    /// The worker may not open as many files and connections as its ranges need.
    DESCRIPTORS_LIMIT => ResourceExhausted,
    /// The system gives the worker no more threads.
    THREADS_LIMIT => ResourceExhausted,
    /// A quota of a cluster slows the mirror down.
    THROTTLED => ResourceExhausted,
    /// A transaction at the source has not ended: what stands behind it can't be read.
    HELD_BY_OPEN_TRANSACTION => Unavailable,
    WAITING_FOR_CLUSTER => Unavailable,
    /// The target can't keep transactions, so nothing can be copied exactly once.
    TRANSACTIONS_UNAVAILABLE => Unavailable,
    NO_ELIGIBLE_WORKER => FailedPrecondition,
    NO_CAPACITY => ResourceExhausted,
    NOT_SURVEYED => FailedPrecondition,
    /// A MirrorMaker 2 that is to be taken over still runs.
    MM2_RUNNING => FailedPrecondition,
    /// The consumer group that the mirror continues has members.
    START_GROUP_ACTIVE => FailedPrecondition,
    /// The consumer group that the mirror continues has not committed what it would begin at.
    START_GROUP_NO_OFFSETS => FailedPrecondition,
    /// Somebody has paused the mirror.
    PAUSED => FailedPrecondition,
    MIRROR_NOT_PAUSED => FailedPrecondition,
    CONFIG_SYNC_FAILED => FailedPrecondition,
    ACL_SYNC_FAILED => FailedPrecondition,
    STARTING => Unavailable,
    /// What a worker reports can't be.
    REPORT_DOUBTED => FailedPrecondition,
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
    /// A pattern of the mirror's topics matches none.
    NO_TOPIC_MATCHES => FailedPrecondition,
    /// Two clusters were formatted with the same cluster id.
    CLUSTER_ID_SHARED => FailedPrecondition,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Characters of a message, and of one violation.
const MESSAGE: usize = 1_000;
/// Bytes of a message as it is, and as a header.
const MESSAGE_BYTES: usize = 1_200;
const MESSAGE_HEADER_BYTES: usize = 2_000;
/// Bytes of all violations, and of all metadata.
const VIOLATIONS_BYTES: usize = 2_200;
const METADATA_BYTES: usize = 600;

/// A gRPC status with `ErrorInfo`; `metadata` names the things involved (`mirror`, `topic`, ...).
pub fn status(reason: Reason, message: impl Into<String>, metadata: &[(&str, &str)]) -> Status {
    with_details(reason.code(), &message.into(), info(reason, metadata))
}

/// INVALID_ARGUMENT with `BadRequest` field violations and `ErrorInfo`. `violations` is not empty.
pub fn bad_request(reason: Reason, violations: &[(String, String)]) -> Status {
    bad_request_of_more(reason, violations, 0)
}

/// `bad_request` with the first violations of so many more, which are only counted.
pub fn bad_request_of_more(reason: Reason, violations: &[(String, String)], more: usize) -> Status {
    let shown = shown(violations, more);
    let message = shown.iter().map(|(field, what)| match field.as_str() {
        "" => what.clone(),
        _ => format!("{field}: {what}"),
    });
    let message = message.collect::<Vec<_>>().join("; ");
    let mut details = info(reason, &[]);
    details.set_bad_request(shown.into_iter().map(|(f, d)| FieldViolation::new(f, d)).collect::<Vec<_>>());
    with_details(Code::InvalidArgument, &message, details)
}

/// FAILED_PRECONDITION with `PreconditionFailure` and `ErrorInfo`.
pub fn precondition(reason: Reason, subject: &str, message: impl Into<String>) -> Status {
    let message = message_of(&message.into());
    let mut details = info(reason, &[]);
    details.add_precondition_failure_violation(reason.as_str(), echo(subject), message.clone());
    with_details(Code::FailedPrecondition, &message, details)
}

/// A status whose details are bounded by whoever made them; the message is bounded here.
pub fn with_details(code: Code, message: &str, details: ErrorDetails) -> Status {
    Status::with_error_details(code, message_of(message), details)
}

fn info(reason: Reason, metadata: &[(&str, &str)]) -> ErrorDetails {
    let mut left = METADATA_BYTES;
    let mut fits = |(key, value): &(&str, &str)| {
        let value = echo(value);
        left = left.checked_sub(key.len() + value.len())?;
        Some(((*key).to_owned(), value))
    };
    let metadata = metadata.iter().filter_map(&mut fits).collect::<HashMap<_, _>>();
    ErrorDetails::with_error_info(reason.as_str(), DOMAIN, metadata)
}

/// As many violations as there is room for, the first ones, and how many more there are. The first one always fits.
fn shown(violations: &[(String, String)], more: usize) -> Vec<(String, String)> {
    let mut left = VIOLATIONS_BYTES;
    let mut shown = Vec::new();
    for (field, what) in violations {
        let (field, what) = (sentence_of(field, ECHO, 2 * ECHO), message_of(what));
        let Some(rest) = left.checked_sub(field.len() + what.len() + 16) else { break };
        left = rest;
        shown.push((field, what));
    }
    match violations.len() - shown.len() + more {
        0 => {}
        more => shown.push((String::new(), format!("and {more} more: correct these first"))),
    }
    shown
}

/// A message that is visible and fits: in characters, as it is, and as a header, where each byte that isn't plain is three.
fn message_of(message: &str) -> String {
    let mut characters = MESSAGE;
    loop {
        let fitting = sentence_of(message, ECHO, characters);
        if fitting.len() <= MESSAGE_BYTES && header_len(&fitting) <= MESSAGE_HEADER_BYTES {
            return fitting;
        }
        characters = characters * 3 / 4;
    }
}

fn header_len(message: &str) -> usize {
    message.bytes().map(|byte| if byte.is_ascii_alphanumeric() { 1 } else { 3 }).sum()
}

/// The `ErrorInfo.reason` of a status, if it carries one of ours.
pub fn reason_of(status: &Status) -> Option<String> {
    status.get_details_error_info().filter(|info| info.domain == DOMAIN).map(|info| info.reason)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes of a status as headers.
    fn size(status: &Status) -> usize {
        let headers = status.clone().into_http::<()>().into_parts().0.headers;
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
    }

    fn ways(text: &str) -> [Status; 4] {
        let copies = if text.len() > 100_000 { 3 } else { 300 };
        let violations = vec![(text.to_owned(), format!("{text:?} is wrong")); copies];
        [
            status(
                Reason::MIRROR_NOT_FOUND,
                format!("there is no mirror {text}"),
                &[("mirror", text), ("x", text)],
            ),
            bad_request(Reason::INVALID_FIELD, &violations),
            bad_request(Reason::INVALID_FIELD, &violations[..1]),
            precondition(Reason::CLUSTER_IN_USE, text, format!("{text:?} is used: delete it first")),
        ]
    }

    #[test]
    fn a_refusal_of_a_megabyte_fits_into_headers_and_keeps_its_reason() {
        for value in ["a", "a b ", "\u{1b}[2J", "日本", "\"", "\n", "%%% "] {
            let text = value.repeat((1 << 20) / value.len());
            for refused in ways(&text) {
                assert!(size(&refused) < 8 << 10, "{} bytes for {value:?}", size(&refused));
                assert!(reason_of(&refused).is_some());
            }
            let [_, _, one, used] = ways(&text);
            assert!(one.message().ends_with("…\" is wrong"), "{}", one.message());
            assert!(used.message().ends_with("…\" is used: delete it first"), "{}", used.message());
        }
    }

    #[test]
    fn many_violations_are_counted() {
        let violations: Vec<_> =
            (0..100).map(|i| (format!("topics[{i}]"), "is not a pattern".repeat(5))).collect();
        let refused = bad_request(Reason::INVALID_PATTERN, &violations);
        let listed = refused.get_details_bad_request().unwrap().field_violations;
        assert_eq!((listed[0].field.as_str(), listed[1].field.as_str()), ("topics[0]", "topics[1]"));
        let last = &listed[listed.len() - 1];
        assert_eq!(
            (last.field.as_str(), last.description.clone()),
            ("", format!("and {} more: correct these first", 101 - listed.len()))
        );
    }

    proptest! {
        #[test]
        fn every_refusal_fits_into_headers(text in any::<String>(), copies in 0_usize..500) {
            for refused in ways(&text.repeat(copies)) {
                prop_assert!(size(&refused) < 8 << 10);
            }
        }
    }
}
