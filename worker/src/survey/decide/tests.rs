use twinlog_proto::v1;

use super::*;
use crate::survey::select::select;
use crate::survey::tests::wire;

fn mirror(create: bool) -> Mirror {
    let topic_creation = Some(v1::TopicCreation { enabled: Some(create), ..Default::default() });
    Mirror::parse(&v1::Mirror { topic_creation, ..wire("a", "b") }).unwrap()
}

fn decision(mirror: &Mirror, partitions: i32, target: Option<TargetTopic>) -> Decision {
    let topics = [SourceTopic { name: "t".into(), id: None, partitions }];
    let targets = target.map(|t| ("a.t".to_owned(), t)).into_iter().collect();
    decide(mirror, &topics, select(mirror, &topics, &Default::default()), &targets).remove(0)
}

/// S7: a missing target topic is made, in every round in which it is missing, and nothing else is.
#[test]
fn s7_what_is_missing_is_made_and_what_is_there_is_used() {
    let mirror = mirror(true);
    let exists = |partitions| Some(TargetTopic::Exists { partitions, id: None });
    for (source, target, step, copied) in [
        (4, None, Step::Create, 4),
        (4, Some(TargetTopic::Missing), Step::Create, 4),
        (4, exists(4), Step::Nothing, 4),
        (4, exists(3), Step::Grow, 4),
        (4, exists(9), Step::Nothing, 4),
    ] {
        let decision = decision(&mirror, source, target);
        assert_eq!(decision.step, step);
        assert_eq!(decision.partitions(), copied);
    }
    let more = decision(&mirror, 4, exists(9));
    assert_eq!(partition_warnings(&mirror, &[more]).len(), 1);
    assert!(partition_warnings(&mirror, &[decision(&mirror, 4, exists(4))]).is_empty());
}

#[test]
fn where_nothing_may_be_made_the_cause_says_what_to_do() {
    let mirror = mirror(false);
    let missing = decision(&mirror, 4, Some(TargetTopic::Missing));
    assert!(matches!(&missing.step, Step::Blocked(Reason::TARGET_TOPIC_MISSING, m) if m.contains("a.t")));
    assert_eq!(missing.partitions(), 0);
    let fewer = decision(&mirror, 4, Some(TargetTopic::Exists { partitions: 3, id: None }));
    let Step::Blocked(reason, message) = &fewer.step else { panic!("{fewer:?}") };
    assert_eq!(*reason, Reason::TARGET_HAS_FEWER_PARTITIONS);
    assert!(message.contains('3') && message.contains('4'), "{message}");
    assert_eq!(fewer.partitions(), 3, "what exists on both sides is copied");
}

#[test]
fn a_target_that_cannot_be_looked_at_is_not_created() {
    let denied = KafkaError::new(Reason::MISSING_PERMISSION, "DESCRIBE on a.t");
    let decision = decision(&mirror(true), 4, Some(TargetTopic::Unknown(denied)));
    assert_eq!(decision.step, Step::Unknown(Reason::MISSING_PERMISSION, "DESCRIBE on a.t".into()));
    assert_eq!(decision.partitions(), 0);
}
