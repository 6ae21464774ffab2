//! Calls about logs: fetches, batches, positions, transactions.

pub(super) mod aborted;
pub(super) mod batch;
pub(super) mod fetch;
pub(super) mod offsets;
pub(super) mod reader;
pub(super) mod records;
pub(super) mod transactions;
pub(super) mod types;
