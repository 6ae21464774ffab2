//! What an error of etcd's means: whether a write may have happened in spite of it.

use etcd_client::Error;

use super::Kind;
use crate::store::StoreError;

/// Codes that etcd answers with: gRPC's, by number.
const INVALID_ARGUMENT: i32 = 3;
const PERMISSION_DENIED: i32 = 7;
const RESOURCE_EXHAUSTED: i32 = 8;
const OUT_OF_RANGE: i32 = 11;
const UNAUTHENTICATED: i32 = 16;

/// What an error means for the caller. For a write only what certainly never began counts as `Unavailable`.
pub(super) fn failure(kind: Kind, error: &Error) -> StoreError {
    let text = explain(error);
    let Error::GRpcStatus(status) = error else {
        return match error {
            Error::InvalidArgs(_) | Error::InvalidUri(_) => StoreError::Invalid(text),
            _ if kind == Kind::Write => StoreError::Unknown(text),
            _ => StoreError::Unavailable(text),
        };
    };
    match i32::from(status.code()) {
        UNAUTHENTICATED | PERMISSION_DENIED => StoreError::Denied(text),
        INVALID_ARGUMENT if text.contains("authentication") || text.contains("user name") => {
            StoreError::Denied(text)
        }
        INVALID_ARGUMENT => StoreError::Invalid(text),
        OUT_OF_RANGE if text.contains("compacted") => StoreError::Compacted { asked: 0, oldest: 0 },
        RESOURCE_EXHAUSTED => StoreError::Unavailable(text),
        _ if kind == Kind::Read || never_sent(&text) => StoreError::Unavailable(text),
        _ => StoreError::Unknown(text),
    }
}

fn never_sent(text: &str) -> bool {
    ["tcp connect error", "dns error", "etcdserver: no leader", "etcdserver: not capable"]
        .iter()
        .any(|sign| text.contains(sign))
}

/// The error with its sources: a transport error says little by itself.
fn explain(error: &Error) -> String {
    let mut text = match error {
        Error::GRpcStatus(status) => status.message().to_owned(),
        other => other.to_string(),
    };
    let mut source = match error {
        Error::GRpcStatus(status) => std::error::Error::source(status),
        other => std::error::Error::source(other),
    };
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_never_sent_is_certain() {
        let status = |code, text: &str| Error::GRpcStatus(tonic::Status::new(code, text));
        let unavailable = tonic::Code::Unavailable;
        assert!(matches!(failure(Kind::Write, &status(unavailable, "broken pipe")), StoreError::Unknown(_)));
        assert!(matches!(
            failure(Kind::Read, &status(unavailable, "broken pipe")),
            StoreError::Unavailable(_)
        ));
        let refused = status(unavailable, "tcp connect error: refused");
        assert!(matches!(failure(Kind::Write, &refused), StoreError::Unavailable(_)));
        let denied = status(tonic::Code::PermissionDenied, "etcdserver: permission denied");
        assert!(matches!(failure(Kind::Write, &denied), StoreError::Denied(_)));
    }
}
