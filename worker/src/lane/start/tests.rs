use std::time::SystemTime;

use super::*;
use crate::progress::LastCopied;

fn facts() -> Facts {
    Facts {
        earliest: 0,
        latest: 100,
        topic_id: "a".to_owned(),
        epoch_end: None,
        others_from: None,
        start: 0,
        target_start: 0,
        target_end: 120,
        target_kept: None,
        target_topic_id: "x".to_owned(),
        holds: 0,
        foreign: None,
    }
}

/// Copied from 0 to 80, on the target at 10 to 90.
fn copied() -> PartitionProgress {
    let mut chunk = Chunk::anchored(SourceOffset(0), TargetOffset(10));
    chunk.add(SourceOffset(0), TargetOffset(10), 80).unwrap();
    PartitionProgress {
        position: SourceOffset(80),
        source_topic_id: "a".to_owned(),
        leader_epoch: 3,
        origin: SourceOffset(0),
        origin_is_log_start: true,
        gaps: Vec::new(),
        chunk,
        target_topic_id: "x".to_owned(),
        target_known: Some(TargetOffset(120)),
        last: None,
    }
}

fn decide(before: Option<&PartitionProgress>, facts: &Facts, policy: GapPolicy) -> Verdict {
    question(before, facts, policy).decide()
}

fn question<'a>(before: Option<&'a PartitionProgress>, facts: &'a Facts, policy: GapPolicy) -> Question<'a> {
    let now = SystemTime::UNIX_EPOCH;
    Question {
        mirror: "m",
        source: "t",
        target: "s.t",
        partition: 1,
        before,
        left: None,
        facts,
        policy,
        onto: OntoExisting::Refuse,
        allow_foreign: false,
        began: false,
        by_key: false,
        now,
    }
}

fn run(verdict: Verdict) -> PartitionProgress {
    match verdict {
        Verdict::Run(progress) => progress,
        Verdict::Halt(cause) => panic!("halted: {}", cause.message),
    }
}

fn halted(verdict: Verdict) -> Cause {
    match verdict {
        Verdict::Run(progress) => panic!("runs from {}", progress.position),
        Verdict::Halt(cause) => cause,
    }
}

#[test]
fn a_first_start_is_anchored_where_the_setting_leads() {
    let first = run(decide(None, &Facts { earliest: 30, start: 30, ..facts() }, GapPolicy::Halt));
    assert_eq!((first.position.0, first.origin.0, first.origin_is_log_start), (30, 30, true));
    assert_eq!(first.chunk, Chunk::anchored(SourceOffset(30), TargetOffset(120)));

    let latest = run(decide(None, &Facts { start: 100, ..facts() }, GapPolicy::Halt));
    assert_eq!((latest.position.0, latest.origin_is_log_start), (100, false));
}

#[test]
fn progress_is_gone_on_from_as_it_is() {
    let before = copied();
    assert_eq!(run(decide(Some(&before), &facts(), GapPolicy::Halt)), before);
    let at_the_end = Facts { latest: 80, epoch_end: Some(80), target_end: 90, ..facts() };
    let after = run(decide(Some(&before), &at_the_end, GapPolicy::Halt));
    assert_eq!(after, PartitionProgress { target_known: Some(TargetOffset(90)), ..before });
}

#[test]
fn retention_that_outran_the_mirror_halts_or_is_recorded() {
    let facts = Facts { earliest: 85, ..facts() };
    let cause = halted(decide(Some(&copied()), &facts, GapPolicy::Halt));
    assert_eq!(cause.reason, Reason::SOURCE_OFFSETS_LOST);
    assert!(cause.message.contains("t partition 1: offsets 80 to 84"), "{}", cause.message);

    let after = run(decide(Some(&copied()), &facts, GapPolicy::Resume));
    assert_eq!(after.position.0, 85);
    let gap = &after.gaps[0];
    assert_eq!((gap.first.0, gap.end.0, gap.kind), (80, 85, GapKind::Retention));
    assert_eq!(after.chunk.find(SourceOffset(79)), crate::offset_map::Found::At(TargetOffset(89)));
}

#[test]
fn a_truncated_source_is_noticed_by_its_epoch_and_by_its_end() {
    let by_epoch = Facts { epoch_end: Some(70), ..facts() };
    let by_end = Facts { latest: 70, ..facts() };
    for facts in [by_epoch, by_end] {
        let cause = halted(decide(Some(&copied()), &facts, GapPolicy::Halt));
        assert_eq!(cause.reason, Reason::SOURCE_TRUNCATED);
        let after = run(decide(Some(&copied()), &facts, GapPolicy::Resume));
        assert_eq!(after.position.0, 70);
        assert_eq!(after.gaps[0].kind, GapKind::Truncation);
        let next = after.chunk.find(SourceOffset(70));
        assert_eq!(next, crate::offset_map::Found::End(TargetOffset(120)), "old copies don't count");
    }
}

