use std::time::SystemTime;

use super::*;

fn facts() -> Facts {
    Facts { earliest: 0, latest: 100, topic_id: "a".to_owned(), epoch_end: None, start: 0, target_end: 120 }
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
    }
}

fn decide(before: Option<&PartitionProgress>, facts: &Facts, policy: GapPolicy) -> Verdict {
    question(before, facts, policy).decide()
}

fn question<'a>(before: Option<&'a PartitionProgress>, facts: &'a Facts, policy: GapPolicy) -> Question<'a> {
    let now = SystemTime::UNIX_EPOCH;
    Question { source: "t", target: "s.t", partition: 1, before, facts, policy, by_key: false, now }
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
    assert_eq!(run(decide(Some(&before), &at_the_end, GapPolicy::Halt)), before);
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
