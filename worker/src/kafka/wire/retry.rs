//! Asking again, until there is an answer or time runs out.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::hash::Hash;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use tokio::time::Instant;
use twinlog_proto::reason::Reason;

use super::code::{LEADER_NOT_AVAILABLE, UNKNOWN_TOPIC_OR_PARTITION};
use super::error::KafkaError;
use super::properties::ClientProperties;
use super::route::{Router, To};

/// First pause between two tries; it doubles up to the longest.
const FIRST_BACKOFF: Duration = Duration::from_millis(30);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);
/// How long a partition may lack a leader within a call.
const LEADERLESS_PATIENCE: Duration = Duration::from_secs(3);
/// How long a topic may be missing within a call: brokers learn of a new one a moment after it was made.
const MISSING_PATIENCE: Duration = Duration::from_millis(500);

/// One broker's answers to some of a call's items.
pub(in crate::kafka) type Answers<I, T> = Result<Vec<(I, Result<T, KafkaError>)>, KafkaError>;
/// Who is responsible for each item, or why nobody is.
pub(in crate::kafka) type Routes<I> = Result<Vec<(I, Result<To, KafkaError>)>, KafkaError>;

impl Router {
    /// Repeats `attempt` until it succeeds, fails for good, or the deadline is near. Every failed try makes the next
    /// one look at the cluster anew.
    pub(in crate::kafka) async fn retry<T, F: Future<Output = Result<T, KafkaError>>>(
        &self,
        deadline: Instant,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, KafkaError> {
        let mut backoff = Backoff::new();
        let mut before = None;
        loop {
            let failure = match attempt().await {
                Err(error) if may_heal(&error) => Failure::after(before, error, deadline),
                result => return result,
            };
            if failure.since.elapsed() >= patience(&failure.error) || !backoff.pause(deadline).await {
                return Err(failure.error);
            }
            tracing::debug!(cluster = self.properties.cluster_id(), error = %failure.error, "trying again");
            before = Some(failure);
            // What the refresh finds wrong the next attempt finds too.
            let _ = self.refresh(&[], deadline).await;
        }
    }

    /// Sends each item to the broker responsible for it, until every item has its answer or time runs out. An item that
    /// can't be answered has its own error; the call as a whole fails only where no broker can be asked at all.
    ///
    /// `route` finds the brokers, anew for items that failed (its second argument is then true); `ask` sends one request.
    pub(in crate::kafka) async fn scatter<'a, I, T>(
        &'a self,
        items: Vec<I>,
        deadline: Instant,
        route: impl Fn(Vec<I>, bool) -> BoxFuture<'a, Routes<I>> + Sync,
        ask: impl Fn(To, Vec<I>) -> BoxFuture<'a, Answers<I, T>> + Sync,
    ) -> Result<Vec<(I, Result<T, KafkaError>)>, KafkaError>
    where
        I: Clone + Eq + Hash + Send + 'a,
    {
        let mut done = Vec::with_capacity(items.len());
        let mut seen = HashSet::new();
        let mut open: Vec<I> = items.into_iter().filter(|i| seen.insert(i.clone())).collect();
        let mut failed: HashMap<I, Failure> = HashMap::new();
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
                let error = match result {
                    Err(error) if may_heal(&error) => error,
                    result => {
                        done.push((item, result));
                        continue;
                    }
                };
                let failure = Failure::after(before, error, deadline);
                if failure.since.elapsed() < patience(&failure.error) {
                    failed.insert(item, failure);
                } else {
                    done.push((item, Err(failure.error)));
                }
            }
            if failed.is_empty() || !backoff.pause(deadline).await {
                break;
            }
            open = failed.keys().cloned().collect();
        }
        done.extend(failed.into_iter().map(|(item, failure)| (item, Err(failure.error))));
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

/// Why an attempt failed, and since when it has failed in this way.
struct Failure {
    error: KafkaError,
    since: Instant,
}

impl Failure {
    /// The last failure, unless it only says that time ran out: then the one before it says more.
    fn after(before: Option<Self>, error: KafkaError, deadline: Instant) -> Self {
        let now = Instant::now();
        match before {
            Some(before) if now >= deadline => before,
            Some(before) if before.error.code == error.code => Self { error, ..before },
            _ => Self { error, since: now },
        }
    }
}

/// How long a call puts up with an error of this kind.
fn patience(error: &KafkaError) -> Duration {
    match error.code {
        LEADER_NOT_AVAILABLE => LEADERLESS_PATIENCE,
        UNKNOWN_TOPIC_OR_PARTITION => MISSING_PATIENCE,
        _ => Duration::MAX,
    }
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
