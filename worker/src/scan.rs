//! Reads pieces of a topic once, committed records only, each partition in order: what taking over from MirrorMaker 2 needs.
//! Records are looked at and dropped; memory is the reader's own bound.

use std::collections::BTreeMap;
use std::time::Duration;

use twinlog_proto::reason::Reason;

use crate::cluster::ClusterHandle;
use crate::kafka::{Isolation, KafkaError, LogReader, NotRead, OffsetSpec};
pub(crate) use crate::kafka::{LogRecord as Record, Span, Wanted};

/// Nothing new for this long is a failure. Connect's producers leave a transaction open for a minute at most.
const STALL_TIMEOUT: Duration = Duration::from_secs(75);

/// Log start and high watermark of every partition; nothing where the topic doesn't exist.
pub(crate) async fn bounds(
    cluster: &ClusterHandle,
    topic: &str,
) -> Result<BTreeMap<i32, (i64, i64)>, KafkaError> {
    let found = cluster.client.topics(Some(&[topic.to_owned()])).await?.into_iter().next();
    let partitions: Vec<i32> = match found {
        Some(topic) => match topic.error {
            None => topic.partitions.iter().map(|p| p.partition).collect(),
            Some(error) if error.reason == Reason::TOPIC_NOT_FOUND => return Ok(BTreeMap::new()),
            Some(error) => return Err(error),
        },
        None => return Ok(BTreeMap::new()),
    };
    let (starts, ends) = tokio::try_join!(
        offsets(cluster, topic, &partitions, OffsetSpec::Earliest, Isolation::Uncommitted),
        offsets(cluster, topic, &partitions, OffsetSpec::Latest, Isolation::Uncommitted),
    )?;
    Ok(partitions.iter().map(|p| (*p, (starts[p], ends[p]))).collect())
}

/// One offset of each partition.
pub(crate) async fn offsets(
    cluster: &ClusterHandle,
    topic: &str,
    partitions: &[i32],
    spec: OffsetSpec,
    isolation: Isolation,
) -> Result<BTreeMap<i32, i64>, KafkaError> {
    let wanted: Vec<_> = partitions.iter().map(|p| (topic.to_owned(), *p, spec)).collect();
    let mut listed = cluster.client.list_offsets(&wanted, isolation).await?;
    let one = |p: &i32| match listed.remove(&(topic.to_owned(), *p)) {
        Some(found) => Ok((*p, found?.offset)),
        None => Err(KafkaError::retriable(
            Reason::KAFKA_ERROR,
            format!("the broker did not list offsets of {topic} partition {p}"),
        )),
    };
    partitions.iter().map(one).collect()
}

/// Gives every committed record of the spans to `each`, with `state`, and gives `state` back.
///
/// # Errors
/// The cluster can't be read, or an open transaction hides the rest of a span for more than 75 s.
pub(crate) async fn scan<T>(
    cluster: &ClusterHandle,
    topic: &str,
    spans: Vec<Span>,
    mut state: T,
    mut each: impl FnMut(&mut T, &Record<'_>) -> Wanted,
) -> Result<T, KafkaError> {
    let mut reader = LogReader::new(&cluster.client, topic, Isolation::Committed, STALL_TIMEOUT);
    match reader.read(spans, |record| each(&mut state, record)).await {
        Ok(()) => Ok(state),
        Err(NotRead::Failed(error)) if error.reason == Reason::MISSING_PERMISSION => Err(error),
        Err(NotRead::Failed(error)) => Err(failed(cluster, topic, &error.message)),
        Err(NotRead::Stalled { partition, next, end }) => {
            let what = format!(
                "nothing comes from partition {partition} offset {next} on, though it ends at {end}: an open transaction hides it, or its leader is away"
            );
            Err(failed(cluster, topic, &what))
        }
    }
}

fn failed(cluster: &ClusterHandle, topic: &str, what: &str) -> KafkaError {
    let cluster = cluster.client.properties().cluster_id();
    // The client's own errors begin with the cluster, too.
    let what = what.strip_prefix(&format!("cluster {cluster}: ")).unwrap_or(what);
    KafkaError::retriable(Reason::KAFKA_ERROR, format!("cluster {cluster}: reading {topic}: {what}"))
}