#[test]
fn what_was_passed_over_behind_a_new_leader_is_no_truncation_and_is_read_again() {
    // Copied to 80 in epoch 3; 80 to 90 are aborted records and markers, the leader changed at 80 or at 85.
    let before = PartitionProgress { position: SourceOffset(90), ..copied() };
    for end in [80, 85] {
        let facts = Facts { epoch_end: Some(end), ..facts() };
        let after = run(decide(Some(&before), &facts, GapPolicy::Halt));
        assert_eq!((after.position.0, after.gaps.len(), after.leader_epoch), (end, 0, 3));
        assert_eq!(after.chunk, before.chunk);
        // By key no copy says what was passed over.
        let by_key = Question { by_key: true, ..question(Some(&before), &facts, GapPolicy::Halt) };
        assert_eq!(halted(by_key.decide()).reason, Reason::SOURCE_TRUNCATED);
    }
    let shorter = Facts { latest: 84, ..facts() };
    assert_eq!(run(decide(Some(&before), &shorter, GapPolicy::Halt)).position.0, 84);
    let cut = Facts { epoch_end: Some(79), ..facts() };
    assert_eq!(halted(decide(Some(&before), &cut, GapPolicy::Halt)).reason, Reason::SOURCE_TRUNCATED);
}

#[test]
fn an_unknown_epoch_says_nothing() {
    let facts = Facts { epoch_end: Some(-1), ..facts() };
    assert_eq!(run(decide(Some(&copied()), &facts, GapPolicy::Halt)).position.0, 80);
}

#[test]
fn a_recreated_topic_halts_or_begins_anew() {
    let facts = Facts { topic_id: "b".to_owned(), latest: 5, ..facts() };
    let cause = halted(decide(Some(&copied()), &facts, GapPolicy::Halt));
    assert_eq!(cause.reason, Reason::SOURCE_TOPIC_RECREATED);
    let after = run(decide(Some(&copied()), &facts, GapPolicy::Resume));
    assert_eq!((after.position.0, after.source_topic_id.as_str()), (0, "b"));
    assert_eq!(after.gaps[0].kind, GapKind::Recreated);

    let no_ids = Facts { topic_id: String::new(), ..facts };
    let cause = halted(decide(Some(&copied()), &no_ids, GapPolicy::Halt));
    assert_eq!(cause.reason, Reason::SOURCE_TRUNCATED, "without ids the shorter log shows");
}

#[test]
fn a_target_that_lost_records_gets_them_again() {
    let facts = Facts { target_end: 60, ..facts() };
    let cause = halted(decide(Some(&copied()), &facts, GapPolicy::Halt));
    assert_eq!(cause.reason, Reason::TARGET_TRUNCATED);
    let after = run(decide(Some(&copied()), &facts, GapPolicy::Resume));
    assert_eq!(after.position.0, 50, "source 50 was at target 60");
    assert_eq!(after.chunk.target_end().0, 60);
    assert!(after.gaps.is_empty(), "nothing is lost");

    // Two records of ours went where others had been, before that was noticed.
    let refilled = Facts { target_end: 63, target_kept: Some(60), ..facts.clone() };
    let after = run(decide(Some(&copied()), &refilled, GapPolicy::Resume));
    assert_eq!((after.position.0, after.chunk.target_end().0), (50, 63));
    assert_eq!(after.chunk.find(SourceOffset(49)), crate::offset_map::Found::At(TargetOffset(59)));

    let emptied = Facts { target_end: 0, ..facts };
    let after = run(decide(Some(&copied()), &emptied, GapPolicy::Resume));
    assert_eq!((after.position.0, after.chunk.target_end().0, after.origin.0), (0, 0, 0));

    // The source's start has moved: of what is below nothing counts any more, closed pieces of the map least of all.
    let trimmed = Facts { earliest: 40, ..emptied };
    let after = run(decide(Some(&copied()), &trimmed, GapPolicy::Resume));
    assert_eq!((after.position.0, after.origin.0, after.origin_is_log_start), (40, 40, true));
}

#[test]
fn only_so_many_gaps_are_kept() {
    let mut progress = copied();
    for round in 0..100 {
        let facts = Facts { earliest: 85 + round, latest: 1000, ..facts() };
        progress = run(decide(Some(&progress), &facts, GapPolicy::Resume));
    }
    assert_eq!(progress.gaps.len(), crate::progress::MAX_GAPS);
    assert_eq!(progress.gaps.last().unwrap().end.0, 184);
}

