//! The judge: is the target what the source is, record by record, and does an offset point to the right one?
//!
//! Works on dumps that the independent reader wrote. Compares key, value, headers, timestamp, partition and order; offsets and
//! the kind of timestamp are not compared, since they are each cluster's own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

mod translation;

pub use translation::{expected_offset, expected_source};

/// One record as the reader wrote it: bytes are hex, `-` is null, long ones are their SHA-256 and length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub offset: i64,
    pub timestamp: i64,
    pub timestamp_type: String,
    pub key: String,
    pub value: String,
    pub headers: String,
}

impl Record {
    fn same(&self, other: &Self) -> bool {
        self.differing(other).is_empty()
    }

    fn differing(&self, other: &Self) -> Vec<&'static str> {
        let fields = [
            ("timestamp", self.timestamp != other.timestamp),
            ("key", self.key != other.key),
            ("value", self.value != other.value),
            ("headers", self.headers != other.headers),
        ];
        fields.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, timestamp, key, value, headers, .. } = self;
        write!(f, "[offset {offset}, timestamp {timestamp}, key {key}, value {value}, headers {headers:?}]")
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Partition {
    /// Log start.
    pub begin: i64,
    /// Last stable offset (read_committed) or log end.
    pub end: i64,
    pub records: Vec<Record>,
}

/// A topic as one reading found it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dump {
    pub partitions: BTreeMap<i32, Partition>,
}

impl Dump {
    /// Reads what `Dump.java` wrote; `summary`: partition to [begin, end, records].
    pub fn read(file: &Path, summary: &Value) -> Result<Self> {
        let summary: BTreeMap<i32, (i64, i64, usize)> = serde_json::from_value(summary.clone())?;
        let mut partitions: BTreeMap<_, _> = summary
            .iter()
            .map(|(p, (begin, end, _))| (*p, Partition { begin: *begin, end: *end, records: Vec::new() }))
            .collect();
        for line in BufReader::new(std::fs::File::open(file)?).lines() {
            let line = line?;
            let (partition, record) = parse(&line).with_context(|| format!("line {line:?}"))?;
            let partition =
                partitions.get_mut(&partition).context("a partition that isn't in the summary")?;
            partition.records.push(record);
        }
        for (number, (_, _, records)) in summary {
            let read = partitions[&number].records.len();
            ensure!(read == records, "partition {number} has {read} lines where {records} were written");
        }
        Ok(Self { partitions })
    }

    pub fn records(&self) -> usize {
        self.partitions.values().map(|p| p.records.len()).sum()
    }
}

fn parse(line: &str) -> Result<(i32, Record)> {
    let fields: Vec<_> = line.split('\t').collect();
    let [partition, offset, timestamp, kind, key, value, headers] = fields.as_slice() else {
        bail!("{} fields instead of 7", fields.len());
    };
    let record = Record {
        offset: offset.parse()?,
        timestamp: timestamp.parse()?,
        timestamp_type: (*kind).to_owned(),
        key: (*key).to_owned(),
        value: (*value).to_owned(),
        headers: (*headers).to_owned(),
    };
    Ok((partition.parse()?, record))
}

/// The first thing that is wrong in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The partition is on one side only, and has records there.
    NoPartition {
        partition: i32,
        on: &'static str,
    },
    /// A source record is not on the target where it should be.
    Missing {
        partition: i32,
        source: Record,
        place: usize,
    },
    /// The target has a record that the source doesn't have there and that it has earlier: written twice.
    Duplicate {
        partition: i32,
        target: Record,
        place: usize,
    },
    /// The target has a record that the source has neither there nor earlier.
    Unexpected {
        partition: i32,
        target: Record,
        place: usize,
    },
    /// Two neighbours changed places.
    Reordered {
        partition: i32,
        source: Record,
        target: Record,
        place: usize,
    },
    Changed {
        partition: i32,
        source: Record,
        target: Record,
        fields: Vec<&'static str>,
        place: usize,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPartition { partition, on } => write!(f, "partition {partition} is not on the {on}"),
            Self::Missing { partition, source, place } => {
                write!(f, "partition {partition}, record {place}: missing on the target: {source}")
            }
            Self::Duplicate { partition, target, place } => {
                write!(f, "partition {partition}, record {place}: a second time on the target: {target}")
            }
            Self::Unexpected { partition, target, place } => {
                write!(f, "partition {partition}, record {place}: only on the target: {target}")
            }
            Self::Reordered { partition, source, target, place } => {
                write!(
                    f,
                    "partition {partition}, record {place}: out of order: {target} came before {source}"
                )
            }
            Self::Changed { partition, source, target, fields, place } => {
                let fields = fields.join(", ");
                write!(f, "partition {partition}, record {place}: {fields} differ: {source} became {target}")
            }
        }
    }
}

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    pub partitions: usize,
    pub source_records: usize,
    pub target_records: usize,
    /// The first of each partition that differs.
    pub differences: Vec<Difference>,
}

