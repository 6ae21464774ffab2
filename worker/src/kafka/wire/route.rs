//! Getting a request to the broker that can answer it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use kafka_protocol::messages::MetadataResponse;
use tokio::time::{Instant, timeout_at};
use twinlog_proto::reason::Reason;

use super::api::Api;
use super::away::timed_out;
use super::connection::Connection;
use super::error::KafkaError;
use super::metadata::{self, Metadata};
use super::pool::{Lease, Pool, Use};
use super::properties::ClientProperties;
use super::race;

/// Known brokers that are tried for a request that any broker can answer, besides the bootstrap servers.
const ANY_BROKER_TRIES: usize = 3;

/// Which broker a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kafka) enum To {
    Any,
    Controller,
    Broker(i32),
}

/// Makes a request for the version that was agreed on.
pub(in crate::kafka) type Build<'a, R> = &'a (dyn Fn(i16) -> Result<R, KafkaError> + Send + Sync);

/// What all clones of a client share.
pub(in crate::kafka) struct Router {
    pub(in crate::kafka) properties: ClientProperties,
    pool: Pool,
    metadata: Mutex<Metadata>,
    coordinators: Mutex<HashMap<String, i32>>,
    next: AtomicUsize,
}

/// An answer, with what is known of the connection that it came over.
pub(in crate::kafka) struct Answer<T> {
    pub(in crate::kafka) version: i16,
    pub(in crate::kafka) body: T,
    /// How long the broker had been up at least when it answered.
    pub(in crate::kafka) broker_age: Duration,
}

impl Router {
    pub(in crate::kafka) fn new(properties: ClientProperties) -> Self {
        Self {
            pool: Pool::new(properties.clone()),
            properties,
            metadata: Mutex::default(),
            coordinators: Mutex::default(),
            next: AtomicUsize::new(0),
        }
    }

    /// Sends one request once. With `To::Any`, brokers are tried in turn until one answers.
    pub(in crate::kafka) async fn send<R: Api>(
        &self,
        to: To,
        purpose: Use,
        deadline: Instant,
        build: Build<'_, R>,
    ) -> Result<Answer<R::Response>, KafkaError> {
        let mut peers = self.peers(to, deadline).await?;
        let mut failures = Vec::new();
        while !peers.is_empty() && (failures.is_empty() || Instant::now() < deadline) {
            let lease = match self.first_lease(&peers, purpose, deadline).await {
                Ok(lease) => lease?,
                Err(all) => {
                    failures.extend(all);
                    break;
                }
            };
            let peer = lease.connection.peer().to_owned();
            match self.exchange(lease, purpose, deadline, build).await {
                Err(error) if error.reason == Reason::CLUSTER_UNREACHABLE && error.retriable => {
                    failures.push(error);
                    peers.retain(|other| *other != peer);
                }
                result => return result,
            }
        }
        Err(summary(&self.properties, failures))
    }

    /// A connection to the first of these brokers that can be used. The inner error is one that another broker can't help with.
    async fn first_lease(
        &self,
        peers: &[String],
        purpose: Use,
        deadline: Instant,
    ) -> Result<Result<Lease, KafkaError>, Vec<KafkaError>> {
        // Not by a closure: then the compiler can't tell that these may move between threads.
        let mut tries = Vec::with_capacity(peers.len());
        for peer in peers {
            tries.push(self.lease(peer, purpose, deadline));
        }
        race::first(tries).await
    }

    /// The outer error is one that another broker may not have.
    async fn lease(
        &self,
        peer: &str,
        purpose: Use,
        deadline: Instant,
    ) -> Result<Result<Lease, KafkaError>, KafkaError> {
        let started = Instant::now();
        let until = deadline.min(started + self.properties.request_timeout());
        match timeout_at(until, self.pool.lease(peer, purpose, false)).await {
            Ok(Err(error)) if error.reason == Reason::CLUSTER_UNREACHABLE && error.retriable => Err(error),
            Ok(usable) => Ok(usable),
            Err(_) => Err(timed_out(&self.properties, &format!("broker {peer}"), started.elapsed())),
        }
    }

    async fn exchange<R: Api>(
        &self,
        leased: Lease,
        purpose: Use,
        deadline: Instant,
        build: Build<'_, R>,
    ) -> Result<Answer<R::Response>, KafkaError> {
        let started = Instant::now();
        let until = deadline.min(started + self.properties.request_timeout());
        let peer = leased.connection.peer().to_owned();
        let exchange = async {
            let mut lease = leased;
            let mut result = lease.connection.call::<R>(build).await;
            // The broker may have closed an idle connection: that says nothing about the broker.
            if lease.reused && result.as_ref().is_err_and(|e| e.reason == Reason::CLUSTER_UNREACHABLE) {
                drop(lease);
                lease = self.pool.lease(&peer, purpose, true).await?;
                result = lease.connection.call::<R>(build).await;
            }
            let (version, body) = result?;
            let broker_age = lease.connection.age();
            lease.release();
            Ok(Answer { version, body, broker_age })
        };
        timeout_at(until, exchange).await.unwrap_or_else(|_| {
            Err(timed_out(&self.properties, &format!("broker {peer}"), started.elapsed()))
        })
    }

