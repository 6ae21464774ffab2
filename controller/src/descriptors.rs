//! Descriptors of the API's messages, for what treats every field alike: JSON and update masks.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, MessageDescriptor};
use prost_types::FileDescriptorSet;
use twinlog_proto::FILE_DESCRIPTOR_SET;

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("made by our own build script"));

/// The descriptor of a message by its name in the package, such as `Mirror`.
///
/// # Panics
/// There is no such message.
pub fn message(name: &str) -> MessageDescriptor {
    POOL.get_message_by_name(&format!("{PUBLIC}.{name}")).expect("a message of the API")
}

/// Packages that are for clients.
const PUBLIC: &str = "twinlog.v1";

/// The request of every public method, by the method's path.
pub(crate) fn requests() -> HashMap<String, MessageDescriptor> {
    let public = POOL.services().filter(|service| service.package_name() == PUBLIC);
    let methods = public.flat_map(|service| service.methods().collect::<Vec<_>>());
    let single = methods.filter(|method| !method.is_client_streaming());
    single
        .map(|method| (format!("/{}/{}", method.parent_service().full_name(), method.name()), method.input()))
        .collect()
}

/// What reflection shows: the public API, and what it imports.
///
/// # Panics
/// Our own build script made something that isn't a descriptor set.
pub(crate) fn public() -> FileDescriptorSet {
    let mut files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("made by our own build script");
    files.file.retain(|file| file.package() == PUBLIC || !file.package().starts_with("twinlog"));
    files
}
