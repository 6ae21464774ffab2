//! The control path with real sessions and workers that only pretend to copy: who runs what, and when, must be right
//! whatever gets lost, repeated, killed or paused. The store is the embedded one; `replicas.rs` runs two on etcd.

#![allow(clippy::unwrap_used)]

mod chaos;
mod claims;
#[path = "../store/etcd_process.rs"]
mod etcd_process;
mod groups;
mod ledger;
mod replica;
mod replicas;
mod seen;
mod sessions;
mod worker;
