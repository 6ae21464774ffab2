//! The results: kept whole for `-o json`, and as markdown tables fit for the README.

use std::fmt::Write as _;

use serde::Serialize;

use super::copy::CopyRun;
use super::latency::{Delays, LatencyRun};
use super::relay::RelayRun;
use super::row::{Guarantee, LATENCY_RATE, Row};
use super::sample::Spread;
use super::subject::Subject;
use super::wide::{TOPICS, WideRun};

/// Those that make a copy on the target.
const COPYING: [Subject; 4] = [Subject::Native, Subject::Twinlog, Subject::Mm2, Subject::Plain];

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) machine: String,
    pub(super) kafka: String,
    pub(super) command: String,
    pub mm2_properties: String,
    pub(super) copies: Vec<CopyRow>,
    pub(super) latencies: Vec<LatencyRow>,
    pub(super) wide: Vec<WideRun>,
}

#[derive(Debug, Serialize)]
pub(super) struct CopyRow {
    pub(super) row: String,
    pub(super) name: String,
    /// In what it differs from most rows.
    pub(super) variation: String,
    /// Bytes of a value.
    pub(super) size: usize,
    pub(super) records: u64,
    /// Bytes of values by bytes on the source's disk.
    pub(super) compression_ratio: f64,
    pub(super) runs: Vec<CopyRun>,
    pub(super) relays: Vec<RelayRun>,
}

#[derive(Debug, Serialize)]
pub(super) struct LatencyRow {
    /// What was measured.
    pub(super) name: String,
    pub(super) runs: Vec<LatencyRun>,
}

impl CopyRow {
    fn spread(&self, subject: Subject, value: fn(&CopyRun) -> f64) -> Option<Spread> {
        let values: Vec<f64> = self.runs.iter().filter(|r| r.subject == subject).map(value).collect();
        (!values.is_empty()).then(|| Spread::of(values))
    }

    fn median(&self, subject: Subject, value: fn(&CopyRun) -> f64) -> Option<f64> {
        self.spread(subject, value).map(|s| s.median)
    }

    fn relay(&self, value: fn(&RelayRun) -> f64) -> Option<f64> {
        (!self.relays.is_empty()).then(|| Spread::of(self.relays.iter().map(value)).median)
    }
}

impl LatencyRow {
    fn median(&self, subject: Subject, value: fn(&LatencyRun) -> f64) -> Option<f64> {
        let values: Vec<f64> = self.runs.iter().filter(|r| r.subject == subject).map(value).collect();
        (!values.is_empty()).then(|| Spread::of(values).median)
    }
}

/// A number for people, or a dash where nothing was measured.
fn cell(value: Option<f64>, digits: usize) -> String {
    match value {
        Some(value) if digits == 0 => thousands(value.round() as u64),
        Some(value) => format!("{value:.digits$}"),
        None => "-".to_owned(),
    }
}

fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// How many times `ours` fits in `theirs`.
fn times(theirs: Option<f64>, ours: Option<f64>) -> String {
    match (theirs, ours) {
        (Some(theirs), Some(ours)) if ours > 0.0 => format!("{:.1}x", theirs / ours),
        _ => "-".to_owned(),
    }
}

/// Median with the range of the runs, where there were several.
fn with_range(spread: Option<Spread>, digits: usize) -> String {
    match spread {
        Some(s) if s.min < s.max => {
            format!("{:.digits$} ({:.digits$}-{:.digits$})", s.median, s.min, s.max)
        }
        Some(s) => format!("{:.digits$}", s.median),
        None => "-".to_owned(),
    }
}

