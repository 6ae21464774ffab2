//! Which partitions go on with messages as brokers before 0.11 wrote them: the feeder reads those.

use std::collections::BTreeSet;

use futures::StreamExt;
use futures::stream;

use super::Range;
use super::run::{Runner, Step};
use super::start::Facts;
use crate::cause::Cause;
use crate::kafka::{KafkaClient, LogFormat};
use crate::progress::RangeProgress;

/// Partitions looked at together.
const CONCURRENT: usize = 16;

impl Runner {
    /// The partitions of the range whose next message is in an old format.
    pub(super) async fn old_partitions(
        &self,
        range: &Range,
        progress: &RangeProgress,
        facts: &[Facts],
    ) -> Step<BTreeSet<i32>> {
        let place = |(partition, facts): (i32, &Facts)| {
            let position = progress.partitions.get(&partition)?.position.0;
            let runs = !self.board().halted.contains_key(&partition);
            runs.then(|| place_to_look(position, facts)).flatten().map(|offset| (partition, offset))
        };
        let places = range.partitions().zip(facts).filter_map(place).collect();
        let found = self.clusters.old_formats(&self.spec, &range.source_topic, places);
        let found = self.ask(async { Ok::<_, Cause>(found.await) }).await?;
        if !found.is_empty() {
            tracing::info!(task = %self.spec.task, partitions = ?found, "an old message format is read");
        }
        Ok(found)
    }
}

/// Where nothing comes yet, what will come probably has the format of the last message there is.
fn place_to_look(position: i64, facts: &Facts) -> Option<i64> {
    let place = position.min(facts.latest - 1);
    (place >= facts.earliest).then_some(place)
}

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
