//! Descriptors of the API's messages, for what treats every field alike: JSON and update masks.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, MessageDescriptor};
use prost_types::FileDescriptorSet;
use twinlog_proto::FILE_DESCRIPTOR_SET;

/// The descriptor of a message by its name in the package, such as `Mirror`.
///
/// # Panics
/// There is no such message.
pub(crate) fn message(name: &str) -> MessageDescriptor {
    static POOL: LazyLock<DescriptorPool> =
        LazyLock::new(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("made by our own build script"));
    POOL.get_message_by_name(&format!("twinlog.v1.{name}")).expect("a message of the API")
}

/// Files of the package that are not for clients: workers' sessions, and replicas among themselves.
const INTERNAL: [&str; 2] = ["twinlog/v1/worker.proto", "twinlog/v1/peer.proto"];

/// What reflection shows: the public API, and what it imports.
///
/// # Panics
/// Our own build script made something that isn't a descriptor set.
pub(crate) fn public() -> FileDescriptorSet {
    let mut files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("made by our own build script");
    files
        .file
        .retain(|file| !INTERNAL.contains(&file.name()) && !file.package().starts_with("twinlog.storage"));
    files
}
