//! Update masks: which fields of a cluster or a mirror a call changes.

use prost_types::FieldMask;
use tonic::Status;
use twinlog_proto::reason::{self, Reason};
use twinlog_proto::v1;

pub(super) const CLUSTER_FIELDS: &[&str] = &["bootstrap_servers", "properties", "display_name", "labels"];

/// Fields of a mirror that can change. Parts of a message come before the message itself.
pub(super) const MIRROR_FIELDS: &[&str] = &[
    "topics",
    "topics_exclude",
    "start",
    "groups",
    "groups_exclude",
    "sync_group_offsets",
    "heartbeats",
    "topic_creation",
    "refresh",
    "target_latency",
    "placement",
    "desired_state",
    "gap_policy",
    "offset_syncs",
    "labels",
    "display_name",
    "compression",
    "config_sync",
    "acl_sync",
    "checkpoints",
    "allow_loops",
    "source_properties",
    "target_properties",
    "take_over",
];

/// Parts of messages that a mask may name by themselves.
const MIRROR_PARTS: &[&str] = &[
    "heartbeats.enabled",
    "heartbeats.interval",
    "topic_creation.enabled",
    "topic_creation.replication_factor",
    "topic_creation.config_overrides",
    "topic_creation.config_exclude",
    "refresh.topics",
    "refresh.groups",
    "offset_syncs.location",
];

/// A mask may name them if nothing about them changes.
pub(super) const MIRROR_IMMUTABLE: &[&str] = &[
    "name",
    "source",
    "target",
    "naming",
    "naming.kind",
    "naming.separator",
    "naming.map",
    "naming.internal_topics",
    "naming.separator_in_internal_topics",
    "partitioning",
    "guarantee",
    "block_size",
];

/// The paths of a mask; all of `fields` where it is empty or `*`. UNKNOWN_FIELD names every path that doesn't exist.
pub(super) fn paths(mask: Option<&FieldMask>, fields: &[&'static str]) -> Result<Vec<&'static str>, Status> {
    let given = mask.map(|mask| mask.paths.as_slice()).unwrap_or_default();
    if given.is_empty() || given == ["*"] {
        return Ok(fields.to_vec());
    }
    let (mut paths, mut unknown) = (Vec::new(), Vec::new());
    let parts: [&[&'static str]; 2] =
        if fields == MIRROR_FIELDS { [MIRROR_PARTS, MIRROR_IMMUTABLE] } else { [&["name"], &[]] };
    for (i, path) in given.iter().enumerate() {
        match fields.iter().chain(parts.into_iter().flatten()).find(|known| *known == path) {
            Some(known) => paths.push(*known),
            None => {
                let what =
                    format!("{path:?} is not a field that can be updated; these can: {}", fields.join(", "));
                unknown.push((format!("update_mask.paths[{i}]"), what));
            }
        }
    }
    if unknown.is_empty() { Ok(paths) } else { Err(reason::bad_request(Reason::UNKNOWN_FIELD, &unknown)) }
}

pub(super) fn apply_to_cluster(next: &mut v1::Cluster, given: &v1::Cluster, paths: &[&str]) {
    for path in paths {
        match *path {
            "bootstrap_servers" => next.bootstrap_servers.clone_from(&given.bootstrap_servers),
            "properties" => next.properties.clone_from(&given.properties),
            "display_name" => next.display_name.clone_from(&given.display_name),
            "labels" => next.labels.clone_from(&given.labels),
            _ => {}
        }
    }
}

/// Immutable fields are left alone here.
pub(super) fn apply_to_mirror(next: &mut v1::Mirror, given: &v1::Mirror, paths: &[&str]) {
    let heartbeats = given.heartbeats.unwrap_or_default();
    let creation = given.topic_creation.clone().unwrap_or_default();
    let refresh = given.refresh.unwrap_or_default();
    let syncs = given.offset_syncs.unwrap_or_default();
    for path in paths {
        match *path {
            "topics" => next.topics.clone_from(&given.topics),
            "topics_exclude" => next.topics_exclude.clone_from(&given.topics_exclude),
            "start" => next.start = given.start,
            "groups" => next.groups.clone_from(&given.groups),
            "groups_exclude" => next.groups_exclude.clone_from(&given.groups_exclude),
            "sync_group_offsets" => next.sync_group_offsets = given.sync_group_offsets,
            "heartbeats" => next.heartbeats = given.heartbeats,
            "heartbeats.enabled" => next.heartbeats.get_or_insert_default().enabled = heartbeats.enabled,
            "heartbeats.interval" => next.heartbeats.get_or_insert_default().interval = heartbeats.interval,
            "topic_creation" => next.topic_creation.clone_from(&given.topic_creation),
            "topic_creation.enabled" => {
                next.topic_creation.get_or_insert_default().enabled = creation.enabled
            }
            "topic_creation.replication_factor" => {
                next.topic_creation.get_or_insert_default().replication_factor = creation.replication_factor;
            }
            "topic_creation.config_overrides" => {
                let overrides = &mut next.topic_creation.get_or_insert_default().config_overrides;
                overrides.clone_from(&creation.config_overrides);
            }
            "topic_creation.config_exclude" => {
                let exclude = &mut next.topic_creation.get_or_insert_default().config_exclude;
                exclude.clone_from(&creation.config_exclude);
            }
            "refresh" => next.refresh = given.refresh,
            "refresh.topics" => next.refresh.get_or_insert_default().topics = refresh.topics,
            "refresh.groups" => next.refresh.get_or_insert_default().groups = refresh.groups,
            "target_latency" => next.target_latency = given.target_latency,
            "placement" => next.placement.clone_from(&given.placement),
            "desired_state" => next.desired_state = given.desired_state,
            "gap_policy" => next.gap_policy = given.gap_policy,
            "offset_syncs" => next.offset_syncs = given.offset_syncs,
            "offset_syncs.location" => next.offset_syncs.get_or_insert_default().location = syncs.location,
            "labels" => next.labels.clone_from(&given.labels),
            "display_name" => next.display_name.clone_from(&given.display_name),
            "compression" => next.compression.clone_from(&given.compression),
            "config_sync" => next.config_sync = given.config_sync,
            "acl_sync" => next.acl_sync = given.acl_sync,
            "checkpoints" => next.checkpoints = given.checkpoints,
            "allow_loops" => next.allow_loops = given.allow_loops,
            "source_properties" => next.source_properties.clone_from(&given.source_properties),
            "target_properties" => next.target_properties.clone_from(&given.target_properties),
            "take_over" => next.take_over.clone_from(&given.take_over),
            _ => {}
        }
    }
}
