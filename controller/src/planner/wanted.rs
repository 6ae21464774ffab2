//! Which tasks there should be.

use std::collections::{BTreeMap, HashMap};

use twinlog_proto::id::{TaskName, WorkerId};

use super::MirrorInput;
use crate::ranges::blocks;

/// Consumer groups that one checkpoint task handles.
const GROUPS_PER_SHARD: u32 = 2_000;

/// Every task that should run, with the index of its mirror.
pub(super) fn tasks(
    mirrors: &[MirrorInput<'_>],
    current: &HashMap<&TaskName, &WorkerId>,
) -> BTreeMap<TaskName, usize> {
    let mut tasks = BTreeMap::new();
    for (index, mirror) in mirrors.iter().enumerate() {
        let id = mirror.id;
        // While a mirror is paused its survey looks on how far it is behind, and does nothing else.
        tasks.insert(TaskName::Survey { mirror: id.clone() }, index);
        if !mirror.running {
            continue;
        }
        if mirror.heartbeats {
            tasks.insert(TaskName::Heartbeat { mirror: id.clone() }, index);
        }
        let shards = mirror.groups.map_or(0, |groups| {
            let runs = |shard| current.contains_key(&TaskName::Checkpoint { mirror: id.clone(), shard });
            checkpoint_shards(groups, runs)
        });
        for shard in 0..shards {
            tasks.insert(TaskName::Checkpoint { mirror: id.clone(), shard }, index);
        }
        for topic in &mirror.topics {
            for block in blocks(topic.partitions, mirror.block_size) {
                let target_topic = topic.target_topic.to_owned();
                tasks.insert(TaskName::Replicate { mirror: id.clone(), target_topic, block }, index);
            }
        }
    }
    tasks
}

/// A power of two that is enough; what runs already stays until it is four times too many.
pub(crate) fn checkpoint_shards(groups: u32, runs: impl Fn(u32) -> bool) -> u32 {
    let needed = groups.div_ceil(GROUPS_PER_SHARD).max(1).next_power_of_two();
    let mut present = needed;
    while runs(present) && present < needed * 4 {
        present *= 2;
    }
    present
}
