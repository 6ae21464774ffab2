//! A MirrorMaker 2 in exactly-once mode hands over to Twinlog and gets its flow back: no record missing, none twice, whatever it left open.

use std::time::Duration;

use anyhow::Result;
use twinlog_tests::sandbox::{Port, Process, wait_until};

use crate::alone;
use crate::handover_mm2::{MM2_READY, Story, terminate};

/// MM2's transactions last so long: it is always killed inside one.
const TRANSACTION: Duration = Duration::from_secs(2);
/// A live MM2 that is told to stop, and the transaction that readers have waited for.
const PAUSE: Duration = Duration::from_secs(8);
/// Connect's session timeout of 10 s, and what a busy machine adds. MM2's transactions would end by themselves a minute after its end.
const PAUSE_AFTER_KILL: Duration = Duration::from_secs(25);

fn settings(rest: &Port) -> String {
    format!(
        "b.exactly.once.source.support=enabled\na.consumer.isolation.level=read_committed\ndedicated.mode.enable.internal.rest=true\n\
         listeners=http://{}\na->b.transaction.boundary=interval\na->b.transaction.boundary.interval.ms={}\n",
        rest.address(),
        TRANSACTION.as_millis()
    )
}

/// Stopped, given back, and killed in the middle of a transaction.
#[test]
fn an_exactly_once_mirror_maker_hands_over_gets_its_flow_back_and_is_killed() -> Result<()> {
    let _alone = alone();
    let rest = Port::take()?;
    let story = Story::begin("handover-exactly-once", &["orders"], &settings(&rest))?;
    let pause = story.hand_over(terminate)?;
    println!("MM2, exactly once, stopped (SIGTERM): the worst partition stood still for {pause:?}");
    assert!(pause < PAUSE, "{pause:?}");

    story.give_back_and_ask_again()?;
    story.wait_open_transaction()?;
    let pause = story.hand_over(Process::kill9)?;
    println!("MM2, exactly once, killed inside a transaction: the worst partition stood still for {pause:?}");
    assert!(pause < PAUSE_AFTER_KILL, "{pause:?}");
    let ended = |worker: &twinlog_tests::sandbox::Worker| {
        worker.process.log().contains("MirrorMaker 2 had left open")
    };
    assert!(story.world.workers.iter().any(ended), "something was left open");
    story.end()
}

impl Story {
    /// Waits until there are records on the target that no `read_committed` reader sees.
    fn wait_open_transaction(&self) -> Result<()> {
        wait_until(MM2_READY, "MM2 to have a transaction open", || {
            let offsets = |isolation: &str| {
                let request = serde_json::json!({
                    "bootstrap": self.world.target.bootstrap(), "topic": "a.orders", "isolation": isolation,
                });
                self.world.tools.call("offsets", request)
            };
            Ok((offsets("read_committed")? != offsets("read_uncommitted")?).then_some(()))
        })
    }
}
