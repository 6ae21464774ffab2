//! What Twinlog promises, seen on real Kafka, real etcd and the real binaries. One story per test, each in a world of its own.
//! Those that measure something run alone.

mod acceptance;
mod access;
mod acls;
mod bad_input;
mod bombs;
mod brokers;
mod by_key;
mod causes;
mod compat;
mod configs;
mod content;
mod control_plane;
mod corpus;
mod differential;
mod failback;
mod failing_over;
mod former_names;
mod gaps;
mod groups;
mod growth;
mod handover_exactly_once;
mod handover_file;
mod handover_large;
mod handover_mm1;
mod handover_mm2;
mod heartbeats;
mod incarnation;
mod internal_topics;
mod kills;
mod lag;
mod legacy;
mod lifecycle;
mod line;
mod memory;
mod mm2_file;
mod oauth;
mod offsets;
mod racks;
mod restored;
mod restored_target;
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
mod wide;

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static TURN: RwLock<()> = RwLock::new(());

/// Held by a test that measures time or memory, as long as it runs.
fn alone() -> RwLockWriteGuard<'static, ()> {
    TURN.write().unwrap_or_else(PoisonError::into_inner)
}

/// Held by a test that doesn't mind how quick the machine is: others of its kind run beside it.
fn beside() -> RwLockReadGuard<'static, ()> {
    TURN.read().unwrap_or_else(PoisonError::into_inner)
}
