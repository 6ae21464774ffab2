//! Who runs a task, as it is stored. What the task consists of is not stored: it follows from the mirror and its inventory,
//! so that a range can grow without a new epoch.

use bytes::Bytes;
use prost::Message;
use twinlog_proto::id::{Epoch, WorkerId};

/// The stored form.
#[derive(Clone, PartialEq, Message)]
pub struct Record {
    /// Empty: nobody shall run the task, and the key goes away once `previous` have stopped it.
    #[prost(string, tag = "1")]
    pub worker: String,
    /// Workers that may still have been running the task when this was written.
    #[prost(string, repeated, tag = "2")]
    pub previous: Vec<String>,
}

/// A task's assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// `None`: being released.
    pub worker: Option<WorkerId>,
    pub previous: Vec<WorkerId>,
    /// The mod revision of the key.
    pub epoch: Epoch,
}

impl Assignment {
    pub fn decode(value: &[u8], mod_revision: i64) -> Result<Self, String> {
        let record = Record::decode(value).map_err(|e| e.to_string())?;
        let parse = |id: &String| WorkerId::new(id.clone()).map_err(|e| e.to_string());
        let worker = if record.worker.is_empty() { None } else { Some(parse(&record.worker)?) };
        let previous = record.previous.iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { worker, previous, epoch: Epoch(mod_revision) })
    }

    /// The value to store.
    pub fn encode(worker: Option<&WorkerId>, previous: &[WorkerId]) -> Bytes {
        Record {
            worker: worker.map(ToString::to_string).unwrap_or_default(),
            previous: previous.iter().map(ToString::to_string).collect(),
        }
        .encode_to_vec()
        .into()
    }
}
