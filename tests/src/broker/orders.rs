//! What a test may do to a fake cluster while it runs, and see in it.

use std::collections::BTreeMap;

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use uuid::Uuid;

use super::admin;
use super::batch::Header;
use super::cluster::FakeKafka;
use super::coordinator::Transaction;
use super::faults::Rule;
use super::log::{Log, Marker};
use super::producers::Producers;
use super::reader::{self, Entry};
use super::record::Record;
use super::state::{Leader, PRODUCER_EXPIRATION_MS, State};
use super::topics::Partition;
use super::transactions;

/// Where a log begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub start: i64,
    pub last_stable: i64,
    pub high_watermark: i64,
    pub end: i64,
}

/// What a partition knows of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownProducer {
    pub id: i64,
    pub epoch: i16,
    pub last_sequence: i32,
    pub open_since: Option<i64>,
}

/// # Panics
/// All methods that name a topic or partition: there is none of that name. A test that errs there would prove nothing.
impl FakeKafka {
    fn partition<T>(&self, topic: &str, index: i32, act: impl FnOnce(&mut Partition) -> T) -> T {
        self.shared.change(|state| {
            let found = state.topics.partition_mut(topic, index);
            act(found.unwrap_or_else(|| panic!("the fake has no partition {topic}-{index}")))
        })
    }

    fn log<T>(&self, topic: &str, index: i32, act: impl FnOnce(&mut Log) -> T) -> T {
        self.partition(topic, index, |partition| act(&mut partition.log))
    }

    // Faults of requests.

    pub fn fault(&self, rule: Rule) {
        self.shared.look(|state| state.faults.add(rule));
    }

    pub fn clear_faults(&self) {
        self.shared.look(|state| state.faults.clear());
    }

    /// How often a fault struck.
    pub fn faults_struck(&self) -> usize {
        self.shared.look(|state| state.faults.struck())
    }

    /// How many requests of a kind came to all brokers.
    pub fn requests(&self, api: ApiKey) -> usize {
        self.shared.requests(api)
    }

    // Topics.

    /// The first replica of partition i is broker 1 + i mod brokers.
    pub fn create_topic(&self, name: &str, partitions: usize, replicas: usize, configs: &[(&str, &str)]) {
        let configs: BTreeMap<String, String> =
            configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let made = self.shared.change(|state| admin::add_topic(state, name, partitions, replicas, configs));
        made.unwrap_or_else(|code| panic!("the fake can't make topic {name}: {code}"));
    }

    pub fn delete_topic(&self, name: &str) {
        let gone = self.shared.change(|state| state.topics.remove(name));
        assert!(gone.is_some(), "the fake has no topic {name}");
    }

    /// Deletes it and makes it anew: empty, with another id, otherwise the same.
    pub fn recreate_topic(&self, name: &str) {
        self.shared.change(|state| {
            let old = state.topics.remove(name).unwrap_or_else(|| panic!("the fake has no topic {name}"));
            let replicas = old.partitions.iter().map(|partition| partition.replicas.clone()).collect();
            let new = super::topics::Topic::new(name, replicas, old.configs, state.release);
            state.topics.add(new);
        });
    }

    pub fn topic_id(&self, name: &str) -> Uuid {
        let id = self.shared.look(|state| state.topics.get(name).map(|topic| topic.id));
        id.unwrap_or_else(|| panic!("the fake has no topic {name}"))
    }

    pub fn set_config(&self, topic: &str, name: &str, value: &str) {
        self.shared.change(|state| {
            let topic = state.topics.get_mut(topic).expect("a test names topics that there are");
            topic.configs.insert(name.to_owned(), value.to_owned());
        });
    }

    // Leaders and replicas.

    /// (broker, epoch)
    pub fn leader(&self, topic: &str, index: i32) -> (Option<i32>, i32) {
        self.partition(topic, index, |partition| (partition.leader, partition.leader_epoch))
    }

