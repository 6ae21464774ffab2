//! The public API over a real port: controller on the embedded store, a worker that answers questions, tonic clients.

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]

mod bounds;
mod clusters;
mod credentials;
mod follower;
mod mirrors;
mod names;
mod peer;
mod service;
mod trace;
mod watch;
mod web;
mod worker;
