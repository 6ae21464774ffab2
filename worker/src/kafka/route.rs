//! Getting a request to the broker that can answer it, and again until it does or time runs out.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::hash::Hash;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use tokio::time::{Instant, timeout_at};
use twinlog_proto::reason::Reason;

use super::api::Api;
use super::code::{LEADER_NOT_AVAILABLE, UNKNOWN_TOPIC_OR_PARTITION};
use super::connection::Connection;
use super::error::timed_out;
use super::metadata::{self, Metadata};
use super::pool::{Pool, Use};
use super::{ClientProperties, KafkaError};

/// First pause between two tries; it doubles up to the longest.
const FIRST_BACKOFF: Duration = Duration::from_millis(30);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);
/// How long a partition may lack a leader within a call.
const LEADERLESS_PATIENCE: Duration = Duration::from_secs(3);
/// How long a topic may be missing within a call: brokers learn of a new one a moment after it was made.
const MISSING_PATIENCE: Duration = Duration::from_millis(500);
/// Known brokers that are tried for a request that any broker can answer, besides the bootstrap servers.
const ANY_BROKER_TRIES: usize = 3;

/// Which broker a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    Any,
    Controller,
    Broker(i32),
}

/// Makes a request for the version that was agreed on.
pub(super) type Build<'a, R> = &'a (dyn Fn(i16) -> Result<R, KafkaError> + Send + Sync);
/// One broker's answers to some of a call's items.
pub(super) type Answers<I, T> = Result<Vec<(I, Result<T, KafkaError>)>, KafkaError>;
/// Who is responsible for each item, or why nobody is.
pub(super) type Routes<I> = Result<Vec<(I, Result<To, KafkaError>)>, KafkaError>;

/// What all clones of a client share.
pub(super) struct Router {
    pub(super) properties: ClientProperties,
    pool: Pool,
    pub(super) metadata: Mutex<Metadata>,
    pub(super) coordinators: Mutex<HashMap<String, i32>>,
    next: AtomicUsize,
}

/// An answer, with what is known of the connection that it came over.
pub(super) struct Answer<T> {
    pub(super) version: i16,
    pub(super) body: T,
    /// How long the broker had been up at least when it answered.
    pub(super) broker_age: Duration,
}

impl Router {
    pub(super) fn new(properties: ClientProperties) -> Self {
        Self {
            pool: Pool::new(properties.clone()),
            properties,
            metadata: Mutex::default(),
            coordinators: Mutex::default(),
            next: AtomicUsize::new(0),
        }
    }

