//! How fast and how late: rates over about ten seconds and latency percentiles, cheap enough for the hot path.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Length of one slice of the window.
const SLICE: Duration = Duration::from_secs(1);
/// Slices that make the window.
const SLICES: usize = 10;
/// Buckets of the histogram: four per power of two, from 1/8 ms.
const BUCKETS: usize = 96;
const PER_OCTAVE: f64 = 4.0;
const SMALLEST_MS: f64 = 0.125;

/// Records, bytes and latencies of one partition.
#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    window: VecDeque<Slice>,
}

#[derive(Debug)]
struct Slice {
    start: Instant,
    records: u64,
    bytes: u64,
    latencies: [u32; BUCKETS],
}

/// What a meter shows.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Reading {
    pub(crate) records_per_second: f64,
    pub(crate) bytes_per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

impl Meter {
    pub(crate) fn new(now: Instant) -> Self {
        Self { records: 0, bytes: 0, window: VecDeque::from([Slice::new(now)]) }
    }

    /// Records that reached the target.
    pub(crate) fn copied(&mut self, now: Instant, records: u64, bytes: u64) {
        self.records += records;
        self.bytes += bytes;
        let slice = self.slice(now);
        slice.records += records;
        slice.bytes += bytes;
    }

    /// How long records took.
    pub(crate) fn took(&mut self, now: Instant, latency: Duration, records: u64) {
        let counts = &mut self.slice(now).latencies[bucket(latency)];
        *counts = counts.saturating_add(u32::try_from(records).unwrap_or(u32::MAX));
    }

    fn slice(&mut self, now: Instant) -> &mut Slice {
        self.roll(now);
        self.window.back_mut().expect("the window is never empty")
    }

    fn roll(&mut self, now: Instant) {
        let newest = self.window.back().expect("the window is never empty").start;
        if now.duration_since(newest) >= SLICE {
            self.window.push_back(Slice::new(now));
        }
        while self.window.len() > 1 && now.duration_since(self.window[0].start) > SLICE * SLICES as u32 {
            self.window.pop_front();
        }
    }

    pub(crate) fn read(&mut self, now: Instant) -> Reading {
        self.roll(now);
        let seconds = now.duration_since(self.window[0].start).max(SLICE).as_secs_f64();
        let mut latencies = [0_u64; BUCKETS];
        for slice in &self.window {
            latencies.iter_mut().zip(&slice.latencies).for_each(|(sum, n)| *sum += u64::from(*n));
        }
        Reading {
            records_per_second: self.window.iter().map(|s| s.records).sum::<u64>() as f64 / seconds,
            bytes_per_second: self.window.iter().map(|s| s.bytes).sum::<u64>() as f64 / seconds,
            p50_ms: percentile(&latencies, 0.50),
            p99_ms: percentile(&latencies, 0.99),
        }
    }
}

impl Slice {
    fn new(start: Instant) -> Self {
        Self { start, records: 0, bytes: 0, latencies: [0; BUCKETS] }
    }
}

fn bucket(latency: Duration) -> usize {
    let ms = latency.as_secs_f64() * 1000.0;
    let at = ((ms / SMALLEST_MS).max(1.0).log2() * PER_OCTAVE) as usize;
    at.min(BUCKETS - 1)
}

/// Upper edge of the bucket in which the share `part` of all is reached; 0 where there is nothing.
fn percentile(counts: &[u64; BUCKETS], part: f64) -> f64 {
    let total: u64 = counts.iter().sum();
    let wanted = (total as f64 * part).ceil().max(1.0) as u64;
    let mut seen = 0;
    for (i, n) in counts.iter().enumerate() {
        seen += n;
        if total > 0 && seen >= wanted {
            return SMALLEST_MS * ((i + 1) as f64 / PER_OCTAVE).exp2();
        }
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_over_the_window_and_old_slices_leave_it() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        for second in 0..30 {
            meter.copied(start + SLICE * second, 100, 1000);
        }
        let reading = meter.read(start + SLICE * 29);
        assert!((reading.records_per_second - 100.0).abs() < 20.0, "{reading:?}");
        assert_eq!(meter.records, 3000);
        let later = meter.read(start + SLICE * 60);
        assert!(later.records_per_second < 15.0, "{later:?}");
    }

    #[test]
    fn percentiles_are_within_a_bucket() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        for ms in 1..=100 {
            meter.took(start, Duration::from_millis(ms), 1);
        }
        let reading = meter.read(start);
        assert!((48.0..70.0).contains(&reading.p50_ms), "{reading:?}");
        assert!((97.0..130.0).contains(&reading.p99_ms), "{reading:?}");
        assert_eq!(Meter::new(start).read(start), Reading::default());
    }
}
