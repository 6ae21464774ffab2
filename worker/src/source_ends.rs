//! How the source's partitions end, asked every second for as long as somebody wants to know, whatever else runs: it is how a range
//! knows that its source answers, how far it is behind, and what an open transaction holds back.
//!
//! One task per cluster handle, shared by all its ranges: two ListOffsets requests per broker and second, for at most `BATCH`
//! partitions; of more, each second the next ones. It ends when nobody asks any more.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use twinlog_proto::lag::Ends;
use twinlog_proto::reason::Reason;

use crate::kafka::{Isolation, KafkaClient, KafkaError, OffsetSpec, PerPartition};
use crate::topic::TopicPartition;

const INTERVAL: Duration = Duration::from_secs(1);
/// After a round that failed in part.
const RETRY: Duration = Duration::from_millis(300);
/// A broker that doesn't answer for this long has not answered.
const DEADLINE: Duration = Duration::from_millis(1500);
/// A source that was last heard of so long ago, and has failed to answer since, is away.
const SILENT_AFTER: Duration = Duration::from_secs(2);
/// Partitions in one round.
const BATCH: usize = 2_000;

/// What is known of one partition.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) ends: Option<Ends>,
    /// When it was answered for, or, before the first answer, when somebody wanted to know.
    pub(crate) since: Instant,
    /// Why the last try failed.
    pub(crate) failed: Option<KafkaError>,
}

impl Seen {
    /// The source doesn't answer: it has failed to, for longer than it may take.
    pub(crate) fn is_silent(&self, now: Instant) -> bool {
        self.failed.as_ref().is_some_and(|error| error.retriable || is_of_cluster(error))
            && now.saturating_duration_since(self.since) >= SILENT_AFTER
    }
}

/// Not about one topic or partition.
fn is_of_cluster(error: &KafkaError) -> bool {
    matches!(error.reason, Reason::AUTHENTICATION_FAILED | Reason::TLS_FAILED | Reason::CLUSTER_UNREACHABLE)
}

struct Watched {
    users: usize,
    seen: Seen,
}

#[derive(Default)]
struct State {
    wanted: BTreeMap<TopicPartition, Watched>,
    asks: bool,
    /// The last partition of the last round.
    asked: Option<TopicPartition>,
}

/// Belongs to a cluster handle; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct EndsWatch(Arc<Mutex<State>>);

impl EndsWatch {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for these partitions until the subscription is dropped. Must be called inside a tokio runtime.
    pub(crate) fn subscribe(
        &self,
        client: &KafkaClient,
        topic: &str,
        partitions: impl Iterator<Item = i32>,
    ) -> Subscription {
        let keys: Vec<TopicPartition> =
            partitions.map(|partition| TopicPartition::new(topic, partition)).collect();
        let mut state = self.state();
        for key in &keys {
            let fresh =
                || Watched { users: 0, seen: Seen { ends: None, since: Instant::now(), failed: None } };
            state.wanted.entry(key.clone()).or_insert_with(fresh).users += 1;
        }
        if !std::mem::replace(&mut state.asks, true) {
            tokio::spawn(self.clone().ask(client.with_deadline(DEADLINE)));
        }
        drop(state);
        Subscription { watch: self.clone(), keys }
    }

    /// `None`: nobody asks for it.
    pub(crate) fn seen(&self, topic: &str, partition: i32) -> Option<Seen> {
        self.state().wanted.get(&TopicPartition::new(topic, partition)).map(|watched| watched.seen.clone())
    }

    /// Until nobody wants to know anything.
    async fn ask(self, client: KafkaClient) {
        while let Some(keys) = self.next() {
            let wanted: Vec<_> =
                keys.iter().map(|at| (at.topic.clone(), at.partition, OffsetSpec::Latest)).collect();
            let (high, stable) = tokio::join!(
                client.list_offsets(&wanted, Isolation::Uncommitted),
                client.list_offsets(&wanted, Isolation::Committed),
            );
            let complete = self.enter(&keys, &high, &stable);
            tokio::time::sleep(if complete { INTERVAL } else { RETRY }).await;
        }
    }

