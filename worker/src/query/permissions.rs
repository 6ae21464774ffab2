//! What mirroring needs of a cluster, and whether the cluster grants it.
//!
//! Brokers answer for the cluster resource and for each topic that exists (KIP-430). What is granted on names only (a
//! prefix, a topic that doesn't exist yet) can't be seen this way.

use crate::kafka::{AclOperation, ClusterInfo, KafkaClient, TopicMetadata};

/// Topics that are named one by one when something is missing on them.
const TOPICS_NAMED: usize = 20;

/// One permission that mirroring needs, and whether the cluster grants it.
#[derive(Debug)]
pub struct PermissionCheck {
    pub operation: AclOperation,
    pub resource_type: &'static str,
    pub resource_name: String,
    pub allowed: bool,
    pub needed_for: &'static str,
}

const CLUSTER: &[(AclOperation, &str)] = &[
    (AclOperation::Describe, "listing consumer groups"),
    (AclOperation::Create, "as a target: creating topics (may be granted on topic names instead)"),
    (AclOperation::DescribeConfigs, "reading broker settings (optional)"),
];

const TOPIC: &[(AclOperation, &str)] = &[
    (AclOperation::Read, "as a source: copying"),
    (AclOperation::DescribeConfigs, "as a source: creating the target topic alike"),
    (AclOperation::Write, "as a target: copying"),
    (AclOperation::Alter, "as a target: adding partitions"),
];

/// Empty where the brokers don't tell (before 2.3).
pub(super) async fn checks(client: &KafkaClient, info: &ClusterInfo) -> Vec<PermissionCheck> {
    let mut checks = Vec::new();
    if let Some(granted) = &info.authorized_operations {
        checks.extend(CLUSTER.iter().map(|(operation, needed_for)| {
            check(*operation, "CLUSTER", "kafka-cluster", may(granted, *operation), needed_for)
        }));
    }
    // Topics that can't be listed are no reason to withhold the rest of the answer.
    let topics = client.topics(None).await.unwrap_or_default();
    let told: Vec<&TopicMetadata> = topics
        .iter()
        .filter(|t| !t.internal && t.error.is_none() && t.authorized_operations.is_some())
        .collect();
    for (operation, needed_for) in TOPIC {
        checks.extend(topic_checks(&told, *operation, needed_for));
    }
    checks
}

/// One check for all topics where all or none is granted; otherwise the exceptions by name.
fn topic_checks(
    topics: &[&TopicMetadata],
    operation: AclOperation,
    needed_for: &'static str,
) -> Vec<PermissionCheck> {
    let (granted, denied): (Vec<&TopicMetadata>, Vec<&TopicMetadata>) = topics.iter().partition(|topic| {
        topic.authorized_operations.as_ref().is_none_or(|granted| may(granted, operation))
    });
    let all = |allowed, count: usize| {
        check(operation, "TOPIC", &format!("all {count} topics"), allowed, needed_for)
    };
    match (granted.len(), denied.len()) {
        (0, 0) => Vec::new(),
        (n, 0) => vec![all(true, n)],
        (0, n) => vec![all(false, n)],
        _ => denied
            .iter()
            .take(TOPICS_NAMED)
            .map(|topic| check(operation, "TOPIC", &topic.name, false, needed_for))
            .collect(),
    }
}

fn may(granted: &[AclOperation], operation: AclOperation) -> bool {
    granted.contains(&operation) || granted.contains(&AclOperation::All)
}

fn check(
    operation: AclOperation,
    resource_type: &'static str,
    resource_name: &str,
    allowed: bool,
    needed_for: &'static str,
) -> PermissionCheck {
    PermissionCheck { operation, resource_type, resource_name: resource_name.to_owned(), allowed, needed_for }
}
