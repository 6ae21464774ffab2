//! MirrorMaker 2 hands over to Twinlog and back, under load: no record missing, none twice.

use std::time::Duration;

use anyhow::{Context, Result};
use twinlog_proto::v1::{
    Mirror, PauseMirrorRequest, ResumeMirrorRequest, SourceOffset, TakeOver, TranslateOffsetsRequest,
};
use twinlog_tests::api::told;
use twinlog_tests::sandbox::{DEFAULT_KAFKA, Process, mm2_properties, wait_until};
use twinlog_tests::tools::{Isolation, LoadOptions};
use twinlog_tests::world::{World, WorldOptions, mirror};

use crate::alone;

/// MM2 copies some 15 s after its start; more on a busy machine.
pub(super) const MM2_READY: Duration = Duration::from_secs(90);
const SETTLED: Duration = Duration::from_secs(60);
/// A mirror that waits is looked at for so long while MM2 copies.
const BESIDE: Duration = Duration::from_secs(3);
/// A take-over of a live MM2 that is told to stop.
const PAUSE: Duration = Duration::from_secs(5);
/// Connect's session timeout, and what a busy machine adds.
const PAUSE_AFTER_KILL: Duration = Duration::from_secs(20);
const PARTITIONS: u32 = 4;
const RATE: f64 = 2_000.0;

pub(super) struct Story {
    pub(super) world: World,
    mm2: Process,
    /// Copies of these are followed record by record.
    topics: &'static [&'static str],
}

impl Story {
    /// MM2 copies `topics` under load, and a mirror waits for its end.
    pub(super) fn begin(name: &str, topics: &'static [&'static str], settings: &str) -> Result<Self> {
        let world = World::start(name, WorldOptions::default())?;
        make(&world, topics[0])?;
        let more = format!("a->b.topics={}\n{settings}", topics.join(","));
        let properties = mm2_properties(("a", &world.source), ("b", &world.target), &more);
        let mm2 = world.sandbox.mm2("1", DEFAULT_KAFKA, &properties)?;
        let story = Self { world, mm2, topics: &topics[..1] };
        story.wait_caught_up(MM2_READY)?;
        let take_over = Some(TakeOver::default());
        story.world.api.add_mirror("m", Mirror { take_over, block_size: 2, ..mirror(topics) })?;
        story.wait_for_mm2()?;
        Ok(Self { topics, ..story })
    }

    /// The mirror says what it waits for, and waits: both would copy the same records.
    fn wait_for_mm2(&self) -> Result<()> {
        let message = self.world.api.wait_cause("m", "MM2_RUNNING", SETTLED)?;
        assert!(message.contains("a-mm2") && message.contains("Stop it"), "{message}");
        std::thread::sleep(BESIDE);
        self.wait_caught_up(SETTLED)?;
        self.world.api.wait_cause("m", "MM2_RUNNING", Duration::ZERO).map(drop)
    }

    fn tails(&self) -> impl Iterator<Item = (&str, String)> {
        self.topics.iter().map(|topic| (*topic, format!("a.{topic}")))
    }

    /// Waits until what has been made by now is on the target, each record once.
    fn wait_caught_up(&self, deadline: Duration) -> Result<()> {
        for (topic, copy) in self.tails() {
            let made = self.world.tools.load_stats(topic)?;
            wait_until(deadline, &format!("{copy} to hold what was made"), || {
                self.mm2_has_not_failed()?;
                let seen = self.world.tools.tail_stats(&copy, false)?;
                anyhow::ensure!(seen.wrong == 0, "{copy}: {} wrong: {}", seen.wrong, seen.first_wrong);
                Ok(made
                    .iter()
                    .all(|(p, n)| seen.partitions.get(p).is_some_and(|s| s.next >= *n))
                    .then_some(()))
            })
            .with_context(|| self.mm2.log_tail())?;
        }
        Ok(())
    }

    fn mm2_has_not_failed(&self) -> Result<()> {
        let log = self.mm2.log();
        let failed =
            log.lines().find(|line| line.contains("Task threw an uncaught and unrecoverable exception"));
        failed.map_or(Ok(()), |line| Err(anyhow::anyhow!("{line}")))
    }

    /// Ends MM2 with `end` and measures how long the worst partition stood still until everything flowed again.
    pub(super) fn hand_over(&self, end: impl FnOnce(&Process) -> Result<()>) -> Result<Duration> {
        for (_, copy) in self.tails() {
            self.world.tools.tail_stats(&copy, true)?;
        }
        end(&self.mm2)?;
        self.wait_caught_up(SETTLED)?;
        let mut pause = 0;
        for (_, copy) in self.tails() {
            pause = pause.max(self.world.tools.tail_stats(&copy, false)?.silence_ms);
        }
        Ok(Duration::from_millis(pause))
    }

    /// What MM2 copied before the take-over can be translated, too: it began with an empty target, so offsets are equal there.
    fn older_offsets_are_exact(&self) -> Result<()> {
        let offsets: Vec<_> = [0, 1, 100, 1_234, 2_000]
            .into_iter()
            .map(|offset| SourceOffset { topic: self.topics[0].into(), partition: 1, offset })
            .collect();
        let request = TranslateOffsetsRequest {
            mirror: "mirrors/m".into(),
            offsets: offsets.clone(),
            ..Default::default()
        };
        let answer = self.world.api.translate_offsets(request).map_err(told)?;
        for (asked, found) in offsets.iter().zip(&answer.offsets) {
            assert_eq!(found.target_offset, Some(asked.offset), "{found:?}");
        }
        Ok(())
    }

    fn give_back(&self) -> Result<()> {
        let request = PauseMirrorRequest { name: "mirrors/m".into(), ..Default::default() };
        self.world.api.pause_mirror(request).map_err(told)?;
        wait_until(SETTLED, "the mirror to be paused", || {
            let ranges = self.world.api.ranges("m")?;
            Ok(ranges.iter().all(|range| range.worker.is_empty()).then_some(()))
        })?;
        let cli = &self.world.controllers[0];
        let planned = cli.cli(&["mirror", "give-back", "m", "--dry-run"])?;
        assert!(planned.contains("Nothing was written"), "{planned}");
        let given = cli.cli(&["mirror", "give-back", "m"])?;
        assert!(given.contains("MirrorMaker 2 goes on after offset"), "{given}");
        Ok(())
    }

    /// MM2 goes on at the next record, and the mirror waits for its end once more.
    pub(super) fn give_back_and_ask_again(&self) -> Result<()> {
        self.give_back()?;
        self.mm2.start_again()?;
        self.wait_caught_up(MM2_READY)?;
        println!("given back: MM2 goes on");
        let request = ResumeMirrorRequest { name: "mirrors/m".into(), ..Default::default() };
        self.world.api.resume_mirror(request).map_err(told)?;
        self.wait_for_mm2()
    }

    /// Stops the load and compares everything, record by record.
    pub(super) fn end(self) -> Result<()> {
        for (topic, copy) in self.tails() {
            self.world.tools.stop_load(topic)?;
            self.world.wait_exact(topic, &copy, SETTLED)?;
            let tail = self.world.tools.stop_tail(&copy)?;
            assert_eq!(tail.wrong, 0, "{}", tail.first_wrong);
        }
        Ok(())
    }
}

