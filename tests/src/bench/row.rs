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
    /// The same on many partitions, for the memory it takes.
    Memory,
    /// Time from source append to target append of a steady stream.
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
}

impl Row {
    /// Every row, in the order they run.
    pub(super) fn all() -> Vec<Self> {
        let mut rows = Vec::new();
        for size in [100, 1024] {
            rows.extend(CODECS.map(|codec| Self { what: What::Copy, size, codec, partitions: 8 }));
        }
        rows.push(Self { what: What::Memory, size: 1024, codec: "lz4", partitions: 100 });
        rows.push(Self { what: What::Latency, size: 100, codec: "lz4", partitions: 8 });
        rows.push(Self { what: What::Wide, size: 100, codec: "lz4", partitions: 1 });
        rows
    }

    pub(super) fn default_records(&self) -> u64 {
        (VOLUME_BYTES / self.size as u64).min(MAX_RECORDS)
    }

    /// What people call it.
    pub(super) fn records_name(&self) -> String {
        let size = if self.size == 1024 { "1 KiB".to_owned() } else { format!("{} B", self.size) };
        format!("{size} {}", self.codec)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            What::Copy if self.size == 1024 => write!(f, "1KiB-{}", self.codec),
            What::Copy => write!(f, "{}B-{}", self.size, self.codec),
            What::Memory => f.write_str("memory"),
            What::Latency => f.write_str("latency"),
            What::Wide => f.write_str("wide"),
        }
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
