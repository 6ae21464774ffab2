//! Everything that a fake cluster is: its brokers, topics, transactions, sessions, the faults that wait.

use std::time::{SystemTime, UNIX_EPOCH};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::BrokerId;

use super::coordinator::Coordinator;
use super::faults::Faults;
use super::sessions::Sessions;
use super::topics::{Partition, Release, Topics};

/// `producer.id.expiration.ms` of a default broker.
pub(super) const PRODUCER_EXPIRATION_MS: i64 = 86_400_000;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: i32,
    pub(super) port: u16,
    pub(super) up: bool,
    pub(super) rack: Option<String>,
    pub(super) sessions: Sessions,
}

/// Where a client is sent to that asked the wrong broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leader {
    pub(super) node: i32,
    pub(super) epoch: i32,
}

pub(super) struct State {
    pub(super) release: Release,
    pub(super) cluster_id: String,
    pub(super) nodes: Vec<Node>,
    pub(super) topics: Topics,
    pub(super) coordinator: Coordinator,
    /// Broker of transactional ids whose coordinator was moved; others are spread by their name.
    pub(super) moved: std::collections::BTreeMap<String, i32>,
    /// Markers wait until a test lets them go.
    pub(super) hold_markers: bool,
    /// Whether brokers answer Metadata with what they knew when this was set.
    pub(super) stale_leaders: Option<std::collections::BTreeMap<(String, i32), Leader>>,
    pub(super) faults: Faults,
    /// Ahead of the machine's clock, ms.
    pub(super) clock_offset: i64,
}

impl State {
    pub(super) fn now(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        i64::try_from(since.as_millis()).expect("before the year 292 million") + self.clock_offset
    }

    pub(super) fn node(&self, id: i32) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    pub(super) fn node_mut(&mut self, id: i32) -> Option<&mut Node> {
        self.nodes.iter_mut().find(|node| node.id == id)
    }

    pub(super) fn up(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.up)
    }

    /// The partition, if this broker leads it in an epoch that the client doesn't contradict.
    ///
    /// # Errors
    /// What a broker answers otherwise.
    pub(super) fn led(
        &self,
        node: i32,
        topic: &str,
        index: i32,
        epoch: i32,
    ) -> Result<&Partition, ResponseError> {
        let partition = self.topics.partition(topic, index).ok_or(ResponseError::UnknownTopicOrPartition)?;
        if !partition.replicas.contains(&node) {
            return Err(ResponseError::NotLeaderOrFollower);
        }
        check_epoch(partition, epoch)?;
        if partition.leader != Some(node) {
            return Err(ResponseError::NotLeaderOrFollower);
        }
        Ok(partition)
    }

    /// Whom the brokers name as leader now.
    pub(super) fn leader(&self, topic: &str, index: i32) -> Option<Leader> {
        let partition = self.topics.partition(topic, index)?;
        Some(Leader { node: partition.leader?, epoch: partition.leader_epoch })
    }

    /// Host and port of a broker.
    pub(super) fn endpoint(&self, node: i32) -> Option<(BrokerId, i32)> {
        self.node(node).map(|node| (BrokerId(node.id), i32::from(node.port)))
    }

    /// The broker that keeps this transactional id.
    pub(super) fn coordinator_of(&self, id: &str) -> Option<i32> {
        if let Some(node) = self.moved.get(id) {
            return self.node(*node).filter(|node| node.up).map(|node| node.id);
        }
        let up: Vec<i32> = self.up().map(|node| node.id).collect();
        let sum: usize = id.bytes().map(usize::from).sum();
        (!up.is_empty()).then(|| up[sum % up.len()])
    }

    /// The partition's next replica that is up leads it from now on.
    pub(super) fn move_leader(&mut self, topic: &str, index: i32) {
        let up: Vec<i32> = self.up().map(|node| node.id).collect();
        let Some(partition) = self.topics.partition_mut(topic, index) else { return };
        let at = partition.replicas.iter().position(|node| Some(*node) == partition.leader).unwrap_or(0);
        let others = partition.replicas.iter().cycle().skip(at + 1).take(partition.replicas.len());
        let next = others.copied().find(|node| up.contains(node));
        partition.lead(next);
    }
}

/// # Errors
/// FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH for an epoch that isn't the partition's; -1 is nobody's.
pub(super) fn check_epoch(partition: &Partition, epoch: i32) -> Result<(), ResponseError> {
    if epoch < 0 || epoch == partition.leader_epoch {
        Ok(())
    } else if epoch < partition.leader_epoch {
        Err(ResponseError::FencedLeaderEpoch)
    } else {
        Err(ResponseError::UnknownLeaderEpoch)
    }
}