    /// The next replica that is up leads it; the epoch rises.
    pub fn move_leader(&self, topic: &str, index: i32) {
        self.shared.change(|state| state.move_leader(topic, index));
    }

    /// A chosen leader, or none; the epoch rises.
    pub fn set_leader(&self, topic: &str, index: i32, leader: Option<i32>) {
        self.partition(topic, index, |partition| partition.lead(leader));
        self.shared.change(transactions::write_markers);
    }

    pub fn set_in_sync(&self, topic: &str, index: i32, nodes: &[i32]) {
        self.partition(topic, index, |partition| partition.in_sync = nodes.to_vec());
    }

    /// Metadata goes on naming today's leaders, whatever happens, until it is called with `false`.
    pub fn freeze_metadata(&self, freeze: bool) {
        self.shared.change(|state| state.stale_leaders = freeze.then(|| leaders(state)));
    }

    /// Nothing that is appended from now on counts as replicated, until it is called with `false`.
    pub fn hold_high_watermark(&self, topic: &str, index: i32, hold: bool) {
        self.log(topic, index, |log| log.hold_high_watermark(hold));
    }

    /// Clients are told to reach a broker at this port, which leads to it.
    pub fn advertise(&self, node: i32, port: u16) {
        self.shared.change(|state| {
            let node = state.node_mut(node).expect("a test names brokers that there are");
            node.port = port;
        });
    }

    // Logs.

    /// Appends a batch as it is, unchecked: what a source holds. Gives its base offset.
    pub fn append(&self, topic: &str, index: i32, batch: &Bytes) -> i64 {
        self.partition(topic, index, |p| p.log.append(batch.to_vec(), p.leader_epoch))
    }

    /// Appends whatever bytes are to be read as a batch there.
    pub fn append_raw(&self, topic: &str, index: i32, bytes: Bytes, offsets: i64) {
        self.log(topic, index, |log| log.append_raw(bytes, offsets));
    }

    /// Appends a marker that ends a producer's transaction in this partition, whatever the coordinator thinks.
    pub fn append_marker(&self, topic: &str, index: i32, producer_id: i64, epoch: i16, commit: bool) {
        let timestamp = self.shared.look(|state| state.now());
        let marker = Marker { producer_id, epoch, commit, coordinator_epoch: 0, timestamp };
        self.partition(topic, index, |p| p.log.mark(marker, p.leader_epoch));
    }

    /// The log ends at the batch that holds `offset`, as after an unclean election: the epoch rises.
    pub fn truncate(&self, topic: &str, index: i32, offset: i64) {
        self.partition(topic, index, |partition| {
            partition.log.truncate(offset);
            partition.lead(partition.leader);
        });
    }

    /// As DeleteRecords, or retention.
    pub fn delete_records(&self, topic: &str, index: i32, below: i64) {
        self.log(topic, index, |log| log.delete_below(below));
    }

    /// Takes out the records that `keep` doesn't want, as compaction does: batches keep their bounds. Of those without records the header stays
    /// if `keep_empty`.
    pub fn compact(&self, topic: &str, index: i32, keep: impl Fn(i64, &Record) -> bool, keep_empty: bool) {
        self.log(topic, index, |log| log.compact(keep, keep_empty));
    }

    pub fn bounds(&self, topic: &str, index: i32) -> Bounds {
        self.log(topic, index, |log| Bounds {
            start: log.start(),
            last_stable: log.last_stable(),
            high_watermark: log.high_watermark(),
            end: log.end(),
        })
    }

    /// The headers of all batches.
    pub fn batches(&self, topic: &str, index: i32) -> Vec<Header> {
        self.log(topic, index, |log| log.batches().iter().map(|batch| batch.header).collect())
    }

    /// All batches, one after another.
    pub fn bytes(&self, topic: &str, index: i32) -> Bytes {
        let mut bytes = BytesMut::new();
        self.log(topic, index, |log| log.batches().iter().for_each(|batch| bytes.extend(&batch.bytes)));
        bytes.freeze()
    }

