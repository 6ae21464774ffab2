//! Lag where nothing copies, from what the source and the target say.

use prost::Message;
use twinlog_proto::storage::{self, PartitionEnds, ProgressKey, SourceEnds, SourceEndsKey};

use super::*;
use crate::offset_map::Chunk;
use crate::progress::{PartitionProgress, RangeProgress, progress_key};
use crate::survey::tests::wire;
use crate::topic::TopicId;
use twinlog_proto::id::{SourceOffset, TargetOffset};

fn part(log_start: i64, high_watermark: i64, answers: bool) -> Option<Part> {
    let ends = lag::Ends { high_watermark, last_stable: Some(high_watermark), seen: SystemTime::UNIX_EPOCH };
    Some(Part { log_start: Some(SourceOffset(log_start)), ends, answers })
}

#[test]
fn a_topic_that_nothing_copies_has_all_of_its_records_missing() {
    let copied = recall::Copied::at(700, "id");
    let lag = |id, part, copied, from_first| status(0, id, part, copied, from_first).lag();
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
            listed: Some(1),
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
    let ends: Vec<_> = back
        .ends()
        .map(|(at, k, start)| (at.topic.as_str(), at.partition, k.ends.high_watermark, k.ends.seen, start))
        .collect();
    assert_eq!(ends, [("t", 0, 40, second(9), Some(SourceOffset(7)))]);
    assert_eq!(back.contact(), Some(second(9)));
    // Neither kind of record is taken for the other.
    let as_progress = ProgressKey::decode(&*key("t")).unwrap();
    assert!(as_progress.target_topic.is_empty());
    assert!(
        SourceEndsKey::decode(&*crate::progress::progress_key("a.t", 3)).unwrap().source_topic.is_empty()
    );
}

#[test]
fn what_an_older_version_kept_counts_until_it_is_written_here() {
    let second = |n| SystemTime::UNIX_EPOCH + Duration::from_secs(n);
    let ends = |high_watermark, seen| SourceEnds {
        source_topic_id: "id".to_owned(),
        partitions: vec![PartitionEnds {
            partition: 0,
            log_start: 7,
            high_watermark,
            last_stable_offset: None,
        }],
        seen_ms: crate::progress::millis(second(seen)),
    };
    let mut left = Recalled::default();
    left.record(&key("gone"), &ends(40, 1).encode_to_vec());
    left.record(&key("t"), &ends(50, 1).encode_to_vec());
    let mut recalled = left.left();
    recalled.record(&key("t"), &ends(60, 2).encode_to_vec());
    recalled.settle();
    let mut known: Vec<_> =
        recalled.ends().map(|(at, k, start)| (at.topic.as_str(), k.ends.high_watermark, start)).collect();
    known.sort_unstable();
    assert_eq!(known, [("gone", 40, Some(SourceOffset(7))), ("t", 60, Some(SourceOffset(7)))]);
    // What is only there under the former name is written as if it were new.
    let topic = |high_watermark| Topic {
        target: "a.t".to_owned(),
        id: "id".to_owned(),
        listed: Some(1),
        partitions: BTreeMap::from([(0, part(7, high_watermark, true))]),
    };
    let topics = BTreeMap::from([("gone".to_owned(), topic(40))]);
    let written = recall::changed(&topics, &recalled, Some(second(3)));
    assert!(written.iter().any(|(topic, _)| topic == "gone"), "{written:?}");
}

/// What a lane noted of a topic with three partitions, of the life `topic_id`, at second 5.
fn noted(topic_id: &str) -> Vec<u8> {
    let part = PartitionProgress {
        last: None,
        position: SourceOffset(67),
        source_topic_id: topic_id.to_owned(),
        leader_epoch: 0,
        origin: SourceOffset(0),
        origin_is_log_start: true,
        gaps: Vec::new(),
        chunk: Chunk::anchored(SourceOffset(67), TargetOffset(67)),
        target_topic_id: String::new(),
        target_known: None,
    };
    let seen = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
    let ends = lag::Ends { high_watermark: 67, last_stable: None, seen };
    let progress = RangeProgress {
        source_topic: "t".to_owned(),
        epoch: 1,
        worker: String::new(),
        partitions: (0..3).map(|partition| (partition, part.clone())).collect(),
        began: true,
        source_cluster_id: String::new(),
        written: crate::progress::Written::default(),
        ends: (0..3).map(|partition| (partition, ends)).collect(),
    };
    progress.encode(seen)
}

fn parts(known: &Known) -> Vec<(i32, Option<i64>)> {
    let parts = known.topics["t"].partitions.iter();
    parts.map(|(partition, part)| (*partition, part.map(|part| part.ends.high_watermark))).collect()
}

/// Second look, D3: two partitions that are no more were of unknown lag for ever.
#[test]
fn partitions_that_a_topic_made_anew_has_no_more_are_not_asked_for() {
    let mirror = Mirror::parse(&wire("a", "b")).unwrap();
    let [old, new] = [1, 2].map(|id| TopicId(uuid::Uuid::from_u128(id)));
    let mut recalled = Recalled::default();
    recalled.record(&progress_key("a.t", 0), &noted(&old.to_string()));
    recalled.settle();
    let listed = |id, partitions| [SourceTopic { name: "t".to_owned(), id, partitions }];
    let select = |known: &mut Known, id, partitions| {
        known.select(&mirror, &listed(id, partitions), &HashSet::new());
    };

    let mut known = Known::default();
    known.learn(&mirror, &recalled);
    assert_eq!(parts(&known), [(0, Some(67)), (1, Some(67)), (2, Some(67))], "the source can't be asked");
    select(&mut known, Some(new), 1);
    assert_eq!(known.partitions(), [TopicPartition::new("t", 0)]);
    known.learn(&mirror, &recalled);
    assert_eq!(known.partitions(), [TopicPartition::new("t", 0)], "as often as it is read");

    // Looked at before anything was read: nothing of the old life counts for the new one.
    let mut known = Known::default();
    select(&mut known, Some(new), 3);
    known.learn(&mirror, &recalled);
    assert_eq!(parts(&known), [(0, None), (1, None), (2, None)]);
    // Brokers without topic ids.
    let mut known = Known::default();
    select(&mut known, None, 1);
    known.learn(&mirror, &recalled);
    assert_eq!(parts(&known), [(0, Some(67))]);

    // The source is gone, and was seen with one partition after the lane noted three.
    let ends = |topic_id: &str, seen_ms| storage::SourceEnds {
        source_topic_id: topic_id.to_owned(),
        partitions: vec![storage::PartitionEnds { high_watermark: 200, ..Default::default() }],
        seen_ms,
    };
    for (id, seen_ms, left) in [(new, 9_000, 1), (new, 1_000, 3), (old, 9_000, 3)] {
        let mut recalled = Recalled::default();
        recalled.record(&progress_key("a.t", 0), &noted(&old.to_string()));
        recalled.record(&key("t"), &ends(&id.to_string(), seen_ms).encode_to_vec());
        recalled.settle();
        assert_eq!(recalled.ends().count(), left, "{id} {seen_ms}");
    }
}
