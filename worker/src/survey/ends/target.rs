//! Where the target's logs end: what lanes say that they have copied is compared with it. A survey mostly runs on another worker than
//! the lanes that it looks after.

use std::collections::HashMap;

use twinlog_proto::id::TargetOffset;

use super::{CHUNK, Looks, Topic};
use crate::kafka::{Isolation, KafkaClient, KafkaError, ListedOffset, OffsetSpec};
use crate::topic::TopicPartition;

#[derive(Default)]
pub(super) struct TargetEnds {
    looks: u64,
    /// As the last look found them; what it could not find is not here.
    ends: HashMap<TopicPartition, TargetOffset>,
}

impl TargetEnds {
    pub(super) fn looks(&self) -> u64 {
        self.looks
    }

    pub(super) fn of(&self, topic: &Topic, partition: i32) -> Option<TargetOffset> {
        self.ends.get(&TopicPartition::new(&topic.target, partition)).copied()
    }
}

impl Looks<'_> {
    /// Asks the target, while there are lanes that copy to it; how many partitions there are.
    pub(super) async fn look_at_target(&self, client: &KafkaClient) -> usize {
        if !self.mirror.running {
            return 0;
        }
        let wanted = self.known().target_partitions();
        let mut found = HashMap::new();
        for chunk in wanted.chunks(CHUNK) {
            // A log's end and not its last stable offset: a lane's open transaction lies below the one and above the other.
            match client.list_offsets(chunk, Isolation::Uncommitted).await {
                Ok(ends) => {
                    let known = |(at, end): ((String, i32), Result<ListedOffset, KafkaError>)| {
                        Some((TopicPartition::from(at), TargetOffset(end.ok()?.offset)))
                    };
                    found.extend(ends.into_iter().filter_map(known));
                }
                Err(error) => {
                    tracing::debug!(mirror = %self.mirror.id, %error, "the target's ends are not listed");
                    break;
                }
            }
        }
        let ends = &mut self.known().target_ends;
        ends.looks += 1;
        ends.ends = found;
        wanted.len()
    }
}

impl super::Known {
    fn target_partitions(&self) -> Vec<(String, i32, OffsetSpec)> {
        let latest =
            |(topic, partition): (&Topic, i32)| (topic.target.clone(), partition, OffsetSpec::Latest);
        let all = self.topics.values().flat_map(|t| t.partitions.keys().map(move |p| (t, *p)));
        all.map(latest).collect()
    }
}
