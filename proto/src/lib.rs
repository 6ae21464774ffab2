//! The Twinlog API as generated code, and what both sides must agree on: identities, the domain model parsed from the
//! wire, topic selection and naming, how lag is counted, stable error reasons, bounds of texts, secrets, TLS settings and telemetry.

#![forbid(unsafe_code)]

// Generated code names them.
use prost as _;
use tonic_prost as _;

/// The public API, generated from `twinlog/v1/*.proto`.
pub mod v1 {
    #![allow(clippy::all, clippy::too_many_lines, unreachable_pub, rust_2018_idioms)]
    tonic::include_proto!("twinlog.v1");
}

/// What controllers and workers say to each other, generated from `twinlog/internal/v1/*.proto`: not for clients.
pub mod internal {
    pub mod v1 {
        #![allow(clippy::all, clippy::too_many_lines, unreachable_pub, rust_2018_idioms)]
        tonic::include_proto!("twinlog.internal.v1");
    }
}

/// What Twinlog keeps on target clusters, generated from `twinlog/storage/v1/storage.proto`.
pub mod storage {
    #![allow(clippy::all, clippy::too_many_lines, unreachable_pub, rust_2018_idioms)]
    tonic::include_proto!("twinlog.storage.v1");
}

/// Descriptors of every proto file, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/twinlog.bin"));

pub mod address;
pub mod client_properties;
pub mod descriptors;
pub mod enums;
pub mod filter;
pub mod id;
pub mod jaas;
pub mod lag;
pub mod login;
pub mod model;
pub mod names;
pub mod policy;
pub mod properties;
pub mod reason;
pub mod regular_file;
pub mod secret;
pub mod telemetry;
pub mod text;
pub mod tls;
