//! Ten thousand committed offsets, at random, of every kind of topic: each becomes exactly the record that follows. A million by hand:
//! `cargo test -p twinlog-tests --test scenarios -- --ignored --nocapture offsets::`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use twinlog_proto::v1::{Mirror, SourceOffset, TranslateOffsetsRequest};
use twinlog_tests::sandbox::wait_until;
use twinlog_tests::tools::{Committed, Isolation};
use twinlog_tests::verify::{Dump, expected_offset};
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::beside;

const TOPICS: [&str; 6] = ["mixed", "transactions", "compacted", "trimmed", "logappend", "empty"];
/// Offsets that one question may hold.
const ASKED: usize = 10_000;
/// Groups whose offsets are read at a time.
const TOGETHER: usize = 100;
const COPIED: Duration = Duration::from_secs(120);
/// A million in a debug build beside two clusters, as long as there is progress at all.
const SYNCED: Duration = Duration::from_secs(600);

struct Topics {
    source: BTreeMap<String, Dump>,
    target: BTreeMap<String, Dump>,
}

impl Topics {
    fn expected(&self, topic: &str, partition: i32, offset: i64) -> Result<i64> {
        expected_offset(&self.source[topic], &self.target[topic], partition, offset)
            .with_context(|| format!("{topic}-{partition} is not complete on the target"))
    }
}

/// Any offset a group may have committed: from 0 (also below the log start) to the end, the end itself often.
fn any_offset(random: &mut StdRng, end: i64) -> i64 {
    match random.random_range(0..12) {
        0 => end,
        1 => 0,
        _ => random.random_range(0..=end),
    }
}

#[test]
fn ten_thousand_offsets_become_exactly_the_record_that_follows() -> Result<()> {
    let _beside = beside();
    all_exact("offsets", 1, 10_000)
}

#[test]
#[ignore = "by hand: see above"]
fn a_million_offsets_become_exactly_the_record_that_follows() -> Result<()> {
    all_exact("offsets-million", 10, 1_000_000)
}

/// Mirrors as many corpora as there are seeds, and translates so many offsets that groups have committed in them.
fn all_exact(name: &str, seeds: u64, wanted: usize) -> Result<()> {
    let world = World::start(name, WorldOptions::default())?;
    let mut names = Vec::new();
    for seed in 0..seeds {
        let prefix = format!("c{seed}");
        world.tools.corpus(&world.source, &prefix, 23 + seed, 1)?;
        names.extend(TOPICS.map(|topic| format!("{prefix}.{topic}")));
    }
    let groups = vec!["g-.*".into()];
    world.api.add_mirror("m", Mirror { groups, sync_group_offsets: true, ..mirror(&[r"c\d+\..*"]) })?;
    for topic in &names {
        world.wait_exact(topic, &format!("a.{topic}"), COPIED)?;
    }
    let dump = |kafka, prefix: &str| -> Result<BTreeMap<String, Dump>> {
        let each = names.iter().map(|t| {
            Ok((t.clone(), world.tools.dump(kafka, &format!("{prefix}{t}"), Isolation::Committed)?))
        });
        each.collect()
    };
    let topics = Topics { source: dump(&world.source, "")?, target: dump(&world.target, "a.")? };

    let groups = commit_everywhere(&world, &topics, wanted)?;
    translated_by_the_api(&world, &topics, &groups, wanted)?;
    committed_on_the_target(&world, &topics, &groups)
}

/// Groups with one offset per partition, until there are enough.
fn commit_everywhere(
    world: &World,
    topics: &Topics,
    wanted: usize,
) -> Result<BTreeMap<String, Vec<Committed>>> {
    let mut random = StdRng::seed_from_u64(5);
    let mut groups = BTreeMap::new();
    let mut made = 0;
    while made < wanted {
        let mut offsets = Vec::new();
        for (topic, dump) in &topics.source {
            for (partition, content) in &dump.partitions {
                let offset = any_offset(&mut random, content.end);
                let metadata = format!("m{offset}");
                offsets.push(Committed { topic: topic.clone(), partition: *partition, offset, metadata });
            }
        }
        let group = format!("g-{:05}", groups.len());
        world.tools.commit(&world.source, &group, &offsets)?;
        made += offsets.len();
        groups.insert(group, offsets);
    }
    println!("{made} offsets of {} groups committed", groups.len());
    Ok(groups)
}

fn translated_by_the_api(
    world: &World,
    topics: &Topics,
    groups: &BTreeMap<String, Vec<Committed>>,
    wanted: usize,
) -> Result<()> {
    let begun = Instant::now();
    let all: Vec<_> = groups.values().flatten().take(wanted).collect();
    let mut wrong = Vec::new();
    for some in all.chunks(ASKED) {
        let offsets = some
            .iter()
            .map(|c| SourceOffset { topic: c.topic.clone(), partition: c.partition, offset: c.offset })
            .collect();
        let request = TranslateOffsetsRequest { mirror: "mirrors/m".into(), offsets, ..Default::default() };
        let answer = world.api.translate_offsets(request).map_err(twinlog_tests::api::told)?;
        assert_eq!(answer.offsets.len(), some.len());
        for translated in &answer.offsets {
            let (topic, partition, offset) =
                (&translated.source_topic, translated.partition, translated.source_offset.unwrap_or(-1));
            let expected = topics.expected(topic, partition, offset)?;
            if translated.target_offset != Some(expected) {
                let said = (&translated.target_offset, &translated.reason, &translated.message);
                wrong.push(format!("{topic}-{partition}@{offset}: expected {expected}, got {said:?}"));
            }
        }
    }
    println!("{} offsets translated by the API in {:?}", all.len(), begun.elapsed());
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), all.len(), first(&wrong));
    Ok(())
}

fn committed_on_the_target(
    world: &World,
    topics: &Topics,
    groups: &BTreeMap<String, Vec<Committed>>,
) -> Result<()> {
    let begun = Instant::now();
    let mut there = BTreeMap::new();
    // Hundreds at a time, as their names begin.
    let prefixes = (0..groups.len().div_ceil(TOGETHER)).map(|number| format!("g-{number:03}"));
    for prefix in prefixes {
        let wanted: usize = groups.iter().filter(|(g, _)| g.starts_with(&prefix)).map(|(_, o)| o.len()).sum();
        there.extend(wait_until(SYNCED, &format!("{wanted} offsets of {prefix} on the target"), || {
            let there = world.tools.all_group_offsets(&world.target, &prefix)?;
            Ok((there.values().map(Vec::len).sum::<usize>() >= wanted).then_some(there))
        })?);
    }
    let wanted: usize = groups.values().map(Vec::len).sum();
    println!("{wanted} offsets on the target after {:?}", begun.elapsed());
    let mut wrong = Vec::new();
    for (group, offsets) in groups {
        for c in offsets {
            let expected = topics.expected(&c.topic, c.partition, c.offset)?;
            let name = format!("a.{}", c.topic);
            let found = there[group].iter().find(|o| o.topic == name && o.partition == c.partition);
            if found.is_none_or(|o| o.offset != expected || o.metadata != c.metadata) {
                wrong.push(format!(
                    "{group} {}-{}@{}: expected {expected}, got {found:?}",
                    c.topic, c.partition, c.offset
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {wanted} wrong:\n{}", wrong.len(), first(&wrong));
    Ok(())
}

fn first(wrong: &[String]) -> String {
    wrong.iter().take(12).cloned().collect::<Vec<_>>().join("\n")
}
