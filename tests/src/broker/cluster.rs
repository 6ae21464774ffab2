//! The fake's brokers as listeners that start, die and come back at their address.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

use super::connection;
use super::coordinator::Coordinator;
use super::faults::Faults;
use super::sessions::Sessions;
use super::shared::Shared;
use super::state::{Node, PRODUCER_EXPIRATION_MS, State};
use super::topics::{Release, Topics};
use super::transactions;

/// What kind of a cluster.
#[derive(Debug, Clone)]
pub struct Options {
    pub brokers: usize,
    pub release: Release,
    /// By broker, from the first; where there are some, readers are sent to the replica in their rack.
    pub racks: Vec<String>,
    /// Of faults that strike by chance.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { brokers: 1, release: Release::default(), racks: Vec::new(), seed: 0 }
    }
}

/// A running cluster; gone when dropped. Brokers are numbered from 1.
pub struct FakeKafka {
    pub(super) shared: Arc<Shared>,
    running: Mutex<BTreeMap<i32, AbortHandle>>,
    /// Whoever aborts a listener aborts its connections, too.
    cuts: Mutex<BTreeMap<i32, tokio::sync::watch::Sender<()>>>,
}

impl FakeKafka {
    /// Starts the brokers; within a tokio runtime.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(options: Options) -> Result<Self> {
        let mut listeners = Vec::new();
        let mut nodes = Vec::new();
        for (index, id) in (1..).take(options.brokers).enumerate() {
            let listener = TcpListener::bind("127.0.0.1:0").await.context("no port for a fake broker")?;
            let port = listener.local_addr()?.port();
            let rack = options.racks.get(index).cloned();
            nodes.push(Node { id, port, up: true, rack, sessions: Sessions::default() });
            listeners.push((id, listener));
        }
        let state = State {
            release: options.release,
            cluster_id: uuid::Uuid::new_v4().simple().to_string()[..22].to_owned(),
            nodes,
            topics: Topics::default(),
            coordinator: Coordinator::default(),
            moved: BTreeMap::new(),
            hold_markers: false,
            stale_leaders: None,
            faults: Faults::new(options.seed),
            clock_offset: 0,
        };
        let shared = Arc::new(Shared::new(state));
        let kafka = Self { shared, running: Mutex::default(), cuts: Mutex::default() };
        for (id, listener) in listeners {
            kafka.run(id, listener);
        }
        Ok(kafka)
    }

    fn run(&self, node: i32, listener: TcpListener) {
        let (cut, mut cuts) = tokio::sync::watch::channel(());
        let shared = self.shared.clone();
        let task = tokio::spawn(async move {
            // Connections die with the set, and the set with the task.
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                        connections.spawn(connection::serve(node, stream, shared.clone()));
                    },
                    Ok(()) = cuts.changed() => connections.abort_all(),
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(node, task.abort_handle());
        self.cuts.lock().unwrap_or_else(PoisonError::into_inner).insert(node, cut);
    }

    /// Addresses of all brokers, also of those that are down.
    pub fn bootstrap(&self) -> String {
        let ports: Vec<u16> = self.shared.look(|state| state.nodes.iter().map(|node| node.port).collect());
        ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
    }

    /// Address of one broker.
    ///
    /// # Panics
    /// There is no such broker.
    pub fn address(&self, node: i32) -> String {
        let port = self.shared.look(|state| state.node(node).map(|node| node.port));
        format!("127.0.0.1:{}", port.expect("a test names brokers that there are"))
    }

    /// Closes all connections to a broker; it goes on listening.
    pub fn cut_connections(&self, node: i32) {
        if let Some(cut) = self.cuts.lock().unwrap_or_else(PoisonError::into_inner).get(&node) {
            cut.send_replace(());
        }
    }

    /// The broker dies: its partitions go to other replicas that are in sync and up, or have no leader.
    pub fn kill_broker(&self, node: i32) {
        if let Some(task) = self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&node) {
            task.abort();
        }
        self.shared.change(|state| {
            if let Some(node) = state.node_mut(node) {
                node.up = false;
                node.sessions.clear();
            }
            let up: Vec<i32> = state.up().map(|node| node.id).collect();
            for partition in state.topics.partitions_mut() {
                let others = partition.in_sync.iter().copied().filter(|id| up.contains(id));
                let others: Vec<i32> = others.collect();
                if !others.is_empty() {
                    partition.in_sync.clone_from(&others);
                }
                if partition.leader == Some(node) {
                    partition.lead(others.first().copied());
                }
            }
        });
    }

    /// The broker is back at its address, in sync; it leads what had no leader, and has forgotten producers whose last batch is too old.
    ///
    /// # Errors
    /// Someone else took its port.
    pub async fn start_broker(&self, node: i32) -> Result<()> {
        let address = self.address(node);
        let listener = TcpListener::bind(&address).await.with_context(|| format!("{address} was taken"))?;
        self.shared.change(|state| {
            let before = state.now() - PRODUCER_EXPIRATION_MS;
            if let Some(node) = state.node_mut(node) {
                node.up = true;
            }
            for partition in state.topics.partitions_mut().filter(|p| p.replicas.contains(&node)) {
                if !partition.in_sync.contains(&node) {
                    partition.in_sync.push(node);
                }
                if partition.leader.is_none() {
                    partition.log.producers.expire(before);
                    partition.lead(Some(node));
                }
            }
            transactions::write_markers(state);
        });
        self.run(node, listener);
        Ok(())
    }
}

impl Drop for FakeKafka {
    fn drop(&mut self) {
        for task in self.running.lock().unwrap_or_else(PoisonError::into_inner).values() {
            task.abort();
        }
    }
}
