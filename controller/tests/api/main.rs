//! The public API over a real port: controller on the embedded store, a worker that answers questions, tonic clients, and the
//! `twinlog` binary as a program sees it.

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]

mod apply;
mod bounds;
mod cli;
mod clusters;
mod credentials;
mod mirrors;
mod names;
mod peer;
mod service;
mod statuses;
mod tls;
mod trace;
mod watch;
mod web;
mod worker;