    fn next(&self) -> Option<Vec<TopicPartition>> {
        let mut state = self.state();
        let after = state.asked.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let rest = state.wanted.range((after, Bound::Unbounded)).map(|(key, _)| key);
        let mut keys: Vec<TopicPartition> = rest.take(BATCH).cloned().collect();
        let begin = state.wanted.keys().take(BATCH.min(state.wanted.len()) - keys.len());
        keys.extend(begin.cloned().collect::<Vec<_>>());
        state.asks = !keys.is_empty();
        state.asked = keys.last().cloned();
        state.asks.then_some(keys)
    }

    /// Whether all were answered.
    fn enter(
        &self,
        keys: &[TopicPartition],
        high: &Result<PerPartition<crate::kafka::ListedOffset>, KafkaError>,
        stable: &Result<PerPartition<crate::kafka::ListedOffset>, KafkaError>,
    ) -> bool {
        let (now, seen) = (Instant::now(), SystemTime::now());
        let mut state = self.state();
        let mut complete = true;
        for key in keys {
            let Some(watched) = state.wanted.get_mut(key) else { continue };
            let pair = key.pair();
            let stable = stable.as_ref().ok().and_then(|found| found.get(&pair)?.as_ref().ok());
            match high.as_ref().map(|found| found.get(&pair)) {
                Ok(Some(Ok(found))) => {
                    let last_stable = stable.map(|stable| stable.offset.min(found.offset));
                    let ends = Some(Ends { high_watermark: found.offset, last_stable, seen });
                    watched.seen = Seen { ends, since: now, failed: None };
                }
                Ok(Some(Err(error))) | Err(error) => {
                    complete = false;
                    watched.seen.failed = Some(error.clone());
                }
                // The broker left it out: the next round asks again.
                Ok(None) => complete = false,
            }
        }
        complete
    }
}

/// Dropping it ends the asking.
pub(crate) struct Subscription {
    watch: EndsWatch,
    keys: Vec<TopicPartition>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.watch.state();
        for key in &self.keys {
            let left = state.wanted.get_mut(key).map(|watched| {
                watched.users -= 1;
                watched.users
            });
            if left == Some(0) {
                state.wanted.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(partitions: i32) -> EndsWatch {
        let watch = EndsWatch::default();
        let seen = Seen { ends: None, since: Instant::now(), failed: None };
        let watched = || Watched { users: 1, seen: seen.clone() };
        let wanted = (0..partitions).map(|p| (TopicPartition::new("t", p), watched()));
        watch.state().wanted = wanted.collect();
        watch
    }

    #[test]
    fn every_partition_has_its_turn_and_no_round_is_large() {
        let (few, many) = (watch(3), watch(5_000));
        for _ in 0..3 {
            assert_eq!(few.next().unwrap().len(), 3, "a few are asked for each time, once");
        }
        let mut rounds = BTreeMap::<TopicPartition, usize>::new();
        for _ in 0..5 {
            let round = many.next().unwrap();
            assert_eq!(round.len(), BATCH);
            round.into_iter().for_each(|key| *rounds.entry(key).or_default() += 1);
        }
        assert!(rounds.len() == 5_000 && rounds.values().all(|times| *times == 2), "{}", rounds.len());
        assert_eq!(watch(0).next(), None);
    }

    #[test]
    fn a_failure_leaves_what_was_known() {
        let watch = watch(1);
        let key = [TopicPartition::new("t", 0)];
        let listed = |offset| crate::kafka::ListedOffset { offset, timestamp: -1, leader_epoch: 0 };
        let answer = |offset| Ok(PerPartition::from([(key[0].pair(), Ok(listed(offset)))]));
        assert!(watch.enter(&key, &answer(40), &answer(10)));
        let known = watch.seen("t", 0).unwrap();
        assert_eq!(known.ends.map(|e| (e.high_watermark, e.last_stable)), Some((40, Some(10))));
        let away = || Err(KafkaError::retriable(twinlog_proto::reason::Reason::CLUSTER_UNREACHABLE, "away"));
        assert!(!watch.enter(&key, &away(), &away()));
        let after = watch.seen("t", 0).unwrap();
        assert_eq!((after.ends, after.since), (known.ends, known.since));
        let soon = after.since + Duration::from_secs(1);
        assert!(!after.is_silent(soon) && after.is_silent(soon + SILENT_AFTER));
        assert!(!known.is_silent(soon + SILENT_AFTER), "it answered");
    }
}