    /// Every record, marker included.
    ///
    /// # Errors
    /// A batch is damaged.
    pub fn entries(&self, topic: &str, index: i32) -> Result<Vec<Entry>> {
        reader::entries(self.bytes(topic, index))
    }

    // Producers and transactions.

    pub fn producers(&self, topic: &str, index: i32) -> Vec<KnownProducer> {
        self.log(topic, index, |log| {
            let known = log.producers.iter().map(|(id, producer)| KnownProducer {
                id,
                epoch: producer.epoch,
                last_sequence: producer.last_sequence(),
                open_since: producer.open_since,
            });
            known.collect()
        })
    }

    /// The partition knows no producer any more.
    pub fn forget_producers(&self, topic: &str, index: i32) {
        self.log(topic, index, |log| log.producers = Producers::default());
    }

    /// The check that brokers make every ten minutes: whose last batch is older than a day is forgotten.
    pub fn expire_producers(&self) {
        self.shared.change(|state| {
            let before = state.now() - PRODUCER_EXPIRATION_MS;
            state.topics.partitions_mut().for_each(|partition| partition.log.producers.expire(before));
        });
    }

    /// The brokers' clocks go ahead.
    pub fn advance_clock(&self, ms: i64) {
        self.shared.change(|state| state.clock_offset += ms);
    }

    /// Markers wait until it is called with `false`.
    pub fn hold_markers(&self, hold: bool) {
        self.shared.change(|state| {
            state.hold_markers = hold;
            transactions::write_markers(state);
        });
    }

    pub fn transaction(&self, id: &str) -> Option<Transaction> {
        self.shared.look(|state| state.coordinator.get(id).cloned())
    }

    /// The transaction was open for longer than its timeout.
    pub fn expire_transaction(&self, id: &str) {
        self.shared.change(|state| {
            state.coordinator.expire(id);
            transactions::write_markers(state);
        });
    }

    /// The transactional id was idle for seven days.
    pub fn forget_transactional_id(&self, id: &str) {
        self.shared.change(|state| state.coordinator.remove(id));
    }

    /// The transactional id was taken so often.
    pub fn set_epoch(&self, id: &str, epoch: i16) {
        self.shared.change(|state| {
            if let Some(known) = state.coordinator.get_mut(id) {
                known.epoch = epoch;
            }
        });
    }

    pub fn coordinator(&self, id: &str) -> Option<i32> {
        self.shared.look(|state| state.coordinator_of(id))
    }

    pub fn move_coordinator(&self, id: &str, node: i32) {
        self.shared.change(|state| state.moved.insert(id.to_owned(), node));
    }

    // Fetch sessions.

    pub fn sessions(&self, node: i32) -> usize {
        self.shared.look(|state| state.node(node).map_or(0, |node| node.sessions.len()))
    }

    /// The broker forgets all sessions.
    pub fn forget_sessions(&self, node: i32) {
        self.shared.look(|state| {
            if let Some(node) = state.node_mut(node) {
                node.sessions.clear();
            }
        });
    }

    /// How many sessions a broker keeps; with 0 it refuses every one.
    pub fn session_slots(&self, node: i32, slots: usize) {
        self.shared.look(|state| {
            if let Some(node) = state.node_mut(node) {
                node.sessions.slots = slots;
            }
        });
    }
}

fn leaders(state: &State) -> BTreeMap<(String, i32), Leader> {
    let mut leaders = BTreeMap::new();
    for topic in state.topics.iter() {
        for (partition, index) in topic.partitions.iter().zip(0..) {
            if let Some(node) = partition.leader {
                let leader = Leader { node, epoch: partition.leader_epoch };
                leaders.insert((topic.name.clone(), index), leader);
            }
        }
    }
    leaders
}
