//! What lies on target clusters is read as it was written, also by the versions before this one.

use std::time::{Duration, SystemTime};

use twinlog_proto::id::{SourceOffset, TargetOffset};
use twinlog_proto::storage;

use super::*;
use crate::fuzz::{Target, attack};

/// As the first versions wrote it.
const OLDEST: &str = "0a066f7264657273122e080310781a03736964200528073a160832103c1a09524554454e54494f4e2080d095ffbc31420708 \
    6410281a0114182a2203772d3128e8d795ffbc31";
/// As it was written before it had a format version.
const BEFORE: &str = "0a066f72646572731252080310781a03736964200528073a160832103c1a09524554454e54494f4e2080d095ffbc31420708 \
    6410281a01144a03746964503d688201707d7884d795ffbc3182010e087710f4d395ffbc311defbeadde182a2203772d3128 \
    e8d795ffbc3150015a07636c7573746572";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

fn at(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
}

#[test]
fn records_of_older_versions_are_read_and_what_they_lack_is_unknown() {
    let oldest = RangeProgress::decode(&bytes(OLDEST)).unwrap();
    assert_eq!((oldest.source_topic.as_str(), oldest.epoch, oldest.worker.as_str()), ("orders", 42, "w-1"));
    assert!(!oldest.began && oldest.source_cluster_id.is_empty() && oldest.ends.is_empty());
    let partition = &oldest.partitions[&3];
    assert_eq!((partition.position, partition.origin), (SourceOffset(120), SourceOffset(7)));
    assert_eq!((partition.source_topic_id.as_str(), partition.leader_epoch), ("sid", 5));
    assert_eq!((partition.chunk.source_end(), partition.chunk.target_end().0), (SourceOffset(120), 60));
    assert_eq!(partition.gaps[0].time, at(1_700_000_000_000));
    assert_eq!(
        (partition.target_topic_id.as_str(), partition.target_known, partition.last),
        ("", None, None)
    );
    assert_eq!(oldest.written, Written::default(), "no engine, no mode, and a producer that is not 0");

    let before = RangeProgress::decode(&bytes(BEFORE)).unwrap();
    assert_eq!((before.began, before.source_cluster_id.as_str()), (true, "cluster"));
    let ends = before.ends[&3];
    assert_eq!((ends.high_watermark, ends.last_stable, ends.seen), (130, Some(125), at(1_700_000_000_900)));
    let partition = &before.partitions[&3];
    assert_eq!((partition.target_topic_id.as_str(), partition.target_known), ("tid", Some(TargetOffset(61))));
    let last = LastCopied { offset: SourceOffset(119), timestamp: 1_700_000_000_500, crc: 0xdead_beef };
    assert_eq!(partition.last, Some(last));
    assert_eq!(before.written, Written::default());
}

#[test]
fn by_what_and_how_a_range_was_written_comes_back() {
    let mut progress = RangeProgress::decode(&bytes(BEFORE)).unwrap();
    let all = [Some(Mode::Transactions), Some(Mode::Acknowledged), Some(Mode::Fenced), None];
    for (engine, mode) in [Some(Engine::Librdkafka), Some(Engine::Native), None].into_iter().cycle().zip(all)
    {
        for (producer_id, producer_epoch) in [(None, None), (Some(0), Some(0)), (Some(70_001), Some(32_766))]
        {
            progress.written = Written { engine, mode, producer_id, producer_epoch };
            let stored = progress.encode(at(1_700_000_002_000));
            assert_eq!(RangeProgress::decode(&stored).unwrap(), progress);
        }
    }
    let once = Written::by(Engine::Librdkafka, true);
    assert_eq!((once.mode, once.producer_id, once.producer_epoch), (Some(Mode::Transactions), None, None));
    assert_eq!(Written::by(Engine::Native, false).mode, Some(Mode::Acknowledged));
}

#[test]
fn a_later_format_is_refused_not_misread() {
    let progress = RangeProgress::decode(&bytes(BEFORE)).unwrap();
    let stored = progress.encode(at(1_700_000_002_000));
    let mut stored = storage::Progress::decode(&*stored).unwrap();
    assert_eq!(stored.format_version, 1);
    stored.format_version = 2;
    let refused = RangeProgress::decode(&stored.encode_to_vec()).unwrap_err();
    assert_eq!(refused.0, "progress of format 2, 1 is the latest known here");
}

/// Whoever may write to the topic can write anything: what is read can be worked with, and is written again as it was read.
#[test]
fn fuzz_progress() {
    let seeds = vec![bytes(OLDEST), bytes(BEFORE)];
    let memory = |bytes: usize| (64 << 10) + bytes * 200;
    attack(Target { name: "progress", seeds, memory, repair: None }, |input| {
        let _ = former::is_carried_over(input);
        let progress = match RangeProgress::decode(input) {
            Ok(progress) => progress,
            Err(Damaged(what)) => return what,
        };
        let again = RangeProgress::decode(&progress.encode(at(1)));
        let (again, lasting) =
            (again.unwrap(), former::merge(Some(progress.clone()), Some(progress.clone())).0);
        assert_eq!(again.partitions.len(), progress.partitions.len());
        assert_eq!(lasting.unwrap().partitions, progress.partitions);
        for (number, mut partition) in progress.partitions {
            assert_eq!(again.partitions[&number].chunk, partition.chunk);
            let gap =
                Gap { first: SourceOffset(1), end: SourceOffset(2), kind: GapKind::Retention, time: at(1) };
            partition.record(gap);
            assert!(partition.gaps.len() <= MAX_GAPS);
        }
        format!("{:?}", progress.written)
    });
}
