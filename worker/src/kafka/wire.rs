//! Getting a request to the broker that answers it, and its answer back: connections, TLS, logins, versions, routes, tries.

pub(super) mod api;
pub(super) mod away;
pub(super) mod client;
pub mod code;
pub(super) mod connection;
pub(super) mod coordinators;
mod dial;
pub(super) mod error;
pub(super) mod leaders;
pub(crate) mod librdkafka_log;
pub(super) mod metadata;
pub(super) mod msk;
pub(super) mod pool;
pub(super) mod properties;
pub(super) mod race;
pub(super) mod retry;
pub(super) mod route;
pub(super) mod scram;
pub(super) mod shape;
pub(super) mod shapes;
pub(super) mod tls;
pub(super) mod token;
pub(super) mod token_endpoint;
pub(super) mod tokens;
pub(super) mod types;