/// A topic under load, and its copy followed.
fn make(world: &World, topic: &str) -> Result<()> {
    world.tools.create_topic(&world.source, topic, PARTITIONS, &[])?;
    world.tools.load(&world.source, topic, &LoadOptions { rate: RATE, ..LoadOptions::new(PARTITIONS) })?;
    world.tools.tail(&world.target, &format!("a.{topic}"), Isolation::Committed)
}

pub(super) fn terminate(mm2: &Process) -> Result<()> {
    mm2.terminate().map(drop)
}

/// Issue 4, 9: taken over while it copies, given back, and taken over again.
#[test]
fn a_live_mirror_maker_hands_over_and_gets_its_flow_back() -> Result<()> {
    let _alone = alone();
    let story = Story::begin("handover", &["orders"], "")?;
    let pause = story.hand_over(terminate)?;
    println!("MM2 stopped (SIGTERM): the worst partition stood still for {pause:?}");
    assert!(pause < PAUSE, "{pause:?}");

    story.older_offsets_are_exact()?;
    story.give_back_and_ask_again()?;
    let pause = story.hand_over(terminate)?;
    println!("taken over again: the worst partition stood still for {pause:?}");
    assert!(pause < PAUSE, "{pause:?}");
    story.end()
}

/// What MM2 copied after the position it committed last is found on the target and not copied again: for one topic it
/// committed every 3 s, for the other, just found, it never did.
#[test]
fn a_killed_mirror_maker_leaves_no_duplicate() -> Result<()> {
    let _alone = alone();
    let story = Story::begin("handover-kill", &["orders", "late"], "b.offset.flush.interval.ms=3000")?;
    make(&story.world, "late")?;
    wait_until(MM2_READY, "MM2 to copy the late topic", || {
        Ok((story.world.tools.tail_stats("a.late", false)?.records > 0).then_some(()))
    })?;
    let pause = story.hand_over(Process::kill9)?;
    println!(
        "MM2 killed: the worst partition stood still for {pause:?}, Connect's session timeout of 10 s included"
    );
    assert!(pause < PAUSE_AFTER_KILL, "{pause:?}");
    story.end()
}
