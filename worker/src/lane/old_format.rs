//! Records that librdkafka would lose without a word: messages as brokers before 0.11 wrote them, from brokers of 2.7 and later
//! (librdkafka 2.5 to 2.15, its issues 5504 and 5549: null keys and values, or nothing). A partition that goes on in such a part of
//! its log halts and says so, until librdkafka can read it.

use std::collections::BTreeMap;

use futures::StreamExt;
use futures::stream;
use twinlog_proto::reason::Reason;

use super::LaneSpec;
use crate::cause::Cause;
use crate::kafka::{Isolation, KafkaError};

/// From this version on the answers to a fetch have the flexible encoding that librdkafka mistakes old messages for.
const FLEXIBLE_FETCH: i16 = 12;
/// The first batch is looked at, which comes whole whatever its size.
const LOOK_BYTES: i32 = 1;
/// Partitions looked at together.
const CONCURRENT: usize = 16;

/// Which of the partitions, given with the offset they go on at, go on with an old message.
pub(super) async fn find(
    spec: &LaneSpec,
    topic: &str,
    positions: Vec<(i32, i64)>,
) -> Result<BTreeMap<i32, Cause>, KafkaError> {
    if positions.is_empty() || spec.source.client.fetch_version().await? < FLEXIBLE_FETCH {
        return Ok(BTreeMap::new());
    }
    let look = async |(partition, offset): (i32, i64)| {
        let fetched = spec
            .source
            .client
            .fetch_batches(topic, partition, offset, LOOK_BYTES, Isolation::Uncommitted)
            .await;
        let error = fetched.err().filter(|error| error.reason == Reason::UNSUPPORTED_VERSION)?;
        Some((partition, cause(topic, partition, &error)))
    };
    Ok(stream::iter(positions)
        .map(look)
        .buffer_unordered(CONCURRENT)
        .filter_map(async |found| found)
        .collect()
        .await)
}

fn cause(topic: &str, partition: i32, error: &KafkaError) -> Cause {
    let message = format!(
        "{topic} partition {partition}: {}. This worker's librdkafka would lose such records from brokers of 2.7 and later (librdkafka issue 5549), so none is copied. Have the source rewrite them (copy the topic there), let retention delete them, or exclude the topic",
        error.message
    );
    Cause::new(Reason::UNSUPPORTED_VERSION, message)
}
