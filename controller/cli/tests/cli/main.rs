//! The `twinlog` binary as a person and a program see it, against a controller on a real port.

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]

mod apply;
mod cli;
mod refused;
mod statuses;
mod tls;

#[path = "../../../tests/api/service.rs"]
mod service;
#[path = "../../../tests/api/worker.rs"]
mod worker;
