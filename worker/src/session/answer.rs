//! Answers to questions, as messages.

use twinlog_proto::internal::v1 as internal;
use twinlog_proto::v1;

use super::inventory::{drift, topic_id, warning};
use super::status::{cause, count};
use crate::give_back::GivenBack;
use crate::kafka::{GroupListing, GroupType};
use crate::query::{
    Action, Answer, ClusterTest, PermissionCheck, Plan, PlannedTopic, Said, TopicInfo, Translated,
    TranslatedOffset,
};

/// In place of a broker that isn't known.
const NO_BROKER: i32 = -1;

pub(super) fn message(Answer { id, said }: Answer) -> internal::Answer {
    use internal::answer::Answer as Wire;
    let answer = match said {
        Ok(Said::TestCluster(test)) => Wire::TestCluster(cluster_test(test)),
        Ok(Said::ListTopics(topics)) => Wire::ListTopics(v1::ListTopicsResponse {
            topics: topics.into_iter().map(topic).collect(),
            next_page_token: String::new(),
        }),
        Ok(Said::ListGroups(groups)) => Wire::ListGroups(v1::ListGroupsResponse {
            groups: groups.into_iter().map(group).collect(),
            next_page_token: String::new(),
        }),
        Ok(Said::Plan(found)) => Wire::Plan(plan(found)),
        Ok(Said::Translated(Translated { offsets, unasked })) => {
            Wire::Translate(v1::TranslateOffsetsResponse {
                offsets: offsets.into_iter().map(translated).collect(),
                unasked: unasked.map(cause),
            })
        }
        Ok(Said::GivenBack(positions)) => Wire::GiveBack(v1::GiveBackMirrorResponse {
            positions: positions.into_iter().map(given_back).collect(),
        }),
        Err(error) => Wire::Error(cause(error)),
    };
    internal::Answer { id, answer: Some(answer) }
}

fn cluster_test(test: ClusterTest) -> v1::TestClusterResponse {
    let mut response = v1::TestClusterResponse { worker: test.worker.to_string(), ..Default::default() };
    if let Some(login) = test.login {
        response.security_protocol = login.security_protocol;
        response.sasl_mechanism = login.sasl_mechanism.unwrap_or_default();
        response.principal = login.principal.unwrap_or_default();
    }
    match test.found {
        Ok(found) => v1::TestClusterResponse {
            reachable: true,
            kafka_cluster_id: found.cluster_id.unwrap_or_default(),
            broker_version: found.broker_version,
            brokers: count(found.brokers.len()),
            broker_addresses: found.brokers,
            controller_id: found.controller.unwrap_or(NO_BROKER),
            checks: found.checks.into_iter().map(check).collect(),
            ..response
        },
        Err(error) => v1::TestClusterResponse { cause: Some(cause(error)), ..response },
    }
}

fn check(check: PermissionCheck) -> v1::PermissionCheck {
    v1::PermissionCheck {
        operation: check.operation.to_string(),
        resource_type: check.resource_type.to_owned(),
        resource_name: check.resource_name,
        allowed: check.allowed,
        needed_for: check.needed_for.to_owned(),
    }
}

fn topic(topic: TopicInfo) -> v1::TopicInfo {
    v1::TopicInfo {
        topic: topic.topic,
        topic_id: topic_id(topic.topic_id),
        partitions: count(topic.partitions),
        replication_factor: count(topic.replication_factor),
        internal: topic.internal,
    }
}

fn group(group: GroupListing) -> v1::GroupInfo {
    let group_type = match group.group_type {
        GroupType::Classic => "classic",
        GroupType::Consumer => "consumer",
        GroupType::Share => "share",
        GroupType::Streams => "streams",
        GroupType::Unknown => "",
    };
    v1::GroupInfo {
        group: group.group,
        state: group.state.map(|state| format!("{state:?}")).unwrap_or_default(),
        protocol_type: group.protocol_type,
        group_type: group_type.to_owned(),
    }
}

fn plan(plan: Plan) -> v1::MirrorPlan {
    v1::MirrorPlan {
        matched_topics: count(plan.matched_topics),
        matched_partitions: plan.matched_partitions,
        skipped_topics: count(plan.topics.len() - plan.matched_topics),
        topics: plan.topics.into_iter().map(planned).collect(),
        warnings: plan.warnings.into_iter().map(warning).collect(),
        worker: plan.worker.to_string(),
        as_of: None,
    }
}

fn planned(topic: PlannedTopic) -> v1::PlannedTopic {
    use v1::planned_topic::Action as Wire;
    let action = match topic.action {
        Action::None => Wire::None,
        Action::Create => Wire::Create,
        Action::AddPartitions => Wire::AddPartitions,
        Action::Blocked => Wire::Blocked,
        Action::Skip => Wire::Skip,
    };
    v1::PlannedTopic {
        source_topic: topic.source_topic,
        target_topic: topic.target_topic,
        source_partitions: topic.source_partitions,
        target_partitions: topic.target_partitions,
        action: action.into(),
        reason: topic.reason,
        configs: topic.configs.into_iter().collect(),
        drift: topic.drift.into_iter().map(drift).collect(),
        target_records: topic.target_records,
    }
}

fn translated(offset: TranslatedOffset) -> v1::TranslatedOffset {
    let (reason, message) = match offset.not {
        Some(not) => (not.reason.as_str().to_owned(), not.message),
        None => (String::new(), String::new()),
    };
    v1::TranslatedOffset {
        source_topic: offset.source_topic.unwrap_or_default(),
        partition: offset.partition,
        source_offset: offset.source_offset.map(|at| at.0),
        target_topic: offset.target_topic.unwrap_or_default(),
        target_offset: offset.target_offset.map(|at| at.0),
        reason,
        message,
        metadata: offset.metadata,
        as_of: offset.as_of.map(Into::into),
    }
}

fn given_back(given: GivenBack) -> v1::GivenBackPosition {
    v1::GivenBackPosition {
        source_topic: given.source.topic,
        partition: given.source.partition,
        last_copied_offset: given.last_copied.map(|at| at.0),
    }
}
