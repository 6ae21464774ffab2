//! Why a task is not simply working: a stable reason, a sentence with the thing, the value and the remedy, and since when.

use std::time::SystemTime;

use twinlog_proto::reason::Reason;
use twinlog_proto::{text, v1};

use crate::kafka::KafkaError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    pub reason: Reason,
    pub message: String,
    pub since: SystemTime,
}

impl Cause {
    /// A cause that holds from now on. What is said may be in a broker's words: it is made fit for a status and a log.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: text::sentence(&message.into()), since: SystemTime::now() }
    }

    /// Keeps the earlier `since` when the same thing is said again.
    pub fn continuing(mut self, before: Option<&Cause>) -> Self {
        if let Some(before) = before.filter(|b| b.reason == self.reason) {
            self.since = before.since;
        }
        self
    }
}

impl From<KafkaError> for Cause {
    fn from(error: KafkaError) -> Self {
        Self::new(error.reason, error.message)
    }
}

impl From<&v1::Cause> for Cause {
    fn from(wire: &v1::Cause) -> Self {
        let reason = Reason::ALL.iter().find(|reason| reason.as_str() == wire.reason);
        let since = wire.since.and_then(|since| SystemTime::try_from(since).ok());
        Self {
            reason: reason.copied().unwrap_or(Reason::INTERNAL),
            message: wire.message.clone(),
            since: since.unwrap_or_else(SystemTime::now),
        }
    }
}

impl From<Cause> for v1::Cause {
    fn from(cause: Cause) -> Self {
        Self {
            reason: cause.reason.as_str().to_owned(),
            message: cause.message,
            since: Some(cause.since.into()),
        }
    }
}
