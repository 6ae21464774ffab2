//! The Twinlog worker as a library.

pub mod kafka;

pub mod config;
pub mod run;

pub use config::WorkerConfig;
pub use run::{RunError, run};
