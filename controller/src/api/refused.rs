//! What a caller is told of a refusal: the one place where refusals become gRPC statuses with `google.rpc` details.

use tonic::Status;
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
        }
    }
}

#[cfg(test)]
mod tests;
