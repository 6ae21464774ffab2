use super::*;

/// Copied 0-99 to 50-149, and markers up to 103; nothing else happened.
fn held(at: i64, source: Option<i64>) -> Held {
    Held {
        source_topic: "t".into(),
        target_topic: "a.t".into(),
        partition: 3,
        at: TargetOffset(at),
        source: source.map(SourceOffset),
        begins: TargetOffset(50),
        ends: TargetOffset(150),
        copied_to: SourceOffset(100),
        position: SourceOffset(103),
        origin: SourceOffset(0),
        origin_is_log_start: true,
        topic_id: "id".into(),
        leader_epoch: 2,
        may_lag: false,
    }
}

fn facts() -> Facts {
    Facts {
        topic_id: "id".into(),
        earliest: SourceOffset(0),
        latest: SourceOffset(103),
        epoch_end: Some(SourceOffset(103)),
        target_end: TargetOffset(160),
    }
}

fn exact(translation: Translation<SourcePosition>) -> (i64, i64) {
    match translation {
        Translation::Exact(found) => (found.offset.0, found.copied_from.0),
        Translation::Not { reason, message } => panic!("{reason}: {message}"),
    }
}

fn refused(translation: Translation<SourcePosition>) -> (Reason, String) {
    match translation {
        Translation::Not { reason, message } => (reason, message),
        Translation::Exact(found) => panic!("{found:?}"),
    }
}

#[test]
fn a_copied_record_and_the_end_are_exact() {
    assert_eq!(exact(held(60, Some(10)).judge(&facts(), None)), (10, 0));
    assert_eq!(exact(held(150, None).judge(&facts(), None)), (103, 0), "the mirror's position");
    assert_eq!(exact(held(160, None).judge(&facts(), None)), (103, 0), "over what others wrote");
}

#[test]
fn below_the_map_only_an_empty_log_is_exact() {
    let below = held(20, Some(0));
    assert_eq!(below.look(), Some((TopicPartition::new("a.t", 3), TargetOffset(20))));
    assert_eq!(exact(below.judge(&facts(), Some(TargetOffset(50)))), (0, 0));
    let (reason, message) = refused(below.judge(&facts(), Some(TargetOffset(30))));
    assert!(reason == Reason::BEFORE_MIRROR_START && message.contains("lies at 30"), "{message}");
}

#[test]
fn behind_a_map_that_may_lag_no_record_is_passed_over() {
    let lags = Held { may_lag: true, ..held(155, None) };
    assert_eq!(lags.look(), Some((TopicPartition::new("a.t", 3), TargetOffset(150))));
    assert_eq!(refused(lags.judge(&facts(), Some(TargetOffset(151)))).0, Reason::NOT_YET_MIRRORED);
    assert_eq!(exact(lags.judge(&facts(), Some(TargetOffset(155)))), (103, 0), "markers only");
    assert_eq!(held(155, None).look(), None, "a map that is written together with the records does not lag");
    assert_eq!(Held { may_lag: true, ..held(150, None) }.look(), None);
}

#[test]
fn a_target_that_is_not_what_was_copied_is_named() {
    let (reason, message) = refused(held(161, None).judge(&facts(), None));
    assert!(reason == Reason::NOT_YET_MIRRORED && message.contains("ends at 160"), "{message}");
    let short = Facts { target_end: TargetOffset(149), ..facts() };
    assert_eq!(refused(held(60, Some(10)).judge(&short, None)).0, Reason::TARGET_TRUNCATED);
}

#[test]
fn a_source_that_came_back_as_another_is_named() {
    let anew = Facts { topic_id: "other".into(), ..facts() };
    assert_eq!(refused(held(60, Some(10)).judge(&anew, None)).0, Reason::SOURCE_TOPIC_RECREATED);
    let no_ids = Facts { topic_id: String::new(), ..facts() };
    assert_eq!(exact(held(60, Some(10)).judge(&no_ids, None)), (10, 0));

    // It lost what was copied from 80 on, and has other records there since.
    let truncated = Facts { epoch_end: Some(SourceOffset(80)), latest: SourceOffset(300), ..facts() };
    assert_eq!(exact(held(130, Some(80)).judge(&truncated, None)), (80, 0), "the next record is a new one");
    assert_eq!(refused(held(131, Some(81)).judge(&truncated, None)).0, Reason::SOURCE_TRUNCATED);
    assert_eq!(refused(held(150, None).judge(&truncated, None)).0, Reason::SOURCE_TRUNCATED);
    // Without leader epochs the end tells.
    let shorter = Facts { epoch_end: None, latest: SourceOffset(80), ..facts() };
    assert_eq!(refused(held(150, None).judge(&shorter, None)).0, Reason::SOURCE_TRUNCATED);
}

#[test]
fn markers_of_a_later_leader_are_no_truncation() {
    let elected = Facts { epoch_end: Some(SourceOffset(101)), latest: SourceOffset(103), ..facts() };
    assert_eq!(exact(held(150, None).judge(&elected, None)), (101, 0));
}

#[test]
fn what_retention_took_is_never_skipped_silently() {
    let trimmed = Facts { earliest: SourceOffset(20), ..facts() };
    let (reason, message) = refused(held(60, Some(10)).judge(&trimmed, None));
    assert!(reason == Reason::SOURCE_OFFSETS_LOST && message.contains("begins at 20"), "{message}");
    assert_eq!(exact(held(70, Some(20)).judge(&trimmed, None)), (20, 0));
}

#[test]
fn where_the_mirror_began_later_it_says_from_where_it_copied() {
    let late = Held { origin: SourceOffset(40), origin_is_log_start: false, ..held(120, Some(70)) };
    assert_eq!(exact(late.judge(&facts(), None)), (70, 40));
    let trimmed = Facts { earliest: SourceOffset(40), ..facts() };
    assert_eq!(exact(late.judge(&trimmed, None)), (70, 0), "what was not copied is gone");
}
