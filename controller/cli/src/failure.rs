//! How a command fails: an exit code that programs may rely on, what happened, and what to do next.

mod next;

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

    /// As the API refuses it for this reason.
    pub(super) fn because(mut self, reason: Reason) -> Self {
        self.next = next::step(Some(reason.as_str()), reason.code()).map(str::to_owned);
        self.reason = Some(reason.as_str().to_owned());
        self
    }

    pub(super) fn of_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
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
        Self::of_flags(&status, |_| None)
    }
}

impl Failure {
    /// A refusal of what flags said: `flag` knows the flag for a field.
    pub(super) fn of_flags(status: &Status, flag: impl Fn(&str) -> Option<&'static str>) -> Self {
        let kind = kind(status.code());
        let reason = reason::reason_of(status).map(|reason| visible(&reason).into_owned());
        // What broke the connection is not what the controller said.
        if reason.is_none()
            && let Some(what) = explain(status, "")
        {
            return Self::new(Kind::Unavailable, format!("no connection to the controller: {what}"));
        }
        let next = next::step(reason.as_deref(), status.code());
        Self { kind, message: text(status, flag), reason, next: next.map(str::to_owned) }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Kind::Failed, error.to_string())
    }
}

/// One line per violated field where there are several. What the server says stays within its line.
fn text(status: &Status, flag: impl Fn(&str) -> Option<&'static str>) -> String {
    let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    let line = |field: &str, what: &str| match (field, flag(field)) {
        // How many more there are.
        ("", _) => visible(what).into_owned(),
        (_, Some(flag)) => format!("{flag} ({}): {}", visible(field), visible(what)),
        (_, None) => format!("{}: {}", visible(field), visible(what)),
    };
    match &violations[..] {
        [] => visible(status.message()).into_owned(),
        [one] if flag(&one.field).is_some() => line(&one.field, &one.description),
        [_] => visible(status.message()).into_owned(),
        several => {
            let lines: String =
                several.iter().map(|v| format!("\n  {}", line(&v.field, &v.description))).collect();
            let count = match several.iter().any(|v| v.field.is_empty()) {
                true => "many".to_owned(),
                false => several.len().to_string(),
            };
            format!("{count} values can't be used:{lines}")
        }
    }
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