impl Verdict {
    pub fn is_exact(&self) -> bool {
        self.differences.is_empty() && self.source_records == self.target_records
    }

    /// An error that lists the first differences, unless the target is exact.
    pub fn require_exact(&self, what: &str) -> Result<()> {
        ensure!(self.is_exact(), "{what}: {self}");
        Ok(())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        if self.is_exact() {
            return write!(f, "{} records in {} partitions: equal", self.source_records, self.partitions);
        }
        write!(f, "DIFFERENT: {} records on the source, ", self.source_records)?;
        write!(f, "{} on the target, {} of ", self.target_records, self.differences.len())?;
        write!(f, "{} partitions differ", self.partitions)?;
        for difference in self.differences.iter().take(SHOWN) {
            write!(f, "\n  {difference}")?;
        }
        Ok(())
    }
}

/// Compares two dumps partition by partition.
pub fn compare(source: &Dump, target: &Dump) -> Verdict {
    let all: BTreeSet<_> = source.partitions.keys().chain(target.partitions.keys()).copied().collect();
    let differences = all.iter().filter_map(|partition| {
        match (source.partitions.get(partition), target.partitions.get(partition)) {
            (Some(s), Some(t)) => first_difference(*partition, &s.records, &t.records),
            (None, _) => Some(Difference::NoPartition { partition: *partition, on: "source" }),
            (_, None) => Some(Difference::NoPartition { partition: *partition, on: "target" }),
        }
    });
    Verdict {
        partitions: all.len(),
        source_records: source.records(),
        target_records: target.records(),
        differences: differences.collect(),
    }
}

fn first_difference(partition: i32, source: &[Record], target: &[Record]) -> Option<Difference> {
    let alike = source.iter().zip(target).take_while(|(s, t)| s.same(t)).count();
    let same = |s: Option<&Record>, t: Option<&Record>| matches!((s, t), (Some(s), Some(t)) if s.same(t));
    let place = alike;
    let next_source = source.get(place + 1);
    let next_target = target.get(place + 1);
    match (source.get(place), target.get(place)) {
        (None, None) => None,
        (Some(s), None) => Some(Difference::Missing { partition, source: s.clone(), place }),
        (None, Some(t)) => Some(extra(partition, source, t, place)),
        (Some(s), Some(t)) if same(next_source, Some(t)) && same(Some(s), next_target) => {
            Some(Difference::Reordered { partition, source: s.clone(), target: t.clone(), place })
        }
        (Some(s), Some(t)) if source[place + 1..].iter().any(|later| later.same(t)) => {
            Some(Difference::Missing { partition, source: s.clone(), place })
        }
        (Some(s), Some(t)) if same(Some(s), next_target) || source[..place].iter().any(|old| old.same(t)) => {
            Some(extra(partition, source, t, place))
        }
        (Some(s), Some(t)) => {
            let fields = s.differing(t);
            Some(Difference::Changed { partition, source: s.clone(), target: t.clone(), fields, place })
        }
    }
}

fn extra(partition: i32, source: &[Record], record: &Record, place: usize) -> Difference {
    let earlier = &source[..place.min(source.len())];
    if earlier.iter().any(|old| old.same(record)) {
        Difference::Duplicate { partition, target: record.clone(), place }
    } else {
        Difference::Unexpected { partition, target: record.clone(), place }
    }
}

#[cfg(test)]
mod tests;
