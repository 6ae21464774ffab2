//! Reading a range's progress back: one partition of the progress topic, from its start to its present end.
//!
//! The end is the high watermark, not the last stable offset: an open transaction of another range hides every later record,
//! committed ones of ours too. It is waited for, and it ends soon: its owner goes on, or its next owner or the coordinator
//! ends it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use twinlog_proto::reason::Reason;

use super::place::{Place, ends};
use crate::cause::Cause;
use crate::engine::TRANSACTION_TIMEOUT;
use crate::kafka::{Isolation, KafkaClient, LogReader, NotRead, Span, Wanted};

/// After the coordinator has ended every transaction that was open, nothing hides records any more.
const PATIENCE: Duration = TRANSACTION_TIMEOUT.saturating_add(Duration::from_secs(15));

/// Values of the newest committed records with these keys from the start to the end that the partition has now: what an earlier owner
/// wrote before it was fenced lies below.
pub(super) async fn newest(
    client: &KafkaClient,
    Place { topic, partition }: Place<'_>,
    keys: &HashSet<Vec<u8>>,
) -> Result<HashMap<Vec<u8>, Vec<u8>>, Cause> {
    let (from, to) = ends(client, Place { topic, partition }).await?;
    let mut found = HashMap::new();
    let mut reader = LogReader::new(client, topic, Isolation::Committed, PATIENCE);
    let reading = reader.read(vec![Span { partition, from, to }], |record| {
        if let Some(key) = record.key.filter(|key| keys.contains(*key)) {
            match record.value {
                Some(value) => found.insert(key.to_vec(), value.to_vec()),
                None => found.remove(key),
            };
        }
        Wanted::More
    });
    let failed = |what: &str| {
        let text = format!("reading {topic} partition {partition} on the target: {what}");
        Cause::new(Reason::WAITING_FOR_CLUSTER, text)
    };
    let read = tokio::time::timeout(PATIENCE, reading).await.ok();
    let hidden = |next| {
        failed(&format!("offsets {next} to {to} are hidden by an open transaction or can't be fetched"))
    };
    match read {
        Some(Ok(())) => Ok(found),
        Some(Err(NotRead::Failed(error))) => Err(failed(&error.message)),
        Some(Err(NotRead::Stalled { next, .. })) => Err(hidden(next)),
        None => Err(hidden(reader.next(partition).unwrap_or(from))),
    }
}
