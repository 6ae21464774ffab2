//! Creates and grows topics on the target, as decided. One topic's failure is that topic's alone.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use twinlog_proto::model::Mirror;
use twinlog_proto::reason::Reason;

use super::adapt;
use super::configs;
use super::decide::{Decision, Step};
use crate::kafka::{KafkaClient, KafkaError, NewTopic};

/// Managed services limit how much one request may create.
const BATCH: usize = 20;
/// Brokers take a moment to tell of what they created.
const VISIBLE_TIMEOUT: Duration = Duration::from_secs(10);
const VISIBLE_POLL: Duration = Duration::from_millis(100);
/// Kafka's error codes for "somebody was faster", which is fine.
const TOPIC_ALREADY_EXISTS: i16 = 36;
const INVALID_PARTITIONS: i16 = 37;

/// Does the steps. A decision that was carried out becomes `Nothing`; one that failed becomes `Blocked`.
pub async fn apply(
    mirror: &Mirror,
    source: &KafkaClient,
    target: &KafkaClient,
    decisions: &mut [Decision],
) -> Result<(), KafkaError> {
    let created = create(mirror, source, target, decisions).await?;
    let grown = grow(target, decisions).await;
    let mut failed: HashMap<String, KafkaError> = created.into_iter().chain(grown).collect();
    let pending: Vec<(String, i32)> = decisions
        .iter()
        .filter(|d| matches!(d.step, Step::Create | Step::Grow) && !failed.contains_key(&d.target))
        .map(|d| (d.target.clone(), d.source.partitions))
        .collect();
    failed.extend(wait_until_visible(target, pending).await?);
    for decision in decisions.iter_mut() {
        let (action, reason) = match decision.step {
            Step::Create => ("create", Reason::TOPIC_CREATION_FAILED),
            Step::Grow => ("add partitions to", Reason::TARGET_HAS_FEWER_PARTITIONS),
            _ => continue,
        };
        decision.step = match failed.remove(&decision.target) {
            Some(error) => blocked(mirror, decision, action, reason, &error),
            None => {
                let (topic, partitions) = (&decision.target, decision.source.partitions);
                tracing::info!(mirror = %mirror.id, topic, partitions, action, "target topic is ready");
                decision.target_partitions = decision.source.partitions;
                Step::Nothing
            }
        };
    }
    Ok(())
}

fn blocked(mirror: &Mirror, decision: &Decision, action: &str, reason: Reason, error: &KafkaError) -> Step {
    // A missing permission names its own remedy; anything else is a failure of what was tried.
    let reason = if error.reason == Reason::MISSING_PERMISSION { error.reason } else { reason };
    let message = format!("cannot {action} {} on {}: {}", decision.target, mirror.target, error.message);
    Step::Blocked(reason, message)
}

type Failures = Vec<(String, KafkaError)>;

async fn create(
    mirror: &Mirror,
    source: &KafkaClient,
    target: &KafkaClient,
    decisions: &[Decision],
) -> Result<Failures, KafkaError> {
    let wanted: Vec<&Decision> = decisions.iter().filter(|d| d.step == Step::Create).collect();
    let (topics, mut failures) = new_topics(mirror, source, &wanted).await?;
    for batch in topics.chunks(BATCH) {
        match target.create_topics(batch, false).await {
            Ok(results) => failures.extend(failed(results, TOPIC_ALREADY_EXISTS)),
            // The request as a whole was refused: find out which topic it doesn't like.
            Err(error) if batch.len() > 1 && !error.retriable => {
                for topic in batch {
                    let results = match target.create_topics(std::slice::from_ref(topic), false).await {
                        Ok(results) => results,
                        Err(error) => vec![(topic.name.clone(), Err(error))],
                    };
                    failures.extend(failed(results, TOPIC_ALREADY_EXISTS));
                }
            }
            Err(error) => failures.extend(batch.iter().map(|t| (t.name.clone(), error.clone()))),
        }
    }
    Ok(adapt_refused(mirror, target, &topics, failures).await)
}

