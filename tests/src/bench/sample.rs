//! What a process has used: CPU time and peak memory, from /proc.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::sandbox::Process;

/// CPU seconds, user and system, of all threads of a process. Linux accounts the whole in steps of 10 ms and living threads to the
/// nanosecond; where no thread has ended the latter is the better figure.
pub(super) fn cpu_seconds(process: &Process) -> Result<f64> {
    let pid = process.pid().with_context(|| format!("{} does not run", process.name()))?;
    let mut threads = Duration::ZERO;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // One that ends meanwhile is gone.
        let Ok(schedstat) = std::fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        let nanos = schedstat.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
        threads += Duration::from_nanos(nanos.unwrap_or(0));
    }
    Ok(threads.max(process.cpu()?).as_secs_f64())
}

pub(super) fn peak_mib(process: &Process) -> Result<f64> {
    Ok(process.peak_resident_bytes()? as f64 / (1024.0 * 1024.0))
}

/// Median, least and most of several runs.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// `values` must not be empty.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Self { median, min: values[0], max: values[values.len() - 1] }
    }
}

/// The value that a share `q` (0 to 1) of the sorted values doesn't exceed.
pub(super) fn percentile(sorted: &[i64], q: f64) -> i64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// How often the target's end offsets are asked for.
pub(super) const POLL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_lies_between_and_percentiles_are_ranks() {
        let spread = Spread::of([3.0, 1.0, 2.0, 10.0]);
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 2.5, 10.0));
        let values: Vec<i64> = (1..=100).collect();
        assert_eq!((percentile(&values, 0.5), percentile(&values, 0.99)), (50, 99));
        assert_eq!(percentile(&[7], 0.99), 7);
    }
}
