use twinlog_proto::v1;

use super::*;

/// A mirror from `source` to `target` that copies everything under prefixed names.
pub(crate) fn wire(source: &str, target: &str) -> v1::Mirror {
    v1::Mirror {
        name: "mirrors/m".into(),
        source: format!("clusters/{source}"),
        target: format!("clusters/{target}"),
        topics: vec![".*".into()],
        ..Default::default()
    }
}

pub(crate) fn naming(kind: v1::naming::Kind, map: &[(&str, &str)]) -> Option<v1::Naming> {
    let map = map.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Some(v1::Naming { kind: kind.into(), map, ..Default::default() })
}

fn known(topic: &str) -> InventoryTopic {
    InventoryTopic {
        source_topic: topic.into(),
        target_topic: format!("a.{topic}"),
        source_partitions: 4,
        partitions: 4,
        ..Default::default()
    }
}

#[test]
fn a_topic_is_called_deleted_only_when_the_source_says_so() {
    let mirror = Mirror::parse(&wire("a", "b")).unwrap();
    let deleted = KafkaError::new(Reason::TOPIC_NOT_FOUND, "unknown");
    let gone = inventory::gone(&mirror, &known("t"), Some(&deleted));
    assert_eq!((gone.partitions, gone.blocked.unwrap().reason.as_str()), (0, "SOURCE_TOPIC_DELETED"));

    let hidden = KafkaError::new(Reason::MISSING_PERMISSION, "DESCRIBE is not granted");
    let kept = inventory::gone(&mirror, &known("t"), Some(&hidden));
    assert_eq!(kept, known("t"), "what is copied goes on");
    assert_eq!(inventory::gone(&mirror, &known("t"), None), known("t"));
}

#[test]
fn a_target_that_does_not_answer_for_a_topic_stops_nothing_that_is_copied() {
    let source = select::SourceTopic { name: "t".into(), id: None, partitions: 6 };
    let step = decide::Step::Unknown(Reason::KAFKA_ERROR, "try again".into());
    let decision = Decision { source, target: "a.t".into(), target_partitions: 0, target_id: None, step };
    assert_eq!(inventory::topic(&decision, None, Some(&known("t"))), known("t"));
    let new = inventory::topic(&decision, None, None);
    assert_eq!((new.partitions, new.blocked.unwrap().reason.as_str()), (0, "KAFKA_ERROR"));
}

#[test]
fn a_cause_keeps_its_beginning_so_that_nothing_seems_to_change() {
    let first = Cause::new(Reason::KAFKA_ERROR, "x").continuing(None);
    let again = Cause::new(Reason::KAFKA_ERROR, "x").continuing(Some(&first));
    assert_eq!(first, again);
    let inventory = |time| Inventory { blocked: Some(first.clone()), time, ..Default::default() };
    assert!(inventory::same(&inventory(None), &inventory(Some(SystemTime::now()))));
    let other = Inventory { groups: 1, ..inventory(None) };
    assert!(!inventory::same(&inventory(None), &other));
}
