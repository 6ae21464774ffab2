//! Deletions that were done lately, by the id of their request: a retry finds nothing else that remembers it.

use prost::Message;
use tonic::Status;
use twinlog_proto::reason::{self, Reason};

use super::Catalog;
use super::request::Request;
use crate::keys;
use crate::store::{Guard, Transaction, Write};

/// Of all resources together.
const REMEMBERED: usize = 256;

/// As the store has it.
#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(message, repeated, tag = "1")]
    latest: Vec<Deletion>,
}

#[derive(Clone, PartialEq, Message)]
struct Deletion {
    #[prost(string, tag = "1")]
    request: String,
    #[prost(fixed64, tag = "2")]
    fingerprint: u64,
}

/// Read only where a call has an id.
#[derive(Default)]
pub(super) struct Deletions {
    record: Record,
    /// When it was written; 0: never.
    revision: i64,
}

impl Catalog {
    pub(super) async fn deletions(&self, request: Option<&Request>) -> Result<Deletions, Status> {
        let entry = match request {
            Some(_) => self.read(keys::DELETIONS).await?,
            None => None,
        };
        let Some(entry) = entry else { return Ok(Deletions::default()) };
        // What can't be read remembers nothing, and is written anew.
        let record = Record::decode(entry.value.clone()).unwrap_or_default();
        Ok(Deletions { record, revision: entry.mod_revision })
    }
}

impl Deletions {
    /// A revision at which the deletion of this request was done. REQUEST_ID_REUSED where the id stood for another one.
    pub(super) fn done(&self, request: Option<&Request>) -> Result<Option<i64>, Status> {
        let known = request.and_then(|request| {
            Some((request, self.record.latest.iter().find(|known| known.request == request.id)?))
        });
        match known {
            None => Ok(None),
            Some((request, known)) if known.fingerprint == request.fingerprint.0 => Ok(Some(self.revision)),
            Some((request, _)) => {
                let message = format!(
                    "request_id {} was used before to delete something else: use a new UUID for a new request",
                    request.id
                );
                Err(reason::status(Reason::REQUEST_ID_REUSED, message, &[("request_id", &request.id)]))
            }
        }
    }

    /// Writes it down together with the deletion.
    pub(super) fn remember(mut self, request: Option<&Request>, txn: &mut Transaction) {
        let Some(Request { id, fingerprint }) = request else { return };
        self.record.latest.push(Deletion { request: id.clone(), fingerprint: fingerprint.0 });
        let surplus = self.record.latest.len().saturating_sub(REMEMBERED);
        self.record.latest.drain(..surplus);
        txn.guards.push(Guard { key: keys::DELETIONS.to_owned(), mod_revision: self.revision });
        txn.writes.push(Write::put(keys::DELETIONS, self.record.encode_to_vec()));
    }
}