    /// Sends one request once. With `To::Any`, brokers are tried in turn until one answers.
    pub(super) async fn send<R: Api>(
        &self,
        to: To,
        purpose: Use,
        deadline: Instant,
        build: Build<'_, R>,
    ) -> Result<Answer<R::Response>, KafkaError> {
        let peers = self.peers(to, deadline).await?;
        let mut failures = Vec::new();
        for peer in peers {
            match self.send_to(&peer, purpose, deadline, build).await {
                Err(error) if error.reason == Reason::CLUSTER_UNREACHABLE && error.retriable => {
                    failures.push(error)
                }
                result => return result,
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        Err(summary(&self.properties, failures))
    }

    async fn send_to<R: Api>(
        &self,
        peer: &str,
        purpose: Use,
        deadline: Instant,
        build: Build<'_, R>,
    ) -> Result<Answer<R::Response>, KafkaError> {
        let started = Instant::now();
        let until = deadline.min(started + self.properties.request_timeout());
        let exchange = async {
            let mut lease = self.pool.lease(peer, purpose, false).await?;
            let mut result = lease.connection.call::<R>(build).await;
            // The broker may have closed an idle connection: that says nothing about the broker.
            if lease.reused && result.as_ref().is_err_and(|e| e.reason == Reason::CLUSTER_UNREACHABLE) {
                drop(lease);
                lease = self.pool.lease(peer, purpose, true).await?;
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

    /// A connection for looking at, kept out of the pool.
    pub(super) async fn probe<T>(
        &self,
        deadline: Instant,
        look: impl Fn(&Connection) -> T,
    ) -> Result<T, KafkaError> {
        let started = Instant::now();
        let peers = self.peers(To::Any, deadline).await?;
        let mut failures = Vec::new();
        for peer in peers {
            match timeout_at(deadline, self.pool.lease(&peer, Use::Control, false)).await {
                Ok(Ok(lease)) => {
                    let seen = look(&lease.connection);
                    lease.release();
                    return Ok(seen);
                }
                Ok(Err(e)) if e.reason == Reason::CLUSTER_UNREACHABLE && e.retriable => failures.push(e),
                Ok(Err(e)) => return Err(e),
                Err(_) => {
                    return Err(timed_out(&self.properties, &format!("broker {peer}"), started.elapsed()));
                }
            }
        }
        Err(summary(&self.properties, failures))
    }

    async fn peers(&self, to: To, deadline: Instant) -> Result<Vec<String>, KafkaError> {
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
                let known = || self.metadata.lock().expect("no panic under this lock").controller();
                if known().is_none() {
                    Box::pin(self.refresh(&[], deadline)).await?;
                }
                Ok(match known().and_then(|id| self.peer_of(id)) {
                    Some(peer) => vec![peer],
                    None => self.any_peers(),
                })
            }
        }
    }

    fn peer_of(&self, id: i32) -> Option<String> {
        let metadata = self.metadata.lock().expect("no panic under this lock");
        metadata.broker(id).map(|b| address(&b.host, b.port))
    }

    /// Some known brokers, in turn, then the bootstrap servers.
    fn any_peers(&self) -> Vec<String> {
        let metadata = self.metadata.lock().expect("no panic under this lock");
        let mut peers: Vec<String> = metadata.brokers().map(|b| address(&b.host, b.port)).collect();
        drop(metadata);
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
    pub(super) async fn refresh(&self, topics: &[String], deadline: Instant) -> Result<(), KafkaError> {
        let build = |version| Ok(metadata::request(version, Some(topics), false));
        let answer = self.send(To::Any, Use::Control, deadline, &build).await?;
        self.learn(&answer.body);
        Ok(())
    }

    pub(super) fn learn(&self, response: &kafka_protocol::messages::MetadataResponse) {
        self.metadata.lock().expect("no panic under this lock").learn(response, Instant::now());
    }

    /// Repeats `attempt` until it succeeds, fails for good, or the deadline is near. Every failed try makes the next
    /// one look at the cluster anew.
    pub(super) async fn retry<T, F: Future<Output = Result<T, KafkaError>>>(
        &self,
        deadline: Instant,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, KafkaError> {
        let mut backoff = Backoff::new();
        let mut before: Option<KafkaError> = None;
        loop {
            let error = match attempt().await {
                Err(error) if may_heal(&error) => telling(before, error, deadline),
                result => return result,
            };
            if !backoff.pause(deadline).await {
                return Err(error);
            }
            tracing::debug!(cluster = self.properties.cluster_id(), %error, "trying again");
            before = Some(error);
            // What the refresh finds wrong the next attempt finds too.
            let _ = self.refresh(&[], deadline).await;
        }
    }

    /// Sends each item to the broker responsible for it, until every item has its answer or time runs out. An item that
    /// can't be answered has its own error; the call as a whole fails only where no broker can be asked at all.
    ///
    /// `route` finds the brokers, anew for items that failed (its second argument is then true); `ask` sends one request.
    pub(super) async fn scatter<'a, I, T>(
        &'a self,
        items: Vec<I>,
        deadline: Instant,
        route: impl Fn(Vec<I>, bool) -> BoxFuture<'a, Routes<I>> + Sync,
        ask: impl Fn(To, Vec<I>) -> BoxFuture<'a, Answers<I, T>> + Sync,
    ) -> Result<Vec<(I, Result<T, KafkaError>)>, KafkaError>
    where
        I: Clone + Eq + Hash + Send + 'a,
    {
        let started = Instant::now();
        let mut done = Vec::with_capacity(items.len());
        let mut seen = HashSet::new();
        let mut open: Vec<I> = items.into_iter().filter(|i| seen.insert(i.clone())).collect();
        let mut failed: HashMap<I, KafkaError> = HashMap::new();
        let mut backoff = Backoff::new();
        loop {
            let again = !failed.is_empty();
            let routes = match self.retry(deadline, || route(open.clone(), again)).await {
                Err(error) if !again => return Err(error),
                Err(_) => break,
                Ok(routes) => routes,
            };
            for (item, result) in self.ask_all(routes, &ask).await {
                let before = failed.remove(&item);
                match result {
                    Err(error) if may_heal(&error) && started.elapsed() < patience(&error) => {
                        failed.insert(item, telling(before, error, deadline));
                    }
                    result => done.push((item, result)),
                }
            }
            if failed.is_empty() || !backoff.pause(deadline).await {
                break;
            }
            open = failed.keys().cloned().collect();
        }
        done.extend(failed.into_iter().map(|(item, error)| (item, Err(error))));
        Ok(done)
    }

    async fn ask_all<'a, I: Clone + Eq + Hash, T>(
        &'a self,
        routes: Vec<(I, Result<To, KafkaError>)>,
        ask: &(impl Fn(To, Vec<I>) -> BoxFuture<'a, Answers<I, T>> + Sync),
    ) -> Vec<(I, Result<T, KafkaError>)> {
        let mut results = Vec::with_capacity(routes.len());
        let mut by_broker: Vec<(To, Vec<I>)> = Vec::new();
        for (item, route) in routes {
            match route {
                Ok(to) => match by_broker.iter_mut().find(|(t, _)| *t == to) {
                    Some((_, items)) => items.push(item),
                    None => by_broker.push((to, vec![item])),
                },
                Err(error) => results.push((item, Err(error))),
            }
        }
        let asked =
            by_broker.into_iter().map(|(to, items)| async move { (items.clone(), ask(to, items).await) });
        for (items, answers) in join_all(asked).await {
            match answers {
                Ok(answers) => results.extend(complete(&self.properties, items, answers)),
                Err(error) => results.extend(items.into_iter().map(|i| (i, Err(error.clone())))),
            }
        }
        results
    }
}

/// Every item of a request gets an answer, also one that the broker left out (asking again would not help).
fn complete<I: Clone + Eq + Hash, T>(
    properties: &ClientProperties,
    items: Vec<I>,
    answers: Vec<(I, Result<T, KafkaError>)>,
) -> Vec<(I, Result<T, KafkaError>)> {
    let mut answers: HashMap<I, Result<T, KafkaError>> = answers.into_iter().collect();
    let missing = || {
        let text = format!("cluster {}: the broker's answer leaves out an entry", properties.cluster_id());
        Err(KafkaError::new(Reason::KAFKA_ERROR, text))
    };
    items
        .into_iter()
        .map(|item| {
            let answer = answers.remove(&item).unwrap_or_else(missing);
            (item, answer)
        })
        .collect()
}

/// Whether another try within the same call makes sense. TLS problems don't go away that fast.
fn may_heal(error: &KafkaError) -> bool {
    error.retriable && error.reason != Reason::TLS_FAILED
}

/// Of two failures the one that says more: the last, unless it only says that time ran out.
fn telling(before: Option<KafkaError>, last: KafkaError, deadline: Instant) -> KafkaError {
    before.filter(|_| Instant::now() >= deadline).unwrap_or(last)
}

fn patience(error: &KafkaError) -> Duration {
    match error.code {
        LEADER_NOT_AVAILABLE => LEADERLESS_PATIENCE,
        UNKNOWN_TOPIC_OR_PARTITION => MISSING_PATIENCE,
        _ => Duration::MAX,
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

/// Pauses between tries: doubling, with a random part so that many callers don't meet again.
struct Backoff(Duration);

impl Backoff {
    fn new() -> Self {
        Self(FIRST_BACKOFF)
    }

    /// Waits; false if the deadline leaves no time for another try.
    async fn pause(&mut self, deadline: Instant) -> bool {
        let pause = self.0.mul_f64(0.75 + rand::random::<f64>() / 2.0);
        if Instant::now() + pause >= deadline {
            return false;
        }
        tokio::time::sleep(pause).await;
        self.0 = (self.0 * 2).min(LONGEST_BACKOFF);
        true
    }
}
