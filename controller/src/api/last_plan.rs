//! A mirror's plan while one of its clusters is gone: what its survey found last.

use tonic::Status;
use twinlog_proto::internal::v1 as internal;
use twinlog_proto::reason::{Reason, reason_of};
use twinlog_proto::v1;
use twinlog_proto::v1::planned_topic::Action;

/// Whether the clusters could not be asked.
pub(super) fn stands_in_for(error: &Status) -> bool {
    let gone = [Reason::CLUSTER_UNREACHABLE, Reason::QUERY_TIMEOUT, Reason::KAFKA_ERROR, Reason::NO_WORKER];
    reason_of(error).is_some_and(|reason| gone.iter().any(|gone| gone.as_str() == reason))
}

/// The plan that a stored inventory amounts to. `error`: why there is no newer one.
pub(super) fn of(inventory: &internal::Inventory, error: &Status) -> v1::MirrorPlan {
    let topics: Vec<v1::PlannedTopic> = inventory.topics.iter().map(planned).collect();
    let reason = reason_of(error).unwrap_or_default();
    let mut warnings = vec![v1::PlanWarning { reason, message: error.message().to_owned() }];
    warnings.extend(inventory.warnings.iter().cloned());
    v1::MirrorPlan {
        matched_topics: i32::try_from(topics.len()).unwrap_or(i32::MAX),
        matched_partitions: topics.iter().map(|topic| topic.source_partitions).sum(),
        // Not in an inventory.
        skipped_topics: 0,
        topics,
        warnings,
        worker: String::new(),
        as_of: inventory.time,
    }
}

fn planned(topic: &internal::InventoryTopic) -> v1::PlannedTopic {
    let (action, reason) = match &topic.blocked {
        Some(cause) => (Action::Blocked, format!("{}: {}", cause.reason, cause.message)),
        None => (Action::None, topic.note.clone()),
    };
    v1::PlannedTopic {
        source_topic: topic.source_topic.clone(),
        target_topic: topic.target_topic.clone(),
        source_partitions: topic.source_partitions,
        target_partitions: topic.partitions,
        action: action.into(),
        reason,
        configs: Default::default(),
        drift: topic.drift.clone(),
        target_records: None,
    }
}

#[cfg(test)]
mod tests {
    use twinlog_proto::reason::status;

    use super::*;

    #[test]
    fn what_the_survey_found_last_stands_in_while_a_cluster_is_gone() {
        let topic = |name: &str, blocked| internal::InventoryTopic {
            source_topic: name.to_owned(),
            target_topic: format!("a.{name}"),
            source_partitions: 3,
            partitions: 3,
            blocked,
            ..Default::default()
        };
        let why = v1::Cause { reason: "NAME_COLLISION".into(), message: "two meet".into(), since: None };
        let time = Some(prost_types::Timestamp { seconds: 7, nanos: 0 });
        let inventory = internal::Inventory {
            topics: vec![topic("t", None), topic("u", Some(why))],
            time,
            ..Default::default()
        };
        let error = status(Reason::CLUSTER_UNREACHABLE, "cluster a: nobody answers", &[]);
        assert!(stands_in_for(&error) && !stands_in_for(&status(Reason::MIRROR_NOT_FOUND, "", &[])));
        let plan = of(&inventory, &error);
        assert_eq!((plan.as_of, plan.matched_topics, plan.matched_partitions), (time, 2, 6));
        assert_eq!((plan.topics[0].action(), plan.topics[1].action()), (Action::None, Action::Blocked));
        assert_eq!(plan.warnings[0].reason, "CLUSTER_UNREACHABLE");
    }
}