#[test]
fn a_copy_that_holds_records_is_not_appended_to_unasked() {
    let holds = Facts { holds: 100, ..facts() };
    let cause = halted(decide(None, &holds, GapPolicy::Resume));
    assert_eq!(cause.reason, Reason::TARGET_NOT_EMPTY, "a gap policy is no permission");
    assert!(cause.message.contains("s.t partition 1 holds 100 records"), "{}", cause.message);
    assert!(cause.message.contains("mirror update m --onto-existing=append"), "{}", cause.message);

    let ask = |change: &dyn Fn(&mut Question<'_>), facts: &Facts| {
        let mut question = question(None, facts, GapPolicy::Halt);
        change(&mut question);
        question.decide()
    };
    let appended = run(ask(&|q| q.onto = OntoExisting::Append, &holds));
    assert_eq!((appended.position.0, appended.target_known), (0, Some(TargetOffset(120))));
    // Nothing old is copied: what comes goes behind what is there.
    assert_eq!(run(ask(&|_| (), &Facts { start: 100, ..holds.clone() })).position.0, 100);
    let apart = halted(ask(&|q| q.onto = OntoExisting::Align, &holds));
    assert!(apart.message.contains("was not found in t"), "{}", apart.message);
}

#[test]
fn progress_that_was_there_once_is_missed() {
    let ask = |facts: &Facts| {
        let question = Question { began: true, ..question(None, facts, GapPolicy::Resume) };
        question.decide()
    };
    assert_eq!(halted(ask(&Facts { holds: 5, ..facts() })).reason, Reason::PROGRESS_LOST);
    // The end is not where it had come to.
    assert_eq!(halted(ask(&Facts { start: 100, ..facts() })).reason, Reason::PROGRESS_LOST);
    assert_eq!(run(ask(&facts())).position.0, 0, "into an empty copy everything is copied");
}

#[test]
fn a_copy_made_anew_is_named_and_filled_with_all_that_the_source_has() {
    // As many records lie in the new one as in the old one, aborted ones perhaps.
    let facts = Facts { target_topic_id: "y".to_owned(), earliest: 30, ..facts() };
    let cause = halted(decide(Some(&copied()), &facts, GapPolicy::Halt));
    assert_eq!(cause.reason, Reason::TARGET_TOPIC_RECREATED);
    assert!(cause.message.contains("--gap-policy resume"), "{}", cause.message);
    let after = run(decide(Some(&copied()), &facts, GapPolicy::Resume));
    assert_eq!((after.position.0, after.origin.0, after.target_topic_id.as_str()), (30, 30, "y"));
    assert_eq!(after.chunk, Chunk::anchored(SourceOffset(30), TargetOffset(120)));
    let gap = &after.gaps[0];
    assert_eq!((gap.first.0, gap.end.0, gap.kind), (0, 30, GapKind::Retention), "what is gone is recorded");

    let foreign = Facts { foreign: Some(Foreign { offset: 0, producer_id: 7 }), ..facts.clone() };
    let cause = halted(decide(Some(&copied()), &foreign, GapPolicy::Resume));
    assert_eq!(cause.reason, Reason::TARGET_FOREIGN_WRITES, "nor is a new one filled behind others' records");
    assert!(
        cause.message.contains("from offset 30 on is not copied"),
        "all of it is missing: {}",
        cause.message
    );
    let nothing = PartitionProgress { position: SourceOffset(0), ..copied() };
    let nothing = PartitionProgress { chunk: Chunk::anchored(SourceOffset(0), TargetOffset(0)), ..nothing };
    let facts = Facts { earliest: 0, ..facts };
    assert_eq!(run(decide(Some(&nothing), &facts, GapPolicy::Halt)).target_topic_id, "y");
}

#[test]
fn older_progress_learns_what_it_does_not_know() {
    let before = PartitionProgress { target_topic_id: String::new(), target_known: None, ..copied() };
    let after = run(decide(Some(&before), &facts(), GapPolicy::Halt));
    assert_eq!((after.target_topic_id.as_str(), after.target_known), ("x", Some(TargetOffset(120))));
    assert_eq!((after.position, after.chunk), (before.position, before.chunk));
}

#[test]
fn writes_of_others_are_named_unless_they_are_allowed() {
    let facts = Facts { foreign: Some(Foreign { offset: 90, producer_id: -1 }), ..facts() };
    let cause = halted(decide(Some(&copied()), &facts, GapPolicy::Resume));
    assert_eq!(cause.reason, Reason::TARGET_FOREIGN_WRITES);
    assert!(cause.message.contains("from its offset 90 on (a producer without an id"), "{}", cause.message);
    assert!(cause.message.contains("from offset 80 on is not copied"), "{}", cause.message);
    let (before, mut question) = (copied(), question(None, &facts, GapPolicy::Halt));
    (question.before, question.allow_foreign) = (Some(&before), true);
    assert_eq!(run(question.decide()).position.0, 80);
}

fn left(left: Option<Left>, began: bool, facts: &Facts) -> Verdict {
    Question { left, began, ..question(None, facts, GapPolicy::Halt) }.decide()
}

