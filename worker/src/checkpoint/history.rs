//! The checkpoints that are in the topic already: read when the task starts, so that a restart emits nothing twice and nothing
//! older; and when a group's place is asked for while the source is gone.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;
use twinlog_proto::reason::Reason;

use super::decide::Previous;
use crate::cluster::ClusterHandle;
use crate::kafka::{Isolation, KafkaError, OffsetSpec, Role};
use crate::mm2::{Checkpoint, CheckpointKey};
use crate::token::TokenContext;

type Reader = StreamConsumer<TokenContext>;

/// No progress for this long is a failure.
const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// The last checkpoint per key, of the groups that `ours` names. What is not a checkpoint is skipped.
pub(super) async fn read(
    target: &ClusterHandle,
    topic: &str,
    ours: impl Fn(&str) -> bool,
) -> Result<HashMap<CheckpointKey, Previous>, KafkaError> {
    let mut previous = HashMap::new();
    each(target, topic, |message| take_in(&mut previous, message.key(), message.payload(), &ours)).await?;
    Ok(previous)
}

/// A group's last checkpoints, each with the time of its record, milliseconds since 1970. None where the topic isn't there.
pub(super) async fn last_of(
    target: &ClusterHandle,
    topic: &str,
    group: &str,
) -> Result<Vec<(Checkpoint, i64)>, KafkaError> {
    let mut last = BTreeMap::new();
    let take = |message: &BorrowedMessage<'_>| {
        let (Some(key), Some(value)) = (message.key(), message.payload()) else { return };
        if let Some(checkpoint) = Checkpoint::decode(key, value).filter(|c| c.key.group == group) {
            let time = message.timestamp().to_millis().unwrap_or_default();
            last.insert(checkpoint.key.clone(), (checkpoint, time));
        }
    };
    match each(target, topic, take).await {
        Err(error) if error.reason == Reason::TOPIC_NOT_FOUND => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(()) => Ok(last.into_values().collect()),
    }
}

/// Hands over every record that is in the topic now.
async fn each(
    target: &ClusterHandle,
    topic: &str,
    mut take: impl FnMut(&BorrowedMessage<'_>),
) -> Result<(), KafkaError> {
    let start = offset(target, topic, OffsetSpec::Earliest).await?;
    let end = offset(target, topic, OffsetSpec::Latest).await?;
    if start >= end {
        return Ok(());
    }
    let consumer = consumer(target, topic, start)?;
    let mut deadline = Instant::now() + STALL_TIMEOUT;
    // The position also passes over transaction markers and holes, which are never delivered.
    while position(&consumer, topic).is_none_or(|position| position < end) {
        let message = tokio::select! {
            message = consumer.recv() => message,
            () = tokio::time::sleep(Duration::from_millis(100)) => {
                if Instant::now() < deadline { continue }
                return Err(stalled(target, topic));
            }
        };
        deadline = Instant::now() + STALL_TIMEOUT;
        match message {
            Ok(message) => take(&message),
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => break,
            // Nobody needs the group that librdkafka wants a name for.
            Err(error) if error.rdkafka_error_code() == Some(Code::GroupAuthorizationFailed) => {}
            Err(error) => return Err(failed(target, topic, &error)),
        }
    }
    Ok(())
}

/// The last one wins. What is not a checkpoint, or of another shard's group, is left out.
fn take_in(
    previous: &mut HashMap<CheckpointKey, Previous>,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    ours: impl Fn(&str) -> bool,
) {
    let (Some(key), Some(value)) = (key, value) else { return };
    if let Some(checkpoint) = Checkpoint::decode(key, value).filter(|c| ours(&c.key.group)) {
        let last = Previous { upstream: checkpoint.upstream, downstream: checkpoint.downstream };
        previous.insert(checkpoint.key, last);
    }
}

async fn offset(target: &ClusterHandle, topic: &str, spec: OffsetSpec) -> Result<i64, KafkaError> {
    let key = (topic.to_owned(), 0);
    let listed = target.client.list_offsets(&[(key.0.clone(), key.1, spec)], Isolation::Uncommitted).await?;
    match listed.get(&key) {
        Some(Ok(listed)) => Ok(listed.offset),
        Some(Err(error)) => Err(error.clone()),
        None => {
            let message = format!("{topic} on {}: the broker did not list its offsets", target.id.name());
            Err(KafkaError::retriable(Reason::KAFKA_ERROR, message))
        }
    }
}

fn consumer(target: &ClusterHandle, topic: &str, start: i64) -> Result<Reader, KafkaError> {
    let mut config = target.properties.rdkafka(Role::Consumer);
    config
        // Never used: partitions are assigned by hand and nothing is committed.
        .set("group.id", "twinlog")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed");
    let context = TokenContext(target.properties.clone());
    let consumer: Reader = config.create_with_context(context).map_err(|e| failed(target, topic, &e))?;
    let mut partitions = TopicPartitionList::new();
    partitions
        .add_partition_offset(topic, 0, Offset::Offset(start))
        .map_err(|e| failed(target, topic, &e))?;
    consumer.assign(&partitions).map_err(|e| failed(target, topic, &e))?;
    Ok(consumer)
}

fn position(consumer: &Reader, topic: &str) -> Option<i64> {
    match consumer.position().ok()?.find_partition(topic, 0)?.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }
}

fn stalled(target: &ClusterHandle, topic: &str) -> KafkaError {
    let message =
        format!("{topic} on {} could not be read: nothing came for {STALL_TIMEOUT:?}", target.id.name());
    KafkaError::retriable(Reason::CLUSTER_UNREACHABLE, message)
}

fn failed(target: &ClusterHandle, topic: &str, error: &rdkafka::error::KafkaError) -> KafkaError {
    let cluster = target.id.name();
    match error.rdkafka_error_code() {
        Some(Code::TopicAuthorizationFailed) => KafkaError::new(
            Reason::MISSING_PERMISSION,
            format!(
                "READ on topic {topic} is not granted on {cluster}: grant it to the principal of the client properties"
            ),
        ),
        _ => KafkaError::retriable(Reason::KAFKA_ERROR, format!("cannot read {topic} on {cluster}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use twinlog_proto::id::{SourceOffset, TargetOffset};

    use super::*;

    /// K8: other groups and malformed records are left out, the last record of a key counts.
    #[test]
    fn k8_the_last_checkpoint_of_our_groups_is_remembered() {
        let mut previous = HashMap::new();
        let mut read = |group: &str, upstream, downstream, cut: usize| {
            let key = CheckpointKey { group: group.into(), target_topic: "t".into(), partition: 0 };
            let (upstream, downstream) = (SourceOffset(upstream), TargetOffset(downstream));
            let checkpoint = Checkpoint { key, upstream, downstream, metadata: String::new() };
            let (key, value) = (checkpoint.key.encode().unwrap(), checkpoint.encode_value().unwrap());
            take_in(&mut previous, Some(&key), Some(&value[..value.len() - cut]), |group| group == "ours");
            take_in(&mut previous, Some(&key), None, |_| true);
        };
        read("ours", 0, 0, 0);
        read("other", 7, 7, 0);
        read("ours", 1, 1, 0);
        read("ours", 9, 9, 3);
        let last: Vec<_> = previous.into_iter().map(|(key, last)| (key.group, last)).collect();
        let expected = Previous { upstream: SourceOffset(1), downstream: TargetOffset(1) };
        assert_eq!(last, [("ours".to_owned(), expected)]);
    }
}
