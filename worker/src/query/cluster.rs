//! One cluster: whether it can be used, which topics and which groups it has.

use std::time::Duration;

use twinlog_proto::filter::Filter;
use twinlog_proto::id::WorkerId;
use twinlog_proto::model::Cluster;
use twinlog_proto::reason::Reason;

use super::asked::Asked;
use super::permissions::PermissionCheck;
use super::{permissions, reach};
use crate::cause::Cause;
use crate::kafka::GroupListing;
use crate::topic::TopicId;

/// How long a test of a cluster waits for a broker. Well within the question's own deadline: that nobody answers is the answer.
const TEST_DEADLINE: Duration = Duration::from_secs(8);

/// What came of a test of a cluster.
#[derive(Debug)]
pub struct ClusterTest {
    pub worker: WorkerId,
    /// `None` where the properties can't be used.
    pub login: Option<Login>,
    pub found: Result<Reached, Cause>,
}

/// As whom we come to a cluster.
#[derive(Debug)]
pub struct Login {
    pub security_protocol: String,
    pub sasl_mechanism: Option<String>,
    /// Where that is known.
    pub principal: Option<String>,
}

/// A cluster that answers.
#[derive(Debug)]
pub struct Reached {
    pub cluster_id: Option<String>,
    pub broker_version: String,
    /// host:port of each.
    pub brokers: Vec<String>,
    pub controller: Option<i32>,
    pub checks: Vec<PermissionCheck>,
}

#[derive(Debug)]
pub struct TopicInfo {
    pub topic: String,
    /// `None` where the broker has no topic ids.
    pub topic_id: Option<TopicId>,
    pub partitions: usize,
    pub replication_factor: usize,
    pub internal: bool,
}

/// Whatever stands in the way is the answer, not an error: that is what was asked.
pub(super) async fn test(asked: &Asked<'_>, cluster: Result<Cluster, Cause>) -> ClusterTest {
    let worker = asked.context.worker.clone();
    let handle = match asked.cluster(cluster) {
        Ok(handle) => handle,
        Err(cause) => return ClusterTest { worker, login: None, found: Err(cause) },
    };
    let login = Login {
        security_protocol: handle.properties.security_protocol().to_owned(),
        sasl_mechanism: handle.properties.sasl_mechanism().map(str::to_owned),
        principal: handle.properties.principal(),
    };
    let client = handle.client.with_deadline(TEST_DEADLINE);
    let found = match client.describe_cluster().await {
        Ok(info) => Ok(Reached {
            checks: permissions::checks(&client, &info).await,
            cluster_id: info.cluster_id,
            broker_version: info.broker_version,
            brokers: info.brokers.iter().map(|broker| format!("{}:{}", broker.host, broker.port)).collect(),
            controller: info.controller_id,
        }),
        Err(error) => Err(error.into()),
    };
    ClusterTest { worker, login: Some(login), found }
}

/// Every name, where no pattern is given.
fn filter(patterns: &[String]) -> Result<Filter, Cause> {
    let patterns = if patterns.is_empty() { &[".*".to_owned()] } else { patterns };
    Filter::new(patterns, &[] as &[&str]).map_err(|e| Cause::new(Reason::INVALID_PATTERN, e.to_string()))
}

pub(super) async fn topics(
    asked: &Asked<'_>,
    cluster: Result<Cluster, Cause>,
    patterns: &[String],
) -> Result<Vec<TopicInfo>, Cause> {
    let filter = filter(patterns)?;
    let cluster = asked.cluster(cluster)?;
    reach::alive(&cluster, reach::ALIVE).await?;
    let listed = cluster.client.topics(None).await?;
    let mut topics: Vec<_> = listed
        .into_iter()
        .filter(|topic| topic.error.is_none() && filter.matches(&topic.name))
        .map(|topic| TopicInfo {
            topic_id: topic.topic_id.map(TopicId),
            partitions: topic.partitions.len(),
            replication_factor: topic.replication_factor(),
            internal: topic.internal,
            topic: topic.name,
        })
        .collect();
    topics.sort_by(|a, b| a.topic.cmp(&b.topic));
    Ok(topics)
}

pub(super) async fn groups(
    asked: &Asked<'_>,
    cluster: Result<Cluster, Cause>,
    patterns: &[String],
) -> Result<Vec<GroupListing>, Cause> {
    let filter = filter(patterns)?;
    let cluster = asked.cluster(cluster)?;
    reach::alive(&cluster, reach::ALIVE).await?;
    let listed = cluster.client.list_groups().await?;
    let mut groups: Vec<_> = listed.into_iter().filter(|group| filter.matches(&group.group)).collect();
    groups.sort_by(|a, b| a.group.cmp(&b.group));
    Ok(groups)
}
