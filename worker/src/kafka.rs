//! Twinlog's own Kafka client for everything that isn't consuming or producing records: topics, configs, ACLs, group offsets,
//! list offsets, and fetches of raw batches.
//!
//! It speaks the protocol with the message types of `kafka-protocol`; connections, security, routing, retries and errors
//! are here. What it promises:
//! - one bad topic, partition or group in a call never fails the rest: results come per entry;
//! - a call ends within its deadline, having retried what may heal;
//! - an error names the thing, the value and the remedy, and no error or log line holds a secret.

mod batch;
mod client;
mod error;
mod properties;
mod types;

pub use batch::{BatchHeader, HEADER_LEN};
pub use client::KafkaClient;
pub use error::KafkaError;
pub use properties::{ClientProperties, Role};
pub use types::*;
