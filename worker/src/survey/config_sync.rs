//! Keeps configs of target topics in step with their source topics: by difference, so that nothing is written where nothing
//! differs. What can't be mended stays as drift with its error, and copying goes on.

use std::collections::{BTreeMap, HashSet};

use tokio::time::Instant;
use twinlog_proto::model::Mirror;
use twinlog_proto::reason::Reason;

use super::adapt;
use super::configs::{Difference, differences};
use super::pair::Pair;
use crate::flow::Ends;
use crate::inventory::{Drift, DriftKind};
use crate::kafka::{ConfigChange, KafkaClient, KafkaError};
use crate::metrics;

/// Topics whose configs are held at a time, of both sides: some 10 KiB each.
const BATCH: usize = 500;

/// What differs, by target topic.
type Found = Vec<(String, Result<Vec<Difference>, KafkaError>)>;

/// Compares the configs of pairs of topics. Topics that have gone meanwhile are left out.
///
/// # Errors
/// A cluster could not be asked.
pub(super) async fn find(mirror: &Mirror, ends: &Ends, pairs: &[Pair]) -> Result<Found, KafkaError> {
    let mut found = Vec::new();
    for batch in pairs.chunks(BATCH) {
        let sources: Vec<String> = batch.iter().map(|pair| pair.source.clone()).collect();
        let targets: Vec<String> = batch.iter().map(|pair| pair.target.clone()).collect();
        let (mut of_source, mut of_target) = tokio::try_join!(
            ends.source.client.describe_configs(&sources),
            ends.target.client.describe_configs(&targets)
        )?;
        for pair in batch {
            let both = (of_source.remove(&pair.source), of_target.remove(&pair.target));
            let result = match both {
                (Some(Ok(source)), Some(Ok(target))) => Ok(differences(mirror, &source, &target)),
                (Some(Err(error)), _) | (_, Some(Err(error))) => Err(error),
                _ => continue,
            };
            if result.as_ref().is_err_and(|error| error.reason == Reason::TOPIC_NOT_FOUND) {
                continue;
            }
            found.push((pair.target.clone(), result));
        }
    }
    Ok(found)
}

/// What is known from one look to the next.
#[derive(Default)]
pub(super) struct ConfigSync {
    looked: Option<Instant>,
    /// By target topic.
    topics: BTreeMap<String, Topic>,
    /// Why the last look or mending could not be completed.
    failure: Option<KafkaError>,
}

#[derive(Default)]
struct Topic {
    open: Vec<Open>,
    mended: i64,
    /// Why its configs could not be compared.
    unread: Option<String>,
}

struct Open {
    difference: Difference,
    /// Why it is still there.
    error: Option<String>,
    tried: bool,
}

impl ConfigSync {
    /// Compares what is due: everything each `interval`, new topics at once. True where something is to be mended.
    pub(super) async fn look(&mut self, mirror: &Mirror, ends: &Ends, pairs: &[Pair]) -> bool {
        if !mirror.config_sync.enabled {
            return false;
        }
        let all = self.looked.is_none_or(|at| at.elapsed() >= mirror.config_sync.interval);
        if all {
            self.looked = Some(Instant::now());
            self.failure = None;
            let present: HashSet<&str> = pairs.iter().map(|pair| pair.target.as_str()).collect();
            self.topics.retain(|topic, _| present.contains(topic.as_str()));
        }
        let is_due = |pair: &&Pair| all || !self.topics.contains_key(&pair.target);
        let due: Vec<Pair> = pairs.iter().filter(is_due).cloned().collect();
        match find(mirror, ends, &due).await {
            Ok(found) => found.into_iter().for_each(|(topic, result)| self.found(topic, result)),
            Err(error) => self.failure = Some(error),
        }
        self.topics.values().any(|topic| topic.open.iter().any(|open| !open.tried))
    }

    fn found(&mut self, topic: String, result: Result<Vec<Difference>, KafkaError>) {
        let known = self.topics.entry(topic).or_default();
        match result {
            Ok(differences) => {
                let before = std::mem::take(&mut known.open);
                let open = |difference: Difference| {
                    let said = before.iter().find(|open| open.difference == difference);
                    let error = said.and_then(|open| open.error.clone());
                    Open { tried: difference.unknown, error: error.or(unknown(&difference)), difference }
                };
                known.open = differences.into_iter().map(open).collect();
                known.unread = None;
            }
            Err(error) => known.unread = Some(error.message),
        }
    }

