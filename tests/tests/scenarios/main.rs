//! What Twinlog promises, seen on real Kafka, real etcd and the real binaries. One story per test, each in a world of its own;
//! one at a time, because several measure how long something takes.

mod acceptance;
mod access;
mod acls;
mod bad_input;
mod brokers;
mod by_key;
mod causes;
mod compat;
mod configs;
mod content;
mod control_plane;
mod corpus;
mod failback;
mod failing_over;
mod gaps;
mod groups;
mod growth;
mod handover_exactly_once;
mod handover_file;
mod handover_large;
mod handover_mm2;
mod heartbeats;
mod incarnation;
mod internal_topics;
mod lag;
mod legacy;
mod lifecycle;
mod memory;
mod mm2_file;
mod oauth;
mod offsets;
mod second_name;
mod security;
mod selection;
mod side_by_side;
mod single;
mod start;
mod store;
mod takeover;
mod timestamps;
mod turns;

use std::sync::{Mutex, MutexGuard};

/// Held by a test as long as it runs.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(|failed_before| failed_before.into_inner())
}
