//! How old the records are: a broker forgets a producer a day after the time of its last record, and then refuses nothing of an earlier
//! owner. So only young ones are written behind the fence without transactions.

use std::time::{Duration, SystemTime};

use super::{Range, Step};
use crate::engine::Exit;
use crate::kafka::BatchHeader;
use crate::progress::{Mode, millis};

/// Younger records are recent: brokers forget at 24 hours.
const RECENT: Duration = Duration::from_secs(6 * 3600);

impl Range {
    /// Before a batch is copied.
    pub(super) fn is_of_age(&mut self, index: usize, header: &BatchHeader) -> Step<()> {
        let order = &self.job.order;
        if order.mode == Mode::Acknowledged || order.ageless {
            self.slots[index].recent = true;
            return Ok(());
        }
        let recent = is_recent(header, SystemTime::now());
        if !recent && order.mode == Mode::Fenced {
            return Err(Exit::Aged { partition: self.slots[index].spot.partition });
        }
        self.slots[index].recent = recent;
        Ok(())
    }

    /// In transactions: whether they are not needed any more.
    pub(super) fn is_recent(&self) -> Step<()> {
        let is_due = self.job.order.plain_from.is_some_and(|from| from <= tokio::time::Instant::now());
        if !is_due || self.committer.holds_records() {
            return Ok(());
        }
        match self.slots.iter().all(|slot| slot.is_at_end() || slot.recent) {
            true => Err(Exit::Recent),
            false => Ok(()),
        }
    }
}

/// Whether a producer is remembered for long after this batch.
fn is_recent(header: &BatchHeader, now: SystemTime) -> bool {
    header.max_timestamp >= millis(now) - millis(SystemTime::UNIX_EPOCH + RECENT)
}
