//! Where a range is: its progress as the last owner wrote it, and who that was.

use std::time::Duration;

use twinlog_proto::reason::Reason;
use twinlog_proto::v1::State;

use super::{End, RETRY_STOPPED, Runner, Step};
use crate::cause::Cause;
use crate::lane::recover::{self, Reader};
use crate::lane::start::Facts;
use crate::progress::{self, RangeProgress, StorageTopics};

/// From its fence to its first commit a new owner reads progress and asks both clusters.
const CLAIM_PATIENCE: Duration = Duration::from_secs(3);

impl Runner {
    /// Gets ready to read the range's partition of the progress topic.
    pub(super) fn open_reader(&self, topics: &StorageTopics) -> Step<Reader> {
        let partition = self.storage_partition(topics.progress_partitions);
        Reader::open(&self.spec.target.client, &topics.progress, partition)
            .map_err(|e| self.unusable("target", &e))
    }

    /// Progress of the range, if there is any. Stops a lane that has been superseded.
    pub(super) fn read_progress(
        &mut self,
        topics: &StorageTopics,
        reader: Reader,
    ) -> Step<Option<RangeProgress>> {
        let partition = self.storage_partition(topics.progress_partitions);
        let key = progress::progress_key(&self.spec.range.target_topic, self.spec.range.block);
        // Asked for now, after the fence: what an earlier owner wrote lies below.
        let ends = self.ask(recover::ends(&self.spec.target.client, &topics.progress, partition))?;
        let found =
            reader.newest(ends, &key, &self.control).map_err(|cause| cause.map_or(End::Again, End::Later))?;
        let Some(bytes) = found else { return Ok(None) };
        let found = RangeProgress::decode(&bytes).map_err(|damaged| {
            let place = format!("{} partition {partition}", topics.progress);
            Cause::new(
                Reason::INTERNAL,
                format!("{damaged} in {place}: remove the mirror's progress to begin anew"),
            )
        })?;
        if found.epoch > self.spec.epoch.0 {
            return Err(self.superseded(&found));
        }
        Ok(Some(found))
    }

    /// Whether there was progress of the range once, where it matters that there is none: also where another's is to be gone on from.
    pub(super) fn has_begun(&self, topics: &StorageTopics, facts: &[Facts], another: bool) -> Step<bool> {
        if !another && facts.iter().all(|facts| facts.holds == 0 && facts.start <= facts.earliest) {
            return Ok(false);
        }
        let partition = self.storage_partition(topics.offsets_partitions);
        let reader = Reader::open(&self.spec.target.client, &topics.offsets, partition)
            .map_err(|e| self.unusable("target", &e))?;
        let ends = self.ask(recover::ends(&self.spec.target.client, &topics.offsets, partition))?;
        let key = progress::began_key(&self.spec.range.target_topic, self.spec.range.block);
        let found = reader.newest(ends, &key, &self.control);
        Ok(found.map_err(|cause| cause.map_or(End::Again, End::Later))?.is_some())
    }

    /// Before it fences others: whether it was replaced. A new owner says so with its first commit, some time after its fence.
    pub(super) fn still_owner(&mut self, topics: &StorageTopics) -> Step<()> {
        let reader = self.open_reader(topics)?;
        self.read_progress(topics, reader)?;
        match self.fenced {
            Some(at) if at.elapsed() < CLAIM_PATIENCE => {
                let message = format!(
                    "another owner of {} has fenced this one, and has not said yet who it is",
                    self.spec.task
                );
                Err(Cause::new(Reason::FENCED, message).into())
            }
            _ => {
                self.fenced = None;
                Ok(())
            }
        }
    }

    fn superseded(&mut self, by: &RangeProgress) -> End {
        let message = format!(
            "worker {} has taken this range over with epoch {}; this lane has epoch {}. If this controller's store was restored from an \
             older copy, it gives a later epoch by itself. One controller may run a mirror: is another one running?",
            by.worker, by.epoch, self.spec.epoch
        );
        tracing::warn!(task = %self.spec.task, "fenced: {message}");
        self.board.not_running(State::Stopped, Cause::new(Reason::FENCED, message));
        self.control.found_later(by.epoch);
        // It is given a later epoch, or another worker has the range: both end this lane. Until then it looks now and then, before
        // it does anything that would disturb the other owner.
        self.seat.release();
        self.control.pause(RETRY_STOPPED);
        End::Again
    }
}
