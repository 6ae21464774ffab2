//! Calls about a cluster, its topics, configs, permissions, groups and quotas.

pub(super) mod acls;
pub(super) mod cluster;
pub(super) mod configs;
pub(super) mod group_offsets;
pub(super) mod groups;
pub(super) mod offsets_topic;
pub(super) mod quotas;
pub(super) mod topics;
pub(super) mod transaction_log;
pub(super) mod types;
