use twinlog_proto::reason::Reason;

use super::*;
use crate::survey::tests::wire;

fn mirror() -> Mirror {
    Mirror::parse(&wire("a", "b")).unwrap()
}

fn committed(topic: &str, partition: i32, offset: i64) -> CommittedOffset {
    CommittedOffset { topic: topic.into(), partition, offset, leader_epoch: 3, metadata: "note".into() }
}

fn group(name: &str, offsets: Vec<CommittedOffset>) -> GroupOffsets {
    GroupOffsets { group: name.into(), offsets: Ok(offsets) }
}

fn exact(offset: i64) -> Translation {
    Translation::Exact(TargetOffset(offset))
}

fn not_yet() -> Translation {
    Translation::Not { reason: Reason::NOT_YET_MIRRORED, message: "not there yet".into() }
}

fn one(offset: i64, downstream: i64) -> Checkpoint {
    let groups = vec![group("g", vec![committed("t", 0, offset)])];
    assemble(&mirror(), groups, vec![exact(downstream)]).remove(0).checkpoints.remove(0)
}

#[test]
fn translations_find_back_to_their_groups() {
    let unreadable =
        GroupOffsets { group: "broken".into(), offsets: Err(KafkaError::new(Reason::KAFKA_ERROR, "no")) };
    let groups = vec![
        group("a,b", vec![committed("t", 0, 10), committed("t", 1, 20)]),
        unreadable,
        group("größe", vec![committed("u", 5, 30)]),
    ];
    let all = assemble(&mirror(), groups, vec![exact(1), not_yet(), exact(3)]);
    assert_eq!(all.len(), 3);
    assert_eq!((all[0].checkpoints.len(), all[0].partitions), (1, 2));
    assert_eq!(all[0].waiting.as_deref(), Some("not there yet"));
    assert_eq!(all[1].error.as_deref(), Some("no"));
    let last = &all[2].checkpoints[0];
    assert_eq!(
        (last.key.group.as_str(), last.key.target_topic.as_str(), last.key.partition),
        ("größe", "a.u", 5)
    );
    assert_eq!((last.upstream, last.downstream), (SourceOffset(30), TargetOffset(3)));
    assert_eq!(last.metadata, "note");
}

#[test]
fn a_checkpoint_is_written_when_it_is_new_set_back_or_further() {
    let previous = Some(Previous { upstream: SourceOffset(10), downstream: TargetOffset(5) });
    assert!(is_more_recent(None, &one(1, 1)));
    assert!(!is_more_recent(previous, &one(10, 5)), "the same");
    assert!(is_more_recent(previous, &one(9, 4)), "set back on the source");
    assert!(is_more_recent(previous, &one(11, 6)));
    assert!(!is_more_recent(previous, &one(11, 5)), "no progress on the target");
    assert!(!is_more_recent(previous, &one(11, 4)), "never back while the source goes on");
}

#[test]
fn commits_go_forwards_only() {
    let there = |offset: Option<i64>| {
        offset.map(|o| (("a.t".to_owned(), 0), o)).into_iter().collect::<HashMap<_, _>>()
    };
    let checkpoint = [one(10, 5)];
    let (first, ahead) = commits(&checkpoint, &there(None));
    assert_eq!((first.len(), ahead), (1, 0));
    assert_eq!((first[0].topic.as_str(), first[0].offset, first[0].leader_epoch), ("a.t", 5, -1));
    assert_eq!(first[0].metadata, "note");
    assert_eq!(commits(&checkpoint, &there(Some(4))).0.len(), 1);
    assert_eq!(commits(&checkpoint, &there(Some(-1))).0.len(), 1, "some clients commit -1 for nothing");
    assert_eq!(commits(&checkpoint, &there(Some(5))), (vec![], 0));
    assert_eq!(commits(&checkpoint, &there(Some(6))), (vec![], 1));
}

#[test]
fn a_group_has_the_state_that_an_operator_would_give_it() {
    let state = |translations: Vec<Translation>, synced: Option<Synced>| {
        let offsets = (0..2).map(|p| committed("t", p, 10)).collect();
        let group = assemble(&mirror(), vec![group("g", offsets)], translations).remove(0);
        let status = status(&group, synced.as_ref());
        (status.state, status.partitions_waiting)
    };
    let done = || vec![exact(1), exact(2)];
    let half = || vec![exact(1), not_yet()];
    assert_eq!(state(done(), Some(Synced::Yes)), ("SYNCED".into(), 0));
    assert_eq!(state(half(), Some(Synced::Yes)), ("WAITING".into(), 1));
    assert_eq!(state(half(), Some(Synced::Active(GroupState::Stable))), ("ACTIVE_ON_TARGET".into(), 1));
    assert_eq!(state(done(), Some(Synced::Ahead(1))), ("AHEAD_ON_TARGET".into(), 0));
    assert_eq!(state(done(), Some(Synced::Failed("x".into()))), ("NOT_SYNCED".into(), 0));
    assert_eq!(state(done(), None), ("NOT_SYNCED".into(), 0));
    assert_eq!(state(half(), None), ("WAITING".into(), 1));
}