#[test]
fn where_a_group_has_left_a_partition_is_gone_on_behind_what_the_copy_holds() {
    // Its first record is at 20, and the start setting leads there.
    let facts = Facts { earliest: 20, start: 20, holds: 120, ..facts() };
    let at = Left::of(Some(70), &facts);
    let first = run(left(Some(at), false, &facts));
    assert_eq!((at, first.position.0, first.origin.0, first.gaps.len()), (Left::At(70), 70, 70, 0));
    assert_eq!(first.chunk, Chunk::anchored(SourceOffset(70), TargetOffset(120)));
    for end in [20, 100] {
        assert_eq!(
            run(left(Some(Left::of(Some(end), &facts)), false, &facts)).position.0,
            end,
            "all or nothing is left"
        );
    }

    // Without an offset in a topic that is the group's, as the start setting says; in another topic under the usual rule.
    assert_eq!(run(left(Some(Left::of(None, &facts)), false, &facts)).position.0, 20);
    let latest = Facts { start: 100, ..facts.clone() };
    assert_eq!(run(left(Some(Left::Nowhere), false, &latest)).position.0, 100);
    assert_eq!(halted(left(None, false, &facts)).reason, Reason::TARGET_NOT_EMPTY);
}

#[test]
fn an_offset_of_a_group_that_is_not_in_the_log_is_a_gap() {
    let earliest = Facts { earliest: 20, start: 20, holds: 120, ..facts() };
    let latest = Facts { start: 100, ..earliest.clone() };
    for (facts, committed, position, origin, gap) in [
        (&earliest, 7, 20, 7, (7, 20, GapKind::Retention)),
        (&latest, 7, 100, 7, (7, 100, GapKind::Retention)),
        (&earliest, 250, 20, 20, (100, 250, GapKind::Truncation)),
        (&latest, 250, 100, 100, (100, 250, GapKind::Truncation)),
    ] {
        let outside = Left::of(Some(committed), facts);
        assert_eq!(outside, Left::Outside(committed));
        let first = run(left(Some(outside), false, facts));
        assert_eq!((first.position.0, first.origin.0), (position, origin), "{committed}");
        let found = &first.gaps[0];
        assert_eq!((found.first.0, found.end.0, found.kind), gap);
        let next = first.chunk.find(SourceOffset(position));
        assert_eq!(next, crate::offset_map::Found::End(TargetOffset(120)), "copies go behind what is there");
    }
}

#[test]
fn who_has_had_progress_does_not_go_back_to_where_a_group_stopped() {
    let facts = Facts { holds: 120, ..facts() };
    assert_eq!(halted(left(Some(Left::At(70)), true, &facts)).reason, Reason::PROGRESS_LOST);
    let before = copied();
    let after = Question { left: Some(Left::At(70)), ..question(Some(&before), &facts, GapPolicy::Halt) };
    assert_eq!(run(after.decide()).position.0, 80);
}

#[test]
fn a_source_that_grew_past_the_position_with_other_records_is_truncated_where_they_begin() {
    let restored = Facts { others_from: Some(45), ..facts() };
    assert_eq!((restored.latest, restored.epoch_end), (100, None), "nothing else speaks of it");
    let last = LastCopied { offset: SourceOffset(79), timestamp: 7, crc: 9 };
    let before = PartitionProgress { last: Some(last), ..copied() };
    let cause = halted(decide(Some(&before), &restored, GapPolicy::Halt));
    assert_eq!(cause.reason, Reason::SOURCE_TRUNCATED);
    assert!(cause.message.contains("from offset 45 on is not what was copied up to 80"), "{}", cause.message);

    let after = run(decide(Some(&before), &restored, GapPolicy::Resume));
    assert_eq!((after.position.0, after.last), (45, None));
    let gap = &after.gaps[0];
    assert_eq!((gap.first.0, gap.end.0, gap.kind), (45, 80, GapKind::Truncation));
    assert_eq!(after.chunk.find(SourceOffset(44)), crate::offset_map::Found::At(TargetOffset(54)));
    assert_eq!(after.chunk.find(SourceOffset(45)), crate::offset_map::Found::End(TargetOffset(120)));

    // By key too; and where the log lost even more, that is the end.
    let by_key = Question { by_key: true, ..question(Some(&before), &restored, GapPolicy::Halt) };
    assert_eq!(halted(by_key.decide()).reason, Reason::SOURCE_TRUNCATED);
    let shorter = Facts { latest: 30, ..restored };
    assert_eq!(run(decide(Some(&before), &shorter, GapPolicy::Resume)).position.0, 30);
    // What goes on as it was is remembered as it was.
    assert_eq!(run(decide(Some(&before), &facts(), GapPolicy::Halt)).last, Some(last));
}