/// Tries again with other configs where these were refused; what is left has failed.
async fn adapt_refused(
    mirror: &Mirror,
    target: &KafkaClient,
    topics: &[NewTopic],
    failures: Failures,
) -> Failures {
    let mut left = Failures::new();
    for (name, error) in failures {
        let topic = topics.iter().find(|t| t.name == name && !t.configs.is_empty());
        let Some(topic) = topic.filter(|_| adapt::may_help(&error)) else {
            left.push((name, error));
            continue;
        };
        match adapt::create(target, topic, error).await {
            Ok(changes) => {
                let changes = changes.join(", ");
                tracing::warn!(mirror = %mirror.id, topic = name, "created as the target allows it: {changes}");
            }
            Err(error) if error.code == TOPIC_ALREADY_EXISTS => {}
            Err(error) => left.push((name, error)),
        }
    }
    left
}

/// What to create, and what can't be because the source's configs aren't readable.
pub async fn new_topics(
    mirror: &Mirror,
    source: &KafkaClient,
    wanted: &[&Decision],
) -> Result<(Vec<NewTopic>, Failures), KafkaError> {
    if wanted.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let names: Vec<String> = wanted.iter().map(|d| d.source.name.clone()).collect();
    let mut described = source.describe_configs(&names).await?;
    let mut topics = Vec::new();
    let mut failures = Vec::new();
    for decision in wanted {
        match described.remove(&decision.source.name) {
            Some(Ok(entries)) => topics.push(NewTopic {
                name: decision.target.clone(),
                partitions: decision.source.partitions,
                replication_factor: mirror.replication_factor,
                configs: configs::configs(mirror, &entries),
            }),
            Some(Err(error)) => failures.push((decision.target.clone(), error)),
            None => {
                let message = format!("{} was not described by the source", decision.source.name);
                let error = KafkaError::retriable(Reason::KAFKA_ERROR, message);
                failures.push((decision.target.clone(), error));
            }
        }
    }
    Ok((topics, failures))
}

async fn grow(target: &KafkaClient, decisions: &[Decision]) -> Failures {
    let wanted: Vec<(String, i32)> = decisions
        .iter()
        .filter(|d| d.step == Step::Grow)
        .map(|d| (d.target.clone(), d.source.partitions))
        .collect();
    let mut failures = Vec::new();
    for batch in wanted.chunks(BATCH) {
        match target.create_partitions(batch).await {
            Ok(results) => failures.extend(failed(results, INVALID_PARTITIONS)),
            Err(error) => failures.extend(batch.iter().map(|(name, _)| (name.clone(), error.clone()))),
        }
    }
    failures
}

fn failed(
    results: Vec<(String, Result<(), KafkaError>)>,
    fine: i16,
) -> impl Iterator<Item = (String, KafkaError)> {
    results
        .into_iter()
        .filter_map(move |(name, result)| Some((name, result.err().filter(|e| e.code != fine)?)))
}

/// Waits until all of `pending` have their partitions; answers which have not in time.
async fn wait_until_visible(
    target: &KafkaClient,
    mut pending: Vec<(String, i32)>,
) -> Result<Failures, KafkaError> {
    let deadline = Instant::now() + VISIBLE_TIMEOUT;
    loop {
        if pending.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = pending.iter().map(|(name, _)| name.clone()).collect();
        let seen: HashMap<String, i32> = target
            .topics(Some(&names))
            .await?
            .into_iter()
            .map(|t| (t.name, i32::try_from(t.partitions.len()).unwrap_or(i32::MAX)))
            .collect();
        pending.retain(|(name, partitions)| seen.get(name).copied().unwrap_or(0) < *partitions);
        if Instant::now() >= deadline {
            let late = |(name, partitions): (String, i32)| {
                let message = format!(
                    "created, but its {partitions} partitions are not visible after {VISIBLE_TIMEOUT:?}"
                );
                (name, KafkaError::retriable(Reason::KAFKA_ERROR, message))
            };
            return Ok(pending.into_iter().map(late).collect());
        }
        if !pending.is_empty() {
            tokio::time::sleep(VISIBLE_POLL).await;
        }
    }
}
