//! How the source's partitions end, for as long as somebody wants to know, whatever else runs: it is how a range knows that its
//! source answers, how far it is behind, and what an open transaction holds back.
//!
//! Whoever fetches a partition tells it by the way, as long as its broker answers. The others are asked for every second by one
//! task per cluster handle, shared by all its ranges: two ListOffsets requests per broker and second, for at most `BATCH`
//! partitions; of more, each second the next ones. It ends when nobody asks any more.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
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
/// A partition is asked for when nobody who fetches it has been answered for so long.
const UNTOLD: Duration = Duration::from_secs(1);
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

/// When a broker last answered those who fetch from it.
#[derive(Debug, Default)]
pub(crate) struct Pulse(Mutex<Option<(Instant, SystemTime)>>);

impl Pulse {
    /// It has answered, now.
    pub(crate) fn beat(&self) {
        *self.lock() = Some((Instant::now(), SystemTime::now()));
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Instant, SystemTime)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.lock().is_some_and(|(at, _)| now.saturating_duration_since(at) < UNTOLD)
    }
}

struct Watched {
    users: Vec<Arc<Notify>>,
    seen: Seen,
    /// When the last try failed.
    failed: Option<Instant>,
    /// Of the broker that it is being fetched from: whenever that answers, it still ends where it was told to.
    pulse: Option<Arc<Pulse>>,
}

impl Watched {
    fn new() -> Self {
        let seen = Seen { ends: None, since: Instant::now(), failed: None };
        Self { users: Vec::new(), seen, failed: None, pulse: None }
    }

    /// What is known, with what the last answer to a fetch adds.
    fn seen(&self) -> Seen {
        let mut seen = self.seen.clone();
        let beat = self.pulse.as_ref().and_then(|pulse| *pulse.lock());
        if let Some((at, time)) = beat.filter(|(at, _)| *at > seen.since) {
            seen.since = at;
            seen.ends = seen.ends.map(|ends| Ends { seen: time, ..ends });
            seen.failed = seen.failed.filter(|_| self.failed > Some(at));
        }
        seen
    }

