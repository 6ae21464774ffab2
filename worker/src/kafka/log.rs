//! Calls about logs: fetches, batches, positions, transactions.

pub(super) mod aborted;
pub(super) mod batch;
pub(super) mod fetch;
pub(super) mod fetch_session;
#[cfg(test)]
pub(crate) mod fuzz;
pub(super) mod links;
pub(super) mod offsets;
pub(super) mod places;
pub(super) mod produce;
pub(super) mod producers;
pub(super) mod reader;
pub(super) mod records;
pub(super) mod transaction;
pub(super) mod transactions;
pub(super) mod types;
pub(super) mod writer;
