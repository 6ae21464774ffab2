//! The librdkafka engine: decodes and re-encodes. Works with every broker and mechanism; what it can't read of
//! old message formats comes from the feeder.

pub(crate) mod config;
mod coordinator;
mod copy_end;
mod feeder;
pub(crate) mod ffi;
mod flight;
mod mover;
mod pace;
mod partitioner;
mod thread;
mod translate;

pub(crate) use self::thread::{Opened, open};
use crate::cluster::ClusterHandle;

/// File descriptors that the clients of a lane open.
pub(crate) fn descriptors(source: &ClusterHandle, target: &ClusterHandle) -> u64 {
    let [source, target] = [source, target].map(|cluster| cluster.client.addresses());
    config::descriptors(source, target)
}
