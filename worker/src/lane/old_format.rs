//! Looking whether messages in a log are as brokers before 0.11 wrote them.

use std::collections::BTreeSet;

use futures::StreamExt;
use futures::stream;

use crate::kafka::{KafkaClient, LogFormat};

/// Partitions looked at together.
const CONCURRENT: usize = 16;

/// The partitions, of these with an offset each, whose message there is in an old format.
pub(super) async fn find(client: &KafkaClient, topic: &str, places: Vec<(i32, i64)>) -> BTreeSet<i32> {
    let look = async |(partition, offset): (i32, i64)| match client.format_at(topic, partition, offset).await
    {
        Ok(format) => (format == LogFormat::Old).then_some(partition),
        Err(error) => {
            // The mover looks again where librdkafka gives something doubtful.
            tracing::debug!(partition, offset, %error, "the format was not found out");
            None
        }
    };
    let found = stream::iter(places).map(look).buffer_unordered(CONCURRENT);
    found.filter_map(async |found| found).collect().await
}
