//! The librdkafka engine: decodes and re-encodes. Works with every broker and mechanism; what it can't read of
//! old message formats comes from the feeder.

pub(crate) mod config;
pub(crate) mod ffi;
pub(crate) mod flight;
pub(crate) mod mover;
pub(crate) mod pace;
mod partitioner;
