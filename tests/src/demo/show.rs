//! What the demo prints: stages with their time, commands with their answers, and the live view.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::sandbox::{Controller, wait_until};
use crate::world::World;

const FIRST_RECORD: Duration = Duration::from_secs(30);

/// Numbered headings, each with the time since the last.
pub(super) struct Stage {
    number: u32,
    since: Instant,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self { number: 0, since: Instant::now() }
    }

    pub(super) fn next(&mut self, what: &str) {
        if self.number > 0 {
            println!("   ({:.1} s)", self.since.elapsed().as_secs_f64());
        }
        self.number += 1;
        self.since = Instant::now();
        println!("\n{}. {what}", self.number);
    }
}

/// Runs a `twinlog` command and shows it as a user would see it.
pub(super) fn command(controller: &Controller, args: &[&str]) -> Result<()> {
    let quoted = |arg: &&str| {
        if arg.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:,/=".contains(c)) {
            (*arg).to_owned()
        } else {
            format!("'{arg}'")
        }
    };
    println!("   $ twinlog {}", args.iter().map(quoted).collect::<Vec<_>>().join(" "));
    let said = controller.cli(args)?;
    for line in said.lines() {
        println!("     {line}");
    }
    Ok(())
}

/// One line a second, as long as `long`, from the moment the first record of `live` was copied.
pub(super) fn watch(world: &World, mirror: &str, live: &str, long: Duration) -> Result<()> {
    let begin = Instant::now();
    wait_until(FIRST_RECORD, "the first record to be copied", || {
        let status = world.api.status(mirror)?;
        let live = status.topics.iter().find(|t| t.source_topic == live).and_then(|t| t.totals.as_ref());
        Ok(live.is_some_and(|t| t.records > 0).then_some(()))
    })?;
    println!("   first records copied {:.1} s after they began to flow", begin.elapsed().as_secs_f64());
    println!(
        "   {:>8} {:>10} {:>10} {:>9} {:>9} {:>9}",
        "lag", "records/s", "MB/s", "p50 ms", "p99 ms", "age ms"
    );
    let end = Instant::now() + long;
    let mut tick = Instant::now();
    while Instant::now() < end {
        tick += Duration::from_secs(1);
        std::thread::sleep(tick.saturating_duration_since(Instant::now()));
        let status = world.api.status(mirror)?;
        let totals = status.totals.unwrap_or_default();
        // The corpus has records from 1970: latency and age are those of the topic that flows.
        let topic = status.topics.iter().find(|t| t.source_topic == live);
        let flowing = topic.and_then(|t| t.totals).unwrap_or_default();
        println!(
            "   {:>8} {:>10.0} {:>10.2} {:>9.0} {:>9.0} {:>9}",
            totals.lag_records.map_or_else(|| "?".to_owned(), |lag| lag.to_string()),
            totals.records_per_second,
            totals.bytes_per_second / 1e6,
            flowing.latency_p50_ms.unwrap_or(f64::NAN),
            flowing.latency_p99_ms.unwrap_or(f64::NAN),
            flowing.record_age_ms.map_or_else(|| "?".to_owned(), |ms| ms.to_string()),
        );
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// Leaves everything running for someone who wants to look around.
pub(super) fn stay(controller: &Controller, world: &World) -> Result<()> {
    println!("\n   everything keeps running: export TWINLOG_CONTROLLER={}", controller.url());
    println!("   cluster a: {}   cluster b: {}", world.source.bootstrap(), world.target.bootstrap());
    println!("   press Enter to end");
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}
