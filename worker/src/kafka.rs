//! Twinlog's own Kafka client for everything that isn't consuming or producing records: topics, configs, ACLs, group offsets,
//! list offsets, and fetches of raw batches.
//!
//! It speaks the protocol with the message types of `kafka-protocol`; connections, security, routing, retries and errors
//! are in `wire`; `admin` has topics, configs, permissions, groups; `log` has fetches, batches, offsets, transactions. Both know `wire`
//! and nothing of each other. What the client promises:
//! - one bad topic, partition or group in a call never fails the rest: results come per entry;
//! - a call ends within its deadline, having retried what may heal;
//! - an error names the thing, the value and the remedy, and no error or log line holds a secret.

mod admin;
mod log;
mod wire;

pub use admin::types::*;
pub use log::aborted::Aborted;
pub(crate) use log::batch::take;
pub use log::batch::{BatchHeader, HEADER_LEN};
pub(crate) use log::fetch_session::{Changes, From, Part, Piece, Refusal, Spot, Terms};
pub(crate) use log::links::{Answered, FetchLink, Fetched, ProduceLink};
pub(crate) use log::places::{Leadership, TopicPlace};
pub(crate) use log::produce::{Parcel, Receipt, Refused};
pub(crate) use log::producers::{ActiveProducer, LastTransaction, Stage};
pub use log::reader::{LogReader, LogRecord, NotRead, Span, Wanted};
pub use log::records::codec::Codec;
pub use log::records::decode::{Marker, Records, Unpacked};
pub use log::records::encode::{BatchBuilder, BatchOf, NoBatch, Producer};
pub use log::records::legacy::{Entry, MessageSet, OldMessage};
pub use log::records::{Damaged, Headers, HeadersOf, Record};
pub(crate) use log::transaction::Transactions;
pub use log::types::*;
pub use log::writer::{NewRecord, RecordWriter};
pub use wire::client::{KafkaClient, PerName, PerPartition};
pub use wire::code;
pub use wire::error::KafkaError;
pub(crate) use wire::librdkafka_log;
pub use wire::properties::{ClientProperties, DEFAULT_DEADLINE, Role};
pub use wire::types::*;

pub(crate) use admin::quotas::Quota;

#[cfg(test)]
pub(crate) use log::fuzz;
#[cfg(test)]
mod tests;