impl Report {
    pub(super) fn markdown(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "`{}` on {}, Kafka {}\n", self.command, self.machine, self.kafka);
        self.cpu(&mut out);
        self.speed(&mut out);
        self.memory(&mut out);
        self.latency(&mut out);
        self.wide(&mut out);
        out
    }

    fn cpu(&self, out: &mut String) {
        out.push_str(
            "CPU seconds per million records of the process that copies: `twinlog-worker` with the native and with the librdkafka engine, \
             MM2's JVM, a plain librdkafka loop, and a relay that sends the same bytes from one socket to another.\n\n\
             | records | native | with the controller | librdkafka | MM2 | plain librdkafka | relay | MM2 / native | librdkafka / native | native / relay | MM2 / librdkafka | native: GB of values per core-second | GB of packed records |\n\
             |---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for row in &self.copies {
            let of = |subject| with_range(row.spread(subject, |r| r.cpu), 3);
            let median = |subject| row.median(subject, |r| r.cpu);
            let (native, librdkafka, mm2) = (Subject::Native, Subject::Twinlog, Subject::Mm2);
            let relay = row.relay(|r| r.cpu);
            let cells = [
                row.title(),
                of(native),
                cell(row.median(native, |r| r.cpu_with_controller), 3),
                of(librdkafka),
                of(mm2),
                of(Subject::Plain),
                cell(relay, 3),
                times(median(mm2), median(native)),
                times(median(librdkafka), median(native)),
                times(median(native), relay),
                times(median(mm2), median(librdkafka)),
                cell(median(native).map(|cpu| row.gigabytes_per_million() / cpu), 2),
                cell(median(native).map(|cpu| row.gigabytes_per_million() / row.compression_ratio / cpu), 2),
            ];
            let _ = writeln!(out, "| {} |", cells.join(" | "));
        }
        out.push('\n');
    }

    fn speed(&self, out: &mut String) {
        out.push_str(
            "Records/s (MB/s of values) with both brokers on the same cores, and CPU seconds of both brokers per million records. Of the \
             relay: MB/s of packed records.\n\n\
             | records | native | librdkafka | MM2 | plain librdkafka | relay | brokers under native | under librdkafka | under MM2 | under plain |\n\
             |---|---|---|---|---|---|---|---|---|---|\n",
        );
        for row in &self.copies {
            let speed = |subject| match row.median(subject, |r| r.records_per_second) {
                None => "-".to_owned(),
                some => {
                    let megabytes = cell(row.median(subject, |r| r.megabytes_per_second), 0);
                    format!("{} ({megabytes})", cell(some, 0))
                }
            };
            let mut cells = vec![row.title()];
            cells.extend(COPYING.map(speed));
            cells.push(cell(row.relay(|r| r.megabytes_per_second), 0));
            cells.extend(COPYING.map(|subject| cell(row.median(subject, |r| r.cpu_brokers), 2)));
            let _ = writeln!(out, "| {} |", cells.join(" | "));
        }
        out.push('\n');
    }

    fn memory(&self, out: &mut String) {
        out.push_str(
            "Peak resident memory (MiB), and the way to the first record on the target from the start of the process: seconds, and CPU \
             seconds used.\n\n\
             | records | native | with the controller | librdkafka | MM2 | plain librdkafka | MM2 / native | first record: native | librdkafka | MM2 | CPU until then: native | librdkafka | MM2 |\n\
             |---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for row in &self.copies {
            let peak = |subject| row.spread(subject, |r| r.peak_mib).map(|s| s.max);
            let both = |subject| row.spread(subject, |r| r.peak_mib + r.controller_peak_mib).map(|s| s.max);
            let first = |subject| cell(row.median(subject, |r| r.first_record_seconds), 2);
            let startup = |subject| cell(row.median(subject, |r| r.startup_cpu), 2);
            let (native, mm2) = (Subject::Native, Subject::Mm2);
            let mut cells = vec![row.title(), cell(peak(native), 0), cell(both(native), 0)];
            cells.extend([Subject::Twinlog, mm2, Subject::Plain].map(|subject| cell(peak(subject), 0)));
            cells.push(times(peak(mm2), peak(native)));
            cells.extend([native, Subject::Twinlog, mm2].map(first));
            cells.extend([native, Subject::Twinlog, mm2].map(startup));
            let _ = writeln!(out, "| {} |", cells.join(" | "));
        }
        out.push('\n');
    }

    fn wide(&self, out: &mut String) {
        if self.wide.is_empty() {
            return;
        }
        let _ = writeln!(
            out,
            "\n{} topics of one partition with a few records each: how many are copied and when the last was, from the start of the \
             process; and what is taken when nothing happens.\n\n\
             | | topics | seconds | CPU ms per second at rest | of the controller | of both brokers | threads | descriptors | peak MiB | of the controller |\n\
             |---|---|---|---|---|---|---|---|---|---|",
            thousands(TOPICS as u64),
        );
        for run in &self.wide {
            let _ = writeln!(
                out,
                "| {} | {} | {:.1} | {:.1} | {} | {:.1} | {} | {} | {:.0} | {} |",
                run.subject,
                run.copied,
                run.seconds,
                run.rest_cpu_ms,
                cell(run.controller_rest_cpu_ms, 1),
                run.brokers_rest_cpu_ms,
                run.threads,
                run.descriptors,
                run.peak_mib,
                cell(run.controller_peak_mib, 0),
            );
        }
    }

    fn latency(&self, out: &mut String) {
        for row in &self.latencies {
            row.markdown(out);
        }
    }
}

