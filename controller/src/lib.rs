//! The Twinlog controller: owns mirrors in a store, plans which worker copies which partition ranges, and serves the API.
//!
//! `store` keeps what must survive, `state` is the view of it in memory, `planner` decides, `reconciler` makes it so through
//! `fleet` and `session`, `replica` leads or passes calls on to the one that does, and `controller` ties them together.

#![forbid(unsafe_code)]

pub mod api;
pub mod assignment;
mod caller;
pub mod catalog;
pub mod config;
pub mod controller;
pub mod descriptors;
pub mod fleet;
mod handover;
mod heartbeats;
pub mod inventory;
pub mod keys;
pub mod last_groups;
mod limits;
pub mod metrics;
mod packed;
mod page;
pub mod planner;
pub mod process;
mod ranges;
mod reconciler;
pub mod refusal;
pub mod replica;
pub mod server;
pub mod session;
pub mod state;
mod statuses;
pub mod store;
