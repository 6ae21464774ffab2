//! Who leads, as a store says it and as it is written.

use prost::Message;
use twinlog_proto::id::Term;

use super::Entry;

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderInfo {
    pub term: Term,
    pub id: String,
    pub address: String,
}

/// The stored form of a leader key's value.
#[derive(Clone, PartialEq, Message)]
pub struct LeaderRecord {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub address: String,
}

impl LeaderRecord {
    pub fn info(entry: &Entry) -> Result<LeaderInfo, prost::DecodeError> {
        let record = Self::decode(entry.value.clone())?;
        Ok(LeaderInfo { term: Term(entry.create_revision), id: record.id, address: record.address })
    }
}
