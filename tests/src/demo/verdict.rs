//! The demo's last word: every topic read from both clusters by the independent reader, and compared.

use std::time::Duration;

use anyhow::Result;

use crate::world::World;

/// Waits for each topic's copy and compares it; the number of records. The error names the first difference.
pub(super) fn records(world: &World, topics: &[String], deadline: Duration) -> Result<usize> {
    let mut records = 0;
    for topic in topics {
        let verdict = world.wait_exact(topic, &format!("a.{topic}"), deadline)?;
        println!("   {topic:<20} -> a.{topic:<20} {verdict}");
        records += verdict.source_records;
    }
    Ok(records)
}
