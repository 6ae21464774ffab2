//! Both engines copy the same topics at the same time, with both guarantees: logs, offset maps and committed group offsets are compared with the
//! source and with each other. What differs is a defect in one of them.
//!
//! One seed in every run; others by hand, where 0 is the awkward corpus: `TWINLOG_SEEDS=0-20 cargo test -p twinlog-tests --test scenarios --
//! --ignored --nocapture differential::`, with `TWINLOG_TEST_KAFKA=3.9.2` on that line. What is left to librdkafka anyway (copies by key, old
//! formats) is not here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use prost_types::Duration as Wire;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use twinlog_proto::v1::translate_offsets_request::Direction;
use twinlog_proto::v1::{
    Engine, Guarantee, Mirror, Naming, RefreshIntervals, SourceOffset, TranslateOffsetsRequest,
};
use twinlog_tests::api::told;
use twinlog_tests::sandbox::wait_until;
use twinlog_tests::tools::{Committed, Isolation};
use twinlog_tests::verify::{Dump, compare, expected_offset, expected_source};
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::beside;

const COPIED: Duration = Duration::from_secs(90);
const SYNCED: Duration = Duration::from_secs(60);
const GROUPS: usize = 10;

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Size {
    /// What the producers do.
    steps: (u32, u32),
    /// Offsets of each topic that are translated, each way, by each mirror: at most what one question may hold.
    asked: usize,
}

const SHORT: Size = Size { steps: (40, 41), asked: 1_000 };
const LONG: Size = Size { steps: (60, 200), asked: 10_000 };

/// A mirror of the same topics; its alias tells its copies from the others'.
#[derive(Debug, Clone, Copy)]
struct Twin {
    alias: &'static str,
    engine: Engine,
    guarantee: Guarantee,
}

const TWINS: [Twin; 4] = [
    Twin { alias: "no", engine: Engine::Native, guarantee: Guarantee::ExactlyOnce },
    Twin { alias: "nl", engine: Engine::Native, guarantee: Guarantee::AtLeastOnce },
    Twin { alias: "ro", engine: Engine::Librdkafka, guarantee: Guarantee::ExactlyOnce },
    Twin { alias: "rl", engine: Engine::Librdkafka, guarantee: Guarantee::AtLeastOnce },
];

impl Twin {
    fn copy(self, topic: &str) -> String {
        format!("{}.{topic}", self.alias)
    }

    fn id(self, prefix: &str) -> String {
        format!("{prefix}-{}", self.alias)
    }
}

/// One set of source topics and its copies.
struct Story<'a> {
    world: &'a World,
    size: Size,
    prefix: String,
    topics: Vec<String>,
    /// Whose copies have the time of the target's log.
    stamped: BTreeSet<String>,
    random: StdRng,
}

#[test]
fn both_engines_make_the_same_copy() -> Result<()> {
    let _beside = beside();
    let world = World::start("differential", WorldOptions { etcd_members: 0, ..Default::default() })?;
    seed(&world, 1, SHORT)
}

#[test]
#[ignore = "by hand: see above"]
fn both_engines_make_the_same_copies_by_many_seeds() -> Result<()> {
    let text = std::env::var("TWINLOG_SEEDS").context("TWINLOG_SEEDS=0-20")?;
    let (first, last) = text.split_once('-').context("two seeds with - between")?;
    let world = World::start("differential-many", WorldOptions { etcd_members: 0, ..Default::default() })?;
    for number in first.parse()?..=last.parse()? {
        seed(&world, number, LONG).with_context(|| format!("seed {number}"))?;
    }
    Ok(())
}

