//! Keeping the range's transactional id: a coordinator forgets one that was in no transaction for a week, and then the next owner gets
//! another producer id, whose fence means nothing to this one.

use std::time::{Duration, Instant};

use futures::FutureExt;

use super::ways::Looked;
use super::{Range, Step};
use crate::engine::{Exit, Trouble};
use crate::kafka::{KafkaError, Spot, code};

/// A transaction with nothing in it is made this often.
const INTERVAL: Duration = Duration::from_secs(24 * 3600);

impl Range {
    /// In the range's partition of the progress topic, where it is in nobody's way.
    pub(super) fn keep_alive(&mut self) {
        if self.kept.elapsed() < INTERVAL {
            return;
        }
        let Some(transactions) = self.job.fenced.clone() else { return };
        self.kept = Instant::now();
        let (storage, patience) = (&self.job.order.storage, self.job.patience);
        let (topic, partition) = (storage.progress_topic.as_str().into(), storage.progress_partition);
        let spots = [Spot { topic, partition }];
        let keep = async move { Looked::Kept(transactions.mark(&spots, false, patience).await) };
        self.asked.push(keep.boxed());
    }

    /// A coordinator that is away is asked again the next day.
    pub(super) fn kept(&mut self, kept: Result<(), KafkaError>) -> Step<()> {
        let Err(error) = kept else { return Ok(()) };
        if matches!(error.code, code::PRODUCER_FENCED | code::INVALID_PRODUCER_EPOCH) {
            return Err(Exit::Fenced(Trouble::from(&error)));
        }
        tracing::warn!(%error, "the transactional id could not be used today");
        Ok(())
    }
}
