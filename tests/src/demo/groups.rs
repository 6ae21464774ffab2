//! The demo's consumer group: committed on the source, translated by the mirror, judged by content.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::sandbox::wait_until;
use crate::tools::{Committed, Isolation};
use crate::verify::expected_offset;
use crate::world::World;

pub(super) const GROUP: &str = "demo-billing";
const TOPICS: [&str; 3] = ["demo.mixed", "demo.compacted", "demo.transactions"];

/// Commits a position in the middle of every partition of three topics.
pub(super) fn commit(world: &World) -> Result<()> {
    let mut offsets = Vec::new();
    for topic in TOPICS {
        for (partition, (begin, end)) in world.tools.offsets(&world.source, topic)? {
            let offset = begin + (end - begin) * 2 / 3;
            offsets.push(Committed { topic: topic.into(), partition, offset, metadata: String::new() });
        }
    }
    println!("   group {GROUP} has committed {} offsets", offsets.len());
    world.tools.commit(&world.source, GROUP, &offsets)
}

/// Every committed offset of the group stands on the target, at exactly the record that follows. How many there are.
pub(super) fn verify(world: &World, deadline: Duration) -> Result<usize> {
    let committed = world.tools.group_offsets(&world.source, GROUP)?;
    let synced = wait_until(deadline, &format!("group {GROUP} to be committed on b"), || {
        let there = world.tools.group_offsets(&world.target, GROUP)?;
        Ok((there.len() >= committed.len()).then_some(there))
    })?;
    for topic in TOPICS {
        let source = world.tools.dump(&world.source, topic, Isolation::Committed)?;
        let target = world.tools.dump(&world.target, &format!("a.{topic}"), Isolation::Committed)?;
        for offset in committed.iter().filter(|c| c.topic == topic) {
            let expected = expected_offset(&source, &target, offset.partition, offset.offset)
                .with_context(|| format!("{topic}-{} is not complete on b", offset.partition))?;
            let name = format!("a.{topic}");
            let found = synced.iter().find(|s| s.topic == name && s.partition == offset.partition);
            let found =
                found.with_context(|| format!("{GROUP} has no offset for {name}-{}", offset.partition))?;
            ensure!(
                found.offset == expected,
                "{GROUP} {topic}-{}: offset {} became {}, but the record that follows is at {expected}",
                offset.partition,
                offset.offset,
                found.offset
            );
        }
    }
    Ok(committed.len())
}
