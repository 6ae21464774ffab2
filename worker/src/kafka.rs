//! Twinlog's own Kafka client for everything that isn't consuming or producing records: topics, configs, ACLs, group offsets,
//! list offsets, and fetches of raw batches.
//!
//! It speaks the protocol with the message types of `kafka-protocol`; connections, security, routing, retries and errors
//! are here. What it promises:
//! - one bad topic, partition or group in a call never fails the rest: results come per entry;
//! - a call ends within its deadline, having retried what may heal;
//! - an error names the thing, the value and the remedy, and no error or log line holds a secret.

mod acls;
mod api;
mod authenticate;
mod batch;
mod client;
mod cluster;
pub mod code;
mod configs;
mod connection;
mod coordinators;
mod error;
mod fetch;
mod group_offsets;
mod groups;
pub(crate) mod librdkafka_log;
mod metadata;
mod msk;
mod offsets;
mod offsets_topic;
mod pool;
mod properties;
mod quotas;
mod race;
mod retry;
mod route;
mod scram;
mod tls;
mod token_endpoint;
mod tokens;
mod topics;
mod transaction_log;
mod transactions;
mod types;

pub use batch::legacy::{Damaged, Entry, MessageSet, OldMessage};
pub use batch::{BatchHeader, HEADER_LEN};
pub use client::{DEFAULT_DEADLINE, KafkaClient, PerName, PerPartition};
pub use error::KafkaError;
pub use properties::{ClientProperties, Role};
pub(crate) use quotas::Quota;
pub use types::*;
