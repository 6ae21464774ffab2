//! How a command fails: an exit code that programs may rely on, what happened, and what to do next.

use std::fmt;
use std::process::ExitCode;

use tonic::{Code, Status};
use tonic_types::StatusExt;
use twinlog_proto::reason::{self, Reason};
use twinlog_proto::text::visible;
use twinlog_proto::tls::explain;

/// Exit codes. Never renumbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Failed = 1,
    /// Wrong usage, or a value that the API refuses.
    Usage = 2,
    NotFound = 3,
    /// Conflict, or not possible in the present state.
    Precondition = 4,
    /// Trying again may help.
    Unavailable = 5,
    NotPermitted = 6,
    Interrupted = 130,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    message: String,
    /// The API's stable reason.
    reason: Option<String>,
    /// What to do about it.
    next: Option<String>,
}

impl Failure {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), reason: None, next: None }
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    pub(super) fn next(mut self, step: impl Into<String>) -> Self {
        self.next = Some(step.into());
        self
    }

    /// Says which of several things it is about.
    pub(super) fn about(mut self, name: &str) -> Self {
        self.message = format!("{name}: {}", self.message);
        self
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        if let Some(reason) = &self.reason {
            write!(f, "\nreason: {reason}")?;
        }
        match &self.next {
            Some(next) => write!(f, "\nnext: {next}"),
            None => Ok(()),
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let kind = kind(status.code());
        let reason = reason::reason_of(&status).map(|reason| visible(&reason).into_owned());
        // What broke the connection is not what the controller said.
        if reason.is_none()
            && let Some(what) = explain(&status, "")
        {
            return Self::new(Kind::Unavailable, format!("no connection to the controller: {what}"));
        }
        let next = next_step(reason.as_deref(), status.code());
        Self { kind, message: text(&status), reason, next: next.map(str::to_owned) }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Kind::Failed, error.to_string())
    }
}

/// One line per violated field where there are several. What the server says stays within its line.
fn text(status: &Status) -> String {
    let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    if violations.len() < 2 {
        return visible(status.message()).into_owned();
    }
    let lines: Vec<String> = violations
        .iter()
        .map(|v| match v.field.as_str() {
            // How many more there are.
            "" => format!("\n  {}", visible(&v.description)),
            field => format!("\n  {}: {}", visible(field), visible(&v.description)),
        })
        .collect();
    let count = if violations.iter().any(|v| v.field.is_empty()) {
        "many".to_owned()
    } else {
        lines.len().to_string()
    };
    format!("{count} values can't be used:{}", lines.concat())
}

fn kind(code: Code) -> Kind {
    match code {
        Code::InvalidArgument => Kind::Usage,
        Code::NotFound => Kind::NotFound,
        Code::AlreadyExists | Code::Aborted | Code::FailedPrecondition | Code::OutOfRange => {
            Kind::Precondition
        }
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::ResourceExhausted => {
            Kind::Unavailable
        }
        Code::PermissionDenied | Code::Unauthenticated => Kind::NotPermitted,
        _ => Kind::Failed,
    }
}