    /// Looks at a connection to any broker, without a request.
    pub(in crate::kafka) async fn probe<T>(
        &self,
        deadline: Instant,
        look: impl Fn(&Connection) -> T,
    ) -> Result<T, KafkaError> {
        let peers = self.peers(To::Any, deadline).await?;
        match self.first_lease(&peers, Use::Control, deadline).await {
            Ok(lease) => {
                let lease = lease?;
                let seen = look(&lease.connection);
                lease.release();
                Ok(seen)
            }
            Err(failures) => Err(summary(&self.properties, failures)),
        }
    }

    pub(in crate::kafka) async fn peers(&self, to: To, deadline: Instant) -> Result<Vec<String>, KafkaError> {
        match to {
            To::Any => Ok(self.any_peers()),
            To::Broker(id) => {
                if let Some(peer) = self.peer_of(id) {
                    return Ok(vec![peer]);
                }
                Box::pin(self.refresh(&[], deadline)).await?;
                Ok(vec![self.peer_of(id).ok_or_else(|| self.gone(id))?])
            }
            To::Controller => {
                let controller = || self.known().controller();
                if controller().is_none() {
                    Box::pin(self.refresh(&[], deadline)).await?;
                }
                Ok(match controller().and_then(|id| self.peer_of(id)) {
                    Some(peer) => vec![peer],
                    None => self.any_peers(),
                })
            }
        }
    }

    fn peer_of(&self, id: i32) -> Option<String> {
        self.known().broker(id).map(|b| address(&b.host, b.port))
    }

    /// Addresses of brokers that were in the cluster when it was asked last, the bootstrap servers before it was.
    pub(in crate::kafka) fn brokers(&self) -> Vec<String> {
        let known: Vec<String> = self.known().brokers().map(|b| address(&b.host, b.port)).collect();
        if known.is_empty() { self.properties.bootstrap_servers().to_vec() } else { known }
    }

    pub(in crate::kafka) fn addresses(&self) -> usize {
        let mut all: HashSet<String> = self.properties.bootstrap_servers().iter().cloned().collect();
        all.extend(self.known().brokers().map(|b| address(&b.host, b.port)));
        all.len()
    }

    /// Some known brokers, in turn, then the bootstrap servers.
    fn any_peers(&self) -> Vec<String> {
        let mut peers: Vec<String> = self.known().brokers().map(|b| address(&b.host, b.port)).collect();
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        if !peers.is_empty() {
            let by = turn % peers.len();
            peers.rotate_left(by);
        }
        peers.truncate(ANY_BROKER_TRIES);
        let bootstrap = self.properties.bootstrap_servers();
        for i in 0..bootstrap.len() {
            let peer = &bootstrap[(turn + i) % bootstrap.len()];
            if !peers.contains(peer) {
                peers.push(peer.clone());
            }
        }
        peers
    }

    fn gone(&self, id: i32) -> KafkaError {
        KafkaError::retriable(
            Reason::CLUSTER_UNREACHABLE,
            format!("cluster {}: broker {id} is not running", self.properties.cluster_id()),
        )
    }

    /// Asks once for brokers, controller and the leaders of `topics`.
    pub(in crate::kafka) async fn refresh(
        &self,
        topics: &[String],
        deadline: Instant,
    ) -> Result<(), KafkaError> {
        let build = |version| Ok(metadata::request(version, Some(topics), false));
        let answer = self.send(To::Any, Use::Control, deadline, &build).await?;
        self.learn(&answer.body);
        Ok(())
    }

    pub(in crate::kafka) fn learn(&self, response: &MetadataResponse) {
        self.known().learn(response, Instant::now());
    }

    /// What is known of the cluster. Not to be held while waiting for anything.
    pub(in crate::kafka) fn known(&self) -> MutexGuard<'_, Metadata> {
        self.metadata.lock().expect("no panic under this lock")
    }

    /// The coordinator of each group, as last seen.
    pub(in crate::kafka) fn coordinators(&self) -> MutexGuard<'_, HashMap<String, i32>> {
        self.coordinators.lock().expect("no panic under this lock")
    }
}

/// One error for all brokers that were tried.
fn summary(properties: &ClientProperties, mut failures: Vec<KafkaError>) -> KafkaError {
    if failures.len() == 1 {
        return failures.remove(0);
    }
    let prefix = format!("cluster {}: ", properties.cluster_id());
    let each: Vec<&str> =
        failures.iter().map(|f| f.message.strip_prefix(&prefix).unwrap_or(&f.message)).collect();
    KafkaError::retriable(
        Reason::CLUSTER_UNREACHABLE,
        format!("{prefix}none of its brokers can be used: {}", each.join("; ")),
    )
}

/// host:port, with brackets where the host is an IPv6 address.
fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
