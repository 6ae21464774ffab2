//! Why a call is refused, in the domain's own words. The edge makes an answer of them: `api::refused`.

use std::time::Duration;

use twinlog_proto::model::Violation;
use twinlog_proto::reason::Reason;

/// When to try again while nobody leads.
const ELECTION: Duration = Duration::from_millis(200);

/// A stable reason for programs, and for people what exactly, with its remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Something is the matter with these things: what they are (`mirror`, `worker`, ...), and their names.
    Things { message: String, things: Vec<(&'static str, String)> },
    /// Fields of the request are wrong: the first ones, and how many more.
    Fields { first: Vec<Violation>, more: usize },
    /// The request is right, and the state of something stands in its way.
    InTheWay { subject: String, message: String },
    /// Nothing is wrong: it may go well after so long.
    Later { message: String, after: Duration },
}

impl Refusal {
    pub fn new(reason: Reason, message: impl Into<String>, things: &[(&'static str, &str)]) -> Self {
        let things = things.iter().map(|(kind, name)| (*kind, (*name).to_owned())).collect();
        Self { reason, what: What::Things { message: message.into(), things } }
    }

    /// `violations` is not empty.
    pub fn of_fields(reason: Reason, violations: Vec<Violation>) -> Self {
        Self::of_more_fields(reason, violations, 0)
    }

    /// The first violations of so many more.
    pub fn of_more_fields(reason: Reason, first: Vec<Violation>, more: usize) -> Self {
        Self { reason, what: What::Fields { first, more } }
    }

    pub fn in_the_way(reason: Reason, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason, what: What::InTheWay { subject: subject.into(), message: message.into() } }
    }
}

/// NO_LEADER, and when to try again.
pub(crate) fn no_leader(message: &str) -> Refusal {
    let what = What::Later { message: message.to_owned(), after: ELECTION };
    Refusal { reason: Reason::NO_LEADER, what }
}

/// INVALID_FIELD.
pub fn invalid(field: &str, what: impl Into<String>) -> Refusal {
    Refusal::of_fields(Reason::INVALID_FIELD, vec![(field.to_owned(), what.into())])
}
