//! The Twinlog worker as a library.

pub mod budget;
pub mod cause;
pub mod cluster;
pub mod config;
pub mod kafka;
pub mod lane;
pub mod offset_map;
pub mod run;

pub use config::WorkerConfig;
pub use run::{RunError, run};
