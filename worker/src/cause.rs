//! Why a task is not simply working: a stable reason, a sentence with the thing, the value and the remedy, and since when.

use std::time::SystemTime;

use twinlog_proto::reason::Reason;
use twinlog_proto::text;

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
