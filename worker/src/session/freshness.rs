//! How old a set of assignments may be, by this worker's own clock.
//!
//! The controller gives tasks away when it has not heard of their worker for the lease. A set says which of our reports the
//! controller had heard when it made it, and we know when we sent that one: as long as less than the lease has passed since,
//! nobody else can have been given what the set holds. A process that was stopped, or a network that held messages back,
//! shows by this alone; no clocks are compared.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;
use twinlog_proto::internal::v1 as internal;

/// Reports whose times are remembered; older ones count as too old.
const REMEMBERED: usize = 256;

pub(super) struct Freshness {
    limit: Option<Duration>,
    /// Times of the reports `first..`; the hello is number 0.
    sent: VecDeque<Instant>,
    first: i64,
}

impl Freshness {
    pub(super) fn new(welcome: &internal::Welcome, hello_sent: Instant) -> Self {
        let lease = u64::try_from(welcome.lease_ms).ok().filter(|ms| *ms > 0);
        Self { limit: lease.map(Duration::from_millis), sent: VecDeque::from([hello_sent]), first: 0 }
    }

    /// A report is being sent: its number.
    pub(super) fn report(&mut self, now: Instant) -> i64 {
        self.sent.push_back(now);
        if self.sent.len() > REMEMBERED {
            self.sent.pop_front();
            self.first += 1;
        }
        self.first + i64::try_from(self.sent.len()).unwrap_or(i64::MAX) - 1
    }

    /// # Errors
    /// The age of a set that is too old to start tasks by.
    pub(super) fn check(&self, heard_report: Option<i64>, now: Instant) -> Result<(), Duration> {
        let (Some(heard), Some(limit)) = (heard_report, self.limit) else { return Ok(()) };
        // A number that was never given out comes from nowhere: as old as can be.
        let index = usize::try_from(heard - self.first).ok().filter(|index| *index < self.sent.len());
        let age = now.duration_since(index.map_or(self.sent[0], |index| self.sent[index]));
        if age < limit && index.is_some() { Ok(()) } else { Err(age) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn freshness(hello_sent: Instant) -> Freshness {
        let welcome = internal::Welcome { lease_ms: 2_000, ..Default::default() };
        Freshness::new(&welcome, hello_sent)
    }

    #[test]
    fn a_set_is_as_old_as_the_report_that_it_answers() {
        let start = Instant::now();
        let mut freshness = freshness(start);
        assert!(freshness.check(Some(0), start + SECOND).is_ok());
        assert_eq!(freshness.check(Some(0), start + 2 * SECOND), Err(2 * SECOND));
        assert_eq!(freshness.report(start + SECOND), 1);
        assert!(freshness.check(Some(1), start + 2 * SECOND).is_ok());
        assert!(freshness.check(Some(2), start + SECOND).is_err(), "a report that was never sent");
        assert!(freshness.check(None, start + 99 * SECOND).is_ok(), "an older controller");
    }

    #[test]
    fn only_so_many_reports_are_remembered() {
        let start = Instant::now();
        let mut freshness = freshness(start);
        for _ in 0..3 * REMEMBERED {
            freshness.report(start);
        }
        let last = freshness.report(start);
        assert_eq!(last, 3 * REMEMBERED as i64 + 1);
        assert!(freshness.check(Some(last), start).is_ok());
        assert!(freshness.check(Some(last - REMEMBERED as i64), start).is_err());
    }
}