impl LatencyRow {
    pub(super) fn new(row: &Row) -> Self {
        let what = match row.guarantee {
            Guarantee::AtLeastOnce => "Latency from source append to target append, at least once",
            Guarantee::ExactlyOnce => {
                "Latency from source append to a `read_committed` reader of the target, exactly once (in brackets: to a reader of the source)"
            }
        };
        let (rate, records) = (thousands(LATENCY_RATE), row.records_name());
        let name = format!("{what}, at {rate} records/s of {records} over {} partitions.", row.partitions);
        Self { name, runs: Vec::new() }
    }

    fn markdown(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "{}\n\n| | p50 ms | p99 ms | most ms | CPU seconds per million records | with the controller | peak MiB |\n|---|---|---|---|---|---|---|",
            self.name,
        );
        for subject in COPYING {
            if self.runs.iter().all(|r| r.subject != subject) {
                continue;
            }
            let of = |value: fn(&LatencyRun) -> f64, digits| cell(self.median(subject, value), digits);
            let delay = |value: fn(&Delays) -> i64| {
                let median = |of: fn(&LatencyRun) -> Option<Delays>| {
                    let runs = self.runs.iter().filter(|run| run.subject == subject);
                    let values: Vec<f64> = runs.filter_map(of).map(|d| value(&d) as f64).collect();
                    (!values.is_empty()).then(|| cell(Some(Spread::of(values).median), 0))
                };
                let all = median(|run| Some(run.delays)).unwrap_or_default();
                median(|run| run.brokers_own).map_or(all.clone(), |own| format!("{all} ({own})"))
            };
            let _ = writeln!(
                out,
                "| {subject} | {} | {} | {} | {} | {} | {} |",
                delay(|d| d.p50),
                delay(|d| d.p99),
                delay(|d| d.most),
                of(|r| r.cpu, 2),
                of(|r| r.cpu_with_controller, 2),
                of(|r| r.peak_mib, 0),
            );
        }
        for theirs in [Subject::Mm2, Subject::Twinlog] {
            let ratio = |value: fn(&LatencyRun) -> f64| {
                times(self.median(theirs, value), self.median(Subject::Native, value))
            };
            let _ = writeln!(
                out,
                "| {theirs} / native | {} | {} | {} | {} | {} | {} |",
                ratio(|r| r.delays.p50 as f64),
                ratio(|r| r.delays.p99 as f64),
                ratio(|r| r.delays.most as f64),
                ratio(|r| r.cpu),
                ratio(|r| r.cpu_with_controller),
                ratio(|r| r.peak_mib),
            );
        }
        out.push('\n');
    }
}

impl CopyRow {
    pub(super) fn new(row: &Row, records: u64, compression_ratio: f64) -> Self {
        Self {
            row: row.to_string(),
            name: row.records_name(),
            variation: row.variation(),
            size: row.size,
            records,
            compression_ratio,
            runs: Vec::new(),
            relays: Vec::new(),
        }
    }

    /// Values of a million records.
    fn gigabytes_per_million(&self) -> f64 {
        self.size as f64 * 1e6 / 1e9
    }

    fn title(&self) -> String {
        let ratio = if self.name.ends_with("none") {
            String::new()
        } else {
            format!(" ({:.1}x)", self.compression_ratio)
        };
        format!("{}{ratio}{}", self.name, self.variation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(thousands(7), "7");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(times(Some(10.0), Some(4.0)), "2.5x");
        assert_eq!(times(None, Some(4.0)), "-");
        assert_eq!(with_range(Some(Spread::of([1.0, 2.0, 4.0])), 1), "2.0 (1.0-4.0)");
    }
}
