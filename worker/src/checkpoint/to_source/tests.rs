use std::collections::HashSet;

use twinlog_proto::id::SourceOffset;
use twinlog_proto::reason::Reason;
use twinlog_proto::v1;

use super::*;
use crate::kafka::GroupState;
use crate::mm2::Checkpoint;
use crate::survey::tests::wire;

fn mirror() -> Mirror {
    Mirror::parse(&wire("a", "b")).unwrap()
}

fn key(partition: i32) -> CheckpointKey {
    CheckpointKey { group: "g".into(), target_topic: "a.t".into(), partition }
}

/// The group is on the source where partition `p` of the copy has this offset; `None`: where nothing is known on the target.
fn on_source(offsets: &[(i32, Option<i64>)]) -> Vec<Translated> {
    let checkpoint = |(partition, offset): &(i32, Option<i64>)| {
        Some(Checkpoint {
            key: key(*partition),
            upstream: SourceOffset(0),
            downstream: TargetOffset((*offset)?),
            metadata: String::new(),
        })
    };
    let untranslated: HashSet<_> =
        offsets.iter().filter(|(_, offset)| offset.is_none()).map(|(p, _)| key(*p)).collect();
    vec![Translated {
        group: "g".into(),
        checkpoints: offsets.iter().filter_map(checkpoint).collect(),
        partitions: offsets.len(),
        at_copy_end: 0,
        untranslated,
        waiting: None,
        error: None,
    }]
}

fn committed(topic: &str, partition: i32, offset: i64) -> CommittedOffset {
    CommittedOffset { topic: topic.into(), partition, offset, leader_epoch: -1, metadata: "note".into() }
}

/// What is new at these offsets on the target, and how many partitions were set back.
fn news(source: &[(i32, Option<i64>)], reached: &mut Reached, target: &[(i32, i64)]) -> (Vec<i32>, usize) {
    let translated = on_source(source);
    let offsets = target.iter().map(|(p, offset)| committed("a.t", *p, *offset)).collect();
    let back = OnSource::of(&translated, reached).compare("g".into(), Ok(offsets), reached);
    assert_eq!(back.partitions, target.len());
    (back.news.iter().map(|o| o.partition).collect(), back.set_back)
}

#[test]
fn only_what_was_read_on_the_target_is_news() {
    let mut reached = Reached::default();
    let found = news(
        &[(0, Some(10)), (1, Some(10)), (2, Some(10))],
        &mut reached,
        &[(0, 9), (1, 10), (2, 11), (3, 0)],
    );
    assert_eq!(found, (vec![2, 3], 0), "behind and level are not; further and new are");
}

/// Both directions on: the place that a group was given on the target never undoes its being set back on the source.
#[test]
fn an_echo_is_not_news() {
    let mut reached = Reached::default();
    assert_eq!(news(&[(0, Some(100))], &mut reached, &[(0, 100)]), (vec![], 0));
    assert_eq!(news(&[(0, Some(10))], &mut reached, &[(0, 100)]), (vec![], 1), "set back on the source");
    assert_eq!(news(&[(0, None)], &mut reached, &[(0, 100)]), (vec![], 1), "not translatable for the moment");
    assert_eq!(news(&[(0, Some(10))], &mut reached, &[(0, 101)]), (vec![0], 0), "it was read on the target");
    assert_eq!(news(&[], &mut reached, &[(0, 100)]), (vec![0], 0), "its offset on the source has expired");
}

#[test]
fn offsets_that_cannot_be_read_on_either_side_are_not_guessed() {
    let mut reached = Reached::default();
    let mut translated = on_source(&[(0, Some(1))]);
    translated[0].error = Some("loading".into());
    let error = || KafkaError::new(Reason::KAFKA_ERROR, "broken");
    let source = OnSource::of(&translated, &mut reached);
    for (offsets, said) in [(Ok(vec![committed("a.t", 0, 9)]), "source"), (Err(error()), "target")] {
        let mut back = source.compare("g".into(), offsets, &Reached::default());
        assert!(back.places(&mirror(), &mut std::iter::empty()).1.is_empty());
        let status = back.status(None);
        assert!(status.state == Is::Waiting && status.message.contains(said), "{status:?}");
    }
}

#[test]
fn only_copies_of_the_mirror_count() {
    let mirror = Mirror::parse(&v1::Mirror { topics: vec!["t".into()], ..wire("a", "b") }).unwrap();
    let offsets = ["a.t", "a.other", "t", "c.t", "a.t.more"].map(|topic| committed(topic, 0, 1)).to_vec();
    let kept = of_copies(&mirror, [offsets, vec![committed("a.t", 1, -1)]].concat());
    assert_eq!(kept, [committed("a.t", 0, 1)]);
}

fn exact(offset: i64, copied_from: i64) -> Translation<SourcePosition> {
    let (offset, copied_from) = (SourceOffset(offset), SourceOffset(copied_from));
    Translation::Exact(SourcePosition { offset, copied_from })
}

fn not() -> Translation<SourcePosition> {
    Translation::Not { reason: Reason::SOURCE_TRUNCATED, message: "truncated".into() }
}

#[test]
fn places_are_on_the_source_and_what_is_not_exact_is_none() {
    let offsets = vec![committed("a.t", 0, 5), committed("a.t", 1, 6)];
    let mut back =
        OnSource::of(&[], &mut Reached::default()).compare("g".into(), Ok(offsets), &Reached::default());
    let mut translations = [exact(7, 3), not(), exact(1, 1)].into_iter();
    let (group, places) = back.places(&mirror(), &mut translations);
    let expected =
        Place { topic: "t".into(), partition: 0, offset: 7, read_from: 3, metadata: "note".into() };
    assert_eq!((group.as_str(), places), ("g", vec![expected]));
    assert_eq!(translations.next(), Some(exact(1, 1)), "the next group's is left to it");
    assert_eq!(back.waiting, (1, Some("truncated".into())));

    let state = |synced: Option<Synced>| back.status(synced.as_ref()).state;
    assert_eq!(state(Some(Synced::Active(GroupState::Stable))), Is::ActiveOnSource);
    assert_eq!(state(Some(Synced::Failed("x".into()))), Is::NotSynced);
    assert_eq!(state(Some(Synced::Yes)), Is::Waiting);
    back.waiting = (0, None);
    let state = |synced: Option<Synced>| back.status(synced.as_ref()).state;
    assert_eq!(state(Some(Synced::Yes)), Is::Synced);
    assert_eq!(state(Some(Synced::Ahead(1))), Is::AheadOnSource);
    assert_eq!(state(Some(Synced::Unread(1))), Is::Waiting);
    assert_eq!(state(None), Is::Synced, "nothing is new");
    back.set_back = 1;
    assert_eq!(back.status(None).state, Is::SetBackOnSource);
}

#[test]
fn a_group_of_the_target_only_is_shown_too() {
    let mut groups = vec![GroupStatus::new("both".into(), ForthState::Synced, String::new())];
    let (partitions, partitions_waiting, message) = (0, 0, String::new());
    let back = GroupToSource { partitions, partitions_waiting, state: Is::Synced, message };
    let back = ["both", "only"].map(|g| (g.to_owned(), back.clone()));
    attach(&mut groups, HashMap::from(back));
    let shown: Vec<_> =
        groups.iter().map(|g| (g.group.as_str(), g.state.as_str(), g.to_source.is_some())).collect();
    assert_eq!(shown, [("both", "SYNCED", true), ("only", "ONLY_ON_TARGET", true)]);
}
