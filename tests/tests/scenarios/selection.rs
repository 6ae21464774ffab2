//! W25: what a running mirror copies is changed, and nothing else notices.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use twinlog_tests::sandbox::wait_until;
use twinlog_tests::tools::{Committed, Isolation, LoadOptions};
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::alone;

const SETTLED: Duration = Duration::from_secs(30);
/// From the command to the first record, or to the last.
const SWITCHED: Duration = Duration::from_secs(5);
/// Of a lane that nothing happens to; a new lane gets 5 s of patience.
const UNDISTURBED_MS: u64 = 1_000;
const PARTITIONS: u32 = 4;
/// Never touched, switched off and on by exclusion, switched on and off by pattern.
const TOPICS: [&str; 3] = ["sel.stay", "sel.go", "other.new"];

struct Story {
    world: World,
}

impl Story {
    fn begin() -> Result<Self> {
        // One worker: with more, ranges may move to even out the load.
        let world = World::start(
            "selection",
            WorldOptions { workers: 1, etcd_members: 0, ..WorldOptions::default() },
        )?;
        for topic in TOPICS {
            world.tools.create_topic(&world.source, topic, PARTITIONS, &[])?;
            world.tools.load(
                &world.source,
                topic,
                &LoadOptions { rate: 500.0, ..LoadOptions::new(PARTITIONS) },
            )?;
            world.tools.tail(&world.target, &format!("a.{topic}"), Isolation::Committed)?;
        }
        world.api.add_mirror("m", mirror(&[r"sel\..*"]))?;
        let story = Self { world };
        story.flows("sel.stay", 0)?;
        story.flows("sel.go", 0)?;
        Ok(story)
    }

    /// `twinlog mirror update m ...`
    fn update(&self, args: &[&str]) -> Result<Instant> {
        let said = self.world.controllers[0].cli(&[&["mirror", "update", "m"], args].concat())?;
        println!("{} -> {}", args.join(" "), said.trim());
        Ok(Instant::now())
    }

    fn copied(&self, topic: &str) -> Result<u64> {
        Ok(self.world.tools.tail_stats(&format!("a.{topic}"), false)?.records)
    }

    /// Waits until more than `before` records of the copy have come, from every partition.
    fn flows(&self, topic: &str, before: u64) -> Result<()> {
        wait_until(SETTLED, &format!("{topic} to flow"), || {
            let seen = self.world.tools.tail_stats(&format!("a.{topic}"), false)?;
            Ok((seen.records > before && seen.partitions.len() == PARTITIONS as usize).then_some(()))
        })
    }

    fn flows_soon(&self, topic: &str, since: Instant, before: u64) -> Result<()> {
        self.flows(topic, before)?;
        let took = since.elapsed();
        println!("{topic} flows after {took:.2?}");
        assert!(took < SWITCHED, "{topic}: {took:?}");
        Ok(())
    }

    /// Waits until nothing of the topic is copied any more; the number of copied records.
    fn stops_soon(&self, topic: &str, since: Instant) -> Result<u64> {
        let copy = format!("a.{topic}");
        wait_until(SETTLED, &format!("{topic} to be let go"), || {
            let ranges = self.world.api.ranges("m")?;
            Ok(ranges.iter().all(|range| range.target_topic != copy).then_some(()))
        })?;
        let mut last = self.copied(topic)?;
        wait_until(SETTLED, &format!("{topic} to stop"), || {
            std::thread::sleep(Duration::from_millis(300));
            let now = self.copied(topic)?;
            Ok((std::mem::replace(&mut last, now) == now).then_some(()))
        })?;
        let took = since.elapsed();
        println!("{topic} stopped after {took:.2?}");
        assert!(took < SWITCHED, "{topic}: {took:?}");
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(self.copied(topic)?, last, "{topic} is still copied");
        Ok(last)
    }

