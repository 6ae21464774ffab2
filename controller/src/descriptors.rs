//! Descriptors of the API's messages, for what treats every field alike: JSON and update masks.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, MessageDescriptor};
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
