//! Deletions that were done lately, by the id of their request: a retry finds nothing else that remembers it.

use prost::Message;

use super::Catalog;
use super::remembered::{Record, Remembered};
use super::request::Request;
use crate::keys;
use crate::refusal::Refusal;
use crate::store::{Guard, Transaction, Write};

/// Of all resources together.
const REMEMBERED: usize = 256;

/// As the store has it.
#[derive(Clone, PartialEq, Message)]
struct Stored {
    #[prost(message, repeated, tag = "1")]
    latest: Vec<Record>,
}

/// Read only where a call has an id.
pub(super) struct Deletions {
    requests: Remembered<REMEMBERED>,
    /// When it was written; 0: never.
    revision: i64,
}

impl Catalog {
    pub(super) async fn deletions(&self, request: Option<&Request>) -> Result<Deletions, Refusal> {
        let entry = match request {
            Some(_) => self.read(keys::DELETIONS).await?,
            None => None,
        };
        let (stored, revision) = match entry {
            // What can't be read remembers nothing, and is written anew.
            Some(entry) => (Stored::decode(entry.value).unwrap_or_default(), entry.mod_revision),
            None => (Stored::default(), 0),
        };
        Ok(Deletions { requests: Remembered::of(stored.latest), revision })
    }
}

impl Deletions {
    /// A revision at which the deletion of this request was done. REQUEST_ID_REUSED where the id stood for another one.
    pub(super) fn done(&self, request: Option<&Request>) -> Result<Option<i64>, Refusal> {
        let done = self.requests.is_done(request, || "to delete something else".to_owned())?;
        Ok(done.then_some(self.revision))
    }

    /// Writes it down together with the deletion.
    pub(super) fn remember(self, request: Option<&Request>, txn: &mut Transaction) {
        if request.is_none() {
            return;
        }
        let stored = Stored { latest: self.requests.with(request) };
        txn.guards.push(Guard { key: keys::DELETIONS.to_owned(), mod_revision: self.revision });
        txn.writes.push(Write::put(keys::DELETIONS, stored.encode_to_vec()));
    }
}
