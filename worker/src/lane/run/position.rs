//! Where a range is: its progress as the last owner wrote it, and who that was.

use std::time::Duration;

use twinlog_proto::reason::Reason;

use super::{End, Runner, Step};
use crate::cause::Cause;
use crate::lane::place::Place;
use crate::lane::start::Facts;
use crate::progress::{self, RangeProgress, StorageTopics};
use crate::status::State;

/// From its fence to its first commit a new owner reads progress and asks both clusters.
const CLAIM_PATIENCE: Duration = Duration::from_secs(3);

impl Runner {
    /// Progress of the range, if there is any. Stops a lane that has been superseded.
    pub(super) async fn read_progress(&mut self, topics: &StorageTopics) -> Step<Option<RangeProgress>> {
        let key = progress::progress_key(&self.spec.range.target_topic, self.spec.range.block);
        let Some(bytes) = self.newest(self.progress_place(topics), key).await? else { return Ok(None) };
        self.understood(&bytes, self.progress_place(topics)).map(Some)
    }

    /// Value of the newest committed record with the key in a partition of one of the target's internal topics.
    pub(super) async fn newest(&self, place: Place<'_>, key: Vec<u8>) -> Step<Option<Vec<u8>>> {
        let newest = self.clusters.newest(&self.spec, place, key);
        self.ask(newest).await
    }

    /// What a progress record says. Stops a lane that has been superseded.
    pub(super) fn understood(&mut self, bytes: &[u8], place: Place<'_>) -> Step<RangeProgress> {
        let found = RangeProgress::decode(bytes).map_err(|damaged| {
            let Place { topic, partition } = place;
            let message = format!(
                "{damaged} in {topic} partition {partition}. If a newer version of Twinlog has run this mirror, run that again; if not, \
                 remove the mirror's progress to begin anew"
            );
            Cause::new(Reason::INTERNAL, message)
        })?;
        if found.epoch > self.spec.epoch.0 {
            return Err(self.superseded(&found));
        }
        Ok(found)
    }

    /// Whether there was progress of the range once, where it matters that there is none: also where another's is to be gone on from.
    pub(super) async fn has_begun(
        &self,
        topics: &StorageTopics,
        facts: &[Facts],
        (noted, another): (bool, bool),
    ) -> Step<bool> {
        self.may_be_anew(topics, facts)?;
        if !another && facts.iter().all(|facts| facts.holds == 0 && facts.start <= facts.earliest) {
            return Ok(false);
        }
        if noted {
            return Ok(true);
        }
        let partition = self.storage_partition(topics.offsets_partitions);
        let key = progress::began_key(&self.spec.range.target_topic, self.spec.range.block);
        Ok(self.newest(Place { topic: &topics.offsets, partition }, key).await?.is_some())
    }

    /// Before it fences others: whether it was replaced. A new owner says so with its first commit, some time after its fence.
    pub(super) async fn still_owner(&mut self, topics: &StorageTopics) -> Step<()> {
        self.read_progress(topics).await?;
        self.read_former(topics).await?;
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

    fn superseded(&self, by: &RangeProgress) -> End {
        let message = format!(
            "worker {} has taken this range over with epoch {}; this lane has epoch {}. If this controller's store was restored from an \
             older copy, it gives a later epoch by itself. One controller may run a mirror: is another one running?",
            by.worker, by.epoch, self.spec.epoch
        );
        tracing::warn!(task = %self.spec.task, "fenced: {message}");
        self.board().not_running(State::Stopped, Cause::new(Reason::FENCED, message));
        self.control.found_later(by.epoch);
        End::Superseded
    }
}
