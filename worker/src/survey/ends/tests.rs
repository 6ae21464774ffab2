//! Lag where nothing copies, from what the source and the target say.

use prost::Message;
use twinlog_proto::storage::{ProgressKey, SourceEndsKey};

use super::*;

fn part(log_start: i64, high_watermark: i64, answers: bool) -> Option<Part> {
    let ends = lag::Ends { high_watermark, last_stable: Some(high_watermark), seen: SystemTime::UNIX_EPOCH };
    Some(Part { log_start: Some(log_start), ends, answers })
}

#[test]
fn a_topic_that_nothing_copies_has_all_of_its_records_missing() {
    let copied = recall::Copied::at(700, "id");
    let lag = |id, part, copied, from_first| status(0, id, part, copied, from_first).lag_records;
    assert_eq!(lag("id", part(0, 1000, true), Some(None), true), Some(1000), "blocked from the beginning");
    assert_eq!(lag("id", part(200, 1000, true), Some(None), true), Some(800));
    assert_eq!(lag("id", part(0, 1000, true), Some(Some(&copied)), true), Some(300), "paused, or halted");
    assert_eq!(lag("id", part(0, 1000, false), Some(Some(&copied)), true), Some(300), "at least");
    assert_eq!(lag("other", part(0, 50, true), Some(Some(&copied)), true), Some(50), "made anew");
    assert_eq!(lag("", part(0, 50, true), Some(Some(&copied)), true), Some(50), "truncated");
    assert_eq!(lag("id", part(0, 1000, true), None, true), None, "the target can't be read");
    assert_eq!(lag("id", None, Some(Some(&copied)), true), None, "the source was never seen");
    assert_eq!(lag("id", part(0, 1000, true), Some(None), false), None, "it begins when it begins");
    assert_eq!(
        lag("id", part(0, 700, false), Some(Some(&copied)), true),
        None,
        "all that was seen is copied"
    );
}

fn key(source_topic: &str) -> Vec<u8> {
    SourceEndsKey { source_topic: source_topic.to_owned() }.encode_to_vec()
}

#[test]
fn what_was_kept_comes_back_with_the_time_of_the_last_look() {
    let topics = BTreeMap::from([(
        "t".to_owned(),
        Topic {
            target: "a.t".to_owned(),
            id: "id".to_owned(),
            partitions: BTreeMap::from([(0, part(7, 40, true))]),
        },
    )]);
    let second = |n| SystemTime::UNIX_EPOCH + Duration::from_secs(n);
    let mut recalled = Recalled::default();
    let written = recall::changed(&topics, &recalled, Some(second(1)));
    assert_eq!(written.len(), 2, "the topic, and when all was seen");
    recalled.wrote(written.clone());
    let again = recall::changed(&topics, &recalled, Some(second(9)));
    assert_eq!(again.len(), 1, "nothing has moved");
    assert!(recall::changed(&topics, &recalled, None).is_empty(), "the source was never seen");

    let mut back = Recalled::default();
    for (topic, ends) in written.into_iter().chain(again) {
        back.record(&key(&topic), &ends.encode_to_vec());
    }
    back.settle();
    let ends: Vec<_> =
        back.ends().map(|((t, p), e, start)| (t.as_str(), *p, e.high_watermark, e.seen, start)).collect();
    assert_eq!(ends, [("t", 0, 40, second(9), Some(7))]);
    assert_eq!(back.contact(), Some(second(9)));
    // Neither kind of record is taken for the other.
    let as_progress = ProgressKey::decode(&*key("t")).unwrap();
    assert!(as_progress.target_topic.is_empty());
    assert!(
        SourceEndsKey::decode(&*crate::progress::progress_key("a.t", 3)).unwrap().source_topic.is_empty()
    );
}
