//! The Twinlog worker as a library.

// Until the lane is cut into its steps: `lane::gather`, `lane::run`.
#![allow(clippy::too_many_lines)]

mod allocator;
pub mod assignments;
mod backoff;
pub mod board;
pub mod budget;
pub mod cause;
pub mod checkpoint;
mod chunk;
pub mod cluster;
pub mod clusters;
pub mod config;
mod control;
mod engine;
pub mod flow;
mod give_back;
pub mod heartbeat;
pub mod kafka;
mod key_partition;
pub mod lane;
mod ledger;
mod metrics;
pub mod mm2;
pub mod mm2_offsets;
pub mod offset_map;
mod offset_syncs;
mod produce;
pub mod progress;
pub mod query;
pub mod range;
pub mod run;
mod said;
mod scan;
pub mod session;
mod source_ends;
mod start_group;
pub mod supervisor;
pub mod survey;
mod take_over;
mod token;

pub use config::WorkerConfig;
pub use run::{RunError, run};
