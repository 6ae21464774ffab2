use twinlog_proto::reason::Reason;
use twinlog_proto::v1;

use super::*;
use crate::survey::tests::wire;

fn mirror() -> Mirror {
    Mirror::parse(&wire("a", "b")).unwrap()
}

fn committed(topic: &str, partition: i32, offset: i64) -> CommittedOffset {
    CommittedOffset { topic: topic.into(), partition, offset, leader_epoch: 3, metadata: "note".into() }
}

fn group(name: &str, offsets: Vec<CommittedOffset>) -> GroupOffsets {
    GroupOffsets::new(name.into(), Ok(offsets))
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
    let unreadable = GroupOffsets::new("broken".into(), Err(KafkaError::new(Reason::KAFKA_ERROR, "no")));
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

/// K1: a topic has on the target the name that the policy gives it, also behind other hops.
#[test]
fn k1_checkpoints_carry_the_targets_topic_names() {
    let offsets = vec![committed("topic3", 4, 1), committed("source6.topic7", 8, 1)];
    let mirror = Mirror::parse(&wire("source1", "target2")).unwrap();
    let all = assemble(&mirror, vec![group("g", offsets)], vec![exact(1), exact(1)]);
    let names: Vec<_> =
        all[0].checkpoints.iter().map(|c| (c.key.target_topic.as_str(), c.key.partition)).collect();
    assert_eq!(names, [("source1.source6.topic7", 8), ("source1.topic3", 4)]);
}

/// K3: what can't be translated, and what was never committed, makes no checkpoint.
#[test]
fn k3_no_translation_no_checkpoint() {
    let offsets = of_mirror(&mirror(), vec![committed("t", 0, -1), committed("t", 1, 5)]);
    assert_eq!(offsets, [committed("t", 1, 5)], "-1 is no offset");
    let all = assemble(&mirror(), vec![group("g", offsets)], vec![not_yet()]);
    assert!(all[0].checkpoints.is_empty());
}

/// K11: only offsets on topics that are copied count: internal ones, others' and copies of the target's are not.
#[test]
fn k11_only_offsets_on_copied_topics_count() {
    let mirror =
        Mirror::parse(&v1::Mirror { topics: vec!["t2".into(), "b.*".into()], ..wire("a", "b") }).unwrap();
    let kept =
        |topics: &[&str]| of_mirror(&mirror, topics.iter().map(|t| committed(t, 0, 1)).collect()).len();
    assert_eq!((kept(&["t1", "t2"]), kept(&["t2", "t3"]), kept(&["t3"])), (1, 1, 0));
    assert_eq!(kept(&["__consumer_offsets", "b.orders"]), 0);
}

/// K11: groups of every protocol that commits offsets, in every state; the others are named with the reason.
#[test]
fn k11_groups_of_other_kinds_are_named_as_not_synced() {
    let listing = |group_type, protocol_type: &str| GroupListing {
        group: "g".into(),
        state: Some(GroupState::Empty),
        protocol_type: protocol_type.into(),
        group_type,
    };
    for (kind, protocol) in [
        (GroupType::Classic, "consumer"),
        (GroupType::Classic, ""),
        (GroupType::Consumer, "consumer"),
        (GroupType::Unknown, "consumer"),
    ] {
        assert_eq!(not_translated(&listing(kind, protocol)), None, "{kind:?}");
    }
    for (kind, protocol, said) in [
        (GroupType::Share, "share", "share group"),
        (GroupType::Streams, "streams", "streams group"),
        (GroupType::Classic, "connect", "connect"),
    ] {
        let status = not_translated(&listing(kind, protocol)).expect("it is left out");
        assert_eq!(status.state, Is::NotSynced);
        assert!(status.message.contains(said), "{}", status.message);
    }
}

/// K5: a checkpoint is written when it is new, set back on the source, or further on the target; never back otherwise.
#[test]
fn k5_a_checkpoint_is_written_when_it_is_new_set_back_or_further() {
    let previous = Some(Previous { upstream: SourceOffset(10), downstream: TargetOffset(5) });
    assert!(is_more_recent(None, &one(1, 1)));
    assert!(!is_more_recent(previous, &one(10, 5)), "the same");
    assert!(is_more_recent(previous, &one(9, 4)), "set back on the source");
    assert!(is_more_recent(previous, &one(11, 6)));
    assert!(!is_more_recent(previous, &one(11, 5)), "no progress on the target");
    assert!(!is_more_recent(previous, &one(11, 4)), "never back while the source goes on");
}

/// K6: what was written before a restart counts as if nothing had happened.
#[test]
fn k6_after_a_restart_only_progress_is_written() {
    let read_back = Some(Previous { upstream: SourceOffset(250), downstream: TargetOffset(201) });
    assert!(!is_more_recent(read_back, &one(250, 176)));
    assert!(!is_more_recent(read_back, &one(370, 176)));
    assert!(is_more_recent(read_back, &one(400, 376)));
}

fn described(state: GroupState) -> Option<Result<GroupDescription, KafkaError>> {
    Some(Ok(GroupDescription {
        group: "g".into(),
        group_type: GroupType::Classic,
        state,
        protocol_type: "consumer".into(),
        members: Vec::new(),
        authorized_operations: None,
    }))
}

fn at(offset: Option<i64>) -> Option<Result<Vec<CommittedOffset>, KafkaError>> {
    Some(Ok(offset.map(|offset| committed("a.t", 0, offset)).into_iter().collect()))
}

/// K4: an idle group is moved forwards; so is one that doesn't exist on the target, or has nothing there.
#[test]
fn k4_commits_go_forwards_only() {
    let places = [Place::from(&one(10, 101))];
    let commits = |there| {
        let commits = commits(Side::Target, &places, described(GroupState::Empty), at(there)).unwrap();
        assert_eq!(commits.unread, 0);
        (commits.offsets, commits.ahead)
    };
    let (first, ahead) = commits(None);
    assert_eq!((first.len(), ahead), (1, 0));
    assert_eq!((first[0].topic.as_str(), first[0].offset, first[0].leader_epoch), ("a.t", 101, -1));
    assert_eq!(first[0].metadata, "note");
    assert_eq!(commits(Some(100)).0.len(), 1);
    assert_eq!(commits(Some(-1)).0.len(), 1, "some clients commit -1 for nothing");
    assert_eq!(commits(Some(101)), (vec![], 0));
    assert_eq!(commits(Some(102)), (vec![], 1));
    let new = super::commits(Side::Target, &places, described(GroupState::Dead), at(None)).unwrap();
    assert_eq!(new.offsets.len(), 1);
}

/// W4: back on the source the same rules hold, and what was never copied is never passed over.
#[test]
fn w4_records_that_were_never_copied_are_not_passed_over() {
    let place =
        Place { topic: "a.t".into(), partition: 0, offset: 70, read_from: 40, metadata: String::new() };
    let commits = |there| {
        let commits =
            commits(Side::Source, std::slice::from_ref(&place), described(GroupState::Empty), at(there));
        let Commits { offsets, ahead, unread } = commits.unwrap();
        (offsets.len(), ahead, unread)
    };
    assert_eq!(commits(Some(39)), (0, 0, 1), "39 was not read, and not copied");
    assert_eq!(commits(Some(40)), (1, 0, 0));
    assert_eq!(commits(None), (1, 0, 0), "a group that began on the target");
    assert_eq!((commits(Some(70)), commits(Some(71))), ((0, 0, 0), (0, 1, 0)));
    let unknown = super::commits(Side::Source, &[place], None, at(None));
    assert!(matches!(unknown, Err(Synced::Failed(said)) if said.contains("on the source")));
}

/// W5: a group whose state or position isn't known is not taken for a new one, and a used one is left alone.
#[test]
fn w5_what_is_not_known_is_never_taken_for_new() {
    let places = [Place::from(&one(10, 101))];
    let failed = || KafkaError::retriable(Reason::KAFKA_ERROR, "the coordinator is loading");
    let refused =
        |state, there| commits(Side::Target, &places, state, there).expect_err("nothing may be committed");
    let said = |synced: Synced| match synced {
        Synced::Failed(message) => message,
        other => panic!("{other:?}"),
    };
    assert!(said(refused(Some(Err(failed())), at(None))).contains("state on the target is unknown"));
    assert!(said(refused(None, at(None))).contains("state"));
    let idle = || described(GroupState::Empty);
    assert!(said(refused(idle(), Some(Err(failed())))).contains("position on the target is unknown"));
    assert!(said(refused(idle(), None)).contains("position"));
    for state in
        [GroupState::Stable, GroupState::PreparingRebalance, GroupState::Unknown, GroupState::Assigning]
    {
        assert_eq!(refused(described(state), at(None)), Synced::Active(state));
        assert!(!is_idle(described(state).as_ref()));
    }
}

/// A group that is ahead of the copy stands at its end: that is said, and is in step.
#[test]
fn a_group_ahead_of_the_copy_is_in_step_at_its_end() {
    let mut ahead = group("g", vec![committed("t", 0, 10), committed("t", 1, 10)]);
    ahead.at_copy_end = 1;
    let all = assemble(&mirror(), vec![ahead.clone()], vec![exact(1), exact(2)]).remove(0);
    let shown = status(&all, Some(&Synced::Yes));
    assert_eq!((shown.state, shown.partitions_waiting, shown.partitions_at_copy_end), (Is::AtCopyEnd, 0, 1));
    assert!(is_in_step(&all, Some(&Synced::Yes)) && !is_in_step(&all, None), "without syncing nobody is");
    assert!(!is_in_step(&all, Some(&Synced::Active(GroupState::Stable))));

    ahead.of_others = (vec![TopicPartition::new("u", 0)], Some("an earlier life".into()));
    let all = assemble(&mirror(), vec![ahead], vec![exact(1), exact(2)]).remove(0);
    let shown = status(&all, Some(&Synced::Yes));
    assert_eq!((shown.state, shown.partitions, shown.partitions_waiting), (Is::Waiting, 3, 1));
    assert_eq!(shown.message, "an earlier life");
    assert!(all.untranslated.iter().any(|key| key.target_topic == "a.u"));
    assert!(!is_in_step(&all, Some(&Synced::Yes)));
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
    assert_eq!(state(done(), Some(Synced::Yes)), (Is::Synced, 0));
    assert_eq!(state(half(), Some(Synced::Yes)), (Is::Waiting, 1));
    assert_eq!(state(half(), Some(Synced::Active(GroupState::Stable))), (Is::ActiveOnTarget, 1));
    assert_eq!(state(done(), Some(Synced::Ahead(1))), (Is::AheadOnTarget, 0));
    assert_eq!(state(done(), Some(Synced::Failed("x".into()))), (Is::NotSynced, 0));
    assert_eq!(state(done(), None), (Is::NotSynced, 0));
    assert_eq!(state(half(), None), (Is::Waiting, 1));
}
