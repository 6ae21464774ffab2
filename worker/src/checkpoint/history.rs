//! The checkpoints that are in the topic already: read when the task starts, so that a restart emits nothing twice and nothing
//! older; and when a group's place is asked for while the source is gone.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use twinlog_proto::reason::Reason;

use super::decide::Previous;
use crate::cluster::ClusterHandle;
use crate::kafka::{Isolation, KafkaError, LogReader, LogRecord, NotRead, OffsetSpec, Span, Wanted};
use crate::mm2::{Checkpoint, CheckpointKey};

/// No progress for this long is a failure.
const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// The last checkpoint per key, of the groups that `ours` names. What is not a checkpoint is skipped.
pub(super) async fn read(
    target: &ClusterHandle,
    topic: &str,
    ours: impl Fn(&str) -> bool,
) -> Result<HashMap<CheckpointKey, Previous>, KafkaError> {
    let mut previous = HashMap::new();
    each(target, topic, |record| take_in(&mut previous, record.key, record.value, &ours)).await?;
    Ok(previous)
}

/// A group's last checkpoints, each with the time of its record, milliseconds since 1970. None where the topic isn't there.
pub(super) async fn last_of(
    target: &ClusterHandle,
    topic: &str,
    group: &str,
) -> Result<Vec<(Checkpoint, i64)>, KafkaError> {
    let mut last = BTreeMap::new();
    let take = |record: &LogRecord<'_>| {
        let (Some(key), Some(value)) = (record.key, record.value) else { return };
        if let Some(checkpoint) = Checkpoint::decode(key, value).filter(|c| c.key.group == group) {
            let time = if record.timestamp >= 0 { record.timestamp } else { 0 };
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
    mut take: impl FnMut(&LogRecord<'_>),
) -> Result<(), KafkaError> {
    let from = offset(target, topic, OffsetSpec::Earliest).await?;
    let to = offset(target, topic, OffsetSpec::Latest).await?;
    let mut reader = LogReader::new(&target.client, topic, Isolation::Committed, STALL_TIMEOUT);
    let read = reader.read(vec![Span { partition: 0, from, to }], |record| {
        take(record);
        Wanted::More
    });
    match read.await {
        Ok(()) => Ok(()),
        Err(NotRead::Stalled { .. }) => Err(stalled(target, topic)),
        Err(NotRead::Failed(error)) => Err(failed(target, topic, &error)),
    }
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

fn stalled(target: &ClusterHandle, topic: &str) -> KafkaError {
    let message =
        format!("{topic} on {} could not be read: nothing came for {STALL_TIMEOUT:?}", target.id.name());
    KafkaError::retriable(Reason::CLUSTER_UNREACHABLE, message)
}

fn failed(target: &ClusterHandle, topic: &str, error: &KafkaError) -> KafkaError {
    let cluster = target.id.name();
    match error.reason {
        Reason::MISSING_PERMISSION => KafkaError::new(
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
