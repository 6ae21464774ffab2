//! `request_id`: a UUID that makes a retry safe.

use twinlog_proto::id::stable_hash;
use uuid::Uuid;

use crate::refusal::{Refusal, invalid};

/// A call that may be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) id: String,
    pub(super) fingerprint: Fingerprint,
}

/// Stands for the content of a request: tells a retry from a reused id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint(pub(super) u64);

impl Fingerprint {
    pub(super) fn of_bytes(bytes: &[u8]) -> Self {
        Self(stable_hash(bytes))
    }

    /// Also depends on `more`.
    pub(super) fn and(self, more: &str) -> Self {
        Self::of_bytes(&[&self.0.to_be_bytes(), more.as_bytes()].concat())
    }
}

impl Request {
    /// `None` where the caller gave no id. INVALID_FIELD if it is no UUID.
    pub(super) fn new(id: &str, fingerprint: Fingerprint) -> Result<Option<Self>, Refusal> {
        if id.is_empty() {
            return Ok(None);
        }
        match Uuid::try_parse(id) {
            Ok(id) => Ok(Some(Self { id: id.to_string(), fingerprint })),
            Err(_) => Err(invalid("request_id", format!("{id:?} is not a UUID"))),
        }
    }
}
