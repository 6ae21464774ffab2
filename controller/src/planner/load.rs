//! The cost of running a range, in thousandths of what an idle one costs.

/// Bytes per second that cost as much as one idle range.
const BYTES_PER_UNIT: f64 = 100_000.0;
/// Records per second that cost as much as one idle range.
const RECORDS_PER_UNIT: f64 = 1_000.0;
const UNIT: u64 = 1_000;

/// Never zero: even an idle range has connections, buffers and commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Load(u64);

impl Default for Load {
    fn default() -> Self {
        Self(UNIT)
    }
}

impl Load {
    /// From measured rates.
    pub fn measured(bytes_per_second: f64, records_per_second: f64) -> Self {
        let units =
            bytes_per_second.max(0.0) / BYTES_PER_UNIT + records_per_second.max(0.0) / RECORDS_PER_UNIT;
        // The cast saturates, and NaN becomes 0.
        Self(UNIT.saturating_add((units * UNIT as f64) as u64))
    }

    pub fn value(self) -> u64 {
        self.0
    }

    /// Keeps what was used before unless the new measurement differs by more than a quarter, and then goes half the way: neither
    /// rates that waver nor a single burst move anything to and fro.
    pub fn settle(self, measured: Self) -> Self {
        if self.0.abs_diff(measured.0) > self.0 / 4 { Self(self.0.midpoint(measured.0)) } else { self }
    }
}