fn next_step(reason: Option<&str>, code: Code) -> Option<&'static str> {
    let known = reason.and_then(|text| Reason::ALL.iter().find(|reason| reason.as_str() == text));
    Some(match known {
        Some(Reason::CLUSTER_NOT_FOUND) => {
            "twinlog cluster list, or register it: twinlog cluster add ID --bootstrap-servers HOST:PORT"
        }
        Some(Reason::MIRROR_NOT_FOUND) => "twinlog mirror list",
        Some(Reason::WORKER_NOT_FOUND) => "twinlog worker list",
        Some(Reason::NO_WORKER) => {
            "start one: twinlog-worker --controller URL; see them with: twinlog worker list"
        }
        Some(Reason::NO_ELIGIBLE_WORKER) => {
            "compare the mirror's placement with: twinlog worker list -o yaml"
        }
        Some(Reason::NO_LEADER) => "try again in some seconds; if it stays, look at the controllers' logs",
        Some(Reason::STORE_UNAVAILABLE) => {
            "see that the store works (etcd runs and is reachable from the controller, or its disk has room), then try again"
        }
        Some(Reason::CLUSTER_IN_USE) => "twinlog mirror list, then twinlog mirror delete ID",
        Some(Reason::ETAG_MISMATCH | Reason::WRITE_CONFLICT) => "read it again, then repeat your change",
        Some(Reason::INVALID_PATTERN) => {
            "patterns are Java regular expressions matched against the whole name, for example 'orders\\..*'"
        }
        Some(Reason::LITERAL_SECRET) => {
            "put the secret into the workers' environment or a file there, and refer to it: --property 'sasl.password=${env:TWINLOG_SECRET_NAME}' or ${file:/etc/twinlog/secrets/NAME}"
        }
        Some(Reason::CREDENTIALS_REQUIRED) => {
            "repeat it with the credentials: --property 'sasl.password=${file:/etc/twinlog/secrets/NAME}'"
        }
        Some(Reason::INVALID_PROPERTY) => {
            "leave it out; README.md says which client properties are taken (proto/src/client_properties.rs)"
        }
        Some(Reason::SECRET_UNRESOLVED) => {
            "twinlog-worker --help: --secret-dir and --secret-env-prefix say where a worker looks for secrets"
        }
        Some(
            Reason::CLUSTER_UNREACHABLE
            | Reason::TLS_FAILED
            | Reason::AUTHENTICATION_FAILED
            | Reason::MISSING_PERMISSION,
        ) => "twinlog cluster test ID shows what works and what doesn't",
        Some(Reason::ALREADY_EXISTS) => "choose another id, or look at what is there with the get command",
        Some(Reason::SOURCE_IS_TARGET) => "name two different clusters; see: twinlog cluster list",
        Some(Reason::TARGET_OVERLAP) => {
            "see what each would copy: twinlog mirror plan ID, or mirror create ... --plan"
        }
        Some(Reason::INTERNAL) => "the controller's log says more",
        _ if code == Code::Unavailable => "check that the controller runs, then try again",
        _ if matches!(code, Code::DeadlineExceeded | Code::Cancelled) => {
            "try again, or allow more time with --timeout"
        }
        _ if code == Code::InvalidArgument => "correct it and repeat; --help has examples",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_reasons_and_next_steps_come_from_the_status() {
        let failure: Failure = reason::status(Reason::MIRROR_NOT_FOUND, "there is no mirror x", &[]).into();
        assert_eq!(failure.kind, Kind::NotFound);
        assert_eq!(
            failure.to_string(),
            "error: there is no mirror x\nreason: MIRROR_NOT_FOUND\nnext: twinlog mirror list"
        );
        for (reason, kind) in [
            (Reason::INVALID_FIELD, Kind::Usage),
            (Reason::ALREADY_EXISTS, Kind::Precondition),
            (Reason::ETAG_MISMATCH, Kind::Precondition),
            (Reason::NO_WORKER, Kind::Unavailable),
            (Reason::QUERY_TIMEOUT, Kind::Unavailable),
            (Reason::MISSING_PERMISSION, Kind::NotPermitted),
            (Reason::INTERNAL, Kind::Failed),
        ] {
            assert_eq!(Failure::from(reason::status(reason, "", &[])).kind, kind, "{reason}");
        }
    }

    #[test]
    fn several_violations_get_a_line_each() {
        let bad = [("a".to_owned(), "one".to_owned()), ("b".to_owned(), "two".to_owned())];
        let failure = Failure::from(reason::bad_request(Reason::INVALID_FIELD, &bad));
        assert!(failure.to_string().contains("2 values can't be used:\n  a: one\n  b: two"), "{failure}");
    }
}