fn seed(world: &World, number: u64, size: Size) -> Result<()> {
    let begun = Instant::now();
    let prefix = format!("s{number}");
    let random = StdRng::seed_from_u64(number);
    let (topics, stamped) = (Vec::new(), BTreeSet::new());
    let mut story = Story { world, size, prefix, topics, stamped, random };
    story.produce(number)?;
    println!("seed {number}: {} topics after {:.1} s", story.topics.len(), begun.elapsed().as_secs_f64());
    story.mirror()?;
    story.wait_alike()?;
    if number > 0 {
        // What lay open is ended while everything runs, and more comes.
        world.tools.end_medley(&world.source, &story.prefix)?;
        story.wait_alike()?;
    }
    println!("seed {number}: copied after {:.1} s", begun.elapsed().as_secs_f64());
    let groups = story.commit()?;
    let (records, asked) = story.compare(&groups)?;
    for twin in TWINS {
        world.api.remove_mirror(&twin.id(&story.prefix))?;
    }
    println!(
        "seed {number}: {records} records by four mirrors, {asked} translations, none different, {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

impl Story<'_> {
    fn produce(&mut self, number: u64) -> Result<()> {
        let World { tools, source, target, .. } = self.world;
        if number == 0 {
            self.topics = tools.corpus(source, &self.prefix, 11, 1)?.into_keys().collect();
            return Ok(());
        }
        let steps = self.random.random_range(self.size.steps.0..self.size.steps.1);
        self.topics = tools.medley(source, &self.prefix, number, steps)?;
        if number % 2 == 1 {
            // There first, with a time of its own.
            let stamped = format!("{}.0", self.prefix);
            let partitions = tools.partitions(source, &stamped)?;
            for twin in TWINS {
                let configs = [("message.timestamp.type", "LogAppendTime"), ("max.message.bytes", "4194304")];
                tools.create_topic(target, &twin.copy(&stamped), partitions, &configs)?;
            }
            self.stamped.insert(stamped);
        }
        Ok(())
    }

    fn mirror(&self) -> Result<()> {
        let pattern = format!(r"{}\..*", self.prefix);
        for twin in TWINS {
            let naming = Naming { source_alias: Some(twin.alias.to_owned()), ..Default::default() };
            let mut mirror = Mirror {
                naming: Some(naming),
                groups: vec![format!("{}-g.*", self.prefix)],
                sync_group_offsets: true,
                refresh: Some(RefreshIntervals { groups: Some(Wire { seconds: 1, nanos: 0 }), topics: None }),
                ..mirror(&[pattern.as_str()])
            };
            mirror.set_engine(twin.engine);
            mirror.set_guarantee(twin.guarantee);
            self.world.api.add_mirror(&twin.id(&self.prefix), mirror)?;
        }
        Ok(())
    }

    fn dump(&self, topic: &str, twin: Option<Twin>, isolation: Isolation) -> Result<Dump> {
        let tools = &self.world.tools;
        let mut dump = match twin {
            None => tools.dump(&self.world.source, topic, isolation)?,
            Some(twin) => tools.dump(&self.world.target, &twin.copy(topic), isolation)?,
        };
        if self.stamped.contains(topic) {
            let records = dump.partitions.values_mut().flat_map(|partition| &mut partition.records);
            records.for_each(|record| record.timestamp = 0);
        }
        Ok(dump)
    }

    /// Waits until each copy is what a reader of committed records of the source sees.
    fn wait_alike(&self) -> Result<()> {
        for topic in &self.topics {
            let source = self.dump(topic, None, Isolation::Committed)?;
            for twin in TWINS {
                let mut last = String::new();
                let waited = wait_until(COPIED, &twin.copy(topic), || {
                    let verdict = compare(&source, &self.dump(topic, Some(twin), Isolation::Committed)?);
                    last = verdict.to_string();
                    Ok(verdict.is_exact().then_some(()))
                });
                waited.with_context(|| format!("{}: {last}", twin.copy(topic)))?;
            }
        }
        Ok(())
    }

    /// Random committed offsets of all topics, some below the log's start and many at its end.
    fn commit(&mut self) -> Result<BTreeMap<String, Vec<Committed>>> {
        let mut ends = Vec::new();
        for topic in &self.topics {
            for (partition, (_, end)) in self.world.tools.offsets(&self.world.source, topic)? {
                ends.push((topic.clone(), partition, end));
            }
        }
        let mut groups = BTreeMap::new();
        for number in 0..GROUPS {
            let group = format!("{}-g{number}", self.prefix);
            let offsets: Vec<Committed> = ends
                .iter()
                .map(|(topic, partition, end)| Committed {
                    topic: topic.clone(),
                    partition: *partition,
                    offset: if self.random.random_ratio(1, 8) {
                        *end
                    } else {
                        self.random.random_range(0..=*end)
                    },
                    metadata: number.to_string(),
                })
                .collect();
            self.world.tools.commit(&self.world.source, &group, &offsets)?;
            groups.insert(group, offsets);
        }
        Ok(groups)
    }

    /// Records of all copies, and translations that were right.
    fn compare(&mut self, groups: &BTreeMap<String, Vec<Committed>>) -> Result<(usize, usize)> {
        let topics = self.topics.clone();
        let (mut records, mut asked) = (0, 0);
        let mut expected = BTreeSet::new();
        for topic in &topics {
            let source = self.dump(topic, None, Isolation::Committed)?;
            let copies = TWINS.map(|twin| self.copy(topic, &source, twin));
            let copies: Vec<Dump> = copies.into_iter().collect::<Result<_>>()?;
            for (twin, copy) in TWINS.iter().zip(&copies) {
                // Field by field with the first, the kind of timestamp, too.
                ensure!(
                    shape(copy) == shape(&copies[0]),
                    "{}: not as {}",
                    twin.copy(topic),
                    TWINS[0].copy(topic)
                );
                records += copy.records();
                asked += self.translations(topic, &source, *twin, copy)?;
                for (group, offsets) in groups {
                    for at in offsets.iter().filter(|at| at.topic == *topic) {
                        let offset = expected_offset(&source, copy, at.partition, at.offset)
                            .context("it is copied")?;
                        let at = Committed { topic: twin.copy(topic), offset, ..at.clone() };
                        expected.insert((group.clone(), at));
                    }
                }
            }
        }
        asked += expected.len();
        self.wait_groups(&expected)?;
        Ok((records, asked))
    }

    /// The copy, of which readers of uncommitted records see no more than the source's committed ones, and which its engine made.
    fn copy(&self, topic: &str, source: &Dump, twin: Twin) -> Result<Dump> {
        let name = twin.copy(topic);
        let copy = self.dump(topic, Some(twin), Isolation::Committed)?;
        compare(source, &copy).require_exact(&name)?;
        let all = self.dump(topic, Some(twin), Isolation::Uncommitted)?;
        compare(source, &all).require_exact(&format!("{name}, read uncommitted"))?;
        let kind = if self.stamped.contains(topic) { "LogAppendTime" } else { "CreateTime" };
        let records = || copy.partitions.values().flat_map(|partition| &partition.records);
        ensure!(records().all(|record| record.timestamp_type == kind), "{name} is not all {kind}");
        let ranges = self.world.api.ranges(&twin.id(&self.prefix))?;
        let own: Vec<_> = ranges.iter().filter(|range| range.target_topic == name).collect();
        ensure!(!own.is_empty() && own.iter().all(|r| r.engine() == twin.engine), "{name}: {own:?}");
        Ok(copy)
    }

    /// Every offset there is, to the target and back; some where there are more than are asked for.
    fn translations(&mut self, topic: &str, source: &Dump, twin: Twin, copy: &Dump) -> Result<usize> {
        let mut asked = 0;
        for direction in [Direction::ToTarget, Direction::ToSource] {
            let (name, dump) = match direction {
                Direction::ToSource => (twin.copy(topic), copy),
                _ => (topic.to_owned(), source),
            };
            let every =
                dump.partitions.iter().flat_map(|(partition, p)| (0..=p.end).map(|at| (*partition, at)));
            let mut every: Vec<(i32, i64)> = every.collect();
            every.shuffle(&mut self.random);
            every.truncate(self.size.asked);
            let offsets = every.iter().map(|(partition, offset)| SourceOffset {
                topic: name.clone(),
                partition: *partition,
                offset: *offset,
            });
            let mut request = TranslateOffsetsRequest {
                mirror: format!("mirrors/{}", twin.id(&self.prefix)),
                offsets: offsets.collect(),
                ..Default::default()
            };
            request.set_direction(direction);
            let answer = self.world.api.translate_offsets(request).map_err(told)?;
            ensure!(answer.offsets.len() == every.len(), "every question has its answer");
            for ((partition, offset), found) in every.iter().zip(&answer.offsets) {
                let (expected, got) = match direction {
                    Direction::ToSource => {
                        (expected_source(source, copy, *partition, *offset), found.source_offset)
                    }
                    _ => (expected_offset(source, copy, *partition, *offset), found.target_offset),
                };
                ensure!(
                    expected.is_some() && expected == got,
                    "{name}-{partition}@{offset} {direction:?}: expected {expected:?}, got {found:?}"
                );
            }
            asked += every.len();
        }
        Ok(asked)
    }

    fn wait_groups(&self, expected: &BTreeSet<(String, Committed)>) -> Result<()> {
        let mut missing = Vec::new();
        let prefix = format!("{}-g", self.prefix);
        let waited = wait_until(SYNCED, "the groups' offsets on the target", || {
            let there = self.world.tools.all_group_offsets(&self.world.target, &prefix)?;
            let there =
                there.into_iter().flat_map(|(group, all)| all.into_iter().map(move |at| (group.clone(), at)));
            let there: BTreeSet<(String, Committed)> = there.collect();
            missing = expected.difference(&there).take(5).cloned().collect();
            Ok((there == *expected).then_some(()))
        });
        waited.with_context(|| format!("missing on the target: {missing:?}"))
    }
}

/// Everything of each record but where it lies.
fn shape(dump: &Dump) -> Vec<(i32, i64, [&str; 4])> {
    let records =
        dump.partitions.iter().flat_map(|(partition, p)| p.records.iter().map(move |r| (partition, r)));
    records.map(|(p, r)| (*p, r.timestamp, [&*r.timestamp_type, &*r.key, &*r.value, &*r.headers])).collect()
}
