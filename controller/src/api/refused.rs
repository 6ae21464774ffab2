//! What a caller is told of a refusal: the one place where refusals become gRPC statuses with `google.rpc` details.

use std::collections::HashMap;

use tonic::Status;
use tonic_types::ErrorDetails;
use twinlog_proto::reason;

use crate::refusal::{Refusal, What};

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let Refusal { reason, what } = refusal;
        match what {
            What::Things { message, things } => {
                let things: Vec<(&str, &str)> =
                    things.iter().map(|(kind, name)| (*kind, name.as_str())).collect();
                reason::status(reason, message, &things)
            }
            What::Fields { first, more } => reason::bad_request_of_more(reason, &first, more),
            What::InTheWay { subject, message } => reason::precondition(reason, &subject, message),
            What::Later { message, after } => {
                let mut details =
                    ErrorDetails::with_error_info(reason.as_str(), reason::DOMAIN, HashMap::new());
                details.set_retry_info(Some(after));
                reason::with_details(reason.code(), &message, details)
            }
        }
    }
}

#[cfg(test)]
mod tests;
