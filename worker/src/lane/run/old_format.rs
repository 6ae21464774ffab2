//! Which partitions go on with messages as brokers before 0.11 wrote them: the engine reads those in another way.

use std::collections::BTreeSet;

use super::{Runner, Step};
use crate::cause::Cause;
use crate::lane::Range;
use crate::lane::start::Facts;
use crate::progress::{Engine as Kind, RangeProgress};

impl Runner {
    /// The partitions of the range whose next message is in an old format.
    pub(super) async fn old_partitions(
        &self,
        range: &Range,
        progress: &RangeProgress,
        facts: &[Facts],
    ) -> Step<BTreeSet<i32>> {
        if self.kind() == Kind::Native {
            // It sees what it reads, and leaves such a range to the other engine.
            return Ok(BTreeSet::new());
        }
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
