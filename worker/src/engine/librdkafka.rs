//! The librdkafka engine: decodes and re-encodes. Works with every broker, mechanism and message format.

pub(crate) mod config;
pub(crate) mod ffi;
mod flight;
pub(crate) mod mover;
mod partitioner;