    /// Epoch and starts of every range of a topic: what changes when a lane is disturbed.
    fn lives(&self, topic: &str) -> Result<BTreeMap<String, (i64, String)>> {
        let copy = format!("a.{topic}");
        let metrics = self.world.workers[0].metrics()?;
        let starts = metrics
            .lines()
            .find(|line| {
                line.starts_with("twinlog_lane_restarts_total{") && line.contains(&format!("\"{copy}\""))
            })
            .with_context(|| format!("no starts of {copy} in {metrics}"))?;
        let of_topic = self.world.api.ranges("m")?.into_iter().filter(|range| range.target_topic == copy);
        Ok(of_topic.map(|range| (range.task, (range.epoch, starts.to_owned()))).collect())
    }

    /// Stops all loads: every copy is its topic, each record once.
    fn end(self) -> Result<()> {
        for topic in TOPICS {
            let copy = format!("a.{topic}");
            self.world.tools.stop_load(topic)?;
            self.world.wait_exact(topic, &copy, SETTLED)?;
            let tail = self.world.tools.stop_tail(&copy)?;
            assert_eq!(tail.wrong, 0, "{copy}: {}", tail.first_wrong);
        }
        Ok(())
    }
}

#[test]
fn topics_groups_and_settings_of_a_running_mirror_change_and_nothing_else_notices() -> Result<()> {
    let _alone = alone();
    let story = Story::begin()?;
    let world = &story.world;
    let lives = story.lives("sel.stay")?;
    world.tools.tail_stats("a.sel.stay", true)?;

    // A pattern comes, another topic is excluded.
    let since = story.update(&["--topics", r"sel\..*,other\..*"])?;
    story.flows_soon("other.new", since, 0)?;
    let since = story.update(&["--exclude", r"sel\.go"])?;
    let gone = story.stops_soon("sel.go", since)?;
    let behind = world.tools.load_stats("sel.go")?.values().sum::<u64>();
    assert!(behind > gone, "records are made while it is out: {behind}");

    // Groups come and go, and settings that are none of a lane's.
    let place =
        |topic: &str| Committed { topic: topic.into(), partition: 1, offset: 77, metadata: String::new() };
    world.tools.commit(&world.source, "g-1", &[place("sel.stay"), place("sel.go")])?;
    story.update(&["--groups", "g-.*", "--sync-group-offsets", "true", "--refresh-groups", "1s"])?;
    wait_until(SETTLED, "the group on the target", || {
        let there = world.tools.group_offsets(&world.target, "g-1")?;
        Ok(there.iter().any(|offset| offset.topic == "a.sel.stay" && offset.partition == 1).then_some(()))
    })?;
    story.update(&["--groups", ""])?;
    wait_until(SETTLED, "no more groups", || Ok(world.api.status("m")?.groups.is_empty().then_some(())))?;
    story.update(&[
        "--refresh-topics",
        "1s",
        "--config-sync",
        "false",
        "--heartbeats",
        "false",
        "--label",
        "a=b",
    ])?;

    // Back again at its position; and the other one out and in.
    let since = story.update(&["--exclude", ""])?;
    story.flows_soon("sel.go", since, gone)?;
    let since = story.update(&["--topics", r"sel\..*"])?;
    let gone = story.stops_soon("other.new", since)?;
    let since = story.update(&["--topics", r"other\..*,sel\..*"])?;
    story.flows_soon("other.new", since, gone)?;

    let stayed = world.tools.tail_stats("a.sel.stay", false)?;
    println!("what stayed was silent for {} ms at most", stayed.silence_ms);
    assert_eq!(story.lives("sel.stay")?, lives, "its lanes live on");
    assert!(stayed.silence_ms < UNDISTURBED_MS, "{stayed:?}");

    // Settings that lanes are made with take effect, and cost no record.
    story.update(&["--compression", "zstd", "--target-latency", "50ms", "--gap-policy", "resume"])?;
    wait_until(SETTLED, "lanes with the new settings", || {
        Ok((story.lives("sel.stay")? != lives).then_some(()))
    })?;
    story.end()
}
