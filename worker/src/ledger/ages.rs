//! How old records were when they came and when they were on the target, until the status takes that over.

/// Observations that reach a histogram between two looks; sums, minima and maxima have all.
const MAX_SAMPLES: usize = 64;

/// Observations of one kind since they were last taken, in constant memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spread {
    pub(crate) records: u64,
    pub(crate) sum: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) samples: Vec<f64>,
}

impl Spread {
    /// `seconds` holds for so many records.
    pub(crate) fn add(&mut self, seconds: f64, records: u64) {
        let first = self.records == 0;
        self.min = if first { seconds } else { self.min.min(seconds) };
        self.max = if first { seconds } else { self.max.max(seconds) };
        self.records += records;
        self.sum += seconds * records as f64;
        if self.samples.len() < MAX_SAMPLES {
            self.samples.push(seconds);
        }
    }
}

/// How old records were, by their timestamps.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ages {
    /// When they came.
    pub(crate) fetched: Spread,
    /// When they were acknowledged.
    pub(crate) acknowledged: Spread,
}
