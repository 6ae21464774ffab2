//! What is worth knowing of a mirror before it runs, and refuses nothing.

use twinlog_proto::reason::Reason;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    pub reason: Reason,
    pub message: String,
}
