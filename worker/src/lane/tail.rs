//! Who wrote what lies on the target behind the last known offset: owners of the range, whose writes were not committed or not yet
//! noted, or others. A batch says which producer wrote it, and every owner of the range writes progress before its first record.

use std::collections::HashSet;

use twinlog_proto::reason::Reason;

use super::place::{Place, ends};
use super::start::Foreign;
use crate::kafka::{Isolation, KafkaClient, KafkaError};

/// One fetch, bytes.
const FETCH_BYTES: i32 = 1 << 20;
/// One fetch that only looks whether there is something, bytes.
const LOOK_BYTES: i32 = 64 << 10;
/// What is looked through, bytes: more than an owner can leave behind between two commits.
const MAX_BYTES: usize = 512 << 20;

/// Where the range's owners write their progress, those of older versions too, and who they are, once someone asked.
pub(super) struct Owners<'a> {
    client: &'a KafkaClient,
    progress: &'a [Place<'a>],
    known: tokio::sync::OnceCell<HashSet<i64>>,
}

impl<'a> Owners<'a> {
    pub(super) fn new(client: &'a KafkaClient, progress: &'a [Place<'a>]) -> Self {
        Self { client, progress, known: tokio::sync::OnceCell::new() }
    }

    /// The first batch in `from..to` of the target's log that none of them wrote; `None` too where the log can't be read this way
    /// (messages of before Kafka 0.11, or no permission to READ it).
    pub(super) async fn foreign(
        &self,
        place: Place<'_>,
        (from, to): (i64, i64),
    ) -> Result<Option<Foreign>, KafkaError> {
        if from >= to {
            return Ok(None);
        }
        match self.look(place, (from, to)).await {
            Err(error)
                if matches!(error.reason, Reason::UNSUPPORTED_VERSION | Reason::MISSING_PERMISSION) =>
            {
                let Place { topic, partition } = place;
                tracing::warn!(
                    topic,
                    partition,
                    from,
                    to,
                    "who wrote there can't be seen: {}",
                    error.message
                );
                Ok(None)
            }
            found => found,
        }
    }

    async fn look(&self, place: Place<'_>, (from, to): (i64, i64)) -> Result<Option<Foreign>, KafkaError> {
        let owners = self.known.get_or_try_init(|| self.ids()).await?;
        let mut foreign = None;
        walk(self.client, place, (from, to), |producer_id, offset| {
            let own = owners.contains(&producer_id);
            foreign = (!own).then_some(Foreign { offset: offset.max(from), producer_id });
            own
        })
        .await?;
        Ok(foreign)
    }

    /// Producer ids of everybody who wrote progress into this range's partition of the progress topic. What compaction has removed
    /// is older than the last owner, and so is what it wrote.
    async fn ids(&self) -> Result<HashSet<i64>, KafkaError> {
        let mut ids = HashSet::new();
        for place in self.progress {
            let span = ends(self.client, *place).await?;
            walk(self.client, *place, span, |producer_id, _| {
                if producer_id >= 0 {
                    ids.insert(producer_id);
                }
                true
            })
            .await?;
        }
        Ok(ids)
    }
}

/// Whether there is nothing in `from..to` of the target's log but markers, as fences leave them.
pub(super) async fn holds_nothing(
    client: &KafkaClient,
    Place { topic, partition }: Place<'_>,
    (from, to): (i64, i64),
) -> Result<bool, KafkaError> {
    let mut next = from;
    while next < to {
        let fetched = client.fetch_batches(topic, partition, next, LOOK_BYTES, Isolation::Uncommitted).await;
        let fetched = match fetched {
            Err(error)
                if matches!(error.reason, Reason::UNSUPPORTED_VERSION | Reason::MISSING_PERMISSION) =>
            {
                return Ok(false);
            }
            fetched => fetched?,
        };
        if fetched.batches.iter().any(|batch| !batch.header.is_control()) {
            return Ok(false);
        }
        let Some(after) = fetched.next_offset().filter(|after| *after > next) else { return Ok(false) };
        next = after;
    }
    Ok(true)
}

/// Gives each batch's producer id and first offset, until `each` says that it is enough.
async fn walk(
    client: &KafkaClient,
    Place { topic, partition }: Place<'_>,
    (from, to): (i64, i64),
    mut each: impl FnMut(i64, i64) -> bool,
) -> Result<(), KafkaError> {
    let (mut next, mut bytes) = (from, 0);
    while next < to {
        let fetched =
            client.fetch_batches(topic, partition, next, FETCH_BYTES, Isolation::Uncommitted).await?;
        for batch in fetched.batches.iter().filter(|batch| batch.header.last_offset() >= from) {
            if batch.header.base_offset >= to || !each(batch.header.producer_id, batch.header.base_offset) {
                return Ok(());
            }
            bytes += batch.bytes.len();
        }
        if bytes > MAX_BYTES {
            tracing::warn!(topic, partition, from, to, "too much to see who wrote all of it");
            return Ok(());
        }
        // Nothing came: the log ends earlier than it did.
        let Some(after) = fetched.next_offset().filter(|after| *after > next) else { return Ok(()) };
        next = after;
    }
    Ok(())
}
