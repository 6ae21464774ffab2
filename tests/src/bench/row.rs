//! The rows of the benchmark: what is copied, and what is looked at while it is.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail};

pub(super) const CODECS: [&str; 3] = ["none", "lz4", "zstd"];
/// Records are about so many bytes of values in all, unless asked otherwise.
const VOLUME_BYTES: u64 = 1_200_000_000;
const MAX_RECORDS: u64 = 4_000_000;
/// Records per second of the latency row.
pub(super) const LATENCY_RATE: u64 = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// Throughput and CPU time while a backlog is copied.
    Copy,
    /// How long after its append at the source a record of a steady stream is there for a reader of the target.
    Latency,
    /// A thousand topics, and what they take when nothing happens.
    Wide,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) what: What,
    /// Bytes of one value; keys are null.
    pub(super) size: usize,
    pub(super) codec: &'static str,
    pub(super) partitions: i32,
    /// Records per batch at the source.
    pub(super) batch: usize,
    /// Whoever copies reads and writes over TLS.
    pub(super) tls: bool,
    pub(super) guarantee: Guarantee,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guarantee {
    AtLeastOnce,
    ExactlyOnce,
}

/// Of most rows.
pub(super) const PARTITIONS: i32 = 8;
/// Values of a batch that is full, bytes.
const BATCH_BYTES: usize = 100_000;

impl Row {
    /// Every row, in the order they run: a row for each size and codec, then one thing changed at a time.
    pub(super) fn all() -> Vec<Self> {
        let mut rows = Vec::new();
        for size in [100, 1024] {
            rows.extend(CODECS.map(|codec| Self::copy(size, codec)));
        }
        let (small, base) = (Self::copy(100, "lz4"), Self::copy(1024, "lz4"));
        rows.extend([1, 10, 100].map(|batch| Self { batch, ..small.clone() }));
        rows.push(Self { tls: true, ..base.clone() });
        rows.extend([1, 100, 1_000].map(|partitions| Self { partitions, ..base.clone() }));
        rows.push(Self { what: What::Latency, ..base.clone() });
        let exactly_once = Guarantee::ExactlyOnce;
        rows.push(Self { what: What::Latency, partitions: 64, guarantee: exactly_once, ..base });
        rows.push(Self { what: What::Wide, partitions: 1, ..small });
        rows
    }

    fn copy(size: usize, codec: &'static str) -> Self {
        let (partitions, batch, tls) = (PARTITIONS, Self::full_batch(size), false);
        Self { what: What::Copy, size, codec, partitions, batch, tls, guarantee: Guarantee::AtLeastOnce }
    }

    fn full_batch(size: usize) -> usize {
        (BATCH_BYTES / size).max(1)
    }

    pub(super) fn default_records(&self) -> u64 {
        // Writing small batches takes longer than all copies of them.
        let most = if self.batch < 10 { MAX_RECORDS / 20 } else { MAX_RECORDS };
        (VOLUME_BYTES / self.size as u64).min(most)
    }

    /// What people call it.
    pub(super) fn records_name(&self) -> String {
        let size = if self.size == 1024 { "1 KiB".to_owned() } else { format!("{} B", self.size) };
        format!("{size} {}", self.codec)
    }

    /// In what it differs from most rows, as people call it.
    pub(super) fn variation(&self) -> String {
        let mut differs = String::new();
        if self.partitions != PARTITIONS {
            differs +=
                &format!(", {} partition{}", self.partitions, if self.partitions == 1 { "" } else { "s" });
        }
        if self.batch != Self::full_batch(self.size) {
            differs += &format!(", {} to a batch", self.batch);
        }
        if self.tls {
            differs += ", TLS";
        }
        differs
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.what, self.guarantee) {
            (What::Wide, _) => return f.write_str("wide"),
            (What::Latency, Guarantee::AtLeastOnce) => return f.write_str("latency"),
            (What::Latency, Guarantee::ExactlyOnce) => return f.write_str("latency-exactly-once"),
            (What::Copy, _) if self.size == 1024 => write!(f, "1KiB-{}", self.codec)?,
            (What::Copy, _) => write!(f, "{}B-{}", self.size, self.codec)?,
        }
        if self.partitions != PARTITIONS {
            write!(f, "-{}p", self.partitions)?;
        }
        if self.batch != Self::full_batch(self.size) {
            write!(f, "-batch{}", self.batch)?;
        }
        if self.tls { f.write_str("-tls") } else { Ok(()) }
    }
}

impl FromStr for Row {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let all = Self::all();
        let names: Vec<String> = all.iter().map(ToString::to_string).collect();
        match all.into_iter().find(|row| row.to_string() == text) {
            Some(row) => Ok(row),
            None => bail!("{text:?} is no row; rows are {}", names.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_name() {
        for row in Row::all() {
            assert_eq!(row.to_string().parse::<Row>().unwrap(), row);
        }
        assert!("1KiB-brotli".parse::<Row>().unwrap_err().to_string().contains("100B-none, "));
    }
}
