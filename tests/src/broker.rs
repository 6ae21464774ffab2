//! A strict fake of a Kafka cluster: real TCP, logs in memory, every rule by which a real broker refuses a batch, and every fault that a test orders.
//!
//! It is one process with one listener per broker. It checks what Kafka checks (and a differential test says that it does): one batch per partition
//! and request, base offset 0, checksum, counts, sequences within the window of five, epochs, transactions. Its answers come from the same
//! protocol library as the worker's client, its records from a codec of its own.
//!
//! ```no_run
//! # async fn story() -> anyhow::Result<()> {
//! use kafka_protocol::messages::ApiKey;
//! use twinlog_tests::broker::{FakeKafka, Fault, Options, Rule};
//! let kafka = FakeKafka::start(Options::default()).await?;
//! kafka.create_topic("t", 3, 1, &[("compression.type", "producer")]);
//! kafka.fault(Rule::next(ApiKey::Produce, Fault::LoseAnswer).on_topic("t"));
//! println!("{}", kafka.bootstrap());
//! assert_eq!(kafka.entries("t", 0)?, []);
//! # Ok(())
//! # }
//! ```

mod admin;
pub mod batch;
mod cluster;
pub mod codec;
mod connection;
mod coordinator;
mod epochs;
mod faults;
mod fetch;
pub mod golden;
mod log;
mod metadata;
mod offsets;
mod orders;
mod produce;
mod producers;
pub mod raw;
pub mod reader;
pub mod record;
mod request;
mod sessions;
mod shared;
mod state;
mod topics;
mod transactions;
mod validator;

pub use cluster::{FakeKafka, Options};
pub use coordinator::{Stage, Transaction};
pub use faults::{Fault, Rule};
pub use orders::{Bounds, KnownProducer};
pub use topics::Release;
