//! Whether a broker's word about groups can be taken.
//!
//! Groups and their offsets live in partitions of `__consumer_offsets`. A broker that has just become the leader of one answers
//! without an error from less than the whole: before it knows that it coordinates the partition's groups, a list leaves them
//! out; before its high watermark has caught up, committed offsets are missing or old (both seen after a broker was killed or
//! started). A mirror would take that for deleted groups, or set a group back. So the leader is asked first.
//!
//! Where this client may not see the topic (DESCRIBE on it), nothing can be known, and brokers are believed.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;
use twinlog_proto::reason::Reason;

use super::types::TopicMetadata;
use crate::kafka::wire::client::KafkaClient;
use crate::kafka::wire::code::GROUP_AUTHORIZATION_FAILED;
use crate::kafka::wire::error::KafkaError;
use crate::kafka::wire::route::To;
use crate::kafka::wire::types::{Isolation, OffsetSpec};

/// Where brokers keep groups and their offsets.
const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Who leads the offsets topic.
pub(super) enum Holders {
    Known {
        /// How many partitions there are; 0 where the topic doesn't exist: then there are no groups.
        count: i32,
        /// Partitions by leader, as far as they have one.
        leaders: BTreeMap<i32, BTreeSet<i32>>,
    },
    /// This client may not see the topic.
    Unseen,
}

impl Holders {
    /// The partitions that a broker leads.
    pub(super) fn of(&self, broker: i32) -> BTreeSet<i32> {
        match self {
            Self::Known { leaders, .. } => leaders.get(&broker).cloned().unwrap_or_default(),
            Self::Unseen => BTreeSet::new(),
        }
    }

    /// How many partitions groups live in, where that is known and there are any.
    pub(super) fn count(&self) -> Option<i32> {
        match self {
            Self::Known { count, .. } if *count > 0 => Some(*count),
            _ => None,
        }
    }

    /// How many partitions have no leader: nobody can name their groups.
    pub(super) fn leaderless(&self) -> i32 {
        let Self::Known { count, leaders } = self else { return 0 };
        *count - leaders.values().map(|led| led.len() as i32).sum::<i32>()
    }
}

impl KafkaClient {
    /// Looks up who leads the offsets topic.
    pub(super) async fn holders(&self, deadline: Instant) -> Result<Holders, KafkaError> {
        let names = [OFFSETS_TOPIC.to_owned()];
        let response = self.metadata(Some(&names), false, deadline).await?;
        let partitions = match response.topics.first().and_then(|t| self.topic(t)) {
            Some(TopicMetadata { partitions, error: None, .. }) => partitions,
            Some(TopicMetadata { error: Some(e), .. }) if e.reason == Reason::TOPIC_NOT_FOUND => Vec::new(),
            _ => return Ok(Holders::Unseen),
        };
        let mut leaders: BTreeMap<i32, BTreeSet<i32>> = BTreeMap::new();
        for p in &partitions {
            if let Some(leader) = p.leader {
                leaders.entry(leader).or_default().insert(p.partition);
            }
        }
        Ok(Holders::Known { count: partitions.len() as i32, leaders })
    }

    /// For each partition of the offsets topic its leader epoch, once `leader` has caught up with what was acknowledged
    /// before its time: until then it refuses to tell the end of the log.
    pub(super) async fn caught_up(
        &self,
        leader: To,
        partitions: &BTreeSet<i32>,
        deadline: Instant,
    ) -> Result<BTreeMap<i32, Result<i32, KafkaError>>, KafkaError> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let items = partitions.iter().map(|p| (OFFSETS_TOPIC.to_owned(), *p, OffsetSpec::Latest.to_wire()));
        let ends = self.list_some(leader, items.collect(), Isolation::Uncommitted, deadline).await?;
        Ok(ends.into_iter().map(|((_, p, _), end)| (p, end.map(|e| e.leader_epoch))).collect())
    }

    /// The leader epochs of partitions of which `leader` knows all groups: it has caught up, and coordinates them.
    pub(super) async fn settled(
        &self,
        leader: To,
        holders: &Holders,
        partitions: &BTreeSet<i32>,
        deadline: Instant,
    ) -> Result<BTreeMap<i32, i32>, KafkaError> {
        let epochs = self.caught_up(leader, partitions, deadline).await?;
        let epochs =
            epochs.into_iter().map(|(p, epoch)| Ok((p, epoch?))).collect::<Result<_, KafkaError>>()?;
        let probes = probes(partitions, holders.count().unwrap_or_default());
        for (_, offsets) in self.ask_for_offsets(leader, probes, deadline).await? {
            match offsets {
                Err(error) if error.code != GROUP_AUTHORIZATION_FAILED => return Err(error),
                _ => {}
            }
        }
        Ok(epochs)
    }
}

/// The partition of the offsets topic that a group lives in, by the hash of Java's strings.
pub(super) fn partition_of(group: &str, count: i32) -> i32 {
    let hash = group.encode_utf16().fold(0_i32, |h, c| h.wrapping_mul(31).wrapping_add(i32::from(c)));
    hash.checked_abs().unwrap_or(0) % count
}

/// For each partition the id of a group that would live there, and doesn't exist: only its coordinator answers for it.
fn probes(partitions: &BTreeSet<i32>, count: i32) -> Vec<String> {
    let mut missing = partitions.clone();
    let mut probes = Vec::with_capacity(missing.len());
    for i in 0_u64.. {
        if missing.is_empty() || count == 0 {
            break;
        }
        let id = format!("twinlog-no-such-group-{i}");
        if missing.remove(&partition_of(&id, count)) {
            probes.push(id);
        }
    }
    probes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_placed_as_the_broker_places_them() {
        // String.hashCode: "" 0, "a" 97, "hello" 99162322, "polygenelubricants" Integer.MIN_VALUE.
        for (group, partition) in [("", 0), ("a", 47), ("hello", 22), ("polygenelubricants", 0)] {
            assert_eq!(partition_of(group, 50), partition, "{group}");
        }
    }

    #[test]
    fn every_partition_has_a_probe() {
        let partitions: BTreeSet<i32> = (0..50).filter(|p| p % 3 == 0).collect();
        let found: BTreeSet<i32> = probes(&partitions, 50).iter().map(|id| partition_of(id, 50)).collect();
        assert_eq!(found, partitions);
        assert!(probes(&BTreeSet::new(), 0).is_empty());
    }
}