    /// Writes what differs.
    pub(super) async fn mend(&mut self, mirror: &Mirror, target: &KafkaClient) {
        let changes: BTreeMap<String, ConfigChange> = self
            .topics
            .iter()
            .map(|(topic, known)| (topic.clone(), change(known.open.iter().filter(|open| !open.tried))))
            .filter(|(_, change)| !change.is_empty())
            .collect();
        let results = match target.alter_configs(&changes).await {
            Ok(results) => results,
            Err(error) => {
                self.failure = Some(error);
                return;
            }
        };
        for (name, result) in results {
            let Some(topic) = self.topics.get_mut(&name) else { continue };
            let before = topic.mended;
            topic.mend(&name, target, result).await;
            let mended = topic.mended - before;
            if mended > 0 {
                metrics::drift_mended(&mirror.id, "config", u64::try_from(mended).unwrap_or(0));
                let configs = changes.get(&name);
                tracing::info!(mirror = %mirror.id, topic = name, ?configs, mended, "configs were brought in step");
            }
        }
    }

    pub(super) fn drift(&self, topic: &str) -> (Vec<Drift>, i64) {
        let Some(topic) = self.topics.get(topic) else { return (Vec::new(), 0) };
        (topic.open.iter().map(|open| shown(&open.difference, open.error.clone())).collect(), topic.mended)
    }

    /// What an operator should know, in one sentence.
    pub(super) fn failure(&self, mirror: &Mirror) -> Option<String> {
        let target = &mirror.target;
        if let Some(error) = &self.failure {
            return Some(format!("configs of topics on {target} may be out of step: {}", error.message));
        }
        let mut topics = self.topics.iter().filter_map(|(name, topic)| Some((name, topic.error()?)));
        let (name, error) = topics.next()?;
        let others = match topics.count() {
            0 => String::new(),
            n => format!(" (and {n} more topics)"),
        };
        Some(format!("configs of {name} on {target} are out of step{others}: {error}"))
    }

    pub(super) fn open(&self) -> usize {
        self.topics.values().map(|topic| topic.open.len()).sum()
    }
}

impl Topic {
    /// Takes in the answer to all changes of this topic. One that is refused takes the others along, so they are tried one by
    /// one.
    async fn mend(&mut self, name: &str, target: &KafkaClient, result: Result<(), KafkaError>) {
        let pending = self.open.iter().filter(|open| !open.tried).count();
        let alone = match &result {
            Err(error) => pending == 1 || error.retriable || error.reason == Reason::MISSING_PERMISSION,
            Ok(()) => true,
        };
        for open in self.open.iter_mut().filter(|open| !open.tried) {
            let result = if alone {
                result.clone()
            } else {
                let change = change([&*open].into_iter());
                target.incremental_alter_configs(name, &change.set, &change.delete).await
            };
            open.tried = true;
            open.error = result.err().map(|error| refused(&open.difference, &error));
        }
        let before = self.open.len();
        self.open.retain(|open| open.error.is_some());
        self.mended += i64::try_from(before - self.open.len()).unwrap_or(i64::MAX);
    }

    fn error(&self) -> Option<String> {
        let of_config = |open: &Open| Some(format!("{}: {}", open.difference.name, open.error.as_ref()?));
        self.unread.clone().or_else(|| self.open.iter().find_map(of_config))
    }
}

fn change<'a>(open: impl Iterator<Item = &'a Open>) -> ConfigChange {
    let mut change = ConfigChange::default();
    for open in open {
        let name = open.difference.name.clone();
        match open.difference.value() {
            Some(value) => {
                change.set.insert(name, value.to_owned());
            }
            None => change.delete.push(name),
        }
    }
    change
}

fn unknown(difference: &Difference) -> Option<String> {
    let name = &difference.name;
    difference.unknown.then(|| format!("the target has no config {name}: {}", remedy(name, None)))
}

/// Why a difference stays, and what would end it. Only what is about the value has a remedy of its own.
fn refused(difference: &Difference, error: &KafkaError) -> String {
    let name = &difference.name;
    match adapt::may_help(error) {
        true => {
            format!("{}; {}", error.message, remedy(name, adapt::nearest(name, &error.message).as_deref()))
        }
        false => error.message.clone(),
    }
}

fn remedy(name: &str, nearest: Option<&str>) -> String {
    let exclude = format!(
        "leave it out (--config-exclude '{}', topic_creation.config_exclude)",
        name.replace('.', "\\.")
    );
    match nearest {
        Some(value) => format!(
            "{exclude}, or set what the target takes (--topic-config {name}={value}, topic_creation.config_overrides)"
        ),
        None => exclude,
    }
}

/// A difference as the API shows it.
pub(super) fn shown(difference: &Difference, error: Option<String>) -> Drift {
    Drift {
        kind: DriftKind::Config,
        name: difference.name.clone(),
        source_value: difference.source_value.clone(),
        target_value: difference.target_value.clone(),
        error,
    }
}