    /// Takes in what was seen; who asked hears of it where it is another thing than before.
    fn enter(&mut self, seen: Seen) {
        let offsets = |seen: &Seen| seen.ends.map(|ends| (ends.high_watermark, ends.last_stable));
        let is_news = offsets(&seen) != offsets(&self.seen) || seen.failed != self.seen.failed;
        self.seen = seen;
        if is_news {
            self.users.iter().for_each(|user| user.notify_one());
        }
    }
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
        let news = Arc::<Notify>::default();
        let mut state = self.state();
        for key in &keys {
            state.wanted.entry(key.clone()).or_insert_with(Watched::new).users.push(news.clone());
        }
        if !std::mem::replace(&mut state.asks, true) {
            tokio::spawn(self.clone().ask(client.with_deadline(DEADLINE)));
        }
        drop(state);
        Subscription { watch: self.clone(), keys, news }
    }

    /// `None`: nobody asks for it.
    pub(crate) fn seen(&self, topic: &str, partition: i32) -> Option<Seen> {
        self.state().wanted.get(&TopicPartition::new(topic, partition)).map(Watched::seen)
    }

    /// An answer to a fetch told how a partition ends. It stays so until another one tells more, as long as the broker answers.
    pub(crate) fn told(
        &self,
        (topic, partition): (&str, i32),
        (high_watermark, last_stable): (i64, i64),
        pulse: &Arc<Pulse>,
    ) {
        let mut state = self.state();
        let Some(watched) = state.wanted.get_mut(&TopicPartition::new(topic, partition)) else { return };
        let last_stable = Some(last_stable).filter(|stable| *stable >= 0);
        let ends = Some(Ends { high_watermark, last_stable, seen: SystemTime::now() });
        // Whoever fetches it shows that by itself.
        watched.seen = Seen { ends, since: Instant::now(), failed: None };
        watched.pulse = Some(pulse.clone());
    }

    /// It is not fetched any more, for now.
    pub(crate) fn untold(&self, topic: &str, partition: i32) {
        if let Some(watched) = self.state().wanted.get_mut(&TopicPartition::new(topic, partition)) {
            watched.seen = watched.seen();
            watched.pulse = None;
        }
    }

    /// Until nobody wants to know anything.
    async fn ask(self, client: KafkaClient) {
        while let Some(keys) = self.next(Instant::now()) {
            if keys.is_empty() {
                tokio::time::sleep(INTERVAL).await;
                continue;
            }
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

    /// Who is to be asked for now; `None`: nobody wants to know anything.
    fn next(&self, now: Instant) -> Option<Vec<TopicPartition>> {
        let mut state = self.state();
        let State { wanted, asks, asked } = &mut *state;
        *asks = !wanted.is_empty();
        if !*asks {
            return None;
        }
        let fresh = |watched: &Watched| watched.pulse.as_ref().is_some_and(|pulse| pulse.is_fresh(now));
        let after = asked.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let behind = wanted.range((after, Bound::Unbounded));
        let before = asked.as_ref().map(|asked| wanted.range(..=asked)).into_iter().flatten();
        let untold = behind.chain(before).filter(|(_, watched)| !fresh(watched)).map(|(key, _)| key);
        let keys: Vec<TopicPartition> = untold.take(BATCH).cloned().collect();
        *asked = keys.last().cloned().or(asked.take());
        Some(keys)
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
                    watched.enter(Seen { ends, since: now, failed: None });
                    watched.failed = None;
                }
                Ok(Some(Err(error))) | Err(error) => {
                    complete = false;
                    watched.enter(Seen { failed: Some(error.clone()), ..watched.seen() });
                    watched.failed = Some(now);
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
    news: Arc<Notify>,
}

impl Subscription {
    /// Resolves when partitions end elsewhere than before, can't be asked for, or can again.
    pub(crate) async fn changed(&self) {
        self.news.notified().await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.watch.state();
        for key in &self.keys {
            let Some(watched) = state.wanted.get_mut(key) else { continue };
            watched.users.retain(|user| !Arc::ptr_eq(user, &self.news));
            if watched.users.is_empty() {
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
        let wanted = (0..partitions).map(|p| (TopicPartition::new("t", p), Watched::new()));
        watch.state().wanted = wanted.collect();
        watch
    }

    #[test]
    fn every_partition_has_its_turn_and_no_round_is_large() {
        let (few, many) = (watch(3), watch(5_000));
        for _ in 0..3 {
            assert_eq!(few.next(Instant::now()).unwrap().len(), 3, "a few are asked for each time, once");
        }
        let mut rounds = BTreeMap::<TopicPartition, usize>::new();
        for _ in 0..5 {
            let round = many.next(Instant::now()).unwrap();
            assert_eq!(round.len(), BATCH);
            round.into_iter().for_each(|key| *rounds.entry(key).or_default() += 1);
        }
        assert!(rounds.len() == 5_000 && rounds.values().all(|times| *times == 2), "{}", rounds.len());
        assert_eq!(watch(0).next(Instant::now()), None);
    }

    #[test]
    fn a_failure_leaves_what_was_known() {
        let watch = watch(1);
        let key = [TopicPartition::new("t", 0)];
        let listed = |offset| crate::kafka::ListedOffset { offset, timestamp: -1, leader_epoch: 0 };
        let answer = |offset| Ok(PerPartition::from([(key[0].pair(), Ok(listed(offset)))]));
        let hears = Arc::<Notify>::default();
        watch.state().wanted.get_mut(&key[0]).unwrap().users.push(hears.clone());
        let heard = || futures::FutureExt::now_or_never(hears.notified()).is_some();
        assert!(watch.enter(&key, &answer(40), &answer(10)) && heard());
        assert!(watch.enter(&key, &answer(40), &answer(10)) && !heard(), "nothing new");
        let known = watch.seen("t", 0).unwrap();
        assert_eq!(known.ends.map(|e| (e.high_watermark, e.last_stable)), Some((40, Some(10))));
        let away = || Err(KafkaError::retriable(twinlog_proto::reason::Reason::CLUSTER_UNREACHABLE, "away"));
        assert!(!watch.enter(&key, &away(), &away()) && heard());
        let after = watch.seen("t", 0).unwrap();
        assert_eq!((after.ends, after.since), (known.ends, known.since));
        let soon = after.since + Duration::from_secs(1);
        assert!(!after.is_silent(soon) && after.is_silent(soon + SILENT_AFTER));
        assert!(!known.is_silent(soon + SILENT_AFTER), "it answered");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_fetched_is_not_asked_for_as_long_as_its_broker_answers() {
        let (watch, pulse) = (watch(2), Arc::<Pulse>::default());
        let next = || watch.next(Instant::now()).unwrap().iter().map(|key| key.partition).collect::<Vec<_>>();
        let known = || {
            let seen = watch.seen("t", 0).unwrap();
            (seen.ends.map(|ends| (ends.high_watermark, ends.last_stable)), seen.since, seen.failed.is_some())
        };
        pulse.beat();
        watch.told(("t", 0), (40, 30), &pulse);
        assert_eq!(next(), [1]);
        for _ in 0..3 {
            tokio::time::advance(UNTOLD * 3 / 4).await;
            pulse.beat();
            assert_eq!((next(), known()), (vec![1], (Some((40, Some(30))), Instant::now(), false)));
        }
        // Its broker says nothing any more: it is asked for, and that fails.
        let last = Instant::now();
        tokio::time::advance(UNTOLD).await;
        assert_eq!(next().len(), 2);
        let key = [TopicPartition::new("t", 0)];
        let away = || Err(KafkaError::retriable(Reason::CLUSTER_UNREACHABLE, "away"));
        watch.enter(&key, &away(), &away());
        assert_eq!(known(), (Some((40, Some(30))), last, true));
        assert!(!watch.seen("t", 0).unwrap().is_silent(Instant::now()));
        tokio::time::advance(SILENT_AFTER).await;
        assert!(watch.seen("t", 0).unwrap().is_silent(Instant::now()));
        pulse.beat();
        assert_eq!(known(), (Some((40, Some(30))), Instant::now(), false));
        watch.untold("t", 0);
        assert_eq!((next().len(), known().1), (2, Instant::now()));
    }
}
