//! A partition on its way through a span: what a fetch brought it, and when it is at its end. No I/O.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::entries::Entries;
use super::{LogRecord, Span, Wanted};
use crate::kafka::log::records::Damaged;
use crate::kafka::log::types::{FetchHow, FetchedLog};
use crate::kafka::wire::types::Isolation;

/// One fetch, bytes.
const FETCH_BYTES: i32 = 1 << 20;
/// Pauses where nothing came: the first one, doubling up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const MAX_PAUSE: Duration = Duration::from_millis(100);
/// How long a broker may wait for the first byte where it has answered with none though nothing hides the rest, milliseconds: records in
/// tiered storage come after a while, and not at all if they aren't waited for. Elsewhere it doesn't wait: a connection that waits is in
/// others' way.
const TIERED_WAIT_MS: i32 = 500;
/// A log that gives nothing for so long, though nothing hides its rest, has nothing more: it was compacted away.
const GONE_AFTER: Duration = Duration::from_secs(5);

pub(super) struct Going {
    /// What is left of it.
    pub(super) span: Span,
    /// Before the next fetch.
    pause: Duration,
    /// At the broker, milliseconds.
    wait_ms: i32,
    /// Since when it gives nothing though nothing hides its rest.
    empty: Option<Instant>,
}

/// What a fetch brought a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    Nothing,
    Further,
    End,
}

impl Going {
    pub(super) fn new(span: Span) -> Self {
        Self { span, pause: Duration::ZERO, wait_ms: 0, empty: None }
    }

    pub(super) async fn pause(&self) {
        if !self.pause.is_zero() {
            sleep(self.pause).await;
        }
    }

    pub(super) fn how(&self, isolation: Isolation) -> FetchHow {
        FetchHow { max_bytes: FETCH_BYTES, isolation, max_wait_ms: self.wait_ms }
    }

    /// A fetch failed.
    pub(super) fn nothing(&mut self) {
        self.empty = None;
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, MAX_PAUSE);
    }

    /// Hands over what a fetch brought. The span then begins behind what was handed over or passed, also after an error.
    pub(super) fn take(
        &mut self,
        log: FetchedLog,
        isolation: Isolation,
        each: &mut impl FnMut(&LogRecord<'_>) -> Wanted,
    ) -> Result<Came, Damaged> {
        let begin = self.span.from;
        let knows_stable = isolation == Isolation::Committed && log.last_stable_offset >= 0;
        let stable = if knows_stable { log.last_stable_offset } else { log.high_watermark };
        let mut entries = Entries::new(log.records, log.aborted);
        let Span { partition, from: next, to } = &mut self.span;
        while let Some(entry) = entries.next()? {
            if entry.begins_at(*to) {
                *next = *to;
                return Ok(Came::End);
            }
            let mut enough = false;
            entry.each(*partition, |record| {
                if (*next..*to).contains(&record.offset) {
                    *next = record.offset + 1;
                    enough = each(&record) == Wanted::Enough;
                }
                !enough && *next < *to
            })?;
            if !enough {
                *next = entry.next_offset().clamp(*next, *to);
            }
            if enough || next == to {
                return Ok(Came::End);
            }
        }
        if *next > begin {
            (self.pause, self.empty) = (Duration::ZERO, None);
            return Ok(Came::Further);
        }
        Ok(self.came_empty(stable))
    }

    /// `stable` is where what a reader may see ends.
    fn came_empty(&mut self, stable: i64) -> Came {
        let since = self.empty;
        self.nothing();
        if stable < self.span.to {
            return Came::Nothing;
        }
        let since = since.unwrap_or_else(Instant::now);
        (self.empty, self.wait_ms) = (Some(since), TIERED_WAIT_MS);
        if since.elapsed() < GONE_AFTER {
            return Came::Nothing;
        }
        self.span.from = self.span.to;
        Came::End
    }
}

#[cfg(test)]
mod tests;
